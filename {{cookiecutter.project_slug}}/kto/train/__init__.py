"""`train.py`: rows in, a model out. The trainer and its parameters are in the script; here is what it needs."""

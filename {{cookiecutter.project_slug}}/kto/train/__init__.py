"""Step 4: rows in, a model out. `train.py` has the trainer and its parameters; here is what it needs."""

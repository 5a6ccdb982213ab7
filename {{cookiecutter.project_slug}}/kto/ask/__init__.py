"""`generate.py`: prompts and models in, answers out."""

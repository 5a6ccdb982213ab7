"""Step 1: prompts and models in, answers out."""

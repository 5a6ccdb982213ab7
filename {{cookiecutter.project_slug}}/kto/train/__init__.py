"""Step 4: rows in, a model out."""

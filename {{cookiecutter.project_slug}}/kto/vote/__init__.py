"""Step 2: answers in, votes out."""

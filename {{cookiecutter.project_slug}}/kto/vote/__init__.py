"""`vote.py`: answers in, votes out."""

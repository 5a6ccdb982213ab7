"""`export.py`: votes in, rows and the card out."""

"""Step 3: votes in, rows and the card out."""

"""Step 0: can everything be used? One module per kind of thing, and the further commands of `check.py`."""

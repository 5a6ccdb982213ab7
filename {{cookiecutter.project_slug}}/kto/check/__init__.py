"""Step 0: can everything be used?"""

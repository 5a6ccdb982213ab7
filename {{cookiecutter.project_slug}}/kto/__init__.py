"""The machinery behind the four steps, one module per idea."""

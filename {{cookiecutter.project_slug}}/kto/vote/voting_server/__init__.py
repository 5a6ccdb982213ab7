"""The server of the voting page: it owns the port, and leads to Argilla behind it."""

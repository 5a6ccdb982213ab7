"""Argilla on this machine: one process, one SQLite file."""

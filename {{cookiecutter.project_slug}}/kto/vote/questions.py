"""What people are asked about an answer: one list, from which Argilla's task and the voting page are both made."""

GOOD, BAD = "good", "bad"
REASONS = {GOOD: (), BAD: ("wrong_language", "not_true", "off_topic", "clumsy", "unsafe")}
"""Reasons that people can give for a vote; each has a text `task.reason_<name>`."""
COMMENT_MAX = 2000
"""Longest comment, in characters."""

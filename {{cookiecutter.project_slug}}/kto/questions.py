"""What people are asked about an answer: one list, from which Argilla's task and the voting page are both made."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kto.texts import TextsError

GOOD, BAD = "good", "bad"
COMMENT_MAX = 2000
"""Longest comment, in characters."""
TASK = 2
"""The task of today; 1 is that of projects that were made before November 2026."""
REASONS = {GOOD: ("useful", "complete", "well_said", "fits_culture"), BAD: ("not_true", "off_topic", "unsafe")}
"""Reasons that people can give for a vote; each has a text `task.reason_<name>`."""
FLAGS = ("personal_data", "unpublishable")
"""Reasons for both votes that take an answer away until the lead has looked at it."""
ASPECTS = ("language",)
"""What can be said apart from the vote; each has a section of texts in `aspects`, whose other keys are its values."""
EARLIER = {GOOD: (), BAD: ("wrong_language", "not_true", "off_topic", "clumsy", "unsafe")}
"""The reasons of task 1. Their votes keep them, so they are read for good."""
_NOT_VALUES = ("question", "help", "short")


class Questions(NamedTuple):
    """What a project asks, and in which order."""

    reasons: Mapping[str, tuple[str, ...]]  # by vote, flags included
    aspects: Mapping[str, tuple[str, ...]]  # values by name
    flags: tuple[str, ...]

    @property
    def all_reasons(self) -> tuple[str, ...]:
        """Every reason once, as Argilla's question has them."""
        return tuple(dict.fromkeys(name for names in self.reasons.values() for name in names))


def questions(annotation: Mapping[str, Any], texts: Mapping[str, Any]) -> Questions:
    """Return what a project asks, from the section `annotation` of its settings and its texts.

    Raises
    ------
    TextsError
        An aspect has no texts.
    """
    if annotation.get("task", 1) < TASK:
        return Questions(EARLIER, {}, ())
    reasons = annotation.get("reasons") or {}
    flags = tuple(reasons.get("flags", FLAGS))
    by_vote = {vote: tuple(dict.fromkeys((*reasons.get(vote, REASONS[vote]), *flags))) for vote in REASONS}
    aspects = {}
    for name in annotation.get("aspects", ASPECTS):
        section = texts.get("aspects")
        own = section.get(name) if isinstance(section, Mapping) else None
        values = tuple(key for key in own if key not in _NOT_VALUES) if isinstance(own, Mapping) else ()
        if not values:
            raise TextsError(f"texts.yaml has no texts for the aspect “{name}”: add `aspects: {name}:` there.")
        aspects[name] = values
    return Questions(by_vote, aspects, flags)

"""What people are asked about an answer: one list, from which Argilla's task and the voting page are both made."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from kto.texts import OWN, ROOT, TextsError, settings_file

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
NOT_ASPECTS = ("vote", "reasons", "comment", "prompt", "answer", "model")
"""What else a task in Argilla consists of, so no aspect can have these names."""
NAME = "^[a-z][a-z0-9_]{0,39}$"
"""What reasons, aspects and their values are called."""
_WORDS = ("question", "help", "short")
"""Texts of an aspect that are none of its values."""


class Questions(NamedTuple):
    """What a project asks, and in which order."""

    reasons: Mapping[str, tuple[str, ...]]  # by vote, flags included
    aspects: Mapping[str, tuple[str, ...]]  # values by name
    flags: tuple[str, ...]

    @property
    def all_reasons(self) -> tuple[str, ...]:
        """Every reason once, as Argilla's question has them: the flags are the last."""
        own = [name for names in self.reasons.values() for name in names if name not in self.flags]
        return tuple(dict.fromkeys((*own, *self.flags)))

    @property
    def keys(self) -> frozenset[str]:
        """The keys of the texts that belong to reasons and aspects."""
        keys = {f"task.reason_{name}" for name in self.all_reasons}
        for name, values in self.aspects.items():
            keys |= {f"aspects.{name}.{key}" for key in (*_WORDS, *values)}
        return frozenset(keys)


def questions(annotation: Mapping[str, Any], texts: Mapping[str, Any]) -> Questions:
    """Return what a project asks, from the section `annotation` of its settings and its texts.

    Raises `TextsError`, which names all that is missing, if a reason or an aspect has no texts.
    """
    if annotation.get("task", 1) < TASK:
        return Questions(EARLIER, {}, ())
    reasons = annotation.get("reasons") or {}
    flags = tuple(reasons.get("flags", FLAGS))
    by_vote = {vote: tuple(dict.fromkeys((*reasons.get(vote, REASONS[vote]), *flags))) for vote in REASONS}
    aspects = {name: _values(texts, name) for name in annotation.get("aspects", ASPECTS)}
    asked = Questions(by_vote, aspects, flags)
    problems, where = [], f"{settings_file(ROOT).name} ([annotation])"
    task = _section(texts, "task")
    if missing := [f"“task.reason_{name}”" for name in asked.all_reasons if not _is_text(task, f"reason_{name}")]:
        problems.append(f"There is no text for {', '.join(missing)}. Add it to {OWN}, or take it out of {where}.")
    for name, values in aspects.items():
        own = _section(texts, "aspects", name)
        is_named = all(re.fullmatch(NAME, value) for value in values)
        if len(values) < 2 or not is_named or not all(_is_text(own, key) for key in (*_WORDS, *values)):
            problems.append(
                f"“aspects.{name}” needs the texts “question”, “help” and “short”, and at least two others to choose "
                "from, whose names are small letters a to z, digits and underscores (yes, no, on, off: in quotation "
                f"marks). Add them to {OWN}, or take “{name}” out of {where}."
            )
    if problems:
        raise TextsError(" ".join(problems))
    return asked


def _section(texts: Mapping[str, Any], *path: str) -> Mapping[Any, Any]:
    for name in path:
        section = texts.get(name)
        texts = section if isinstance(section, Mapping) else {}
    return texts


def _is_text(section: Mapping[Any, Any], key: str) -> bool:
    return isinstance(section.get(key), str) and bool(section[key])


def _values(texts: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return what can be said about an aspect, in the order of the texts."""
    return tuple(str(key) for key in _section(texts, "aspects", name) if key not in _WORDS)

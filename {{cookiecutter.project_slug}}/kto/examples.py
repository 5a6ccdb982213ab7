"""The worked examples: a table in the guidelines, and the practice of the voting page."""

from collections.abc import Container, Mapping
from typing import NamedTuple

from kto.texts import TextsError, checked, file_of

ROWS = "examples.rows"
"""Key of the list of examples."""
THUMBS = {"good": "👍", "bad": "👎"}
_COLUMNS = ("question", "answer", "vote", "why")


class Example(NamedTuple):
    """A question, an answer, the vote that it deserves ("good" or "bad"), and why; with placeholders."""

    question: str
    answer: str
    vote: str
    why: str


def examples(texts: Mapping[str, object], known: Container[str]) -> list[Example]:
    """Return the examples; raise `TextsError` if they are not written like ours, or have a placeholder not in `known`.

    The list of a project takes the place of the language's as a whole.
    """
    section = texts.get("examples")
    rows = section.get("rows") if isinstance(section, Mapping) else None
    found = []
    for row in rows if isinstance(rows, list) and rows else [None]:
        if not isinstance(row, Mapping) or {*row} != {*_COLUMNS} or row["vote"] not in tuple(THUMBS):
            columns = ", ".join(_COLUMNS)
            raise TextsError(
                f"{file_of(ROWS)}: each example in “{ROWS}” needs {columns}, and its vote is good or bad. Correct it."
            )
        found.append(Example(*(checked({"examples": {"rows": row}}, f"{ROWS}.{name}", known) for name in _COLUMNS)))
    return found


def table(texts: Mapping[str, object], known: Container[str]) -> str:
    """Return the examples as a table in Markdown; raise `TextsError` as `examples` does."""
    head = [checked(texts, f"examples.{name}", known) for name in _COLUMNS]
    rows = [row._replace(vote=THUMBS[row.vote]) for row in examples(texts, known)]
    lines = [" | ".join(text.replace("|", "\\|").replace("\n", " ") for text in row) for row in (head, *rows)]
    return "\n".join(f"| {line} |" for line in lines).replace("\n", f"\n|{'---|' * len(_COLUMNS)}\n", 1)

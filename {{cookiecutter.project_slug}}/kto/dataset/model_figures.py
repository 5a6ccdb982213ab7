"""What people say about each model, as a table: the thumbs, and apart from them the language of its answers."""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kto.ask.report import aligned
from kto.dataset.votes import LANGUAGE
from kto.pages import code_in_direction
from kto.questions import questions
from kto.settings import Settings
from kto.texts import TextsError, load, number, t


class Table(NamedTuple):
    """A row for each model, its name first; what can be said about the language has columns if anybody has said it."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    @classmethod
    def of(cls, votes: Sequence[Mapping[str, Any]], config: Settings) -> "Table":
        """Return the table for rows of `kto.dataset.votes.schema`; an answer of several models counts for each."""
        by_model: dict[str, list[Mapping[str, Any]]] = {}
        for vote in votes:
            for name in vote["generation_model"]:
                by_model.setdefault(name, []).append(vote)
        values: list[str] = []
        if said := {vote[LANGUAGE] for vote in votes if vote[LANGUAGE]}:
            with contextlib.suppress(TextsError):  # check.py says what is missing
                values += questions(config.annotation.model_dump(), load()).aspects.get(LANGUAGE, ())
            values += sorted(said.difference(values))
        rows = []
        for name, own in sorted(by_model.items()):
            language = Counter(vote[LANGUAGE] for vote in own if vote[LANGUAGE])
            shares = [_share(language[value], language.total()) for value in values]
            rows.append([name, number(len(own)), _share(sum(vote["vote"] for vote in own), len(own)), *shares])
        words = [_word(value) for value in values]
        return cls([t("generate.column_model"), t("dataset_card.votes"), t("task.good"), *words], rows)

    def in_terminal(self) -> str:
        """Return the table for a terminal."""
        return aligned(self.rows, self.heads, [None] * len(self.heads))

    def on_card(self, direction: str) -> str:
        """Return the table in Markdown; without models it is empty."""
        if not self.rows:
            return ""
        rows = [["`" + name.replace("|", "\\|") + "`", *cells] for name, *cells in self.rows]
        lines = [self.heads, ["---", *["---:"] * (len(self.heads) - 1)], *rows]
        return code_in_direction("\n".join(f"| {' | '.join(line)} |" for line in lines), direction)


def _share(part: int, whole: int) -> str:
    return f"{number(100 * part / whole)} %" if whole else "–"


def _word(value: str) -> str:
    """Return the text of a value; one that a project had once may have none any more."""
    try:
        return t(f"aspects.{LANGUAGE}.{value}")
    except TextsError:
        return value

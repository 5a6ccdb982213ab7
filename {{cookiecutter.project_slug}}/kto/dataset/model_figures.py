"""What people say about each model, as a table: the thumbs, and apart from them the language of its answers."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from kto.ask.report import aligned
from kto.dataset.votes import LANGUAGE
from kto.pages import code_in_direction
from kto.questions import questions
from kto.settings import Settings
from kto.texts import TextsError, load, number, t

_NONE = "–"


class Model(NamedTuple):
    """What was said about the answers of one model; an answer that several have given counts for each."""

    name: str
    votes: int
    good: int
    language: Mapping[str, int]  # votes that say something about it, by what they say


class Table(NamedTuple):
    """The models, and what can be said about the language, in its order; nothing if nobody has said anything."""

    models: Sequence[Model]
    values: Sequence[str] = ()

    @classmethod
    def of(cls, votes: Iterable[Mapping[str, Any]], config: Settings) -> "Table":
        """Return the table for votes, rows of `kto.dataset.votes.schema`."""
        by_model: dict[str, list[Mapping[str, Any]]] = {}
        for vote in votes:
            for name in vote["generation_model"]:
                by_model.setdefault(name, []).append(vote)
        models = []
        said: Counter[str] = Counter()
        for name, own in sorted(by_model.items()):
            language = Counter(vote[LANGUAGE] for vote in own if vote[LANGUAGE])
            models.append(Model(name, len(own), sum(vote["vote"] for vote in own), language))
            said += language
        usual: Sequence[str] = ()
        with contextlib.suppress(TextsError):  # check.py says what is missing
            usual = questions(config.annotation.model_dump(), load()).aspects.get(LANGUAGE, ())
        return cls(models, tuple(dict.fromkeys((*usual, *sorted(said)))) if said else ())

    def in_terminal(self) -> str:
        """Return the table for a terminal."""
        rows = [[model.name, *self._cells(model)] for model in self.models]
        return aligned(rows, self._heads(), [None] * (3 + len(self.values)))

    def on_card(self, direction: str) -> str:
        """Return the table in Markdown; without models it is empty."""
        if not self.models:
            return ""
        heads = self._heads()
        names = ["`" + model.name.replace("|", "\\|") + "`" for model in self.models]
        rows = [[name, *self._cells(model)] for name, model in zip(names, self.models, strict=True)]
        lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
        return code_in_direction("\n".join(f"| {' | '.join(line)} |" for line in lines), direction)

    def _heads(self) -> list[str]:
        words = [_word(value) for value in self.values]
        return [t("generate.column_model"), t("dataset_card.votes"), t("task.good"), *words]

    def _cells(self, model: Model) -> list[str]:
        said = sum(model.language.values())
        shares = [_share(model.language.get(value, 0), said) for value in self.values]
        return [number(model.votes), _share(model.good, model.votes), *shares]


def _share(part: int, whole: int) -> str:
    return f"{number(100 * part / whole)} %" if whole else _NONE


def _word(value: str) -> str:
    """Return the text of a value; one that a project had once may have none any more."""
    try:
        return t(f"aspects.{LANGUAGE}.{value}")
    except TextsError:
        return value

"""Which split a prompt belongs to.

Once exported, a prompt stays where it is: somebody may have trained on it. A new one that says nearly the same as
another goes where that one is, or else a model would be tested with what it was trained on. Chance decides about the
rest.
"""

import csv
import dataclasses
import io
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from kto.near_duplicates import NearDuplicates, size_for
from kto.settings import Settings
from kto.tables import Row, read_csv, read_rows, write_text

NAMES = ("train", "test")
_COLUMNS = ("prompt_id", "split")


@dataclasses.dataclass(frozen=True)
class KnownPrompts:
    """What decides about splits, besides chance.

    Attributes
    ----------
    texts
        By id, in the order of the file with the prompts.
    exported
        Splits by id, of the prompts that were exported before.
    similarity, size
        See `NearDuplicates`.
    """

    texts: Mapping[str, str]
    exported: Mapping[str, str]
    similarity: float
    size: int

    def assign(self, draw: Callable[[str], str]) -> dict[str, str]:
        """Return the split of each prompt; `draw` gives that of one that is like no other before it."""
        new = [id for id in self.texts if id not in self.exported]
        order = [*(id for id in self.texts if id in self.exported), *new]
        splits = {id: self.exported[id] for id in order if id in self.exported}
        if new:
            index = NearDuplicates((self.texts[id] for id in order), self.similarity, self.size)
            first = {self.texts[id]: id for id in reversed(order)}
            for id in new:
                twin = first[index.find(self.texts[id]) or self.texts[id]]  # it finds itself, if nothing before it
                splits[id] = splits[twin] if twin in splits else draw(id)
        return splits

    def near(self, some: Iterable[str], others: Collection[str]) -> set[str]:
        """Return those of `some` that say nearly the same as one of `others`."""
        some = list(some)
        if not some or not others:
            return set()
        index = NearDuplicates((self.texts[id] for id in others), self.similarity, self.size)
        return {id for id in some if index.find(self.texts[id]) is not None}


def read_known(
    config: Settings, folder: Path, memory: Path, in_use: Iterable[str], all_votes: Iterable[Row]
) -> KnownPrompts:
    """Return the prompts that were exported or have votes.

    Parameters
    ----------
    folder
        With the rows of the last export. Without any, chance decides about all prompts again.
    memory
        Where `remember` wrote the splits of prompts that may have no row there now.
    in_use
        Ids of prompts in the order of their file; what is not in it any more comes after them.

    Raises
    ------
    UserError
        A file cannot be read.
    """
    exported: dict[str, str] = {}
    texts: dict[str, str] = {}
    for name in reversed(NAMES):
        for row in read_rows(folder / f"{name}.parquet", ("prompt_id", "prompt")):
            exported[row["prompt_id"]] = name
            texts.setdefault(row["prompt_id"], row["prompt"][-1]["content"])
    if exported:
        remembered = {row["prompt_id"]: row["split"] for row in read_csv(memory, _COLUMNS)}
        exported = {id: name for id, name in remembered.items() if name in NAMES} | exported
    for vote in all_votes:
        texts.setdefault(vote["prompt_id"], vote["prompt"][-1]["content"])
    texts = {id: texts[id] for id in dict.fromkeys([*in_use, *texts]) if id in texts}
    return KnownPrompts(texts, exported, config.new_prompts.similarity, size_for(config.language.script))


def remember(memory: Path, splits: Mapping[str, str]) -> None:
    """Write the split of each prompt that was ever exported; raise `UserError` if that is impossible."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *sorted(splits.items())])
    write_text(memory, text.getvalue())

"""The texts of the voting page's cards: they lie in the database of this machine's Argilla, beside its records.

Argilla's own fields have them as HTML, as its page needs them. Cards have prompt and answer as the dataset does.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kto import left_out
from kto.errors import UserError
from kto.settings import Settings
from kto.tables import read_rows
from kto.vote.client import Argilla
from kto.vote.local import HOME, has_key
from kto.vote.records import make_records
from kto.vote.voting_server.database import connect, make_tables

_TAKE_OUT = """
DELETE FROM kto_cards WHERE external_id IN (
    SELECT external_id FROM records WHERE external_id = ?1 OR json_extract(metadata, '$.prompt_id') = ?1)
"""


def fill_cards(
    argilla: Argilla, config: Settings, generations: Iterable[Mapping[str, Any]], home: Path | None = None
) -> bool:
    """Write the texts of all records into the database, if it is here; what is left out for good goes out of it.

    `home` is where Argilla keeps the database, the project's `.argilla` by default. Returns whether it is there, and
    raises `UserError` if it cannot be written.
    """
    home = home or config.root / HOME
    if not has_key(home, argilla.key):
        return False
    known = {row["record_id"] for row in read_rows(config.root / "data" / "votes" / "train.parquet", ("record_id",))}
    out = [(id,) for id in left_out.read(config.root).ids]
    try:
        with contextlib.closing(connect(home / "argilla.db")) as database:
            make_tables(database)
            known |= {id for (id,) in database.execute("SELECT external_id FROM records WHERE external_id NOT NULL")}
            cards = [(record["external_id"], *record["fields"].values()) for record in make_records(generations, known)]
            database.execute("BEGIN IMMEDIATE")
            database.executemany(
                "INSERT OR REPLACE INTO kto_cards (external_id, prompt, answer) VALUES (?, ?, ?)", cards
            )
            database.executemany(_TAKE_OUT, out)
            database.execute("COMMIT")
    except sqlite3.Error as error:
        raise UserError("argilla_home", home=home, reason=error) from None
    return True

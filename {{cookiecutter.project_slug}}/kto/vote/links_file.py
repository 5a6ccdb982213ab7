"""The links in plain text: `data/private/links.csv`. The database has their hashes only.

Without the file nobody can read a link again: then new ones are made, and the old ones stay valid until they are
revoked. A link that the file has and the database lacks, because `.argilla` was made anew, gets into it again, so that
people can keep theirs.
"""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from kto.errors import UserError
from kto.keys import secret
from kto.settings import Settings
from kto.tables import read_csv, write_csv
from kto.vote import local
from kto.vote.voting_server import database
from kto.vote.voting_server import links as voting_links

OPEN = "*"
"""Stands for the open link where others have the name of a person."""
_COLUMNS = ("name", "link")
_SHORTEST = 22  # letters of a secret
_WAIT = 30  # seconds that this waits for others who write


class Links:
    """The links of a project, while its database is open for writing; see `opened`."""

    def __init__(self, connection: sqlite3.Connection, path: Path, address: str) -> None:
        self.connection, self.path, self.address = connection, path, address
        rows = read_csv(path, _COLUMNS)
        secrets = {row["name"]: row["link"].rpartition("#")[2] for row in rows}
        self._secrets = {name: secret for name, secret in secrets.items() if len(secret) >= _SHORTEST}
        self._before = {row["name"]: row["link"] for row in rows}

    @property
    def current(self) -> dict[str, str]:
        """The valid links, by name."""
        closed = [name for name, secret in self._secrets.items() if voting_links.is_closed(self.connection, secret)]
        return {name: self._link(secret) for name, secret in self._secrets.items() if name not in closed}

    def _link(self, secret: str) -> str:
        return f"{self.address}/vote/#{secret}"

    def make(self, name: str, kind: str = voting_links.PERSONAL, limit: int | None = None) -> str:
        """Return the link of a person, or the open link; a new one if there is none, or the one there was is closed.

        With a `limit` the link ends with this number of people.
        """
        secret = self._secrets.get(name, "")
        closed = voting_links.is_closed(self.connection, secret)
        if closed is not False:
            owner = None if kind == voting_links.OPEN else name
            secret = voting_links.add_link(self.connection, kind, owner, "" if closed else secret)
            self._secrets[name] = secret
        if limit is not None:
            voting_links.set_limit(self.connection, secret, limit)
        return self._link(secret)

    def write(self) -> None:
        """Write the file, if something has changed."""
        if (current := self.current) != self._before:
            write_csv(self.path, _COLUMNS, sorted(current.items()))


@contextlib.contextmanager
def opened(config: Settings, home: Path | None) -> Iterator[Links]:
    """Lend the links, in one transaction of the database in `home`; at its end the file is written, too.

    Works while the server runs and while it is stopped. Raises `UserError` if people vote elsewhere, if there is no
    database yet, or if it or the file cannot be used; then nothing has changed.
    """
    url, key = secret(config, "ARGILLA_API_URL"), secret(config, "ARGILLA_API_KEY")
    usual = config.root / local.HOME
    if home is None and url and key and not local.has_key(usual, key) and not local.is_this_machine(url):
        raise UserError("vote.elsewhere", url=url)
    home = home or usual
    if not is_ready(home):
        raise UserError("invite_first")
    path = config.root / "data" / "private" / "links.csv"
    try:
        with contextlib.closing(database.connect(home / "argilla.db")) as connection:
            connection.execute(f"PRAGMA busy_timeout = {1000 * _WAIT}")
            database.make_tables(connection)
            connection.execute("BEGIN IMMEDIATE")
            links = Links(connection, path, _address(connection, url))
            yield links
            links.write()
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise UserError("argilla_home", home=home, reason=error) from None


def is_ready(home: Path) -> bool:
    """Tell whether there is an Argilla in `home` that has been started once."""
    return local.first_row(home, "SELECT 1 FROM users WHERE role = 'owner'") is not None


def _address(connection: sqlite3.Connection, url: str) -> str:
    """Return where others reach the voting page, as vote.py has noted it."""
    noted = connection.execute("SELECT value FROM kto_state WHERE name = 'address'").fetchone()
    if noted:
        return str(noted[0]).rstrip("/")
    with contextlib.suppress(ValueError):
        return f"http://127.0.0.1:{urlsplit(url).port or 6900}"
    return "http://127.0.0.1:6900"


def require_person(links: Links, name: str) -> None:
    """Raise `UserError` if nobody may get a link for this name."""
    if voting_links.role(links.connection, name) not in ("", "annotator") or name.startswith(voting_links.GUEST):
        raise UserError("technical.invite_reserved", name=name)
    state = {person.name: person for person in voting_links.people(links.connection)}.get(name)
    if (state and state.withdrawn) or _is_forgotten(links.path.parent, name):
        raise UserError("technical.invite_withdrawn", name=name)
    if state and state.left_out:
        raise UserError("technical.invite_left_out", name=name)


def _is_forgotten(private: Path, name: str) -> bool:
    from kto.dataset.privacy import VoteFiles  # the voting page starts without it
    from kto.dataset.votes import pseudonym

    files = VoteFiles(private.parent / "votes", private)
    forgotten = files.read_forgotten()
    return bool(forgotten) and not forgotten.isdisjoint({name, pseudonym(files.read_key(), name)})


def own_link(config: Settings, home: Path | None) -> str:
    """Return the link of the lead, who votes with the account of Argilla's owner."""
    path = (home or config.root / local.HOME) / "credentials.json"
    try:
        name = str(json.loads(path.read_text(encoding="utf-8"))["username"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError("bad_credentials", path=path) from None
    with opened(config, home) as links:
        return links.make(name, voting_links.OWN)


def annotators(config: Settings, links: Links) -> list[str]:
    """Return the people in `[annotation] annotators` who get a link without being asked for by name.

    These are all whose link was not closed, and who may have one.
    """
    closed = {name for (name,) in links.connection.execute("SELECT name FROM kto_links WHERE closed_at IS NOT NULL")}
    closed -= links.current.keys()
    names: list[str] = []
    for name in config.annotation.annotators:
        with contextlib.suppress(UserError):
            require_person(links, name)
            names += [] if name in closed else [name]
    return names


def link_annotators(config: Settings, home: Path | None) -> dict[str, str]:
    """Make links for the people in `[annotation] annotators`, and return them by name; see `annotators`."""
    with opened(config, home) as links:
        return {name: links.make(name) for name in annotators(config, links)}


def current_links(config: Settings, home: Path | None) -> dict[str, str]:
    """Return the valid links by name, with the address of now, which the file gets, too."""
    with opened(config, home) as links:
        return links.current


def forget(config: Settings, is_person: Callable[[str], bool]) -> None:
    """Close the links, and the secrets, of those people whose name `is_person`, if they have any on this machine."""
    home = config.root / local.HOME
    if not is_ready(home):
        return
    with opened(config, home) as links:
        names = "SELECT username FROM users UNION SELECT name FROM kto_links WHERE name NOT NULL"
        for (name,) in links.connection.execute(names).fetchall():
            if is_person(name):
                voting_links.shut_out(links.connection, name)

"""Invitations: who may vote. The database holds hashes of secrets only.

A personal link is one person on any number of devices. An open link, for a channel, gives each device a secret of its
own when somebody there consents, and that device counts towards the link's limit with its first vote.
"""

import datetime
import hashlib
import secrets
import sqlite3
import uuid
from typing import NamedTuple

CONSENT_MAX = 64  # characters of a consent's version


class NoEntry(Exception):
    """A link or secret that opens nothing: `kind` is unknown, revoked, closed or full."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Voter(NamedTuple):
    """A person who may vote: user id in Argilla, link that they came by, and whether that is an open one."""

    user: str
    link: str
    is_open: bool


def new_secret() -> str:
    """Return 128 random bits as 22 letters that a link can hold."""
    return secrets.token_urlsafe(16)


def digest(secret: str) -> str:
    """Return what the database knows of a secret. It is random, so that nothing slower than SHA-256 is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def add_link(connection: sqlite3.Connection, name: str | None, limit: int | None = None) -> str:
    """Make a link for a person, or without a name an open one, and return its secret."""
    secret = new_secret()
    kind = "open" if name is None else "personal"
    connection.execute(
        "INSERT INTO kto_links VALUES (?, ?, ?, ?, ?, NULL)", (digest(secret), kind, name, limit, _now())
    )
    return secret


def close(connection: sqlite3.Connection, name: str | None) -> int:
    """Close a person's links, or without a name all open ones; return how many were open."""
    return connection.execute(
        "UPDATE kto_links SET closed_at = ? WHERE name IS ? AND closed_at IS NULL", (_now(), name)
    ).rowcount


def enter(connection: sqlite3.Connection, secret: str, consent: str, workspace: str) -> tuple[str, str]:
    """Answer a consent: return the secret that this device shows from now on, and the person's id in Argilla.

    Raises
    ------
    NoEntry
        There is no such link, it is closed, or an open one has its number of people.
    """
    link = connection.execute(
        "SELECT hash, kind, name, voter_limit, closed_at FROM kto_links WHERE hash = ?", (digest(secret),)
    ).fetchone()
    if link is None:
        raise NoEntry("unknown")
    hash, kind, name, limit, closed_at = link
    if closed_at:
        raise NoEntry("revoked" if kind == "personal" else "closed")
    if kind == "open" and limit is not None and voters(connection, hash) >= limit:
        raise NoEntry("full")
    user = user_id(connection, name or f"guest-{secrets.token_hex(4)}", workspace)
    own = new_secret()
    connection.execute(
        "INSERT INTO kto_voters VALUES (?, ?, ?, ?, ?, NULL, NULL)", (digest(own), hash, user, consent, _now())
    )
    return own, user


def voters(connection: sqlite3.Connection, link: str) -> int:
    """Return how many people have voted by this link."""
    query = "SELECT count(DISTINCT user_id) FROM kto_lines WHERE link = ?"
    return int(connection.execute(query, (link,)).fetchone()[0])


def find(connection: sqlite3.Connection, secret: str) -> Voter:
    """Return whose secret this is.

    Raises
    ------
    NoEntry
        Nobody's, or the link behind it was revoked. A closed open link keeps those who voted by it already.
    """
    found = connection.execute(
        """SELECT user_id, link, kind, closed_at, withdrawn_at FROM kto_voters
        JOIN kto_links ON kto_links.hash = link WHERE kto_voters.hash = ?""",
        (digest(secret),),
    ).fetchone()
    if found is None:
        raise NoEntry("unknown")
    user, link, kind, closed_at, withdrawn_at = found
    if withdrawn_at:
        raise NoEntry("withdrawn")
    if closed_at and kind == "personal":
        raise NoEntry("revoked")
    return Voter(user, link, kind == "open")


def user_id(connection: sqlite3.Connection, name: str, workspace: str) -> str:
    """Return the id of an annotator in Argilla, who is made if there is none: nobody knows a password or key of theirs."""
    now = _now()
    found = connection.execute("SELECT id FROM users WHERE username = ?", (name,)).fetchone()
    user = found[0] if found else uuid.uuid4().hex
    if not found:
        connection.execute(
            "INSERT INTO users (id, first_name, last_name, username, role, api_key, password_hash, inserted_at, "
            "updated_at) VALUES (?, ?, NULL, ?, 'annotator', ?, '!', ?, ?)",
            (user, name, name, secrets.token_urlsafe(48), now, now),
        )
    connection.execute(
        "INSERT OR IGNORE INTO workspaces_users (id, workspace_id, user_id, inserted_at, updated_at) "
        "VALUES (?, ?, ?, ?, ?)",
        (uuid.uuid4().hex, workspace, user, now, now),
    )
    return user


def withdraw(connection: sqlite3.Connection, user: str) -> None:
    """Take a person's votes back: their responses count no more, and their secrets open nothing."""
    now = _now()
    connection.execute("UPDATE responses SET status = 'discarded', updated_at = ? WHERE user_id = ?", (now, user))
    connection.execute("UPDATE kto_voters SET withdrawn_at = ? WHERE user_id = ?", (now, user))

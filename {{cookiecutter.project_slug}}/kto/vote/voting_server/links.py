"""Invitations: who may vote. The database holds hashes of secrets only.

A personal link is one person on any number of devices, until it is revoked. An open link, for a channel, makes each
device that consents a person of its own. Such a person counts towards the link's limit from the first vote on: people
who only look take nobody's place. The limit ends joining, never voting, so that no vote is refused that somebody has
given already, without a network for example; so some more people than the limit may vote, who joined before it was
reached.

An account in Argilla is made for a name at its first consent, and for somebody who came by an open link at the first
vote: consents alone do not fill the list of people.
"""

import datetime
import hashlib
import secrets
import sqlite3
import string
import unicodedata
import uuid
from typing import NamedTuple

from kto.vote.overlap import Overlap, recount
from kto.vote.voting_server.database import argilla_time
from kto.vote.voting_server.http_messages import BadRequest

CONSENT_MAX = 64  # characters of a consent's version
CREDIT_MAX = 80  # characters of a name in the credits
OWN, PERSONAL, OPEN = "own", "personal", "open"
"""Kinds of links; OWN is the lead's, the only one that opens the account of an owner or admin."""
JOINS = {OWN: 30, PERSONAL: 30, OPEN: 1000}
"""Devices that may join by a link within an hour."""
GUEST = "guest-"
"""Accounts of people who came by an open link begin so."""
LEFT_OUT = """
    SELECT user_id FROM kto_voters JOIN kto_links ON kto_links.hash = link
    WHERE kto_links.left_out_at IS NOT NULL OR kto_voters.left_out_at IS NOT NULL OR withdrawn_at IS NOT NULL
    UNION SELECT users.id FROM users JOIN kto_links ON name = username WHERE left_out_at IS NOT NULL"""
"""Selects the ids of the people whose votes do not count."""
_LETTERS = string.ascii_letters + string.digits  # what messengers take for the end of a link is not among these
_JOINERS = "\u200c\u200d"  # invisible, but names in some scripts are written with them


class NoEntry(BadRequest):
    """A link or secret that opens nothing: `kind` is unknown, revoked, withdrawn, closed or full."""

    def __init__(self, kind: str) -> None:
        super().__init__(403, kind)


class Voter(NamedTuple):
    """A person who may vote: user id in Argilla, link that they came by, and whether that is an open one."""

    user: str
    link: str
    is_open: bool


class Entry(NamedTuple):
    """What a device gets that joins: a secret of its own, the person's user id, and whether the link is an open one."""

    secret: str
    user: str
    is_open: bool


class Person(NamedTuple):
    """Somebody who has consented or was invited by name, as an export needs it."""

    user: str  # user id
    name: str  # user name
    is_open: bool  # came by an open link
    consents: tuple[tuple[str, str], ...]  # version of each text they agreed to, and when first, in UTC; may be empty
    credit: str  # name for the credits, "" for none
    withdrawn: bool
    left_out: bool


def new_secret() -> str:
    """Return 22 random letters and digits: 130 bits."""
    return "".join(secrets.choice(_LETTERS) for _ in range(22))


def digest(secret: str) -> str:
    """Return what the database knows of a secret. It is random, so that nothing slower than SHA-256 is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


# --- what the lead does -----------------------------------------------------------------------------------------------


def add_link(connection: sqlite3.Connection, kind: str, name: str | None = None, secret: str = "") -> str:
    """Make a link, for a person unless it is an open one, and return its secret: a new one if none is given."""
    secret = secret or new_secret()
    connection.execute(
        "INSERT INTO kto_links (hash, kind, name, created_at) VALUES (?, ?, ?, ?)",
        (digest(secret), kind, name, argilla_time()),
    )
    return secret


def is_closed(connection: sqlite3.Connection, secret: str) -> bool | None:
    """Tell whether a link is closed; None if there is no such link."""
    found = connection.execute("SELECT closed_at FROM kto_links WHERE hash = ?", (digest(secret),)).fetchone()
    return None if found is None else found[0] is not None


def set_limit(connection: sqlite3.Connection, secret: str, limit: int) -> None:
    """Let nobody else join by an open link once this number of people has voted by it."""
    connection.execute("UPDATE kto_links SET voter_limit = ? WHERE hash = ?", (limit, digest(secret)))


def close(connection: sqlite3.Connection, name: str | None, votes: bool = False) -> bool:
    """Close a person's links, or without a name all open ones; tell whether there is such a link.

    The person, who may be a guest, is out. By an open link nobody new comes in, and those inside stay, unless `votes`:
    then the votes by the link are left out, and nobody is asked for votes that would not count.
    """
    return _mark(connection, name, "closed_at", argilla_time()) and (
        not votes or _mark(connection, name, "left_out_at", argilla_time())
    )


def restore(connection: sqlite3.Connection, name: str | None) -> bool:
    """Count the votes by a person's links again, or without a name those by open ones; the links stay closed."""
    return _mark(connection, name, "left_out_at", None)


def _mark(connection: sqlite3.Connection, name: str | None, column: str, value: str | None) -> bool:
    """Set a time that is not set yet, or take it away; tell whether there is such a link or guest."""
    new = f"{column} = CASE WHEN ?1 IS NULL THEN NULL ELSE coalesce({column}, ?1) END"
    count = connection.execute(f"UPDATE kto_links SET {new} WHERE name IS ?2", (value, name)).rowcount
    if name is not None and name.startswith(GUEST):
        guest = "user_id = (SELECT id FROM users WHERE username = ?2)"
        count += connection.execute(f"UPDATE kto_voters SET {new} WHERE {guest}", (value, name)).rowcount
    return count > 0


def shut_out(connection: sqlite3.Connection, name: str) -> None:
    """Close the links of a person who wants to be forgotten, and the secrets of their devices."""
    close(connection, name)
    connection.execute(
        "UPDATE kto_voters SET withdrawn_at = ?, credit = NULL "
        "WHERE withdrawn_at IS NULL AND user_id = (SELECT id FROM users WHERE username = ?)",
        (argilla_time(), name),
    )


def role(connection: sqlite3.Connection, name: str) -> str:
    """Return the role of an account in Argilla, "" if there is none."""
    found = connection.execute("SELECT role FROM users WHERE username = ?", (name,)).fetchone()
    return found[0] if found else ""


def people(connection: sqlite3.Connection) -> list[Person]:
    """Return everybody who has an account and has consented or was invited by name."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'kto_voters'").fetchone() is None:
        return []  # nobody has used the voting page here
    left_out = {user for (user,) in connection.execute(LEFT_OUT)}
    consents: dict[str, list[tuple[str, str]]] = {}
    query = "SELECT user_id, consent, min(consented_at) FROM kto_voters GROUP BY user_id, consent ORDER BY consent"
    for user, consent, time in connection.execute(query):
        consents.setdefault(user, []).append((consent, time))
    query = """
        SELECT users.id, username, coalesce(max(kind = 'open'), 0), coalesce(max(credit), ''),
            max(withdrawn_at) IS NOT NULL
        FROM users LEFT JOIN kto_voters ON user_id = users.id LEFT JOIN kto_links ON kto_links.hash = link
        WHERE user_id IS NOT NULL OR username IN (SELECT name FROM kto_links)
        GROUP BY users.id ORDER BY users.id"""
    return [
        Person(user, name, bool(is_open), tuple(consents.get(user, ())), credit, bool(withdrawn), user in left_out)
        for user, name, is_open, credit, withdrawn in connection.execute(query)
    ]


# --- what people do ---------------------------------------------------------------------------------------------------


def enter(connection: sqlite3.Connection, secret: str, consent: str) -> Entry:
    """Answer a consent, which came with the secret of a link or of another device of the same person.

    Raises `NoEntry` if there is no such link, it is closed, or an open one has its number of people, and `BadRequest`
    if too many devices have joined by it within the hour.
    """
    found = connection.execute(
        "SELECT hash, kind, name, voter_limit, closed_at FROM kto_links WHERE hash = ?", (digest(secret),)
    ).fetchone()
    if found is None:
        voter = find(connection, secret)
        user, link, kind = voter.user, voter.link, OPEN if voter.is_open else PERSONAL
        _require_place(connection, link, kind)
    else:
        link, kind, name, limit, closed_at = found
        if closed_at:
            raise NoEntry("closed" if kind == OPEN else "revoked")
        if kind == OPEN and limit is not None and voters(connection, link) >= limit:
            raise NoEntry("full")
        _require_place(connection, link, kind)
        user = uuid.uuid4().hex if kind == OPEN else _account(connection, name, kind)
    own = new_secret()
    connection.execute(
        "INSERT INTO kto_voters (hash, link, user_id, consent, consented_at) VALUES (?, ?, ?, ?, ?)",
        (digest(own), link, user, consent, argilla_time()),
    )
    return Entry(own, user, kind == OPEN)


def _require_place(connection: sqlite3.Connection, link: str, kind: str) -> None:
    now, hour = datetime.datetime.now(datetime.UTC), datetime.timedelta(hours=1)
    query = "SELECT consented_at FROM kto_voters WHERE link = ? AND consented_at > ? ORDER BY consented_at DESC"
    values = link, argilla_time(now - hour)
    before = connection.execute(f"{query} LIMIT 1 OFFSET {JOINS[kind] - 1}", values).fetchone()
    if before:
        wait = datetime.datetime.fromisoformat(f"{before[0]}Z") + hour - now
        raise BadRequest(429, "too_many", seconds=max(1, round(wait.total_seconds())))


def voters(connection: sqlite3.Connection, link: str) -> int:
    """Return how many people have voted by this link: those who have an account."""
    query = "SELECT count(DISTINCT user_id) FROM kto_voters JOIN users ON users.id = user_id WHERE link = ?"
    return int(connection.execute(query, (link,)).fetchone()[0])


def find(connection: sqlite3.Connection, secret: str) -> Voter:
    """Return whose secret this is.

    Raises `NoEntry` if it is nobody's, or this person is out: by their own wish or the lead's, or their account was
    deleted in Argilla. A closed open link keeps those who joined by it already.
    """
    found = connection.execute(
        """SELECT user_id, link, kind, withdrawn_at, users.id,
            coalesce(kto_voters.closed_at, kto_voters.left_out_at, kto_links.left_out_at), kto_links.closed_at
        FROM kto_voters JOIN kto_links ON kto_links.hash = link LEFT JOIN users ON users.id = user_id
        WHERE kto_voters.hash = ?""",
        (digest(secret),),
    ).fetchone()
    if found is None:
        raise NoEntry("unknown")
    user, link, kind, withdrawn_at, account, out_at, closed_at = found
    if withdrawn_at:
        raise NoEntry("withdrawn")
    if out_at or (kind != OPEN and (closed_at or account is None)):
        raise NoEntry("revoked")
    return Voter(user, link, kind == OPEN)


def _account(connection: sqlite3.Connection, name: str, kind: str) -> str:
    """Return the id of the account that a link is for."""
    found = connection.execute("SELECT id, role FROM users WHERE username = ?", (name,)).fetchone()
    if found is None:
        return _add_account(connection, uuid.uuid4().hex, name)
    if kind != OWN and found[1] != "annotator":
        raise NoEntry("revoked")  # this name has become an owner's or admin's since the link was made
    return str(found[0])


def ensure_account(connection: sqlite3.Connection, user: str, workspace: str) -> None:
    """Make the account of somebody who came by an open link, and let people of all kinds into the workspace.

    To be called before a person's vote is written, in the same transaction. `workspace` is its id in Argilla.
    """
    member = "SELECT 1 FROM workspaces_users WHERE workspace_id = ? AND user_id = ?"
    if connection.execute(member, (workspace, user)).fetchone():
        return
    account = connection.execute("SELECT role FROM users WHERE id = ?", (user,)).fetchone()
    if account is None:
        short = f"{GUEST}{user[:8]}"
        _add_account(connection, user, f"{GUEST}{user}" if role(connection, short) else short)
    elif account[0] == "owner":
        return
    now = argilla_time()
    connection.execute(
        "INSERT INTO workspaces_users (id, workspace_id, user_id, inserted_at, updated_at) VALUES (?, ?, ?, ?, ?)",
        (uuid.uuid4().hex, workspace, user, now, now),
    )


def _add_account(connection: sqlite3.Connection, user: str, name: str) -> str:
    """Make an annotator, and return the id. Nobody knows the password or the key: both are random."""
    now = argilla_time()
    letters = [secrets.choice(_LETTERS) for _ in range(52)]
    password_hash = "$2b$12$" + "".join([*letters[:21], "u", *letters[21:]])  # bcrypt checks the end of the salt
    connection.execute(
        "INSERT INTO users (id, first_name, last_name, username, role, api_key, password_hash, inserted_at, updated_at)"
        " VALUES (?, ?, NULL, ?, 'annotator', ?, ?, ?, ?)",
        (user, name, name, secrets.token_urlsafe(48), password_hash, now, now),
    )
    return user


def withdraw(connection: sqlite3.Connection, user: str, overlap: Overlap) -> None:
    """Take a person's votes back, as if they had discarded each without a value, and let nobody in as this person.

    The lines that they sent, with their comments, are deleted.
    """
    now = argilla_time()
    voted = "SELECT record_id FROM responses WHERE user_id = ?"
    connection.execute(
        f"UPDATE datasets SET last_activity_at = ? WHERE id IN (SELECT dataset_id FROM records WHERE id IN ({voted}))",
        (now, user),
    )
    connection.execute(
        """UPDATE responses SET status = 'discarded', "values" = '{}', updated_at = ?
        WHERE user_id = ? AND (status != 'discarded' OR "values" != '{}')""",  # null would break Argilla's page
        (now, user),
    )
    recount(connection, overlap, now, f"records.id IN ({voted.replace('?', ':value')})", user)
    connection.execute("DELETE FROM kto_lines WHERE user_id = ?", (user,))
    connection.execute("DELETE FROM kto_leases WHERE user_id = ?", (user,))
    connection.execute("UPDATE kto_voters SET withdrawn_at = ?, credit = NULL WHERE user_id = ?", (now, user))
    connection.execute(
        "UPDATE kto_links SET closed_at = ? WHERE closed_at IS NULL "
        "AND name = (SELECT username FROM users WHERE id = ?)",
        (now, user),
    )


def set_credit(connection: sqlite3.Connection, user: str, name: str) -> None:
    """Let a person be named in the credits, or with "" no longer.

    Raises `ValueError` if the name is too long, or has characters that cannot be seen.
    """
    name = unicodedata.normalize("NFC", " ".join(name.split()))
    if len(name) > CREDIT_MAX or any(unicodedata.category(char)[0] == "C" and char not in _JOINERS for char in name):
        raise ValueError(name)
    connection.execute("UPDATE kto_voters SET credit = ? WHERE user_id = ?", (name or None, user))


def credit(connection: sqlite3.Connection, user: str) -> str:
    """Return the name of a person in the credits, "" if they do not want that."""
    found = connection.execute("SELECT max(credit) FROM kto_voters WHERE user_id = ?", (user,)).fetchone()
    return found[0] or ""

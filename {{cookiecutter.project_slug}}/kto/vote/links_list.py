"""`vote.py invite --list`: every link, how many people came by it, and their votes."""

import sqlite3

from kto.settings import Settings
from kto.texts import number, t
from kto.vote.links_file import Links
from kto.vote.voting_server import links as voting_links

_GUESTS = 10  # people by open links that are named: those with most votes
_VOTES = """
    SELECT user_id, count(*) FROM responses JOIN records ON records.id = record_id
    JOIN datasets ON datasets.id = dataset_id JOIN workspaces ON workspaces.id = workspace_id
    WHERE responses.status = 'submitted' AND datasets.name = ? AND workspaces.name = ? GROUP BY user_id"""
_LINKS = """
    SELECT name, max(closed_at IS NULL), max(left_out_at IS NOT NULL),
        max(CASE WHEN closed_at IS NULL THEN voter_limit END)
    FROM kto_links GROUP BY name ORDER BY name"""
_PEOPLE = """
    SELECT name, user_id, max(kto_voters.closed_at IS NOT NULL)
    FROM kto_links JOIN kto_voters ON link = kto_links.hash GROUP BY name, user_id"""


def votes_by_person(config: Settings, connection: sqlite3.Connection) -> dict[str, int]:
    """Return the number of votes by user id."""
    return dict(connection.execute(_VOTES, (config.annotation.dataset, config.annotation.workspace)).fetchall())


def votes_out(config: Settings, links: Links) -> int:
    """Return the number of votes that are left out."""
    out = {user for (user,) in links.connection.execute(voting_links.LEFT_OUT)}
    return sum(count for user, count in votes_by_person(config, links.connection).items() if user in out)


def show(config: Settings, links: Links) -> None:
    """Print a line for each link, and for the people with most votes among those who came by an open one."""
    votes = votes_by_person(config, links.connection)
    names = dict(links.connection.execute("SELECT id, username FROM users").fetchall())
    out = {user for (user,) in links.connection.execute(voting_links.LEFT_OUT)}
    joined: dict[str | None, set[str]] = {}
    guests: list[tuple[int, str, str, bool]] = []
    for name, user, is_out in links.connection.execute(_PEOPLE).fetchall():
        joined.setdefault(name, set()).add(user)
        if name is None and votes.get(user):
            guests.append((-votes[user], names[user], user, bool(is_out)))

    def line(name: str, users: set[str], is_valid: bool, left_out: bool, limit: int | None = None) -> None:
        count = sum(votes.get(user, 0) for user in users)
        state = "invite.valid" if is_valid else "invite.shut"
        values = {
            "state": t("invite.left_out" if left_out else state),
            "joined": number(len(users)) + (f" / {number(limit)}" if limit else ""),
            "votes": number(count),
            "percent": number(100 * count / max(1, sum(votes.values()))),
        }
        print(t("invite.line", name=name, **values))

    for name, is_valid, left_out, limit in links.connection.execute(_LINKS).fetchall():
        line(name or t("invite.open_link"), joined.get(name, set()), is_valid, left_out, limit)
    for _, name, user, is_out in sorted(guests)[:_GUESTS]:
        line(f"  {name}", {user}, not is_out, user in out)

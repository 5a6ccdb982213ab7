"""`vote.py invite`: links for people who vote, and the messages to send them.

    uv run vote.py invite NAME …                 a personal link for each name
    uv run vote.py invite                        … for all names in [annotation] annotators
    uv run vote.py invite --open [--limit N]     one link for everybody in a channel
    uv run vote.py invite --close                end that
    uv run vote.py invite --revoke NAME          close the link of a person
    uv run vote.py invite --revoke NAME --votes  … and leave the votes out; so does --close --votes
    uv run vote.py invite --restore [NAME]       count those votes again, without a name those by open links
    uv run vote.py invite --list                 all links, with their people and votes

`links_file.py` keeps the links, `voting_server/links.py` says what they open.
"""

import argparse
from pathlib import Path
from urllib.parse import urlsplit

from kto.command_line import Parser
from kto.errors import UserError
from kto.pages import as_typed, values_of
from kto.settings import Settings, is_user_name, load
from kto.tables import write_text
from kto.texts import number, t
from kto.vote import addresses, links_file
from kto.vote.links_file import Links
from kto.vote.qr_code import show_code
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


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; exactly one thing can be done at a time."""
    parser = Parser(t("commands.invite"))
    parser.add_argument("names", metavar="NAME", nargs="*")
    parser.add_argument("--open", action="store_true", help=t("invite.help_open"))
    parser.add_argument("--limit", metavar="N", help=t("invite.help_limit"))
    parser.add_argument("--close", action="store_true", help=t("invite.help_close"))
    parser.add_argument("--revoke", metavar="NAME", help=t("invite.help_revoke"))
    parser.add_argument("--votes", action="store_true", help=t("invite.help_votes"))
    parser.add_argument("--restore", metavar="NAME", nargs="?", const=links_file.OPEN, help=t("invite.help_restore"))
    parser.add_argument("--list", action="store_true", help=t("invite.help_list"))
    parser.add_argument("--home", type=Path, metavar="DIR", help=t("server.help_home"))
    options = parser.parse_args(argv)
    wanted = [options.names, options.open, options.close, options.revoke, options.restore, options.list]
    if sum(map(bool, wanted)) > 1 or (options.votes and not (options.close or options.revoke)):
        parser.error(t("technical.invite_one"))
    for name in options.names:
        if not is_user_name(name):
            shown = "".join(char if char.isprintable() else "\ufffd" for char in name)
            parser.error(f"{t('cli.bad_value', option='NAME', value=shown)} ({t('config.allowed_annotators')})")
    limit = options.limit
    if limit is not None:
        if not (options.open and limit.isascii() and limit.isdigit() and 0 < int(limit) < 10**9):
            parser.error(t("cli.bad_value", option="--limit", value=limit))
        options.limit = int(limit)
    return options


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    config = load()
    with links_file.opened(config, options.home) as links:
        if options.list:
            show(config, links)
            return 0
        if options.close or options.revoke is not None:
            close(config, links, links_file.OPEN if options.close else options.revoke, options.votes)
            return 0
        if options.restore is not None:
            restore(config, links, options.restore)
            return 0
        names = [] if options.open else list(dict.fromkeys(options.names or links_file.annotators(config, links)))
        if not (names or options.open):
            raise UserError("invite_nobody")
        for name in names:  # all of them, before one gets a link
            links_file.require_person(links, name)
        made = {name: links.make(name) for name in names}
        if options.open:
            open_link = links.make(links_file.OPEN, voting_links.OPEN, options.limit)
    # What is printed from here on is valid.
    for name, link in made.items():
        print(f"{name}\n\n{t('community.personal_message', language=_language(config), link=link)}\n")
        show_code(link)
    if options.open:
        messages = announcement(config, open_link)
        path = config.root / "data" / "private" / "announcement.md"
        write_text(path, messages, private=True)
        print(messages)
        show_code(open_link)
        print(t("export.written", path=path))
    print(t("invite.stored", path=links.path))
    if addresses.is_loopback(urlsplit(links.address).hostname or ""):
        print(t("vote.only_here"))
    return 0


def _language(config: Settings) -> str:
    return str(values_of(config)["language"])


def _owner(name: str) -> str | None:
    return None if name == links_file.OPEN else name


def announcement(config: Settings, link: str) -> str:
    """Return the messages for a channel and for a messenger, both with the link, as Markdown."""
    language, domain = _language(config), config.project.domain
    way = t("community.way_open", link=link)
    channel = t("community.announcement", language=language, domain=as_typed(domain), way=way)
    messenger = t("community.message", language=language, link=link)
    titles = t("community.announcement_title"), t("community.message_title")
    return f"# {titles[0]}\n\n{channel.strip()}\n\n# {titles[1]}\n\n{messenger.strip()}\n"


def close(config: Settings, links: Links, name: str, votes: bool) -> None:
    """Close the link of a person, or the open ones, and leave their `votes` out; say what was done."""
    before = _votes_out(config, links)
    if not voting_links.close(links.connection, _owner(name), votes):
        raise UserError("no_link", name=name)
    if votes:
        print(t("invite.votes_out", count=_votes_out(config, links) - before))
    elif name == links_file.OPEN:
        print(t("invite.closed"))
    else:
        print(t("invite.revoked", name=name))


def restore(config: Settings, links: Links, name: str) -> None:
    """Count the votes of a person, or those by open links, again; say how many there are."""
    before = _votes_out(config, links)
    if not voting_links.restore(links.connection, _owner(name)):
        raise UserError("no_link", name=name)
    print(t("invite.votes_back", count=before - _votes_out(config, links)))


def _votes(config: Settings, links: Links) -> tuple[dict[str, int], set[str]]:
    """Return the number of votes by user id, and the ids of those whose votes are left out."""
    votes = links.connection.execute(_VOTES, (config.annotation.dataset, config.annotation.workspace)).fetchall()
    return dict(votes), {user for (user,) in links.connection.execute(voting_links.LEFT_OUT)}


def _votes_out(config: Settings, links: Links) -> int:
    """Return the number of votes that are left out."""
    votes, out = _votes(config, links)
    return sum(count for user, count in votes.items() if user in out)


def show(config: Settings, links: Links) -> None:
    """Print a line for each link, and for the people with most votes among those who came by an open one."""
    votes, out = _votes(config, links)
    names = dict(links.connection.execute("SELECT id, username FROM users").fetchall())
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

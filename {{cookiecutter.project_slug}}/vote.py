"""Step 2: let people vote on the answers. data/generations → votes in Argilla

    uv run vote.py [--port N] [--host ADDRESS] [--home DIR]

It uses the Argilla in `.env`, or runs the one of this machine until Ctrl-C. Run it again after generate.py: only what
is new is uploaded, and no vote is touched.
"""

import argparse
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kto.command_line import Parser, run
from kto.errors import UserError
from kto.secrets import secret
from kto.settings import Settings, load
from kto.tables import Row
from kto.texts import t
from kto.vote.client import connect, log_in
from kto.vote.local import has_key, local_argilla
from kto.vote.outdated import leave_queue
from kto.vote.people import invite
from kto.vote.records import read_generations, upload_records
from kto.vote.task import make_task

if TYPE_CHECKING:
    import argilla as rg


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(t("server.help"), step="vote")
    parser.add_argument("--home", type=Path, metavar="DIR", help=t("server.help_home"))
    parser.add_argument("--port", help=t("server.help_port"))
    parser.add_argument("--host", help=t("server.help_host"))
    return parser.parse_args(argv)


def find_argilla(config: Settings, home: Path | None) -> "rg.Argilla | None":
    """Return the Argilla in `.env`; None if none is set, or if it is the one of this machine and does not run."""
    url, key = secret(config, "ARGILLA_API_URL"), secret(config, "ARGILLA_API_KEY")
    if not (url and key):
        return None
    is_ours = has_key(home or config.root / ".argilla", key)
    is_here = is_ours or is_loopback(url)
    if is_here and home and not is_ours:  # the one that runs keeps its votes elsewhere
        return None
    try:
        return connect(config)
    except UserError:
        if is_here:
            return None
        raise


def is_loopback(url: str) -> bool:
    """Tell whether an address is one of this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def set_up(client: "rg.Argilla", config: Settings, generations: Sequence[Row]) -> None:
    """Make the task, upload what is new, take outdated answers out of the queue, invite people."""
    dataset = make_task(client, config)
    print(t("notebook.uploaded", count=upload_records(dataset, generations, config)))
    leave_queue(dataset, config)
    invited = len(invite(client, config))
    print(t("notebook.invited", count=invited) if invited else t("notebook.nobody_new"))
    print(t("notebook.done"))
    print(f"{client.api_url}/dataset/{dataset.id}/annotation-mode", flush=True)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    config = load()
    generations = read_generations(config)  # what is missing is said before anything starts
    client = find_argilla(config, options.home)
    if client is not None:
        set_up(client, config, generations)
        return 0
    arguments = [f"--{name}={value}" for name, value in vars(options).items() if value is not None]
    with local_argilla(arguments) as server:
        set_up(log_in(server.url, server.api_key), config, generations)
        try:
            return server.process.wait()
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    run(main, "vote")

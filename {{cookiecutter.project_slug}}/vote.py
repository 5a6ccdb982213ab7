"""Step 2: let people vote on the answers. data/generations → votes in Argilla

    uv run vote.py [--port N] [--host ADDRESS] [--home DIR]

It uses the Argilla in `.env`, or runs the one of this machine until Ctrl-C. Run it again after generate.py: only what
is new is uploaded, and no vote is touched.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from kto.command_line import Parser, run
from kto.keys import secret
from kto.settings import Settings, load
from kto.tables import Row
from kto.texts import t
from kto.vote.client import Argilla, ArgillaError, log_in
from kto.vote.local import HOME, has_key, is_this_machine, local_argilla
from kto.vote.outdated import leave_queue
from kto.vote.people import invite
from kto.vote.records import read_generations, upload_records
from kto.vote.task import make_task


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(t("server.help"), step="vote")
    parser.add_argument("--home", type=Path, metavar="DIR", help=t("server.help_home"))
    parser.add_argument("--port", help=t("server.help_port"))
    parser.add_argument("--host", help=t("server.help_host"))
    return parser.parse_args(argv)


def find_argilla(config: Settings, home: Path | None) -> Argilla | None:
    """Return the Argilla in `.env`; None if none is set, or if it is the one of this machine and does not run."""
    url, key = secret(config, "ARGILLA_API_URL"), secret(config, "ARGILLA_API_KEY")
    if not (url and key):
        return None
    is_ours = has_key(home or config.root / HOME, key)
    is_here = is_ours or is_this_machine(url)
    if is_here and home and not is_ours:  # the one that runs keeps its votes elsewhere
        return None
    try:
        return log_in(url, key)
    except ArgillaError:
        if is_here:
            return None
        raise


def set_up(argilla: Argilla, config: Settings, generations: Sequence[Row]) -> None:
    """Make the task, upload what is new, take outdated answers out of the queue, invite people."""
    task = make_task(argilla, config)
    print(t("notebook.uploaded", count=upload_records(task, generations, config)))
    leave_queue(task, config)
    invited = len(invite(argilla, config))
    print(t("notebook.invited", count=invited) if invited else t("notebook.nobody_new"))
    print(t("notebook.done"))
    print(f"{argilla.api_url}/dataset/{task.id}/annotation-mode", flush=True)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    config = load()
    generations = read_generations(config)  # missing answers are reported before anything starts
    argilla = find_argilla(config, options.home)
    if argilla is not None:
        set_up(argilla, config, generations)
        return 0
    arguments = [f"--{name}={value}" for name, value in vars(options).items() if value is not None]
    with local_argilla(arguments) as (argilla, server):
        set_up(argilla, config, generations)
        try:
            return server.wait()
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    run(main, "vote")

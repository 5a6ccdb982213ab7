"""Let people vote on the answers: data/generations → votes.

    uv run vote.py [--port N] [--host ADDRESS] [--tunnel] [--url ADDRESS] [--argilla] [--home DIR]
    uv run vote.py invite NAME                       a link for a person; --open: one for a channel
    uv run vote.py ties                              decide about ties, and look at what somebody has flagged
    uv run vote.py plan                              how many votes and evenings it will take, and what they give
    python vote.py practice                          what people will see, without answers and without any package

It opens the voting page on this machine until Ctrl-C, with Argilla behind it, which keeps the votes; or it uses the
Argilla in `.env`, if that runs or is elsewhere. A second run uploads only what is new. The commands are in `kto/vote/`.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kto.command_line import Parser, run
from kto.errors import UserError
from kto.texts import t

if TYPE_CHECKING:
    from kto.settings import Settings
    from kto.vote.client import Argilla

# Everything else is imported where it is used: practice needs no package, and the page must not wait for what only
# Argilla needs.


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; `--attached` is for the set-up that belongs to a `vote.py` that runs."""
    parser = Parser(t("vote.help"), step="vote")
    parser.add_argument("--home", type=Path, metavar="DIR", help=t("server.help_home"))
    parser.add_argument("--port", default="6900", help=t("server.help_port"))
    parser.add_argument("--host", default="127.0.0.1", help=t("server.help_host"))
    parser.add_argument("--tunnel", action="store_true", help=t("vote.help_tunnel"))
    parser.add_argument("--url", metavar="ADDRESS", default="", help=t("vote.help_url"))
    parser.add_argument("--argilla", action="store_true", help=t("vote.help_argilla"))
    parser.add_argument("--attached", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def find_argilla(config: "Settings", home: Path | None) -> "Argilla | None":
    """Return the Argilla in `.env`; None if none is set, or if it is the one of this machine and does not run."""
    from kto.keys import secret
    from kto.vote.local import HOME, has_key, is_running, is_this_machine

    url, key = secret(config, "ARGILLA_API_URL"), secret(config, "ARGILLA_API_KEY")
    if not (url and key):
        return None
    is_ours = has_key(home or config.root / HOME, key)
    is_here = is_ours or is_this_machine(url)
    if is_here and (not is_running(url) or (home and not is_ours)):  # or the one that runs keeps its votes elsewhere
        return None
    from kto.vote.client import ArgillaError, log_in

    if not is_here:
        print(t("vote.elsewhere", url=url), flush=True)
    try:
        return log_in(url, key)
    except ArgillaError:
        if is_here:
            return None
        raise


def set_up(argilla: "Argilla", config: "Settings", home: Path | None) -> str:
    """Make the task, upload what is new, take outdated answers out of the queue, invite people.

    Returns the address of the task on Argilla's page. `home` is where an Argilla on this machine keeps its data.
    """
    from kto.vote.cards import fill_cards
    from kto.vote.links_file import link_annotators
    from kto.vote.outdated import leave_queue
    from kto.vote.people import invite
    from kto.vote.records import read_generations, upload_records
    from kto.vote.task import make_task

    generations = read_generations(config)
    task = make_task(argilla, config)
    print(t("notebook.uploaded", count=upload_records(task, generations, config)), flush=True)
    if count := sum(sum(row["names_itself"]) for row in generations):
        print(t("technical.names_itself", count=count), flush=True)
    leave_queue(task, config)
    invited = len(invite(argilla, config))
    if fill_cards(argilla, config, generations, home):
        link_annotators(config, home)
    print(t("notebook.invited", count=invited) if invited else t("notebook.nobody_new"), flush=True)
    return f"{argilla.api_url}/dataset/{task.id}/annotation-mode"


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    from kto.settings import load
    from kto.vote import voting

    config = load()
    answers = config.root / "data" / "generations" / "train.parquet"
    if not answers.exists():  # said before anything starts
        raise UserError("no_generations", path=answers)
    argilla = find_argilla(config, options.home)
    if argilla is None:
        return voting.run(options, config)
    page = set_up(argilla, config, options.home)
    if not options.attached:
        print(f"{t('notebook.done')}\n{page}", flush=True)
    return 0


if __name__ == "__main__":
    run(main, "vote")

"""`export.py leave-out ID --reason REASON`: leave an answer or a prompt out of all that is published, for good."""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from kto import left_out
from kto.ask.prompt_sources import load as load_prompts
from kto.ask.prompt_sources import prompt_id, sources, texts_in
from kto.command_line import Parser
from kto.dataset import publish, steps, votes
from kto.dataset.options import add_options
from kto.dataset.privacy import VoteFiles, git
from kto.errors import UserError
from kto.left_out import LEAD
from kto.secrets import secret
from kto.settings import Settings, load
from kto.texts import t
from kto.vote import deletions, taking_out
from kto.vote.responses import Responses

_SHORTEST = 6  # digits that may stand for an id
_PROMPT_ID = 16  # digits of the id of a prompt


def main(argv: list[str] | None = None) -> int:
    parser = Parser(t("commands.leave_out"))
    parser.add_argument("id", metavar="ID", nargs="?")
    parser.add_argument("--reason", choices=left_out.REASONS, help=t("export.help_reason"))
    options = add_options(parser).parse_args(argv)
    if options.id is None:
        parser.error(t("cli.no_value", option="ID"))
    if options.reason is None:
        raise UserError("leave_out_reason", reasons=", ".join(left_out.REASONS))
    config = load()
    output = options.output or config.root / "data"
    if options.push:
        publish.require_ready(config)

    files = VoteFiles(output / "votes", config.root / "data" / "private")
    forgotten = votes.read_forgotten(files.private / "forgotten.txt")
    collected = steps.collect(config, files, files.read(), Responses(), forgotten)
    id = find(config, options.id)
    out = taking_out.take_out(config, [id], LEAD, options.reason)
    taking_out.clear_table(config, out)
    dataset = steps.decide(config, output, files, collected, out)
    steps.write(config, output, files, dataset)
    print(t("export.left_out", id=id, path=left_out.FILE))
    say_where(config, id)
    if dataset.rows.train or options.push:
        steps.report(config, output, dataset, asked_argilla=False)
    if options.push:
        publish.push(config, dataset)
    return 0


def find(config: Settings, beginning: str) -> str:
    """Return the id of the record or prompt that begins like this.

    Raises
    ------
    UserError
        Nothing that is known here begins like this, or several do.
    """
    known = {id for prompt_id, *_, ids in taking_out.known_answers(config) for id in (prompt_id, *ids)}
    known.update(id for vote in taking_out.known_votes(config) for id in (vote["record_id"], vote["prompt_id"]))
    known.update(deletions.read(config.root / "data" / "private").records)
    known.update(left_out.read(config.root).ids)
    with contextlib.suppress(UserError):  # perhaps they are on the Hub, and there is no network
        known.update(prompt.id for prompt in load_prompts(config, token=secret(config, "HF_TOKEN")).prompts)
    beginning = beginning.strip().lower()
    found = {beginning} & known or {id for id in known if len(beginning) >= _SHORTEST and id.startswith(beginning)}
    if len(found) > 1:
        raise UserError("technical.several_left_out", id=beginning, count=len(found))
    if not found:
        raise UserError("unknown_answer", id=beginning)
    return found.pop()


def say_where(config: Settings, id: str) -> None:
    """Say which committed files, and which datasets on the Hub, have had what is left out."""
    paths = ["data", ":(exclude)data/private"]
    if len(id) == _PROMPT_ID:
        for path in _prompt_files(config):
            if _has_prompt(config, path, id):
                print(t("technical.prompt_stays", path=path), file=sys.stderr)
            paths.append(str(path))
    say_copies(config, paths, {"export.py": "", "generate.py": "-generations"})


def say_copies(config: Settings, paths: Sequence[str], datasets: Mapping[str, str]) -> None:
    """Say which committed files below these paths, and which datasets on the Hub (see `_published`), have it still."""
    listed = git(config.root, "-c", "core.quotePath=false", "log", "--all", "--format=", "--name-only", "--", *paths)
    if files := sorted({*listed.splitlines()} - {""}):
        print(t("technical.left_out_in_git", files=", ".join(files)), file=sys.stderr)
    from kto.hub_dataset import PUSHED

    for repo_id, command in _published(config, datasets):
        print(t("technical.left_out_on_hub", repo_id=repo_id, command=command, title=PUSHED), file=sys.stderr)


def _prompt_files(config: Settings) -> list[Path]:
    """Return the files with the prompts; there may be none, if they are elsewhere."""
    with contextlib.suppress(UserError):
        return [path for path in sources(config) if isinstance(path, Path) and path.exists()]
    return []


def _has_prompt(config: Settings, path: Path, id: str) -> bool:
    """Tell whether a file has a prompt; true also if it cannot be read."""
    with contextlib.suppress(UserError):
        return any(prompt_id(text) == id for text in texts_in(config, path))
    return True


def _published(config: Settings, datasets: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the datasets of this project on the Hub, also those of which that cannot be known; and what pushes them.

    Parameters
    ----------
    datasets
        By the command that pushes it, what stands behind the project's name in a dataset's.
    """
    try:
        repo_id, token = config.project.repo_id, secret(config, "HF_TOKEN")
    except UserError:  # nobody has named an owner, so nothing was pushed
        return
    from kto.hub_lookup import Hub

    hub = Hub(token)
    for command, ending in datasets.items():
        each = f"{repo_id}{ending}"
        if hub.has_dataset(each) is not False or hub.token_refused:
            yield each, command

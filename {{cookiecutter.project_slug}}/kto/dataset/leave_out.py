"""`export.py leave-out ID --reason REASON`: leave an answer or a prompt out of all that is published, for good."""

import contextlib
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from kto import left_out
from kto.ask import prompt_sources
from kto.command_line import Parser
from kto.dataset import copies, steps
from kto.errors import UserError
from kto.keys import secret
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
    steps.add_options(parser)
    options = parser.parse_args(argv)
    for option, value in (("ID", options.id), ("--reason", options.reason)):
        if value is None:
            parser.error(t("cli.no_value", option=option))
    export = steps.Export(load(), options.output, options.push)
    config = export.config

    collected = export.collect(Responses())
    id = find(config, options.id)
    out = taking_out.take_out(config, [id], left_out.LEAD, options.reason)
    taking_out.clear_table(config, out)
    dataset = export.decide(collected, out)
    export.write(dataset)
    print(t("export.left_out", id=id, path=left_out.FILE))
    paths = ["data", ":(exclude)data/private"]
    if len(id) == _PROMPT_ID:
        for path, has_prompt in _prompt_files(config, id):
            paths.append(str(path))
            if has_prompt:
                print(t("technical.prompt_stays", path=path), file=sys.stderr)
    copies.name_copies(config, paths, {"export.py push": "", "generate.py --push": "-generations"})
    if dataset.rows.train or options.push:
        export.report(dataset)
    export.publish(dataset)
    return 0


def find(config: Settings, beginning: str) -> str:
    """Return the id of the record or prompt that begins like this; raise `UserError` if none does, or several do."""
    known = {id for prompt_id, *_, ids in taking_out.known_answers(config) for id in (prompt_id, *ids)}
    known.update(id for vote in taking_out.known_votes(config) for id in (vote["record_id"], vote["prompt_id"]))
    known.update(deletions.read(config.root / "data" / "private").records, left_out.read(config.root).ids)
    with contextlib.suppress(UserError):  # the prompts may be on the Hub, and there may be no network
        token = secret(config, "HF_TOKEN")
        known.update(prompt.id for prompt in prompt_sources.load(config, token=token).prompts)
    return whole_id(beginning, known)


def whole_id(beginning: str, known: Collection[str]) -> str:
    """Return the one of the known ids that begins like this; raise `UserError` if none does, or several do."""
    beginning = beginning.strip().lower()
    ids = {id for id in known if len(beginning) >= _SHORTEST and id.startswith(beginning)}
    if beginning in ids:  # the id of a prompt may be how that of a record begins
        return beginning
    if len(ids) > 1:
        raise UserError("technical.several_left_out", id=beginning, count=len(ids))
    if not ids:
        raise UserError("unknown_answer", id=beginning)
    return ids.pop()


def _prompt_files(config: Settings, id: str) -> Iterator[tuple[Path, bool]]:
    """Yield the files with the prompts of the project, and whether they have this one, or cannot be read."""
    try:
        paths = [path for path in prompt_sources.sources(config) if isinstance(path, Path) and path.exists()]
    except UserError:
        return
    for path in paths:
        try:
            yield path, any(prompt_sources.prompt_id(text) == id for text in prompt_sources.texts_in(config, path))
        except UserError:
            yield path, True

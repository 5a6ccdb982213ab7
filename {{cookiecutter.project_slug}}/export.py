"""Step 3: turn the votes in Argilla into a dataset for KTO. votes → data/votes, data/kto, publish/dataset/README.md

    uv run export.py [--output DIR]
    uv run export.py push                            … and send it to the Hub
    uv run export.py forget NAME                     take out all votes and comments of one person, who has asked for it
    uv run export.py leave-out ID --reason REASON    leave an answer or a prompt out of everything, for good

It reads votes and writes files; nothing that people made is deleted, neither here nor in Argilla. What `forget` and
`leave-out` do is in `kto/dataset/forget.py` and `leave_out.py`.
"""

import argparse
from pathlib import Path

from kto import left_out
from kto.command_line import Parser, run
from kto.dataset import publish, steps, votes
from kto.dataset.privacy import VoteFiles
from kto.errors import UserError
from kto.settings import load
from kto.texts import t
from kto.vote import responses, taking_out


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; options without a help are those of earlier versions, for what is a command now."""
    parser = Parser(t("export.help"), "dataset")
    parser.add_argument("--output", type=Path, metavar="DIR", help=t("export.help_output"))
    parser.add_argument("--push", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--forget", metavar="NAME", help=argparse.SUPPRESS)
    parser.add_argument("--leave-out", metavar="ID", help=argparse.SUPPRESS)
    parser.add_argument("--reason", choices=left_out.REASONS, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if (options.leave_out is None) != (options.reason is None):
        raise UserError("leave_out_reason", reasons=", ".join(left_out.REASONS))
    if options.leave_out is not None and options.forget is not None:
        raise UserError("technical.one_at_a_time")
    return options


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    others = [*(["--output", str(options.output)] if options.output else []), *(["--push"] if options.push else [])]
    if options.forget is not None:
        from kto.dataset import forget

        return forget.main([*others, "--", options.forget])
    if options.leave_out is not None:
        from kto.dataset import leave_out

        return leave_out.main([*others, "--reason", options.reason, "--", options.leave_out])

    config = load()
    output = options.output or config.root / "data"
    if options.push:
        publish.require_ready(config)  # what is missing is said before anything is done

    # Collect: the votes of earlier exports, and those in Argilla; not those of people who are forgotten.
    files = VoteFiles(output / "votes", config.root / "data" / "private")
    stored = files.read()
    argilla = responses.read(config)
    forgotten = votes.read_forgotten(files.private / "forgotten.txt")
    collected = steps.collect(config, files, stored, argilla, forgotten)
    out = taking_out.take_out_deleted(config, argilla.seen)
    taking_out.clear_table(config, out)
    if not stored.votes and not collected.votes:
        raise UserError("no_votes")

    # Decide: by majority, which answers are good and which are bad; prompts go to train or to test.
    dataset = steps.decide(config, output, files, collected, out)

    # Write: what is private first, then the public votes, the rows and the card.
    steps.write(config, output, files, dataset)
    steps.report(config, output, dataset)
    if options.push:
        publish.push(config, dataset)
    return 0


if __name__ == "__main__":
    run(main, "dataset")

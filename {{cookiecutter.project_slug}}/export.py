"""Turn the votes in Argilla into a dataset for KTO: votes → data/votes, data/kto, publish/dataset/README.md

    uv run export.py [--output DIR]
    uv run export.py push                            … and send it to the Hub
    uv run export.py forget NAME                     take out all votes and comments of one person, who has asked for it
    uv run export.py leave-out ID --reason REASON    leave an answer or a prompt out of everything, for good

It reads votes and writes files; nothing that people made is deleted, neither here nor in Argilla. The commands are in
`kto/dataset/push.py`, `forget.py` and `leave_out.py`.
"""

import argparse

from kto import left_out
from kto.command_line import Parser, run
from kto.dataset import forget, leave_out, steps
from kto.errors import UserError
from kto.settings import load
from kto.texts import t
from kto.vote import responses, taking_out


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; options without a help are those of earlier versions, for commands of today."""
    parser = Parser(t("export.help"), "dataset")
    steps.add_options(parser)
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
        return forget.main([*others, "--", options.forget])
    if options.leave_out is not None:
        return leave_out.main([*others, "--reason", options.reason, "--", options.leave_out])

    # Collect: the votes of earlier exports, and those in Argilla; not those of people who are forgotten.
    config = load()
    export = steps.Export(config, options.output, options.push)
    argilla = responses.read(config)
    collected = export.collect(argilla)
    out = taking_out.take_out_deleted(config, argilla.seen)
    taking_out.clear_table(config, out)
    if not export.stored.votes and not collected.votes:
        raise UserError("no_votes")

    # Decide: by the rule of the settings, which answers are good and which are bad; prompts go to train or to test.
    dataset = export.decide(collected, out)

    # Write: what is private first, then the public votes, the rows and the card.
    export.write(dataset)
    export.report(dataset)

    # Publish: in one commit, if this is a push.
    export.publish(dataset)
    return 0


if __name__ == "__main__":
    run(main, "dataset")

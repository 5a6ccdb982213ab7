"""`export.py forget NAME`: take out all votes and comments of one person, who has asked for it.

The votes of earlier exports are enough; Argilla is asked only for somebody who has voted since.
"""

from kto.command_line import Parser
from kto.dataset import copies, steps
from kto.dataset.votes import pseudonym
from kto.errors import UserError
from kto.settings import load
from kto.texts import t
from kto.vote import links_file, responses, taking_out

_DELETE_ACCOUNT = (
    "from kto.settings import load; from kto.vote.client import connect; "
    "[user.delete() for user in connect(load()).sdk.users if user.username == '{name}']"
)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(t("commands.forget"))
    parser.add_argument("name", metavar="NAME", nargs="?")
    steps.add_options(parser)
    options = parser.parse_args(argv)
    if options.name is None:
        parser.error(t("cli.no_value", option="NAME"))
    export = steps.Export(load(), options.output, options.push)
    config, stored, argilla = export.config, export.stored, responses.Responses()

    key = export.files.read_key()
    names = {options.name, pseudonym(key, options.name)}
    person = names & {row["annotator"] for row in [*stored.votes, *stored.replaced, *stored.comments]}
    person |= names & export.forgotten
    if not person:
        argilla = responses.read(config)
        person = names & {pseudonym(key, response.user) for response in argilla.submitted}
    if not person:
        raise UserError("unknown_person", name=options.name)
    export.forgotten |= person
    collected = export.collect(argilla)

    export.files.write_forgotten(export.forgotten)
    links_file.forget(config, lambda name: bool({name, pseudonym(key, name)} & person))
    out = taking_out.take_out_deleted(config, argilla.seen)
    taking_out.clear_table(config, out)
    dataset = export.decide(collected, out)
    export.write(dataset)
    print(t("export.forgotten", name=options.name, path=export.files.forgotten))
    name = "NAME" if options.name in person else options.name
    print(t("technical.forgotten_in_argilla", name=name, code=_DELETE_ACCOUNT.format(name=name)))
    copies.name_copies(config, ["data/votes"], {"export.py push": ""})
    if dataset.rows.train or options.push:
        export.report(dataset)
    export.publish(dataset)
    return 0

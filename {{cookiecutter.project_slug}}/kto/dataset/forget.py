"""`export.py forget NAME`: take out all votes and comments of one person, who has asked for it.

What earlier exports have left here is enough; Argilla is asked only for somebody who has voted since.
"""

from collections.abc import Collection

from kto.command_line import Parser
from kto.dataset import publish, steps, votes
from kto.dataset.leave_out import say_copies
from kto.dataset.options import add_options
from kto.dataset.privacy import VoteFiles
from kto.errors import UserError
from kto.settings import load
from kto.texts import t
from kto.vote import responses, taking_out

_DELETE_ACCOUNT = (
    "from kto.settings import load; from kto.vote.client import connect; a = connect(load()); "
    "[a.request('DELETE', '/users/' + user['id']) for user in a.items('/users') if user['username'] == '{name}']"
)


def find_person(name: str, key: bytes, known: Collection[str]) -> str | None:
    """Return the pseudonym of the person whose pseudonym or user name this is, None if nobody known has it."""
    return next((person for person in (name, votes.pseudonym(key, name)) if person in known), None)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(t("commands.forget"))
    parser.add_argument("name", metavar="NAME", nargs="?")
    options = add_options(parser).parse_args(argv)
    if options.name is None:
        parser.error(t("cli.no_value", option="NAME"))
    config = load()
    output = options.output or config.root / "data"
    if options.push:
        publish.require_ready(config)

    files = VoteFiles(output / "votes", config.root / "data" / "private")
    path = files.private / "forgotten.txt"
    stored, forgotten, argilla = files.read(), votes.read_forgotten(path), responses.Responses()
    key = votes.read_key(files.key)
    known = {row["annotator"] for row in [*stored.votes, *stored.replaced, *stored.comments]}
    person = find_person(options.name, key, forgotten | known)
    if person is None:
        argilla = responses.read(config)
        person = find_person(options.name, key, {votes.pseudonym(key, vote.user) for vote in argilla.submitted})
    if person is None:
        raise UserError("unknown_person", name=options.name)
    forgotten.add(person)
    collected = steps.collect(config, files, stored, argilla, forgotten)

    votes.remember_forgotten(path, forgotten)
    out = taking_out.take_out_deleted(config, argilla.seen)
    taking_out.clear_table(config, out)
    dataset = steps.decide(config, output, files, collected, out)
    steps.write(config, output, files, dataset)
    print(t("export.forgotten", name=options.name, path=path))
    name = "NAME" if options.name == person else options.name
    print(t("technical.forgotten_in_argilla", name=name, code=_DELETE_ACCOUNT.format(name=name)))
    say_copies(config, ["data/votes"], {"export.py": ""})
    if dataset.rows.train or options.push:
        steps.report(config, output, dataset, asked_argilla=False)
    if options.push:
        publish.push(config, dataset)
    return 0

"""Step 3: turn the votes in Argilla into a dataset for KTO.

    uv run export.py [--output DIR] [--push] [--forget NAME | --leave-out ID --reason REASON]

It reads votes and writes files; nothing that people made is deleted, neither here nor in Argilla. Only `--forget` takes
out the votes and comments of one person, who has asked for it; and `--leave-out` leaves an answer or a prompt out of
everything that is published, for good.
"""

import argparse
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from kto import card as cards
from kto import left_out
from kto.command_line import Parser, run
from kto.dataset import rows, splits, votes
from kto.dataset.agreement import krippendorff_alpha
from kto.dataset.privacy import VoteFiles
from kto.errors import UserError
from kto.left_out import LEAD, LeftOut
from kto.pages import fill_marked, fill_page, in_direction, list_models, values_of
from kto.settings import Settings, load
from kto.tables import Row, write_rows, write_text
from kto.texts import ROOT, TextsError, number, t
from kto.texts import load as load_texts
from kto.vote import annotation, deletions, outdated, taking_out


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(t("export.help"))
    parser.add_argument("--output", type=Path, default=ROOT / "data", metavar="DIR", help=t("export.help_output"))
    parser.add_argument("--push", action="store_true", help=t("export.help_push"))
    parser.add_argument("--forget", metavar="NAME", help=t("export.help_forget"))
    parser.add_argument("--leave-out", metavar="ID", help=t("export.help_leave_out"))
    parser.add_argument("--reason", choices=left_out.REASONS, help=t("export.help_reason"))
    options = parser.parse_args(argv)
    if (options.leave_out is None) != (options.reason is None):
        raise UserError("leave_out_reason", reasons=", ".join(left_out.REASONS))
    if options.leave_out is not None and options.forget is not None:
        raise UserError("technical.one_at_a_time")
    return options


def figures(
    parts: rows.Splits, all_votes: Sequence[Row], in_use: outdated.PromptsInUse, out: LeftOut
) -> dict[str, str]:
    """Return the numbers of the dataset by the key of the text that names them."""
    labels = [row["label"] for row in [*parts.train, *parts.test]]
    units: dict[str, list[bool]] = {}
    for vote in all_votes:
        units.setdefault(vote["record_id"], []).append(vote["vote"])
    alpha = krippendorff_alpha(units.values())
    old = sum(outdated.is_outdated(vote["prompt_id"], in_use) for vote in all_votes)
    sizes = f"{number(len(parts.train))} + {number(len(parts.test))}"
    return {
        "dataset_card.prompts": number(len({row["prompt_id"] for row in [*parts.train, *parts.test]})),
        "dataset_card.rows": f"{number(len(labels))} ({sizes})",
        "dataset_card.desirable": number(sum(labels)),
        "dataset_card.undesirable": number(len(labels) - sum(labels)),
        "dataset_card.ties": number(parts.ties),
        "dataset_card.few_votes": number(parts.few),
        "dataset_card.near_duplicates": number(len(parts.left_out)),
        "dataset_card.taken_out": number(len(out.lines)),
        "dataset_card.votes": number(len(all_votes)),
        "dataset_card.outdated_votes": number(old),
        "dataset_card.annotators": number(len({vote["annotator"] for vote in all_votes})),
        "dataset_card.agreement": t("dataset_card.no_agreement") if alpha is None else number(alpha, 2),
    }


def read_card(config: Settings) -> str:
    """Return `dataset/README.md` as it is, or as it is made if there is none."""
    path = config.root / "dataset" / "README.md"
    try:
        if path.exists():
            return cards.read(path)
        return fill_page(config.root / "kto" / "pages" / "dataset" / "README.md", load_texts(), values_of(config))
    except (OSError, TextsError) as error:
        raise UserError("bad_card", path=path, reason=error) from None


def fill_card(config: Settings, numbers: Mapping[str, str], models: Sequence[str]) -> str:
    """Return the dataset card with these numbers and models; what else people wrote into `dataset/README.md` stays."""
    lines = [f"| {t(name)} | {figure} |" for name, figure in numbers.items()]
    table = "\n".join(["| | |", "|---|---|", *lines, "", t("dataset_card.agreement_text")])
    direction = str(values_of(config)["direction"])
    page = read_card(config)
    try:
        page = fill_marked(page, "numbers", in_direction(table, direction))
        return fill_marked(page, "models", list_models(models, direction))
    except TextsError as error:
        raise UserError("bad_card", path=config.root / "dataset" / "README.md", reason=error) from None


def read_ballot(config: Settings, key: bytes, earlier: Sequence[Row]) -> votes.Ballot:
    """Return what Argilla holds now; raise `UserError` if there is no task there."""
    dataset = annotation.find_task(annotation.connect(config), config)
    if dataset is None:
        raise UserError("no_task", name=config.annotation.dataset)
    there, wanted = annotation.min_submitted(dataset), config.annotation.min_submitted
    if there != wanted:
        print(t("technical.min_submitted_differs", there=there, wanted=wanted), file=sys.stderr)
    table = config.root / "data" / "generations" / "train.parquet"
    return votes.read_ballot(dataset, key, table, earlier)


def find_person(name: str, key: bytes, known: Collection[str]) -> str | None:
    """Return the pseudonym of the person whose pseudonym or user name this is, None if nobody known has it."""
    return next((each for each in (name, votes.pseudonym(key, name)) if each in known), None)


def write_splits(folder: Path, splits: Mapping[str, Sequence[Row]]) -> None:
    """Write the rows of each split; a split without rows is no file, and the votes that it came from are kept."""
    for name in ("train", "test"):
        path = folder / f"{name}.parquet"
        if name in splits:
            write_rows(path, splits[name], rows.schema())
        else:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise UserError("cannot_write", path=path, reason=error) from None


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    config = load()
    card_path = config.root / "dataset" / "README.md"
    if options.push:  # what is missing is said before anything is done
        from kto.dataset import publish
        from kto.hub import hub_token

        repo_id, token = config.project.repo_id, hub_token(config)
        cards.check(read_card(config), card_path, cards.NEEDS)

    private, folder = config.root / "data" / "private", options.output / "kto"
    files = VoteFiles(options.output / "votes", private)
    stored = files.read()
    key = votes.read_key(files.key)
    forgotten = votes.read_forgotten(private / "forgotten.txt")
    ballot = None
    if options.forget is not None:
        here = forgotten.union(row["annotator"] for row in [*stored.votes, *stored.replaced, *stored.comments])
        person = find_person(options.forget, key, here)
        if person is None:  # perhaps one who has voted since the last export
            ballot = read_ballot(config, key, stored.votes)
            person = find_person(options.forget, key, {vote["annotator"] for vote in ballot.votes})
        if person is None:
            raise UserError("unknown_person", name=options.forget)
        forgotten.add(person)
        ballot = ballot or votes.Ballot([], {}, set())  # what is here is enough; Argilla may be gone
    elif options.leave_out is not None:
        ballot = votes.Ballot([], {}, set())
    else:
        ballot = read_ballot(config, key, stored.votes)
    files.require_known(stored.published, [*stored.votes, *stored.replaced, *ballot.votes], forgotten)
    if options.forget is not None:
        votes.remember_forgotten(private / "forgotten.txt", forgotten)
    ballot = ballot._replace(votes=votes.without(ballot.votes, forgotten))
    ballot.withdrawn.update(deletions.responses(deletions.read(private), ballot.seen))
    out = taking_out.take_out_deleted(config, ballot.seen)
    if options.leave_out is not None:
        taken_out = taking_out.find(config, options.leave_out)
        out = taking_out.take_out(config, [taken_out], LEAD, options.reason)
    taking_out.clear_table(config, out)

    all_votes, replaced = votes.merge(votes.without(stored.votes, forgotten), ballot.votes, ballot.withdrawn)
    all_votes = votes.with_texts(all_votes, ballot.texts)
    as_asked = options.forget is not None or options.leave_out is not None  # also where no vote is left
    if not stored.votes and not all_votes and not as_asked:
        raise UserError("no_votes")
    counted = out.without(all_votes)
    in_use = outdated.prompts_in_use(config)
    known = splits.read_known(config, folder, files.splits, in_use.texts, counted)
    parts = rows.make_splits(counted, config.export.test_fraction, config.export.seed, config.min_votes, known)
    numbers = figures(parts, counted, in_use, out)
    models = {name for vote in counted for name in vote["generation_model"].split(", ")}
    card = fill_card(config, numbers, sorted(models))

    # What is private is whole before anything else is replaced or removed: a run may end at any point.
    log = [*votes.without(stored.replaced, forgotten), *replaced]
    files.write_private(all_votes, log, votes.without(stored.comments, forgotten), ballot)
    if ballot.seen.dataset:
        deletions.remember(private, ballot.seen)
    if options.output == ROOT / "data":
        splits.remember(files.splits, {**known.exported, **parts.by_prompt})
    if files.unsplit and (name := files.committed_as()):
        print(t("technical.votes_in_git", folder=name), file=sys.stderr)
    files.write_public(counted)
    by_name = {name: part for name, part in (("train", parts.train), ("test", parts.test)) if part}
    write_splits(folder, by_name)
    if options.output == ROOT / "data":  # the project's card speaks of the project's data
        write_text(card_path, card)
    if options.forget is not None:
        print(t("export.forgotten", name=options.forget, path=private / "forgotten.txt"))
        taking_out.say_where_votes(config, "NAME" if options.forget == person else options.forget)
    if options.leave_out is not None:
        print(t("export.left_out", id=taken_out, path=left_out.FILE))
        taking_out.say_where(config, taken_out)
    if not parts.train:
        if as_asked and not options.push:
            return 0
        if parts.few:
            raise UserError("too_few_votes", count=parts.few, min_votes=config.min_votes)
        raise UserError("only_ties", count=parts.ties) if parts.ties else UserError("no_votes")

    for name, figure in numbers.items():
        print(f"{t(name)}: {figure}")
    print(t("export.written", path=folder))
    there = {vote["vote_id"] for vote in ballot.votes}
    lost = sum(vote["vote_id"] not in there for vote in counted)
    if lost and not as_asked:
        print(t("export.lost", count=lost), file=sys.stderr)
    if ballot.unknown:
        print(t("technical.unknown_answers", count=ballot.unknown), file=sys.stderr)
    if len({row["label"] for row in parts.train}) < 2:
        print(t("export.one_class"), file=sys.stderr)
    if options.push:
        url = publish.push(
            repo_id,
            token=token,
            private=config.export.private,
            splits=by_name,
            all_votes=counted,
            card=card,
            path=card_path,
        )
        print(t("export.pushed", url=url))
    return 0


if __name__ == "__main__":
    run(main)

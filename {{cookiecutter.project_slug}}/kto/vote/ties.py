"""`vote.py ties`: the lead decides about ties, and looks at answers that somebody does not want published.

    uv run vote.py ties                              asks about one after the other, in the terminal
    uv run vote.py ties --page                       shows them as a page, with the commands to decide
    uv run vote.py ties ID good|bad|keep|out         decides about one, by its id or the beginning of that

What is decided is in `prompts/decisions.jsonl` and `prompts/left_out.jsonl` at once, and counts in the next export.
"""

import argparse
import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from kto import decisions, left_out, terminal
from kto.ask import answers_page
from kto.command_line import Parser
from kto.dataset import leave_out
from kto.dataset.steps import Export
from kto.dataset.undecided import Undecided
from kto.decisions import KEEP
from kto.errors import UserError
from kto.pages import values_of
from kto.questions import BAD, GOOD
from kto.settings import Settings, load
from kto.tables import write_text
from kto.texts import number, t
from kto.vote import outdated, responses, taking_out
from kto.vote.client import connect
from kto.vote.task import find_task

OUT = "out"
WORDS = (GOOD, BAD, KEEP, OUT)
PAGE = Path("data") / "private" / "ties.html"
_SHOWN_ID = 12  # digits
_LATER, _STOP = "", "q"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(t("commands.ties"))
    words = "|".join(WORDS)
    parser.add_argument("id", metavar="ID", nargs="?")
    parser.add_argument("decision", metavar=words, nargs="?", choices=WORDS)
    parser.add_argument("--page", action="store_true", help=t("technical.help_ties_page", path=PAGE))
    options = parser.parse_args(argv)
    if options.id is not None and options.decision is None:
        parser.error(t("cli.no_value", option=words))
    return options


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    config = load()
    waiting, decided = find(config)
    with _Deciding(config) as deciding:
        if options.id is not None:
            id = leave_out.whole_id(options.id, {item.id for item in waiting} | decided.keys())
            known = decided | {item.id: item for item in waiting}
            deciding.decide(known[id], options.decision)
        elif not waiting:
            if options.page:
                (config.root / PAGE).unlink(missing_ok=True)  # that of earlier
            print(t("ties.none"))
        elif options.page:
            print(write_page(config, waiting))
        elif terminal.has_terminal():
            deciding.ask_about(waiting)
        else:
            for position, item in enumerate(waiting, 1):
                print("\n".join([*_as_text(config, item, position, len(waiting)), *_commands(item), ""]))
    return 0


def find(config: Settings) -> tuple[list[Undecided], dict[str, Undecided]]:
    """Return what waits for the lead, and by record id the ties that the lead has decided already.

    Votes are read as `export.py` does it. Raises `UserError` if they cannot be read.
    """
    export = Export(config, None, push=False)
    argilla = responses.read(config)
    collected = export.collect(argilla)
    out = taking_out.take_out_deleted(config, argilla.seen)
    counted = export.count(collected, out, outdated.prompts_in_use(config))
    by_lead = {id: answer for id, answer in counted.answers.by_id.items() if answer.origin == "lead"}
    return counted.undecided, {id: Undecided(id, answer.votes, is_tie=True) for id, answer in by_lead.items()}


def choices(item: Undecided) -> tuple[str, ...]:
    """Return what can be decided: a label only where the votes are tied, for the lead does not outvote people."""
    return (*((GOOD, BAD) if item.is_tie else ()), *((KEEP,) if item.flags else ()), OUT)


class _Deciding:
    """Decisions, each of which is on the disk before the next one; at the end, also after Ctrl-C, Argilla is told."""

    def __init__(self, config: Settings) -> None:
        self.config = config
        self._count = 0
        self._files: dict[Path, None] = {}

    def __enter__(self) -> "_Deciding":
        return self

    def __exit__(self, *_: object) -> None:
        if not self._count:
            return
        paths = ", ".join(path.as_posix() for path in self._files)
        print(t("ties.decided", count=self._count, path=paths), flush=True)
        if left_out.FILE in self._files:
            taking_out.clear_table(self.config, left_out.read(self.config.root))
        with contextlib.suppress(UserError):  # nothing answers: then the next vote.py does it
            if task := find_task(connect(self.config), self.config):
                outdated.leave_queue(task, self.config)

    def decide(self, item: Undecided, decision: str) -> None:
        """Write a decision; raise `UserError` if it is none about this answer."""
        if decision not in choices(item):
            raise UserError("technical.not_to_decide", id=item.id, choices=", ".join(choices(item)))
        if decision == OUT:
            reason = "personal_data" if "personal_data" in item.flags else left_out.DECIDED
            taking_out.take_out(self.config, [item.id], left_out.LEAD, reason)
        else:
            decisions.add(self.config.root, item.id, decision)
        self._files[left_out.FILE if decision == OUT else decisions.FILE] = None
        self._count += 1

    def ask_about(self, items: list[Undecided]) -> None:
        """Ask about one answer after the other, until the lead stops."""
        for position, item in enumerate(items, 1):
            print("\n".join(["", *_as_text(self.config, item, position, len(items))]))
            answer = _LATER
            if item.flags:
                answer = _choose("ties.ask_flagged", (KEEP, OUT))
            if item.is_tie and (answer == KEEP or not item.flags):
                if answer == KEEP:
                    self.decide(item, KEEP)
                answer = _choose("ties.ask", (GOOD, BAD, OUT))
            if answer == _STOP:
                return
            if answer != _LATER:
                self.decide(item, answer)


def _choose(question: str, choices: tuple[str, ...]) -> str:
    """Ask until the answer is the number of a choice, which is returned, or `_LATER` or `_STOP`."""
    while True:
        answer = terminal.ask(t(question) + " ").casefold()
        if answer in (_LATER, _STOP):
            return answer
        if answer.isdecimal() and 1 <= int(answer) <= len(choices):  # in the digits of any script
            return choices[int(answer) - 1]


def _commands(item: Undecided) -> list[str]:
    return [f"uv run vote.py ties {item.id[:_SHOWN_ID]} {choice}" for choice in choices(item)]


def _facts(config: Settings, item: Undecided) -> Iterator[tuple[str, str]]:
    """Yield what is known about an answer: a class of the page, and words."""
    up = sum(vote["vote"] for vote in item.votes)
    yield "votes", t("ties.votes", up=number(up), down=number(len(item.votes) - up))
    if item.flags:
        words = {name: values_of(config)[name] for name in ("language", "domain")}
        reasons = [t(f"task.reason_{flag}", **words) for flag in item.flags]
        yield "wrong", t("ties.flagged", reasons=", ".join(reasons))
    if item.is_asked:
        yield "asked", t("technical.tie_is_asked")


def _texts(item: Undecided) -> tuple[str, str]:
    vote: Mapping[str, list[dict[str, str]]] = item.votes[0]
    return vote["prompt"][-1]["content"], vote["completion"][0]["content"]


def _as_text(config: Settings, item: Undecided, position: int, total: int) -> Iterator[str]:
    """Yield lines for a terminal, which must not obey what a model has written."""
    prompt, answer = (re.sub(r"[^\S\n]|[\0-\x08\x0b-\x1f\x7f-\x9f]", " ", text) for text in _texts(item))
    yield f"{t('ties.number', number=position, total=total)} · {item.id[:_SHOWN_ID]}"
    yield from (f"{t('task.prompt')}: {prompt}", "", answer, "")
    yield from (words for _, words in _facts(config, item))


def write_page(config: Settings, items: list[Undecided]) -> Path:
    """Write the page with everything that waits for the lead, and return its path."""
    articles = []
    for position, item in enumerate(items, 1):
        prompt, answer = _texts(item)
        section = answers_page.section("", _facts(config, item), answer, _commands(item))
        articles.append(answers_page.article(t("ties.number", number=position, total=len(items)), prompt, [section]))
    path = config.root / PAGE
    write_text(path, answers_page.page(config, [t("ties.page_help")], articles), private=True)
    return path

"""New prompts from a model: what it is asked, what of its answers can be used, and what is new among that."""

import asyncio
import dataclasses
import json
import math
import os
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kto.ask import lookups
from kto.ask.language import Gate
from kto.ask.language_worker import LanguageWorker
from kto.ask.prompt_sources import STARTER, prompt_id, sources
from kto.ask.prompt_sources import load as load_prompts
from kto.ask.prompt_sources import read as read_prompts
from kto.ask.store import Message, StoredAnswer
from kto.ask.targets import ModelTarget
from kto.ask.writer import AnswerWriter
from kto.cleaning import clean
from kto.errors import UserError
from kto.model_names import public_names
from kto.near_duplicates import NearDuplicates, size_for
from kto.settings import Settings
from kto.texts import t

if TYPE_CHECKING:
    from distilabel.steps.tasks import SelfInstruct

    from kto.ask.runner import ModelRunner


COUNTS = ("asked", "stored", "failed", "instructions", "offered", "unusable", "wrong", "duplicates", "near", "new")
"""What is counted: answers, then what became of the prompts in the answers; see the texts `new_prompts.count_…`."""

LONGEST = 1000
"""Characters of a prompt, at most."""
_FEWEST_LETTERS = 8  # of a prompt; a wide letter counts as three
_LOOK = 100_000  # characters of an answer that are looked at: hostile ones have millions
_MOST = 4  # times as many prompts in an answer as were asked for are looked at
_EXAMPLES = 3  # prompts that a request shows
_LONGEST_EXAMPLE = 300  # characters
_ROUND = 2  # requests in a round per request in flight
_FRUITLESS = 20  # requests, one after the other, that brought nothing new, after which no more are sent

_BULLET = re.compile(r"^[-*+•–—]\s+")
_NUMBER = re.compile(r"(\d{1,3})(?:[.):）：]{1,2}(?!\d)|[、．。])\s*")
_NO_PROMPT = re.compile(r"[#|{}<]|[\[\]]|```|~~~|[=_*-]{3}")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}|\[[^\[\]]*[^\W\d_]{2}[^\[\]]*\]|<[^<>]{2,60}>|_{3,}|\.{4,}")
_COLONS = (":", "：", "፦")
_QUOTES = {'"': '"', "'": "'", "“": "”", "”": "”", "„": "“", "‘": "’", "‚": "‘", "’": "’", "«": "»", "»": "«"}
_QUOTES |= {"‹": "›", "›": "‹", "「": "」", "『": "』", "＂": "＂", "`": "`"}
_CONTROLS = re.compile("[\u00ad\u202a-\u202e\u2060-\u2069\ufeff]")  # joiners and marks of direction stay


@dataclasses.dataclass(frozen=True)
class NewPrompt:
    """A prompt that the project lacks."""

    text: str
    topic: str


def in_answer(lines: Iterable[str], most: int, cut: bool) -> list[str | None]:
    """Return the prompts in the lines of an answer, None for a line that holds none.

    Parameters
    ----------
    most
        Lines that are looked at.
    cut
        The last line is not whole, because the answer was too long.
    """
    found = [line for line in lines if line.strip()]
    tidied = [_tidied(line) for line in (found[:-1] if cut else found)[:most]]
    numbers = [_NUMBER.match(line) for line in tidied]
    listed = any(match and int(match[1]) == 1 for match in numbers)  # "7. sınıfta" may begin a question
    return [
        _prompt(line[match.end() :] if match and listed else line) for line, match in zip(tidied, numbers, strict=True)
    ]


def _tidied(line: str) -> str:
    """Return a line in NFC and with single spaces, without a bullet and stars around it; "" if it is too long."""
    if len(line) > 2 * LONGEST:
        return ""
    text = " ".join(_CONTROLS.sub("", unicodedata.normalize("NFC", line)).split())
    return _BULLET.sub("", text, count=1).strip("* ")


def _prompt(line: str) -> str | None:
    """Return a line without the marks around the prompt, None if what is left is no prompt."""
    text = _unquoted(line.strip("* "))
    letters = [char for char in text if unicodedata.category(char)[0] in "LMN"]
    weight = sum(3 if unicodedata.east_asian_width(char) in "WF" else 1 for char in letters)
    if len(text) > LONGEST or weight < _FEWEST_LETTERS or text.endswith(_COLONS):
        return None
    if any(unicodedata.category(char) in ("Cc", "Cs", "Co") or char == "\ufffd" for char in text):
        return None
    return None if _NO_PROMPT.match(text) or _PLACEHOLDER.search(text) else text


def _unquoted(text: str) -> str:
    """Return a text without the quotation marks around it, and without a comma after them as lists have it."""
    bare = text.removesuffix(",").rstrip()
    if len(bare) < 3 or _QUOTES.get(bare[0]) != bare[-1]:
        return text
    inner = bare[1:-1]
    # “One” or “two”?
    return text if bare[0] in inner or (bare[-1] in inner and bare[-1] not in "'’") else inner.strip()


class Book:
    """What there is, and what is new: the project's prompts, the new ones, and those that were offered before.

    Lines that somebody deletes from the file with the new ones stay in `data/offered_prompts.jsonl`, so they do not
    come back.

    Parameters
    ----------
    output
        The file with the new prompts. Nothing in it is changed, lines are added.
    token
        Of the Hub, for prompts that are there.

    Attributes
    ----------
    there
        How many prompts are in that file.
    seeds
        The prompts from which examples are chosen: those of the project, without new ones.

    Raises
    ------
    UserError
        A file cannot be read.
    """

    def __init__(self, config: Settings, output: Path, token: str) -> None:
        self._config = config
        self._output = output
        self._offered_path = config.root / "data" / "offered_prompts.jsonl"
        self._column = config.generation.prompt_column
        names = config.generation.models
        self._names = dict(zip(names, public_names(names), strict=True))
        self._waiting: list[NewPrompt] = []
        written = read_prompts(output, self._column) if output.exists() else []
        offered = read_prompts(self._offered_path, "prompt") if self._offered_path.exists() else []
        project = self._project(token)
        self.there = len({prompt_id(text) for text in written})
        self._offered = {prompt_id(text) for text in offered}  # before this run
        # A run may have ended between the two files.
        self._note([text for text in written if prompt_id(text) not in self._offered])
        self._offered.update(map(prompt_id, written))
        self.seeds = self._without_new(project) or self._without_new(self._starter())
        known = {prompt_id(text): text for text in (*project, *written, *offered)}
        self._known = set(known)
        size = size_for(config.language.script)
        self._near = NearDuplicates(known.values(), config.new_prompts.similarity, size)

    def _project(self, token: str) -> list[str]:
        """Return the prompts of the project; there may be none, and that is why somebody wants new ones."""

        def is_to_come(origin: Path | str) -> bool:
            return isinstance(origin, Path) and origin.resolve() == self._output and not origin.exists()

        origins = [origin for origin in sources(self._config) if not is_to_come(origin)]
        return [prompt.text for prompt in load_prompts(self._config, token=token, origins=origins).prompts]

    def _starter(self) -> list[str]:
        try:
            return read_prompts(self._config.root / STARTER, "prompt")
        except UserError:  # not everybody keeps it
            return []

    def _without_new(self, texts: Iterable[str]) -> list[str]:
        return [text for text in texts if prompt_id(text) not in self._offered]

    def look(self, text: str) -> str:
        """Return why a prompt is not new ("offered", "duplicates" or "near"), "" if it is."""
        name = prompt_id(text)
        if name in self._offered:
            return "offered"
        if name in self._known:
            return "duplicates"
        return "near" if self._near.find(text) is not None else ""

    def add(self, prompt: NewPrompt) -> None:
        """Take in a new prompt; it is written with the next `write`."""
        self._waiting.append(prompt)
        self._known.add(prompt_id(prompt.text))
        self._near.add(prompt.text)

    def write(self, model: str) -> None:
        """Add what is new to the file.

        Raises
        ------
        UserError
            It cannot be written.
        """
        fresh, self._waiting = self._waiting, []
        # The names of the columns must differ.
        rows = [{"topic": each.topic, "model": self._names[model], self._column: each.text} for each in fresh]
        first = self._column
        _append(self._output, [{first: row[first]} | row for row in rows])
        self._note([each.text for each in fresh])

    def _note(self, texts: Sequence[str]) -> None:
        """Keep in mind that these were offered."""
        _append(self._offered_path, [{"prompt": text} for text in texts])


def _append(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Add lines to a file; what is in it stays as it is, also if somebody has it open."""
    if not rows:
        return
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                lines = lines if file.read(1) == b"\n" else b"\n" + lines
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError("cannot_write", path=path, reason=error.strerror or error) from None


class Maker:
    """Asks one model for prompts and takes what is new, in the order of the requests.

    What is asked depends on the number of a request, the settings and the project's prompts alone; so a later run asks
    the same, finds the answers in the store, and goes on behind them.

    Parameters
    ----------
    wanted
        How many new ones.
    judge
        Of the language; None: nobody judges.

    Attributes
    ----------
    counts
        See `COUNTS`.
    reason
        Why a request failed, "" if none did.
    """

    def __init__(self, config: Settings, book: Book, wanted: int, judge: LanguageWorker | None) -> None:
        self._config = config
        self._book = book
        self._judge = judge
        self._topics = config.new_prompts.topics or (config.project.domain,)
        self._next = 0  # number of a request
        self._fruitless = 0
        self.wanted = wanted
        self.counts = Counter[str]()
        self.reason = ""

    @property
    def missing(self) -> int:
        """How many are still wanted."""
        return self.wanted - self.counts["new"]

    def requests(self) -> int:
        """Return about how many requests that takes, going by those that have been answered."""
        answered = self.counts["asked"] + self.counts["stored"]
        found = self.counts["new"] + self.counts["offered"]
        usual = found / answered if answered else self._config.new_prompts.per_request
        return math.ceil(self.missing / max(usual, 0.5))

    def replay(self, target: ModelTarget, writer: AnswerWriter) -> None:
        """Take what the store has, until an answer is missing; nobody is asked."""
        asyncio.run(self._with_model(target, writer, self._replay))

    def ask(self, target: ModelTarget, writer: AnswerWriter) -> None:
        """Ask until there are enough, or nothing new comes any more."""
        asyncio.run(self._with_model(target, writer, self._ask))

    async def _with_model(
        self,
        target: ModelTarget,
        writer: AnswerWriter,
        work: "Callable[[SelfInstruct, ModelRunner], Awaitable[None]]",
    ) -> None:
        from kto.ask.runner import ModelRunner

        task = self._task(target, writer)
        runner = ModelRunner(target, writer, self._judge)
        try:
            self._concurrency, self._model = target.concurrency, target.model
            await work(task, runner)
        finally:
            await runner.close()
            self._book.write(target.model)

    def _task(self, target: ModelTarget, writer: AnswerWriter) -> "SelfInstruct":
        """Return distilabel's task with the model that `generate.py` would ask."""
        from kto.ask.pipeline import Pipeline, SelfInstruct, StoredLLM

        values = {"language": self._config.language.autonym, "domain": self._config.project.domain}
        with Pipeline(name="new-prompts"):
            task = SelfInstruct(
                name="new_prompts",
                llm=StoredLLM(target=target, sink=writer),
                num_instructions=self._config.new_prompts.per_request,
                application_description=t("new_prompts.application", **values),
                criteria_for_query_generation=t("new_prompts.criteria", **values),
            )
        task.load()
        return task

    def _context(self, number: int) -> tuple[str, str]:
        """Return the topic of a request, and what it says about it: examples and a number make each another one."""
        topic = self._topics[number % len(self._topics)]
        seeds = [text for text in self._book.seeds if len(text) <= _LONGEST_EXAMPLE]
        chosen = random.Random(f"{number}").sample(seeds, min(_EXAMPLES, len(seeds)))
        examples = "\n".join(" ".join(text.split()) for text in chosen)
        values = {"topic": topic, "number": number + 1}
        if not examples:
            return topic, t("new_prompts.context", **values)
        return topic, t("new_prompts.context_examples", examples=examples, **values)

    async def _replay(self, task: "SelfInstruct", runner: "ModelRunner") -> None:
        while self.missing > 0:
            topic, context = self._context(self._next)
            found = await runner.look_up(_messages(task, context))
            chosen = lookups.chosen([each.stored for each in found])
            if chosen is None or lookups.is_missing(found):
                return
            self.counts["stored"] += 1
            await self._take(task, found[chosen].stored, topic)
            self._next += 1

    async def _ask(self, task: "SelfInstruct", runner: "ModelRunner") -> None:
        while self.missing > 0 and self._fruitless < _FRUITLESS:
            size = max(1, min(self.requests(), _ROUND * self._concurrency))
            numbers = range(self._next, self._next + size)
            self._next += size
            failures = 0
            async with asyncio.TaskGroup() as group:
                answers = [group.create_task(self._answer(task, runner, number)) for number in numbers]
                for answer in answers:
                    topic, kept, failure, asked = await answer
                    self.counts["failed" if failure else "asked" if asked else "stored"] += 1
                    if failure:
                        failures += 1
                        self.reason = str(failure)
                    new = await self._take(task, kept, topic)
                    self._fruitless = 0 if new or not asked else self._fruitless + 1
            self._book.write(self._model)
            if failures == size:  # each has been tried several times
                return

    async def _answer(
        self, task: "SelfInstruct", runner: "ModelRunner", number: int
    ) -> tuple[str, StoredAnswer | None, UserError | None, bool]:
        """Return a request's topic, its answer, why that is missing, and whether the model was asked."""
        topic, context = self._context(number)
        conversation = _messages(task, context)
        found = await runner.look_up(conversation)
        asked = lookups.is_missing(found)
        return topic, *await runner.answer(conversation, found), asked

    async def _take(self, task: "SelfInstruct", kept: StoredAnswer | None, topic: str) -> int:
        """Take what is new in an answer; return how much that is."""
        text = clean(kept.answer.text[:_LOOK]) if kept else None
        if kept is None or text is None or self.missing <= 0:
            return 0
        cut = len(kept.answer.text) > _LOOK or kept.answer.finish_reason == "length"
        lines = task.format_output(text)["instructions"]
        texts = in_answer(lines, _MOST * self._config.new_prompts.per_request, cut)
        self.counts["instructions"] += len(texts)
        self.counts["unusable"] += texts.count(None)
        fresh: dict[str, str] = {}  # those of one answer may be alike, too
        for each in texts:
            if each is None:
                continue
            known = self._book.look(each)
            if not known and prompt_id(each) in fresh:
                known = "duplicates"
            if known:
                self.counts[known] += 1
            else:
                fresh[prompt_id(each)] = each
        wrong = await self._wrong(list(fresh.values()), topic)
        new = 0
        for each in fresh.values():
            known = "wrong" if each in wrong else self._book.look(each) or "new"
            if known == "new":
                if self.missing <= 0:  # left for a later run
                    self.counts["instructions"] -= 1
                    continue
                new += 1
                self._book.add(NewPrompt(each, topic))
            self.counts[known] += 1
        return new

    async def _wrong(self, texts: Sequence[str], topic: str) -> set[str]:
        """Return those that are in the wrong language."""
        if self._judge is None or not texts:
            return set()
        judgements = await asyncio.gather(*(self._judge.check(text, topic) for text in texts))
        verdicts = [judgement.verdict for judgement in judgements]
        wrong = {text for text, verdict in zip(texts, verdicts, strict=True) if verdict == "wrong"}
        # One of them may be too short to tell; together they say more.
        rest = [text for text, verdict in zip(texts, verdicts, strict=True) if verdict == "unchecked"]
        if len(rest) > 1 and (await self._judge.check("\n".join(rest), topic)).verdict == "wrong":
            wrong.update(rest)
        return wrong


def _messages(task: "SelfInstruct", context: str) -> list[Message]:
    return [{"role": each["role"], "content": each["content"]} for each in task.format_input({"input": context})]


def judge_for(config: Settings) -> LanguageWorker | None:
    """Start a judge of the project's language; None if nobody can judge it."""
    gate = Gate(config.language.tag, config.language.script)
    return LanguageWorker(config.language.tag, config.language.script) if gate.supported else None

"""New prompts from a model: what it is asked, which lines of its answers are prompts, and which of these are new."""

import asyncio
import contextlib
import json
import math
import os
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kto.ask import lookups, prompt_sources
from kto.ask.cleaning import clean
from kto.ask.language_worker import LanguageWorker
from kto.ask.prompt_files import Selection
from kto.ask.prompt_sources import prompt_id
from kto.ask.store import Message, StoredAnswer
from kto.ask.targets import ModelTarget
from kto.ask.writer import AnswerWriter
from kto.errors import UserError
from kto.near_duplicates import NearDuplicates, size_for
from kto.settings import Settings
from kto.texts import t

if TYPE_CHECKING:
    from distilabel.steps.tasks import SelfInstruct


# Answers, then what became of the prompts in them; see the texts `new_prompts.count_…`.
COUNTS = ("asked", "stored", "failed", "instructions", "offered", "unusable", "wrong", "duplicates", "near", "new")
LONGEST = 1000  # characters of a prompt
_MIN_LETTERS = 8  # of a prompt; a wide letter counts as three
_MAX_ANSWER = 100_000  # characters of an answer that are read: hostile ones have millions
_MAX_LINES = 4  # lines of an answer that are read, times the prompts that were asked for
_EXAMPLES = 3  # prompts that a request shows
_MAX_EXAMPLE = 300  # characters
_ROUND = 2  # requests in a round per request in flight
_MAX_EMPTY_ROUNDS = 20  # stop after this many consecutive requests that brought nothing new

_BULLET = re.compile(r"^[-*+•–—]\s+")
_NUMBER = re.compile(r"^(\d{1,3})(?:[.):）：]{1,2}(?!\d)|[、．。])\s*")
_NO_PROMPT = re.compile(r"[#|{}<]|[\[\]]|```|~~~|[=_*-]{3}")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}|\[[^\[\]]*[^\W\d_]{2}[^\[\]]*\]|<[^<>]{2,60}>|_{3,}|\.{4,}")
_COLONS = (":", "：", "፦")
_QUOTES = {'"': '"', "'": "'", "“": "”", "”": "”", "„": "“", "‘": "’", "‚": "‘", "’": "’", "«": "»", "»": "«"}
_QUOTES |= {"‹": "›", "›": "‹", "「": "」", "『": "』", "＂": "＂", "`": "`"}
_CONTROLS = re.compile("[\u00ad\u202a-\u202e\u2060-\u2069\ufeff]")  # joiners and marks of direction stay


def in_answer(lines: Iterable[str], most: int, cut: bool) -> list[str | None]:
    """Return the prompts in the first `most` lines of an answer, None for a line that holds none.

    The last line of an answer that was `cut` is incomplete.
    """
    lines = [line for line in lines if line.strip()]
    lines = [_tidied(line) for line in (lines[:-1] if cut else lines)[:most]]
    # "7. sınıfta" may begin a question: only where there is a 1 are numbers those of a list.
    numbered = any((number := _NUMBER.match(line)) and int(number[1]) == 1 for line in lines)
    return [_prompt(_NUMBER.sub("", line) if numbered else line) for line in lines]


def _tidied(line: str) -> str:
    """Return a line in NFC and with single spaces, without a bullet and stars around it; "" if it is too long."""
    if len(line) > 2 * LONGEST:
        return ""
    text = " ".join(_CONTROLS.sub("", unicodedata.normalize("NFC", line)).split())
    return _BULLET.sub("", text).strip("* ")


def _prompt(line: str) -> str | None:
    """Return a line without the marks around the prompt, None if the rest is no prompt."""
    text = _unquoted(line.strip("* "))
    letters = [char for char in text if unicodedata.category(char)[0] in "LMN"]
    weight = sum(3 if unicodedata.east_asian_width(char) in "WF" else 1 for char in letters)
    if len(text) > LONGEST or weight < _MIN_LETTERS or text.endswith(_COLONS):
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


class PromptPool:
    """All known prompts (in use, proposed, rejected), and a test for new ones.

    To the file of new prompts, `output`, lines are only added. Those that somebody deletes there stay in
    `data/offered_prompts.jsonl`, so they do not come back.
    """

    def __init__(self, config: Settings, output: Path, token: str) -> None:
        self._output, self._offered_path = output, config.root / "data" / "offered_prompts.jsonl"
        self._column = config.generation.prompt_column
        self._rows: list[dict[str, str]] = []  # not written yet
        written = prompt_sources.read(output, Selection(self._column)) if output.exists() else []
        offered = prompt_sources.read(self._offered_path, Selection("prompt")) if self._offered_path.exists() else []
        # The file of new prompts may be a source before it exists, and there may be no prompt yet.
        origins = [
            origin
            for origin in prompt_sources.sources(config)
            if not isinstance(origin, Path) or origin.exists() or origin.resolve() != output
        ]
        in_use = [prompt.text for prompt in prompt_sources.load(config, token=token, origins=origins).prompts]
        self.size = len({*map(prompt_id, written)})  # prompts in the file
        # A run may have ended between the two files.
        remembered = {*map(prompt_id, offered)}
        self._note([text for text in written if prompt_id(text) not in remembered])
        texts = {prompt_id(text): text for text in (*in_use, *written, *offered)}
        self._known = dict.fromkeys(texts, "duplicates") | {prompt_id(text): "offered" for text in (*written, *offered)}
        self._near = NearDuplicates(texts.values(), config.new_prompts.similarity, size_for(config.language.script))
        starter: list[str] = []
        with contextlib.suppress(UserError):  # somebody may have deleted it
            starter = prompt_sources.read(config.root / prompt_sources.STARTER, Selection("prompt"))
        # Examples are chosen from the prompts of the project, without new ones.
        self.seeds = self._without_offered(in_use) or self._without_offered(starter)

    def _without_offered(self, texts: Iterable[str]) -> list[str]:
        return [text for text in texts if self._known.get(prompt_id(text)) != "offered"]

    def why_not_new(self, text: str) -> str:
        """Return why a prompt is not new ("offered", "duplicates" or "near"), "" if it is."""
        return self._known.get(prompt_id(text)) or ("near" if self._near.find(text) is not None else "")

    def add(self, text: str, topic: str, model: str) -> None:
        """Add a new prompt; the next `write` adds it to the file."""
        # Its first column; if that is called `topic` or `model`, the file has no other of this name.
        self._rows.append({self._column: text, "topic": topic, "model": model} | {self._column: text})
        self._known[prompt_id(text)] = "duplicates"
        self._near.add(text)

    def write(self) -> None:
        """Add what is new to the file; raise `UserError` if it cannot be written."""
        rows, self._rows = self._rows, []
        _append(self._output, rows)
        self._note([row[self._column] for row in rows])

    def _note(self, texts: Sequence[str]) -> None:
        _append(self._offered_path, [{"prompt": text} for text in texts])


def _append(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Add lines to a file without touching the others, also if somebody has it open."""
    if not rows:
        return
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.seek(0)
            begin = b"" if file.read().endswith(b"\n") or not file.tell() else b"\n"
            file.write(begin + lines.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError("cannot_write", path=path, reason=error.strerror or error) from None


class PromptMaker:
    """Asks one model for prompts and adds the new ones to the pool, in the order of the requests.

    What is asked depends only on the number of a request, the settings and the project's prompts. So a later run asks
    the same, finds the answers in the store, and goes on after them. Without `language` no prompt's is checked.
    """

    def __init__(self, config: Settings, pool: PromptPool, wanted: int, language: LanguageWorker | None) -> None:
        self._config, self._pool, self._language = config, pool, language
        self._topics = config.new_prompts.topics or (config.project.domain,)
        self._seeds = [text for text in pool.seeds if len(text) <= _MAX_EXAMPLE]
        self._next = 0  # number of a request
        self._empty_rounds = 0  # consecutive requests that brought nothing new
        self.wanted = wanted
        self.counts = Counter[str]()  # by the names in `COUNTS`
        self.reason = ""  # why a request failed

    @property
    def missing(self) -> int:
        """Number of prompts still to make."""
        return self.wanted - self.counts["new"]

    def requests(self) -> int:
        """Return about how many requests that takes, going by those that have been answered."""
        answered = self.counts["asked"] + self.counts["stored"]
        brought = self.counts["new"] + self.counts["offered"]
        usual = brought / answered if answered else self._config.new_prompts.per_request
        return math.ceil(self.missing / max(usual, 0.5))

    async def run(self, target: ModelTarget, writer: AnswerWriter, only_stored: bool = False) -> None:
        """Ask until there are enough prompts, or nothing new comes any more; `only_stored`: read the store alone."""
        from kto.ask.runner import ModelRunner

        task = self._task(target, writer)
        runner = ModelRunner(target, writer, self._language)
        try:
            while self.missing > 0 and self._empty_rounds < _MAX_EMPTY_ROUNDS:
                size = 1 if only_stored else max(1, min(self.requests(), _ROUND * target.concurrency))
                failures = self.counts["failed"]
                async with asyncio.TaskGroup() as group:
                    requests = []
                    for index in range(self._next, self._next + size):
                        topic, conversation = self._request(task, index)
                        found = runner.look_up(conversation)
                        asked = lookups.is_missing(found)
                        if asked and only_stored:
                            return
                        requests.append((topic, asked, group.create_task(runner.answer(conversation, found))))
                    for topic, asked, request in requests:
                        stored, failure = await request
                        self._next += 1
                        self.reason = str(failure or self.reason)
                        self.counts["failed" if failure else "asked" if asked else "stored"] += 1
                        new = await self._take(task, stored, topic, target.public_name)
                        self._empty_rounds = 0 if new or not asked else self._empty_rounds + 1
                self._pool.write()
                if self.counts["failed"] - failures == size:  # each has been tried several times
                    return
        finally:
            await runner.close()
            self._pool.write()

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

    def _request(self, task: "SelfInstruct", index: int) -> tuple[str, list[Message]]:
        """Return the topic of a request, and the conversation that asks for prompts about it."""
        topic = self._topics[index % len(self._topics)]
        values = {"topic": topic, "number": index + 1}
        chosen = random.Random(f"{index}").sample(self._seeds, min(_EXAMPLES, len(self._seeds)))
        if chosen:
            examples = "\n".join(" ".join(text.split()) for text in chosen)
            context = t("new_prompts.context_examples", examples=examples, **values)
        else:
            context = t("new_prompts.context", **values)
        return topic, task.format_input({"input": context})

    async def _take(self, task: "SelfInstruct", stored: StoredAnswer | None, topic: str, model: str) -> int:
        """Add what is new in an answer to the pool; return the number of new prompts."""
        text = clean(stored.answer.text[:_MAX_ANSWER]) if stored else None
        if stored is None or text is None or self.missing <= 0:
            return 0
        before = self.counts["new"]
        cut = len(stored.answer.text) > _MAX_ANSWER or stored.answer.finish_reason == "length"
        lines = task.format_output(text)["instructions"]
        prompts = in_answer(lines, _MAX_LINES * self._config.new_prompts.per_request, cut)
        self.counts["instructions"] += len(prompts)
        new = dict.fromkeys(prompt for prompt in prompts if prompt and not self._pool.why_not_new(prompt))
        wrong = await self._wrong(list(new), topic)
        for prompt in prompts:
            if prompt is None:
                why = "unusable"
            elif prompt in wrong:
                why = "wrong"
            else:
                why = self._pool.why_not_new(prompt)  # two of one answer may be alike
            if prompt is None or why:
                self.counts[why] += 1
            elif self.missing > 0:
                self._pool.add(prompt, topic, model)
                self.counts["new"] += 1
            else:
                self.counts["instructions"] -= 1  # left for a later run
        return self.counts["new"] - before

    async def _wrong(self, texts: Sequence[str], topic: str) -> set[str]:
        """Return the texts in the wrong language."""
        if self._language is None:
            return set()
        checks = await asyncio.gather(*(self._language.check(text, topic) for text in texts))
        wrong = {text for text, check in zip(texts, checks, strict=True) if check.verdict == "wrong"}
        # One of them may be too short to tell; together they say more.
        rest = [text for text, check in zip(texts, checks, strict=True) if check.verdict == "unchecked"]
        if len(rest) > 1 and (await self._language.check("\n".join(rest), topic)).verdict == "wrong":
            wrong.update(rest)
        return wrong

"""Which answers are wanted, which of them are missing, and what the missing ones will take."""

import argparse
import contextlib
import dataclasses
import functools
import sqlite3
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kto import left_out
from kto.ask import lookups, pace, servers, table, targets
from kto.ask import prompt_sources as prompts_of
from kto.ask.cleaning import clean
from kto.ask.language import Gate, LanguageCheck
from kto.ask.language_worker import LanguageWorker
from kto.ask.lookups import Lookup, look_up
from kto.ask.prompt_sources import Prompt, messages
from kto.ask.servers import ModelList, Server
from kto.ask.store import Store, StoredAnswer
from kto.ask.targets import ModelTarget
from kto.errors import UserError
from kto.keys import secret
from kto.left_out import LeftOut
from kto.settings import Settings
from kto.tables import read_rows
from kto.texts import t

_BYTES_PER_TOKEN = 3  # of a prompt; about 4 in English, fewer where tokenizers know the script less well
_FRAME = 8  # tokens of a chat template around each message


class Estimate(NamedTuple):
    """What the missing answers of one model will take; tokens are estimates."""

    requests: int  # how many answers are missing
    read: int  # tokens of the prompts
    written: int  # tokens of the answers, if they are as long as earlier ones of the model, else at most
    cost: float | None  # dollars, None if the price is not known


@dataclasses.dataclass
class Plan:
    """Everything that is wanted: an answer of each model to each prompt."""

    config: Settings
    prompts: Sequence[Prompt]  # all rows of the table
    limit: int | None  # number of prompts that are asked, None: all; the others are in the table already
    targets: Sequence[ModelTarget]
    gate: Gate
    store: Store
    left_out: LeftOut  # what is not wanted any more
    # By prompt id: keys of the answers in the table that came after a language retry. They stay the ones that count:
    # people may have voted on them, also where the first answer would do by now.
    later: Mapping[str, Collection[str]]
    # By model and prompt: what the store has for the requests of an answer that is missing.
    wanted: dict[str, dict[str, Sequence[Lookup]]] = dataclasses.field(default_factory=dict)
    unusable: dict[str, UserError] = dataclasses.field(default_factory=dict)  # why models cannot be asked, by model
    _checked: dict[str, LanguageCheck] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def system_prompt(self) -> str:
        """What models are told before every prompt, "" for nothing."""
        return self.config.system_prompt

    @property
    def requests(self) -> int:
        """How many answers are missing."""
        return sum(map(len, self.wanted.values()))

    @property
    def incomplete(self) -> list[ModelTarget]:
        """The targets that lack answers."""
        return [target for target in self.targets if self.wanted[target.model]]

    def to_ask(self, target: ModelTarget) -> Mapping[str, Sequence[Lookup]]:
        """Return the part of `wanted` that a target can be asked for now."""
        return self.wanted[target.model] if target.server and target.model not in self.unusable else {}

    def rows(self) -> list[dict[str, str]]:
        """Return what goes into the pipeline: `prompt_id`, `input` and `system_prompt` of each prompt that is asked."""
        return [
            {"prompt_id": prompt.id, "input": prompt.text, "system_prompt": self.system_prompt}
            for prompt in self.prompts[: self.limit]
        ]

    def look_up(self, target: ModelTarget, prompt: Prompt) -> list[Lookup]:
        """Return what the store has for the requests of an answer, with the verdict of this version of the gate."""
        conversation = messages(self.system_prompt, prompt.text)

        def check(key: str, stored: StoredAnswer) -> StoredAnswer:
            if stored.check or not self.gate.supported:
                return stored
            self._checked[key] = self.gate.check(clean(stored.answer.text) or "", prompt.text)
            return StoredAnswer(stored.answer, self._checked[key])

        return look_up(self.store, target, self.gate.name, conversation, check, every=prompt.id in self.later)

    def chosen(self, prompt: Prompt, found: Sequence[Lookup]) -> int | None:
        """Return which request's answer counts, None if there is no answer."""
        later = self.later.get(prompt.id, ())
        for number, lookup in enumerate(found):
            if lookup.key in later and not lookups.is_wrong(lookup.stored):
                return number
        return lookups.chosen(found)

    def is_left_out(self, target: ModelTarget, prompt: Prompt) -> bool:
        """Tell whether a model's answer to a prompt has been taken out, so that it is not asked for."""
        conversation = messages(self.system_prompt, prompt.text)
        return self.left_out.was_asked(target.public_name, conversation)

    def find_missing(self) -> None:
        """Fill `wanted`."""
        none = {target.model: (Lookup(),) * len(target.requests) for target in self.targets}  # shared, to save memory
        asked = self.prompts[: self.limit]
        if not self.store.count() and not self.left_out.ids:
            texts = [prompt.text for prompt in asked]
            self.wanted = {model: dict.fromkeys(texts, nothing) for model, nothing in none.items()}
            return
        self.wanted = {target.model: {} for target in self.targets}
        for prompt in asked:
            for target in self.targets:
                found = self.look_up(target, prompt)
                if lookups.is_missing(found) and not self.is_left_out(target, prompt):
                    has_none = all(lookup == Lookup() for lookup in found)
                    self.wanted[target.model][prompt.text] = none[target.model] if has_none else found
        with contextlib.suppress(sqlite3.Error):  # then they are checked again the next time
            self.store.put([], [(self.gate.name, key, check) for key, check in self._checked.items()])

    def ask_servers(self, tolerant: bool, complete: bool) -> None:
        """Ask the servers for their models and note the prices; fill `unusable`.

        With `complete` also the servers of models that lack no answer: a step that somebody has added may use them.
        Raises `UserError` if none of the servers that have to answer can be used, unless that is tolerated.
        """
        needed = {target.server for target in self.incomplete}
        others = {target.server for target in self.targets} if complete else set()
        listed: dict[Server | None, ModelList | None] = {}
        problems: dict[Server | None, UserError] = {}
        for server in filter(None, needed | others):
            try:
                listed[server] = servers.model_list(server)
            except UserError as error:
                problems[server] = error
        if needed and not tolerant and needed <= problems.keys():
            raise next(problems[server] for server in needed)
        self.unusable = {
            target.model: problems[target.server] for target in self.incomplete if target.server in problems
        }
        wanted = [target.concurrency for target in self.targets]
        fitting = pace.fitting(wanted)  # no more requests in flight than this process may have connections
        if fitting != wanted:
            print(t("technical.fewer_connections", number=sum(fitting), wanted=sum(wanted)), flush=True)
        self.targets = [
            dataclasses.replace(target.priced(listed.get(target.server)), concurrency=fit)
            for target, fit in zip(self.targets, fitting, strict=True)
        ]

    def language_worker(self) -> contextlib.AbstractContextManager[LanguageWorker | None]:
        """Start what checks the language of new answers; None if nobody can check it, or there will be none."""
        if not (self.requests and self.gate.supported):
            return contextlib.nullcontext()
        return contextlib.closing(LanguageWorker(self.gate.tag, self.gate.script))

    def estimate(self) -> dict[str, Estimate]:
        """Return by model what its missing answers will take; an answer may take several requests."""
        usual = self.store.completion_tokens()
        system = len(self.system_prompt.encode())
        estimates = {}
        for target in self.targets:
            texts = self.wanted[target.model]
            size = sum(len(text.encode()) for text in texts) + system * len(texts)
            read = size // _BYTES_PER_TOKEN + 2 * _FRAME * len(texts)
            longest = int(target.arguments["max_tokens"])
            written = round(len(texts) * min(usual.get(target.model, longest), longest))
            estimates[target.model] = Estimate(len(texts), read, written, target.cost(read, written))
        return estimates


def make(config: Settings, store: Store, path: Path, options: argparse.Namespace) -> Plan:
    """Read the prompts, say what is odd about them, and find out which answers are missing.

    Answers that only an earlier table at `path` has go back into the store. `options` are those of generate.py. Raises
    `UserError` if prompts cannot be read, or a server has no address or no key.
    """
    read = prompts_of.load(config, options.limit, secret(config, "HF_TOKEN"))
    if read.duplicates:
        print(t("generate.duplicates", number=read.duplicates))
    if read.empty:
        print(t("generate.empty_rows", number=read.empty))
    for origin in read.unfiltered:
        print(t("technical.unfiltered", source=origin))
    gate = targets.gate_for(config)
    asked = targets.find(config, gate, options.base_url, needs_key=not options.dry_run)
    later = table.restore(store, path, asked)
    out = left_out.read(config.root)
    known = out.ids.union(prompt.id for prompt in read.prompts)
    rows = (row for row in read_rows(path, ("prompt_id", "input")) if row["prompt_id"] not in known)
    others = [Prompt(row["prompt_id"], row["input"]) for row in rows]
    prompts, limit = read.prompts, None
    if options.limit is not None:
        prompts, limit = [*prompts, *others], len(prompts)  # what is not asked stays in the table
    elif others:
        print(t("generate.gone", number=len(others), path=path), file=sys.stderr)
    plan = Plan(config, prompts, limit, asked, gate, store, out, later)
    plan.find_missing()
    return plan

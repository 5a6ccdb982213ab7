"""Which answers are wanted, which of them are missing, and what the missing ones will take."""

import contextlib
import dataclasses
import functools
import sqlite3
from collections.abc import Collection, Mapping, Sequence

from kto.ask import tries
from kto.ask.language_gate import UNCHECKED, Gate, Judgement
from kto.ask.prompts import Prompt, messages
from kto.ask.routes import Route
from kto.ask.store import Kept, Store
from kto.ask.tries import Try
from kto.cleaning import clean
from kto.left_out import LeftOut
from kto.model_names import public_names
from kto.settings import Settings

_BYTES_PER_TOKEN = 3  # of a prompt; about 4 in English, fewer where tokenizers know the script less well
_BATCH = 1000  # judgements in one transaction
_FRAME = 8  # tokens of a chat template around each message


@dataclasses.dataclass
class Plan:
    """Everything that is wanted: an answer of each route's model to each prompt.

    Attributes
    ----------
    wanted
        By model: numbers of the prompts that need a request, and what the store has for the tries of their answers.
    later
        By prompt: the answers in the table that were not the first try, by key. They stay the ones that count: people
        may have voted on them, also where the first try would do by now.
    left_out
        What is not wanted any more.
    asked
        So many of the prompts, the first ones, are asked; None: all. The others are in the table already.
    """

    config: Settings
    prompts: Sequence[Prompt]
    system_prompt: str
    routes: Sequence[Route]
    gate: Gate
    store: Store
    wanted: dict[str, dict[int, Sequence[Try]]] = dataclasses.field(default_factory=dict)
    later: Mapping[str, Collection[str]] = dataclasses.field(default_factory=dict)
    left_out: LeftOut = LeftOut()  # noqa: RUF009 (frozen)
    asked: int | None = None
    _judged: dict[str, Judgement] = dataclasses.field(default_factory=dict)

    def found(self, route: Route, prompt: Prompt) -> list[Try]:
        """Return what the store has for the tries of an answer, each judged."""
        conversation = messages(self.system_prompt, prompt.text)

        def judge(key: str, kept: Kept) -> Kept:
            return kept if kept.judgement else Kept(kept.answer, self._judge(key, kept, prompt))

        found: list[Try] = []
        for number in range(1 + route.tries.again):
            found.append(route.tries.find(self.store, self.gate.name, conversation, number, judge))
            enough = found[-1].kept is not None and not tries.is_wrong(found[-1].kept) and not found[-1].short
            if enough and prompt.id not in self.later:  # the later ones do not matter
                break
        return found

    def chosen(self, prompt: Prompt, found: Sequence[Try]) -> int | None:
        """Return which of the tries for an answer counts, None if there is no answer."""
        later = self.later.get(prompt.id, ())
        usable = (number for number, each in enumerate(found) if each.key in later and not tries.is_wrong(each.kept))
        return next(usable, tries.chosen([each.kept for each in found]))

    def _judge(self, key: str, kept: Kept, prompt: Prompt) -> Judgement:
        """Judge an answer that is older than the gate, once."""
        if not self.gate.supported:
            return UNCHECKED
        judgement = self._judged[key] = self.gate.judge(clean(kept.answer.text) or "", prompt.text)
        if len(self._judged) == _BATCH:
            self._keep_judgements()
        return judgement

    def _keep_judgements(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # then they are made again the next time
            self.store.put([], [(self.gate.name, key, judgement) for key, judgement in self._judged.items()])
        self._judged.clear()

    @functools.cached_property
    def names(self) -> dict[str, str]:
        """The public name of each model."""
        models = [route.model for route in self.routes]
        return dict(zip(models, public_names(models), strict=True))

    def is_left_out(self, route: Route, prompt: Prompt) -> bool:
        """Tell whether the answer of a route's model to a prompt has been taken out, so that it is not asked for."""
        if prompt.id in self.left_out.ids:
            return True
        return self.left_out.was_asked(self.names[route.model], messages(self.system_prompt, prompt.text))

    def look(self) -> None:
        """Find out what is missing."""
        nothing = {route.model: (Try(),) * (1 + route.tries.again) for route in self.routes}  # shared, to save memory
        if not self.store and not self.left_out.ids:
            numbers = range(len(self.prompts[: self.asked]))
            self.wanted = {model: dict.fromkeys(numbers, none) for model, none in nothing.items()}
            return
        self.wanted = {route.model: {} for route in self.routes}
        for number, prompt in enumerate(self.prompts[: self.asked]):
            for route in self.routes:
                found = self.found(route, prompt)
                if tries.is_missing(found) and not self.is_left_out(route, prompt):
                    none = all(each == Try() for each in found)
                    self.wanted[route.model][number] = nothing[route.model] if none else found
        self._keep_judgements()

    @property
    def requests(self) -> int:
        """How many answers are missing."""
        return sum(map(len, self.wanted.values()))

    def estimate(self) -> Mapping[str, "Estimate"]:
        """Return by model what its missing answers will take; answers may take more requests than one."""
        usual = self.store.completion_tokens()
        system = len(self.system_prompt.encode())
        found = {}
        for route in self.routes:
            numbers = self.wanted[route.model]
            size = sum(len(self.prompts[number].text.encode()) for number in numbers) + system * len(numbers)
            read = size // _BYTES_PER_TOKEN + 2 * _FRAME * len(numbers)
            longest = int(route.tries.arguments["max_tokens"])
            written = len(numbers) * longest
            expected = round(len(numbers) * min(usual.get(route.model, longest), longest))
            found[route.model] = Estimate(len(numbers), read, expected, written, route.prices)
        return found


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What the missing answers of one model will take.

    Attributes
    ----------
    requests
        How many are missing.
    read
        Tokens of the prompts, about.
    expected
        Tokens of the answers, if they are as long as those that the model gave before; otherwise as `written`.
    written
        Tokens of the answers, at most.
    prices
        Dollars per token read and written, None if they are not known.
    """

    requests: int
    read: int
    expected: int
    written: int
    prices: tuple[float, float] | None

    @property
    def cost(self) -> float | None:
        """Dollars, about; None if the price is not known."""
        return None if self.prices is None else self.read * self.prices[0] + self.expected * self.prices[1]

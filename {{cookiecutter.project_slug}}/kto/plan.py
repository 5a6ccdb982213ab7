"""Which answers are wanted, which of them are missing, and what the missing ones will take."""

import contextlib
import dataclasses
import sqlite3
from collections.abc import Mapping, Sequence

from kto import tries
from kto.config import Config
from kto.language_gate import UNCHECKED, Gate, Judgement
from kto.prompts import Prompt, messages
from kto.routes import Route
from kto.store import Kept, Store

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
    """

    config: Config
    prompts: Sequence[Prompt]
    system_prompt: str
    routes: Sequence[Route]
    gate: Gate
    store: Store
    wanted: dict[str, dict[int, Sequence[Kept | None]]] = dataclasses.field(default_factory=dict)
    _judged: dict[str, Judgement] = dataclasses.field(default_factory=dict)

    def kept(self, route: Route, prompt: Prompt) -> tuple[list[str], list[Kept | None]]:
        """Return the keys of the tries for an answer, and what the store has under them, each judged."""
        conversation = messages(self.system_prompt, prompt.text)
        keys: list[str] = []
        found: list[Kept | None] = []
        for number in range(1 + route.tries.again):
            keys.append(route.tries.key(conversation, number))
            kept = self.store.get(keys[-1], self.gate.name)
            if kept and kept.judgement is None:
                kept = Kept(kept.answer, self._judge(keys[-1], kept, prompt))
            found.append(kept)
            if kept and not tries.is_wrong(kept):  # the later ones do not matter
                break
        return keys, found

    def _judge(self, key: str, kept: Kept, prompt: Prompt) -> Judgement:
        """Judge an answer that is older than the gate, once."""
        if not self.gate.supported:
            return UNCHECKED
        judgement = self._judged[key] = self.gate.judge(kept.answer.text, prompt.text)
        if len(self._judged) == _BATCH:
            self._keep_judgements()
        return judgement

    def _keep_judgements(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # then they are made again the next time
            self.store.put([], [(self.gate.name, key, judgement) for key, judgement in self._judged.items()])
        self._judged.clear()

    def look(self) -> None:
        """Find out what is missing."""
        nothing = {route.model: (None,) * (1 + route.tries.again) for route in self.routes}  # shared, to save memory
        if not self.store:
            self.wanted = {model: dict.fromkeys(range(len(self.prompts)), none) for model, none in nothing.items()}
            return
        self.wanted = {route.model: {} for route in self.routes}
        for number, prompt in enumerate(self.prompts):
            for route in self.routes:
                _, found = self.kept(route, prompt)
                if not tries.is_complete(found):
                    self.wanted[route.model][number] = found if any(found) else nothing[route.model]
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

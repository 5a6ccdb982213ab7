"""distilabel's interface for models, in front of `kto.ask.asker`."""

import os
from pathlib import Path
from typing import Any

from distilabel.models.llms.base import AsyncLLM
from pydantic import PrivateAttr

from kto.ask import open_files
from kto.ask.asker import Asker, Manner
from kto.ask.endpoint import Endpoint
from kto.ask.judging import Judge
from kto.ask.keeper import Keeper, Keeping
from kto.ask.store import Message
from kto.ask.tries import Tries

KEEPERS: dict[str, Keeping] = {}
"""Keepers that are open in this process already, by what `StoredLLM.keeper` names."""
JUDGES: dict[tuple[str, str], Judge] = {}
"""Judges that are at work for this process already, by language and script."""


class StoredLLM(AsyncLLM):
    """A model whose answers are kept as they come, and that is asked only for those that are not there yet.

    Attributes
    ----------
    model
        Its name in the project; answers are kept under it.
    keeper
        Who keeps the answers: a key of `KEEPERS`, or the path of an answer store.
    base_url, key_variable
        The server, and the environment variable that holds the key for it ("": none).
    arguments, firmly, again, weights
        See `kto.ask.tries.Tries`.
    body, concurrency, attempts, timeout, prices, unsupported, loading_timeout
        See `kto.ask.asker.Manner`.
    language, script
        As `kto.ask.judging.Judge` takes them; without a language nothing is judged.
    """

    model: str
    keeper: str
    base_url: str
    key_variable: str = ""
    body: dict[str, Any]
    arguments: dict[str, Any]
    firmly: str = ""
    again: int = 0
    weights: str = ""
    language: str = ""
    script: str = ""
    concurrency: int
    attempts: int
    timeout: float
    prices: tuple[float, float] | None = None
    unsupported: tuple[str, ...] = ()
    loading_timeout: float = 600.0

    _own: Keeper | None = PrivateAttr(default=None)
    _own_judge: Judge | None = PrivateAttr(default=None)
    _asker: Asker = PrivateAttr()

    @property
    def model_name(self) -> str:
        """Return the name in the project."""
        return self.model

    @property
    def asker(self) -> Asker:
        """What does the work; there after `load`."""
        return self._asker

    def load(self) -> None:
        """Get ready; called in the process that asks."""
        super().load()
        keeper = KEEPERS.get(self.keeper)
        if keeper is None:
            keeper = self._own = Keeper(Path(self.keeper))
        endpoint = Endpoint(self.base_url, os.environ.get(self.key_variable, "") if self.key_variable else "")
        [concurrency] = open_files.room_for([self.concurrency])
        how = self.attempts, self.timeout, self.prices, self.unsupported, self.loading_timeout
        manner = Manner(endpoint, self.body, concurrency, *how)
        tries = Tries(self.model, self.arguments, self.firmly, self.again, self.weights)
        self._asker = Asker(tries, manner, keeper, self._find_judge())

    def _find_judge(self) -> Judge | None:
        if not self.language:
            return None
        judge = JUDGES.get((self.language, self.script))
        if judge is None:
            judge = self._own_judge = Judge(self.language, self.script)
        return judge

    def unload(self) -> None:
        """Close what `load` opened."""
        super().unload()
        if self._own_judge:
            self._own_judge.close()
            self._own_judge = None
        if self._own:
            self._own.close()
            self._own = None

    async def agenerate(self, input: list[Message], num_generations: int = 1) -> dict[str, Any]:  # type: ignore[override]
        """Return the answer to one conversation, from the store or from the server.

        Args:
            input: the messages.
            num_generations: always 1.

        Returns:
            Lists with one item each: the text (None for a gap), and why there is a gap ("" if there is none).
        """
        kept, failure = await self._asker.answer(input, await self._asker.look_up(input))
        return {"generations": [kept.answer.text if kept else None], "statistics": {}, "failure": [failure]}

    async def _agenerate(self, inputs: list[Any], num_generations: int = 1, **kwargs: Any) -> list[Any]:
        try:
            return await super()._agenerate(inputs, num_generations, **kwargs)
        finally:
            await self._asker.close()

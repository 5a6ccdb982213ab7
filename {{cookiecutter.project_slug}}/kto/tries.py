"""One wanted answer: what is asked first, and the firmer requests that follow an answer in the wrong language."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kto.store import Kept, Message, answer_key


@dataclasses.dataclass(frozen=True)
class Tries:
    """How one model is asked.

    Attributes
    ----------
    model
        Its name in the project.
    arguments
        What the answer depends on besides model and messages (`max_tokens`, `temperature`, …); sent as they are.
    firmly
        What is added to the prompt after an answer in the wrong language, in the wanted one.
    again
        How often that is done.
    weights
        Digest of the files of a model in a folder, "" for others.
    """

    model: str
    arguments: Mapping[str, Any]
    firmly: str = ""
    again: int = 0
    weights: str = ""

    def messages(self, conversation: Sequence[Message], number: int) -> list[Message]:
        """Return the conversation as it is sent the first time (`number` 0) or later."""
        if not number:
            return list(conversation)
        *before, prompt = conversation
        return [*before, {**prompt, "content": f"{prompt['content']}\n\n{self.firmly}"}]

    def key(self, conversation: Sequence[Message], number: int) -> str:
        """Return the answer's key in the store."""
        # The second firm request has the same text as the first one, and is still another one.
        arguments = {**self.arguments, "try": number} if number > 1 else self.arguments
        return answer_key(self.model, self.messages(conversation, number), arguments, self.weights)

    def keys(self, conversation: Sequence[Message]) -> list[str]:
        """Return the keys of all tries."""
        return [self.key(conversation, number) for number in range(1 + self.again)]


def is_wrong(kept: Kept | None) -> bool:
    """Tell whether there is an answer, in the wrong language."""
    return kept is not None and kept.judgement is not None and kept.judgement.verdict == "wrong"


def chosen(tries: Sequence[Kept | None]) -> int | None:
    """Return which try counts: the first that is not in the wrong language, else the last; None if there is none."""
    there = [number for number, kept in enumerate(tries) if kept]
    return next((number for number in there if not is_wrong(tries[number])), there[-1] if there else None)


def is_complete(tries: Sequence[Kept | None]) -> bool:
    """Tell whether nothing more has to be asked: an answer in the right language, or one to the last try."""
    return tries[-1] is not None or any(kept and not is_wrong(kept) for kept in tries)

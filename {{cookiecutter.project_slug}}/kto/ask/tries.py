"""One wanted answer: what is asked first, and the firmer requests that follow an answer in the wrong language."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kto.ask.store import Answer, Kept, Message, Store, Stored, answer_key
from kto.cleaning import has_text


class Try(NamedTuple):
    """What the store has for one try of an answer.

    Attributes
    ----------
    kept
        The answer that counts, None if there is none. An answer without a text is none, and is asked for again.
    key
        Its key in the store.
    empty
        The answers without a text that were given instead, the newest last; they stay where they are, and the next
        answer is kept beside them.
    short
        The answer was cut by `max_tokens`, and more are allowed now: it is asked for again.
    """

    kept: Kept | None = None
    key: str = ""
    empty: tuple[Answer, ...] = ()
    short: bool = False


def is_empty(answer: Answer) -> bool:
    """Tell whether there is nothing to read, although nobody refused to answer."""
    return not answer.refused and not has_text(answer.text)


def _as_it_is(_key: str, kept: Kept) -> Kept:
    return kept


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

    def key(self, conversation: Sequence[Message], number: int, empty: int = 0) -> str:
        """Return the answer's key in the store, behind so many answers without a text."""
        return self._key(self.messages(conversation, number), number, empty, self.arguments)

    def _key(self, messages: Sequence[Message], number: int, empty: int, arguments: Mapping[str, Any]) -> str:
        # The second firm request has the same text as the first one, and is still another one.
        further = ({"try": number} if number > 1 else {}) | ({"empty": empty} if empty else {})
        return answer_key(self.model, messages, {**arguments, **further}, self.weights)

    def keys(self, conversation: Sequence[Message]) -> list[str]:
        """Return the keys of all tries."""
        return [self.key(conversation, number) for number in range(1 + self.again)]

    def find(
        self,
        store: Store,
        gate: str,
        conversation: Sequence[Message],
        number: int,
        judge: Callable[[str, Kept], Kept] = _as_it_is,
    ) -> Try:
        """Return what the store has for a try, whatever `max_tokens` was when it was asked for.

        Parameters
        ----------
        judge
            Gets an answer's key and the answer, and returns it with a judgement.
        """
        key = self.key(conversation, number)
        kept = store.get(key, gate)
        if kept and kept.answer.finish_reason != "length" and not is_empty(kept.answer):
            return Try(judge(key, kept), key)
        alike = store.alike(self.model, self.messages(conversation, number), gate)
        same = [each for each in alike if self._asks_for(each, conversation, number, len(alike))]
        there = {each.key: each.kept.answer for each in same}
        exact: list[str] = []  # keys of answers to the very request that would be sent now
        while (next_key := self.key(conversation, number, len(exact))) in there:
            exact.append(next_key)
        empty = tuple(there[each] for each in exact if is_empty(there[each]))
        answers = [each._replace(kept=judge(each.key, each.kept)) for each in same if not is_empty(each.kept.answer)]
        if not answers:
            return Try(empty=empty)
        now = int(self.arguments["max_tokens"])
        limits = {each.key: now if each.key in exact else _limit(each) for each in answers}
        whole = {each.key for each in answers if each.kept.answer.finish_reason != "length"}

        def rank(each: Stored) -> tuple[bool, bool, bool, int]:
            return not is_wrong(each.kept), each.key in whole, each.key in exact, limits[each.key]

        best = max(reversed(answers), key=rank)  # of equal ones the newest
        short = not whole and max(limits.values()) < now
        return Try(best.kept, best.key, empty, short)

    def _asks_for(self, stored: Stored, conversation: Sequence[Message], number: int, most: int) -> bool:
        """Tell whether a stored answer to the messages of a try is one to this try, whatever `max_tokens` was."""
        if not stored.arguments:  # it came back from a table, which does not tell them
            own = self.keys(conversation)
            return stored.key == own[number] or not (self.weights or stored.key in own)
        if {**stored.arguments, "max_tokens": 0} != {**self.arguments, "max_tokens": 0}:
            return False
        # What else it depends on is in its key alone.
        messages = self.messages(conversation, number)
        return any(stored.key == self._key(messages, number, empty, stored.arguments) for empty in range(most))


def _limit(stored: Stored) -> int:
    """Return the `max_tokens` of an answer; where they are not known, how many it has, for that is what cut it."""
    return int(stored.arguments.get("max_tokens") or stored.kept.answer.completion_tokens or 0)  # type: ignore[call-overload]


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


def is_missing(tries: Sequence[Try]) -> bool:
    """Tell whether something has to be asked: no answer will do, or it was cut where it need not be any more."""
    kept = [each.kept for each in tries]
    number = chosen(kept)
    return number is None or not is_complete(kept) or tries[number].short

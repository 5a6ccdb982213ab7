"""Which stored answer counts for a prompt, of the first request and the language retries; is it missing or wrong?"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from kto.ask.cleaning import clean
from kto.ask.store import Answer, Candidate, Message, Store, StoredAnswer
from kto.ask.targets import ModelTarget

Check = Callable[[str, StoredAnswer], StoredAnswer]
"""Returns an answer, given with its key, with a verdict on its language."""


class Lookup(NamedTuple):
    """What the store has for one request."""

    stored: StoredAnswer | None = None  # the answer that counts; one without a text does not
    key: str = ""  # of that answer
    empty: tuple[Answer, ...] = ()  # answers without a text, the newest last
    short: bool = False  # `max_tokens` cut the answer, and more are allowed now, so it is asked for again


def is_empty(answer: Answer) -> bool:
    """Tell whether an answer has nothing to read, and is no refusal."""
    return not answer.refused and clean(answer.text) is None


def look_up(
    store: Store,
    target: ModelTarget,
    gate: str,
    conversation: Sequence[Message],
    check: Check = lambda _, stored: stored,
    every: bool = False,
) -> list[Lookup]:
    """Return what the store has for the requests of an answer, whatever `max_tokens` was when they were sent.

    The list ends with the first answer that needs no retry, or has all requests (`every`). `gate` is the name of the
    language gate whose verdict comes with an answer.
    """
    found: list[Lookup] = []
    for number in target.requests:
        found.append(_look_up(store, target, gate, conversation, number, check))
        last = found[-1]
        if last.stored and not (last.short or is_wrong(last.stored) or every):
            break
    return found


def _look_up(
    store: Store, target: ModelTarget, gate: str, conversation: Sequence[Message], number: int, check: Check
) -> Lookup:
    first = target.key(conversation, number)
    stored = store.get(first, gate)
    if stored and stored.answer.finish_reason != "length" and not is_empty(stored.answer):
        return Lookup(check(first, stored), first)
    alike = store.alike(target.model, target.messages(conversation, number), gate)

    def is_answer(candidate: Candidate) -> bool:
        if not candidate.arguments:  # restored from a table, which does not hold them
            others = (target.key(conversation, request) for request in target.requests)
            return candidate.key == first or not (target.weights or candidate.key in others)
        if {**candidate.arguments, "max_tokens": 0} != {**target.arguments, "max_tokens": 0}:
            return False
        # The rest that it depends on is in its key alone.
        tried = (target.key(conversation, number, empty, candidate.arguments) for empty in range(len(alike)))
        return candidate.key in tried

    same = {answer.key: answer for answer in alike if is_answer(answer)}
    exact: list[str] = []  # keys of answers to the very request that would be sent now
    while (key := target.key(conversation, number, len(exact))) in same:
        exact.append(key)
    empty = tuple(same[key].stored.answer for key in exact if is_empty(same[key].stored.answer))
    answers = {key: check(key, answer.stored) for key, answer in same.items() if not is_empty(answer.stored.answer)}
    if not answers:
        return Lookup(empty=empty)
    now = int(target.arguments["max_tokens"])
    # Where the limit of an answer is not known, its length counts, because that is what cut it.
    known = {key: same[key].arguments.get("max_tokens") or answers[key].answer.completion_tokens for key in answers}
    limits = {key: now if key in exact else int(str(known[key] or 0)) for key in answers}
    whole = {key for key, stored in answers.items() if stored.answer.finish_reason != "length"}

    def rank(key: str) -> tuple[bool, bool, bool, int]:
        return not is_wrong(answers[key]), key in whole, key in exact, limits[key]

    best = max(reversed(answers), key=rank)  # of equal ones the newest
    return Lookup(answers[best], best, empty, short=not whole and max(limits.values()) < now)


def is_wrong(stored: StoredAnswer | None) -> bool:
    """Tell whether there is an answer, in the wrong language."""
    return stored is not None and stored.check is not None and stored.check.verdict == "wrong"


def chosen(found: Sequence[Lookup]) -> int | None:
    """Return which request's answer counts: the first not in the wrong language, else the last; None without any."""
    given = [number for number, lookup in enumerate(found) if lookup.stored]
    return next((number for number in given if not is_wrong(found[number].stored)), given[-1] if given else None)


def best(found: Sequence[Lookup]) -> StoredAnswer | None:
    """Return the answer that counts, None if there is none."""
    number = chosen(found)
    return None if number is None else found[number].stored


def is_missing(found: Sequence[Lookup]) -> bool:
    """Tell whether a request is needed: no answer will do, or it was cut where it need not be any more.

    An answer to the last retry will do in any language.
    """
    number = chosen(found)
    if number is None or found[number].short:
        return True
    return is_wrong(found[number].stored) and found[-1].stored is None

"""What the store has for an answer: the reply to the first request, and to each language retry."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from kto.ask.store import Answer, Candidate, Message, Store, StoredAnswer
from kto.ask.targets import ModelTarget
from kto.cleaning import has_text

Check = Callable[[str, StoredAnswer], StoredAnswer]
"""Gets an answer's key and the answer, and returns it with a verdict on its language."""


class Lookup(NamedTuple):
    """What the store has for one request.

    Attributes
    ----------
    stored
        The answer that counts, None if there is none. An answer without a text does not count; it is asked for again.
    key
        Its key in the store.
    empty
        The answers without a text that were given instead, the newest last.
    short
        The answer was cut by `max_tokens`, and more are allowed now: it is asked for again.
    """

    stored: StoredAnswer | None = None
    key: str = ""
    empty: tuple[Answer, ...] = ()
    short: bool = False


def is_empty(answer: Answer) -> bool:
    """Tell whether an answer has nothing to read, and is no refusal."""
    return not answer.refused and not has_text(answer.text)


def look_up(
    store: Store,
    target: ModelTarget,
    gate: str,
    conversation: Sequence[Message],
    check: Check = lambda _, stored: stored,
    every: bool = False,
) -> list[Lookup]:
    """Return what the store has for the requests of an answer, whatever `max_tokens` was when they were sent.

    The list ends with the first answer that needs no retry, or has all requests (`every`).

    Parameters
    ----------
    gate
        Name of the language gate whose verdict comes with the answer.
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
    key = target.key(conversation, number)
    stored = store.get(key, gate)
    if stored and stored.answer.finish_reason != "length" and not is_empty(stored.answer):
        return Lookup(check(key, stored), key)
    alike = store.alike(target.model, target.messages(conversation, number), gate)
    same = [answer for answer in alike if _is_answer_to(answer, target, conversation, number, len(alike))]
    by_key = {answer.key: answer.stored.answer for answer in same}
    exact: list[str] = []  # keys of answers to the very request that would be sent now
    while (next_key := target.key(conversation, number, len(exact))) in by_key:
        exact.append(next_key)
    empty = tuple(by_key[key] for key in exact if is_empty(by_key[key]))
    answers = [answer for answer in same if not is_empty(answer.stored.answer)]
    if not answers:
        return Lookup(empty=empty)
    answers = [answer._replace(stored=check(answer.key, answer.stored)) for answer in answers]
    now = int(target.arguments["max_tokens"])
    limits = {answer.key: now if answer.key in exact else _limit(answer) for answer in answers}
    whole = {answer.key for answer in answers if answer.stored.answer.finish_reason != "length"}

    def rank(answer: Candidate) -> tuple[bool, bool, bool, int]:
        return not is_wrong(answer.stored), answer.key in whole, answer.key in exact, limits[answer.key]

    best = max(reversed(answers), key=rank)  # of equal ones the newest
    return Lookup(best.stored, best.key, empty, short=not whole and max(limits.values()) < now)


def _is_answer_to(
    candidate: Candidate, target: ModelTarget, conversation: Sequence[Message], number: int, most: int
) -> bool:
    """Tell whether an answer to the messages of a request is one to this request, whatever `max_tokens` was."""
    if not candidate.arguments:  # restored from a table, which does not hold them
        own = [target.key(conversation, request) for request in target.requests]
        return candidate.key == own[number] or not (target.weights or candidate.key in own)
    if {**candidate.arguments, "max_tokens": 0} != {**target.arguments, "max_tokens": 0}:
        return False
    # The rest that it depends on is in its key alone.
    keys = (target.key(conversation, number, empty, candidate.arguments) for empty in range(most))
    return candidate.key in keys


def _limit(candidate: Candidate) -> int:
    """Return the `max_tokens` of an answer; where they are not known, its length, because that is what cut it."""
    return int(candidate.arguments.get("max_tokens") or candidate.stored.answer.completion_tokens or 0)  # type: ignore[call-overload]


def is_wrong(stored: StoredAnswer | None) -> bool:
    """Tell whether there is an answer, in the wrong language."""
    return stored is not None and stored.check is not None and stored.check.verdict == "wrong"


def chosen(answers: Sequence[StoredAnswer | None]) -> int | None:
    """Return which request's answer counts: the first not in the wrong language, else the last; None without any."""
    given = [number for number, stored in enumerate(answers) if stored]
    return next((number for number in given if not is_wrong(answers[number])), given[-1] if given else None)


def is_complete(answers: Sequence[StoredAnswer | None]) -> bool:
    """Tell whether nothing more is to be asked: an answer in the right language, or one to the last retry."""
    return answers[-1] is not None or any(stored and not is_wrong(stored) for stored in answers)


def is_missing(lookups: Sequence[Lookup]) -> bool:
    """Tell whether a request is needed: no answer will do, or it was cut where it need not be any more."""
    answers = [lookup.stored for lookup in lookups]
    number = chosen(answers)
    return number is None or not is_complete(answers) or lookups[number].short

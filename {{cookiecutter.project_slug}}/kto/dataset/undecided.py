"""What the lead has to decide: answers that somebody has flagged, and answers whose votes are tied."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kto.dataset.labels import Vote, VotedAnswers
from kto.vote import outdated
from kto.vote.overlap import Overlap


class Undecided(NamedTuple):
    """An answer that waits for the lead."""

    id: str  # of the record
    votes: Sequence[Vote]
    flags: tuple[str, ...] = ()  # what people have said against showing it
    is_tie: bool = False
    is_asked: bool = False  # a tie about which somebody else is going to be asked; nobody but the lead decides others


def find(
    flagged: VotedAnswers,
    flags: Mapping[str, tuple[str, ...]],
    others: VotedAnswers,
    overlap: Overlap,
    in_use: outdated.PromptsInUse,
) -> list[Undecided]:
    """Return what is undecided: flagged answers, then ties, and ties that a further vote may decide at the end.

    `flags` has those of the flagged answers, by record id; `others` are all other answers. Nobody is asked any more
    about answers to prompts that are not `in_use`.
    """
    found = [Undecided(id, answer.votes, flags[id], answer.origin == "tie") for id, answer in flagged.by_id.items()]
    ties = []
    for id, answer in others.by_id.items():
        if answer.origin == "tie":
            up, count = answer.up, len(answer.votes)
            wanted = overlap.wanted(up, count - up, overlap.is_measured(id))
            asked = wanted > count and not outdated.is_outdated(answer.votes[0]["prompt_id"], in_use)
            ties.append(Undecided(id, answer.votes, is_tie=True, is_asked=asked))
    return found + sorted(ties, key=lambda tie: tie.is_asked)

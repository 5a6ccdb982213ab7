"""Many people vote at once: nobody meets an error, no vote is lost or doubled, none is beyond the overlap.

How long it takes is measured by benchmarks/voting.py.
"""

import asyncio
from pathlib import Path

from voters import check, vote
from voting_service import VotingProcess, add_link, make_home

SECONDS, PEOPLE, OVERLAP = 20, 60, 3


def test_many_people_at_once(tmp_path: Path) -> None:
    answers = {
        f"Question {number}?": [f"{number} one", f"{number} **two**", f"{number} three"] for number in range(700)
    }
    path = make_home(tmp_path / "home", answers, OVERLAP)
    links = [add_link(path, f"person-{number}") for number in range(PEOPLE // 2)]
    links += [add_link(path)] * (PEOPLE - len(links))  # and those who come by a link in a channel
    with VotingProcess(path) as voting:
        results = asyncio.run(vote(voting.port, links, SECONDS, 0.5))
    assert not results.errors
    assert len(results.acknowledged) > 0.6 * PEOPLE * SECONDS / 0.5
    assert check(path, results, OVERLAP) == {"lost": 0, "doubled": 0, "beyond": 0, "wrong_status": 0}


def test_the_overlap_is_reached_by_few_and_by_many(tmp_path: Path) -> None:
    for people in (3, 25):
        path = make_home(tmp_path / str(people), {f"{number}?": ["one", "two"] for number in range(60)}, OVERLAP)
        with VotingProcess(path) as voting:
            links = [add_link(path, f"person-{number}") for number in range(people)]
            results = asyncio.run(vote(voting.port, links, 60, 0.01))
        assert not results.errors
        assert check(path, results, OVERLAP) == {"lost": 0, "doubled": 0, "beyond": 0, "wrong_status": 0}
        assert len(results.acknowledged) == 120 * OVERLAP and results.finished == people

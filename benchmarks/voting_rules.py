"""What votes are worth by each way of voting and each rule, in made-up communities whose truth is known; see README.md.

    python benchmarks/voting_rules.py [--answers N] [--runs N]

Prints tables in Markdown; the exit status is 1 if a figure is further from the reference than its tolerance.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "{{cookiecutter.project_slug}}"))
sys.dont_write_bytecode = True  # whatever is left in the template folder would be rendered

from kto.dataset.agreement import Units, agreement, counts_for_agreement  # noqa: E402
from kto.vote.simulation import COMMUNITIES, SCHEMES, Community, cast_votes, labels, simulate  # noqa: E402

NAMES = {
    "two": "two votes, ties out",
    "third": "third on ties, majority",
    "confidence": "third on ties, confidence ≥ 0.8",
    "three": "three for all, majority",
    "single": "one vote, as many votes as the second line",
}
REFERENCE = {
    ("careful", "two"): (1800, 78, 98.2),
    ("careful", "third"): (1999, 100, 95.8),
    ("careful", "confidence"): (1999, 95, 96.9),
    ("careful", "three"): (2700, 100, 95.8),
    ("mixed", "two"): (1800, 61, 90.0),
    ("mixed", "third"): (2150, 100, 84.1),
    ("mixed", "confidence"): (2150, 76, 92.2),
    ("mixed", "three"): (2700, 100, 84.1),
}
"""Votes for 900 answers, rows in percent, right labels in percent: by another simulator, which does not name its
people."""
TOLERANCE = (10, 1.5, 0.6)
FEATURES = 50  # of the toy


def learned(community: Community, answers: int, scheme: str, seed: int, weighted: bool) -> float:
    """Return how often a model is right that was trained on these rows.

    Answers are points, good on one side of a plane; the model is a plane, fitted to the labels by least squares.
    """
    chance = np.random.default_rng([seed, answers])
    direction = np.eye(FEATURES)[0]
    votes = cast_votes(community, answers, SCHEMES[scheme], seed)
    label, kept, sure = labels(votes, SCHEMES[scheme].rule)
    points = chance.normal(size=(answers, FEATURES))
    points[:, 0] = np.abs(points[:, 0]) * np.where(votes.truth, 1, -1)
    weight = (np.maximum(2 * sure - 1, 0) if weighted else np.ones(answers))[kept]
    points, target = points[kept], np.where(label[kept], 1.0, -1.0)
    square = (points * weight[:, None]).T @ points + np.eye(FEATURES)
    plane = np.linalg.solve(square, points.T @ (weight * target))
    return float(1 - np.arccos(plane @ direction / np.linalg.norm(plane)) / np.pi)


def show_rules(name: str, community: Community, answers: int, runs: int) -> bool:
    """Print the table of a community; return whether it is like the reference."""
    print(f"\n**{name}**\n")
    print("| | votes | rows | right | per 1,000 votes: worth | with weights | toy learns | with weights |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    is_like = True
    per_answer = 0.0
    for scheme, text in NAMES.items():
        outcome = simulate(community, answers, SCHEMES[scheme], runs=runs)
        per_answer = outcome.votes if scheme == "third" else per_answer
        count = round(answers * per_answer) if scheme == "single" else answers
        figures = (count * outcome.votes, 100 * outcome.kept, 100 * outcome.accuracy)
        reference = REFERENCE.get((name, scheme))
        cells = [f"{figures[0]:,.0f}", f"{figures[1]:.0f} %", f"{figures[2]:.1f} %"]
        if reference and answers == 900:
            cells = [f"{cell} ({known:,})" for cell, known in zip(cells, reference, strict=True)]
            is_like &= all(abs(a - b) <= most for a, b, most in zip(figures, reference, TOLERANCE, strict=True))
        cells += [f"{1000 * outcome.worth / outcome.votes:.0f}"]
        cells += [f"{1000 * outcome.weighted / outcome.votes:.0f}" if scheme != "single" else "–"]
        for weighted in (False, True):
            if weighted and scheme == "single":  # one vote has no confidence
                cells.append("–")
                continue
            right = [learned(community, count, scheme, seed, weighted) for seed in range(runs)]
            cells.append(f"{100 * np.mean(right):.1f} %")
        print(f"| {text} | {' | '.join(cells)} |")
    return is_like


def show_agreement(answers: int) -> None:
    """Print agreement three ways: with the third votes on ties, without them, and as three votes for all give it."""
    print("\n| agreement: α · AC1, 95 % interval | all votes, thirds on ties | the first two | three for all |")
    print("|---|--:|--:|--:|")
    for name, community in COMMUNITIES.items():
        votes = cast_votes(community, answers, SCHEMES["third"], 1)
        ballots = [good[cast].tolist() for good, cast in zip(votes.good, votes.cast, strict=True)]
        two = [
            [vote for vote, counts in zip(ballot, counts_for_agreement(len(ballot), False), strict=True) if counts]
            for ballot in ballots
        ]
        kinds: list[Units] = [ballots, two, votes.good.tolist()]
        cells = []
        for units in kinds:
            cells.append(" · ".join(f"{one.value:.2f} ({one.low:.2f} … {one.high:.2f})" for one in agreement(units)))
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> int:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=900)
    parser.add_argument("--runs", type=int, default=40)
    options = parser.parse_args()
    begin = time.process_time()
    is_like = [show_rules(name, one, options.answers, options.runs) for name, one in COMMUNITIES.items()]
    show_agreement(options.answers)
    print(f"\n{time.process_time() - begin:.0f} s of processor time", file=sys.stderr)
    return 0 if all(is_like) else 1


if __name__ == "__main__":
    sys.exit(main())

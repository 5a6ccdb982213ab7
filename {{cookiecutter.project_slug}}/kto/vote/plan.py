"""`vote.py plan`: how many votes and evenings this project's answers take, and what different rules make of them.

Nobody needs to be invited yet. `simulation.py` lets made-up communities vote; seconds per card are a setting, or
measured where people have voted, or guessed from the length of the cards.
"""

import argparse
import contextlib
import math
import sqlite3
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from kto.command_line import Parser
from kto.settings import Settings, load
from kto.texts import number, settings_file, t
from kto.vote.local import HOME, open_database

if TYPE_CHECKING:
    from kto.vote.simulation import Community, Outcome

READING = 863
"""Characters per minute, read aloud: mean of 17 languages, standard deviation 234 (S. Trauzettel-Klosinski, K. Dietz,
Investigative Ophthalmology & Visual Science 53, 2012, 5452–5461). Nobody has measured voting."""
ENOUGH_VOTES = 20  # from so many on, their time counts
_PEOPLE, _MINUTES = 8, 30
_FEWEST, _MOST = 3, 1000  # people: a third vote needs three
_SIMULATED = 5000  # answers at most; more change nothing
_IN_ALL = 10_000  # answers over all runs, for each figure
_LIKE_THIRD = "third"  # one vote per answer gets as many votes as this
_TIMES = """
SELECT json_extract(line, '$.ms') FROM kto_lines
WHERE json_extract(line, '$.vote') IN ('good', 'bad') AND json_extract(line, '$.ms') > 0"""


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(t("commands.plan"))
    parser.add_argument("--people", metavar="N", help=t("plan.help_people"))
    parser.add_argument("--minutes", metavar="N", help=t("plan.help_minutes"))
    parser.add_argument("--home", type=Path, metavar="DIR", help=t("server.help_home"))
    options = parser.parse_args(argv)
    for name, low, high in (("people", _FEWEST, _MOST), ("minutes", 1, 1440)):
        value = getattr(options, name)
        if value is None:
            continue
        if not (value.isascii() and value.isdigit() and low <= int(value[:10]) <= high):
            parser.error(t("cli.bad_value", option=f"--{name}", value=value))
        setattr(options, name, int(value))
    return options


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    config = load()
    from kto.vote.records import make_records, read_generations
    from kto.vote.simulation import COMMUNITIES

    records = make_records(read_generations(config))
    people = options.people or max(_FEWEST, len(config.annotation.annotators) or _PEOPLE)
    minutes = options.minutes or _MINUTES
    lengths = [sum(map(len, record["fields"].values())) for record in records]
    seconds, source = seconds_per_card(config, options.home, lengths)
    print(t("plan.answers", count=len(records)))
    print(source)
    print(t("plan.people", number=people, minutes=number(minutes)))
    votes_per_evening = people * minutes * 60 / seconds
    for name, community in COMMUNITIES.items():
        found = outcomes(community, len(records), people)
        print(f"\n{t(f'plan.{name}')}\n{table(found, len(records), votes_per_evening)}")
    print(f"\n{in_settings(config)}")
    if share := config.annotation.measured:
        print(t("technical.plan_measured", share=number(100 * share), count=round(share * len(records))))
    print(f"\n{t('plan.worth')}\n{t('plan.invented')}")
    return 0


def in_settings(config: Settings) -> str:
    """Return the lines of the settings that say which row of the tables is this project's."""
    annotation, rule = config.annotation, config.export.rule
    third = str(annotation.asks_third).lower()
    lines = f"min_submitted = {annotation.min_submitted}", f"third_vote = {third}", f'rule = "{rule}"'
    return f"{settings_file(config.root).name}: {' · '.join(lines)}"


def seconds_per_card(config: Settings, home: Path | None, lengths: list[int]) -> tuple[float, str]:
    """Return how long a vote takes, and a sentence that says where this comes from; `lengths` are those of cards."""
    wanted = config.annotation.seconds_per_card
    if wanted is not None:
        return wanted, t("plan.seconds_set", seconds=number(wanted))
    times = measured(home or config.root / HOME)
    if len(times) >= ENOUGH_VOTES:
        seconds = max(1.0, statistics.median(times))
        return seconds, t("plan.seconds_measured", seconds=number(seconds), count=len(times))
    length = statistics.median(lengths)
    seconds = max(1.0, length / READING * 60)
    return seconds, t("plan.seconds_guessed", seconds=number(seconds), length=number(length), speed=number(READING))


def measured(home: Path) -> list[float]:
    """Return how many seconds each vote on the voting page took, [] if there is no database in `home`."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(open_database(home)) as database:
        return [milliseconds / 1000 for (milliseconds,) in database.execute(_TIMES)]
    return []


def outcomes(community: "Community", answers: int, people: int) -> dict[str, "Outcome"]:
    """Return what each way of voting gives in this community, by name."""
    from kto.vote.simulation import SCHEMES, simulate

    simulated = min(answers, _SIMULATED)
    runs = max(3, round(_IN_ALL / simulated))
    return {name: simulate(community, simulated, scheme, people, runs) for name, scheme in SCHEMES.items()}


def table(outcomes: "dict[str, Outcome]", answers: int, votes_per_evening: float) -> str:
    """Return a table for people: a row for each way of voting; `votes_per_evening` are those of all people together."""
    from kto.ask.report import aligned

    heads = ["", *(t(f"plan.column_{name}") for name in ("votes", "evenings", "rows", "right", "worth"))]
    rows = []
    for name, outcome in outcomes.items():
        count = answers * (outcomes[_LIKE_THIRD].votes / outcome.votes if name == "single" else 1)
        votes = count * outcome.votes
        right = f"{number(100 * outcome.accuracy)} %" if math.isfinite(outcome.accuracy) else "–"
        figures = [number(votes), number(votes / votes_per_evening, 1), number(count * outcome.kept)]
        rows.append([t(f"plan.{name}"), *figures, right, number(count * outcome.worth)])
    return aligned(rows, heads, [None] * len(heads))

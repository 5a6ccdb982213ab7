"""How fast, how large and how steady generate.py is beside other ways to ask the same; see README.md.

    python benchmarks/generation.py [--only speed] [--prompts 300] [--peers] [--json FILE]

Prints a table in Markdown; the exit status is 1 if a limit is missed or an answer is not where it must be.
"""

import argparse
import importlib.util
import json
import os
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import workload
from contestants import Contestants, Result, account
from report import Report

FAILING, REFUSED = 0.01, 0.05  # shares of the prompts and of the requests, when the server is disturbed
PEERS_UP_TO = 3_000  # prompts; the others are slow


def median(results: Sequence[Result]) -> float:
    """Return the wall time in seconds that counts when the same was measured several times."""
    return statistics.median(each.run.seconds for each in results)


def worst(values: Iterable[float | None]) -> float | None:
    """Return the largest of the numbers, None if one could not be measured."""
    found = list(values)
    known = [value for value in found if value is not None]
    return max(known) if len(known) == len(found) else None


def check_whole(report: Report, name: str, results: Sequence[Result], run: Contestants, count: int) -> None:
    """Check that each answer was asked for once and is where it must be, and that no more were asked for at a time."""
    wanted = count * len(run.models)
    for each in results:
        report.exactly(name, each.account, account(0, wanted, {"200": wanted}))
        places = len(run.models) * run.options.in_flight
        report.at_most(f"{name}: most requests in flight", each.stats["most_in_flight"], places)


def speed(run: Contestants, report: Report, count: int) -> None:
    """Measure against the plain client, and against what the server's latency allows."""
    prompts, name = workload.prompts(count), f"speed, {count:,} prompts"
    pairs = [(run.other("openai_client.py", prompts), run.ours(prompts)) for _ in range(run.options.repeat)]
    client, ours = zip(*pairs, strict=True)
    theirs, seconds = median(client), median(ours)
    requests = count * len(run.models)
    limit = requests / (len(run.models) * run.options.in_flight / run.options.latency)
    check_whole(report, f"{name}: plain client", client, run, count)
    check_whole(report, f"{name}: generate.py", ours, run, count)
    report.at_most(f"{name}: theoretical limit", limit, unit=" s")
    report.at_most(f"{name}: plain client", theirs, unit=" s")
    report.at_most(f"{name}: generate.py", seconds, unit=" s")
    report.at_most(f"{name}: generate.py ÷ plain client", seconds / theirs, 1.10 if count < 10_000 else 1.00)
    report.at_most(f"{name}: generate.py ÷ theoretical limit", seconds / limit, 1.25)
    report.at_most(f"{name}: plain client ÷ theoretical limit", theirs / limit)
    report.at_most(f"{name}: generate.py, start to first request", worst(each.start for each in ours), 6.0, " s")
    report.at_most(f"{name}: plain client, start to first request", worst(each.start for each in client), unit=" s")
    peak = worst(each.run.peak for each in ours)
    report.memory(f"{name}: generate.py, peak memory", peak, 400.0 if count <= 3_000 else None)
    report.memory(f"{name}: plain client, peak memory", worst(each.run.peak for each in client))
    report.at_most(f"{name}: generate.py, processor time", worst(each.run.cpu for each in ours), unit=" s")
    report.at_most(f"{name}: plain client, processor time", worst(each.run.cpu for each in client), unit=" s")
    report.at_most(f"{name}: generate.py, processes", worst(each.run.processes for each in ours))
    if run.options.peers and count <= PEERS_UP_TO:
        if importlib.util.find_spec("distilabel") is None:
            print("distilabel is not installed, so it is left out.", file=sys.stderr)
            return
        peer = run.other("plain_distilabel.py", prompts)
        check_whole(report, f"{name}: distilabel", [peer], run, count)
        report.at_most(f"{name}: distilabel", peer.run.seconds, unit=" s")
        report.at_most(f"{name}: generate.py ÷ distilabel", seconds / peer.run.seconds)
        report.memory(f"{name}: distilabel, peak memory", peer.run.peak)


def second(run: Contestants, report: Report, count: int) -> None:
    """Run again when all answers are there."""
    prompts, name = workload.prompts(count), f"second run, {count:,} prompts"
    check_whole(report, f"{name}: first run", [run.ours(prompts)], run, count)
    again = run.ours(prompts, again=True)
    report.exactly(name, again.account, account(0, count * len(run.models), {}))
    report.at_most(f"{name}: generate.py", again.run.seconds, 10.0, " s")
    report.memory(f"{name}: peak memory", again.run.peak)


def disturbed(run: Contestants, report: Report, count: int) -> None:
    """Let one prompt in a hundred never be answered, and turn one request in twenty away once."""
    prompts, name = workload.prompts(count, FAILING), f"disturbed, {count:,} prompts"
    pairs = [
        (run.ours(prompts), run.ours(prompts, failing=FAILING, refused=REFUSED)) for _ in range(run.options.repeat)
    ]
    calm, rough = zip(*pairs, strict=True)
    bad = sum(workload.fails(prompt, FAILING) for prompt in prompts)
    replies = {
        "200": (count - bad) * len(run.models),
        "429": sum(workload.refused_once(model, prompt, REFUSED) for model in run.models for prompt in prompts),
        "500": bad * len(run.models) * run.attempts,
    }
    check_whole(report, f"{name}: undisturbed", calm, run, count)
    for each in rough:
        report.exactly(f"{name} (gaps count as right)", each.account, account(1, count * len(run.models), replies))
        # In one line with the model: the server's 500, and how many.
        lines = [rf"{model}\b.*\b500\b.*(?<![\d.,]){bad}(?![.,]?\d)" for model in run.models]
        named = sum(bool(re.search(line, each.run.output)) for line in lines)
        report.exactly(f"{name}: models whose gaps the output names", named, len(run.models))
    whole = sum(None not in answers for answers in run.table().values())
    report.exactly(f"{name}: rows without a gap", whole, count - bad)
    report.at_most(f"{name}: generate.py, undisturbed", median(calm), unit=" s")
    report.at_most(f"{name}: generate.py, disturbed", median(rough), unit=" s")
    report.at_most(f"{name}: disturbed ÷ undisturbed", median(rough) / median(calm), 1.3)


def memory(run: Contestants, report: Report, count: int) -> None:
    """Ask for many answers, and for a tenth of them; the server is quick, so that this ends."""
    small, large = (run.ours(workload.prompts(size), latency=0.02) for size in (count // 10, count))
    name = f"memory, {count:,} prompts"
    check_whole(report, f"{name} ÷ 10", [small], run, count // 10)
    check_whole(report, name, [large], run, count)
    report.memory(f"{name} ÷ 10: peak", small.run.peak)
    report.memory(f"{name}: peak", large.run.peak, 2_000.0)
    if small.run.peak and large.run.peak:
        report.at_most(f"{name}: peak ÷ peak of a tenth", large.run.peak / small.run.peak)
    report.at_most(f"{name}: generate.py", large.run.seconds, unit=" s")


SCENARIOS: dict[str, tuple[Callable[[Contestants, Report, int], None], list[int]]] = {  # with the limits' own sizes
    "speed": (speed, [3_000, 10_000]),
    "second": (second, [10_000]),
    "disturbed": (disturbed, [1_000]),
    "memory": (memory, [100_000]),
}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="this scenario (may be given several times)")
    parser.add_argument("--prompts", type=int, help="a size for all scenarios; the limits are for their own sizes")
    parser.add_argument("--models", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=50, help="requests at the same time, per model (50)")
    parser.add_argument("--latency", type=float, default=0.2, help="seconds per answer, except in `memory` (0.2)")
    parser.add_argument("--cpus", type=int, default=2, help="all processes share this many (2; 0: no limit)")
    parser.add_argument("--repeat", type=int, default=1, help="runs of speed and disturbed; their median counts (1)")
    parser.add_argument("--peers", action="store_true", help=f"distilabel, too, up to {PEERS_UP_TO:,} prompts; slow")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table and the options there, too")
    return parser.parse_args()


def main() -> int:
    """Run the scenarios; 1 if one row has failed."""
    options, report = parse(), Report()
    if options.cpus and sys.platform == "linux":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cpus])
    elif options.cpus:
        print("Only Linux can be told how many CPUs to use, so all are used.", file=sys.stderr)
    print("| what | value | limit | verdict |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        run = Contestants(options, Path(folder))
        for name in options.only or SCENARIOS:
            scenario, sizes = SCENARIOS[name]
            for count in [options.prompts] if options.prompts else sizes:
                report.sound = True
                scenario(run, report, count)
    if options.json:
        given = {name: value for name, value in vars(options).items() if name != "json"}
        found = {"options": given, "rows": report.rows}
        options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())

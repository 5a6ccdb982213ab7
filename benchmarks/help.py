"""What it costs to ask a command what it can do: `--help` and a wrong option; see README.md.

    python benchmarks/help.py [--repeat N]

Prints a table in Markdown; the exit status is 1 if a limit is missed.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from measuring import measure
from report import Report

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "parts"))
sys.dont_write_bytecode = True  # whatever is left in the template folder would be rendered

from generating import COMMANDS, environment  # noqa: E402
from rendering import render  # noqa: E402

LIMIT = 0.5  # seconds of processor time


def main() -> int:
    """Measure each command of a project."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="take the median of N starts (5)")
    repeat = parser.parse_args().repeat
    report = Report()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        project = render(folder)
        env = environment({"PYTHONPATH": str(project)})
        del env["PYTHONDONTWRITEBYTECODE"]

        def seconds(arguments: list[str]) -> float:
            command = [sys.executable, *arguments]
            measure(command, env, folder)  # there is bytecode then
            return statistics.median(measure(command, env, folder).cpu for _ in range(repeat))

        print("| | measured | limit | verdict |\n|---|---|---|---|")
        report.at_most("`python -c pass`", seconds(["-c", "pass"]), unit=" s")
        for script in COMMANDS:
            path, *words = str(project / script).rsplit(" ", script.count(" "))
            for option in ("--help", "--wrong"):
                report.at_most(f"`{script} {option}`", seconds([path, *words, option]), LIMIT, " s")
            empty = str(folder / "bytecode" / script)
            first = measure([sys.executable, "-X", f"pycache_prefix={empty}", path, *words, "--help"], env, folder)
            report.at_most(f"`{script} --help`, the first time", first.cpu, unit=" s")
    return int(not report.passed)


if __name__ == "__main__":
    sys.exit(main())

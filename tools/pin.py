"""Set the day that fixes all package versions: `python tools/pin.py 2026-12-24`. Needs `uv`.

Direct requirements are exact (`==`) and changed by hand, in `pyproject.toml` of the project and in the block (PEP 723)
of each script with an environment of its own. Their dependencies are the newest of that day: `exclude-newer` under
`[tool.uv]`. The tests run with pip, which has no such option, so `tests/constraints.txt` has a line per package.

Without a day, the day stays and only new packages get a line.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = REPOSITORY / "{{cookiecutter.project_slug}}"
CONSTRAINTS = REPOSITORY / "tests" / "constraints.txt"
SCRIPT = re.compile(r"^# /// script\n(?P<content>(?:^#(?: .*)?\n)+?)^# ///$", re.MULTILINE)
DAY = re.compile(r'(?<=exclude-newer = ")[^"]*')


def requirements_of(text: str) -> list[str]:
    """Return the direct requirements of a `pyproject.toml` or of the block in a script."""
    if block := SCRIPT.search(text):
        return list(tomllib.loads(re.sub(r"^# ?", "", block["content"], flags=re.MULTILINE))["dependencies"])
    data = tomllib.loads(text)
    return data["project"]["dependencies"] + [item for group in data["dependency-groups"].values() for item in group]


def compile_pins(requirements: list[str], day: str, kept: list[str]) -> list[str]:
    """Return exact pins of that day for Python 3.11 to 3.13 on every platform; versions in `kept` stay."""
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--no-header"]
    command += ["--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--exclude-newer", day, "-"]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(kept), encoding="utf-8")
        command += ["--constraint", str(constraints)]
        done = subprocess.run(command, input="\n".join(requirements), capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout.splitlines()


def main() -> None:
    """Write the day into each file, and the pins of the tests."""
    scripts = [path for path in PROJECT.rglob("*.py") if SCRIPT.search(path.read_text(encoding="utf-8"))]
    lines = (REPOSITORY / "tests" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = {line for line in lines if not line.startswith("#")}
    day = f"{sys.argv[1]}T00:00:00Z" if len(sys.argv) > 1 else ""
    for path in (PROJECT / "pyproject.toml", *scripts):
        text = path.read_text(encoding="utf-8")
        if day:
            path.write_text(DAY.sub(day, text), encoding="utf-8", newline="\n")
        if path.name != "server.py":  # Argilla's server needs older packages than its client
            wanted |= set(requirements_of(text))
    kept = [] if day else CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    found = DAY.search((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    pins = compile_pins(sorted(wanted), day or (found[0] if found else ""), kept)
    CONSTRAINTS.write_text("\n".join(pins) + "\n", encoding="utf-8", newline="\n")
    print(f"{CONSTRAINTS.relative_to(REPOSITORY)}: {len(pins)} pins")


if __name__ == "__main__":
    main()

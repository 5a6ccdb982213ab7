"""Pin everything a rendered project installs: `python tools/pin.py` after changing a dependency. Needs `uv`.

With `--keep` what is pinned already stays as it is, and only what is new gets a pin.

The pins are plain `name==version ; marker` lines under `[tool.uv] constraint-dependencies`, in `pyproject.toml` and in
the block (PEP 723) of each script that has an environment of its own. They name no package index, unlike a lock file.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = REPOSITORY / "{{cookiecutter.project_slug}}"
SCRIPT = re.compile(r"^# /// script\n(?P<content>(?:^#(?: .*)?\n)+?)^# ///$", re.MULTILINE)
PINS = re.compile(r"^(?P<hash>(?:# )?)constraint-dependencies = \[\n.*?^(?:# )?\]$", re.MULTILINE | re.DOTALL)


def compile_pins(requirements: list[str], kept: list[str]) -> list[str]:
    """Return exact pins for `requirements` and all they need, for every platform and Python 3.11 to 3.13.

    `kept` holds pins that stay.
    """
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--no-header"]
    command += ["--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "-"]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(kept), encoding="utf-8")
        command += ["--constraint", str(constraints)]
        done = subprocess.run(command, input="\n".join(requirements), capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout.split("\n")[:-1]


def metadata(text: str) -> dict:
    """Return the TOML of a `pyproject.toml`, or of the block in a script."""
    block = SCRIPT.search(text)
    if block is None:
        return {"project": {}, **tomllib.loads(text)}
    return {"project": tomllib.loads(re.sub(r"^# ?", "", block["content"], flags=re.MULTILINE))}


def requirements_of(data: dict) -> list[str]:
    """Return the direct requirements, those of development included."""
    groups = data.get("dependency-groups", {})
    return data["project"]["dependencies"] + [item for group in groups.values() for item in group]


def pins_of(data: dict) -> list[str]:
    """Return the pins that a file has."""
    tool = data.get("tool") or data["project"].get("tool", {})
    return list(tool["uv"]["constraint-dependencies"])


def main() -> None:
    """Write the pins into every file that has some, and the ones of the tests."""
    files = [
        PROJECT / "pyproject.toml",
        *(path for path in PROJECT.rglob("*.py") if SCRIPT.search(path.read_text("utf-8"))),
    ]
    everything = []
    keep = "--keep" in sys.argv[1:]
    for path in files:
        text = path.read_text(encoding="utf-8")
        data = metadata(text)
        requirements = requirements_of(data)
        pins = compile_pins(requirements, pins_of(data) if keep else [])

        def block(match: re.Match[str], pins: list[str] = pins) -> str:
            lines = ["constraint-dependencies = [", *(f'    "{pin}",' for pin in pins), "]"]
            return "\n".join(match["hash"] + line for line in lines)

        text, count = PINS.subn(block, text)
        if count != 1:
            raise SystemExit(f"{path} has {count} lists of pins, not one.")
        path.write_text(text, encoding="utf-8", newline="\n")
        print(f"{path.relative_to(REPOSITORY)}: {len(pins)} pins")
        if path.name != "server.py":  # Argilla's server needs older packages than its client
            everything += requirements
    tests = REPOSITORY / "tests"
    wanted = [line for line in (tests / "requirements.txt").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    kept = (tests / "constraints.txt").read_text(encoding="utf-8").splitlines() if keep else []
    pins = compile_pins(sorted({*everything, *wanted}), kept)
    (tests / "constraints.txt").write_text("\n".join(pins) + "\n", encoding="utf-8", newline="\n")
    print(f"tests/constraints.txt: {len(pins)} pins")


if __name__ == "__main__":
    main()

"""Write `tools/versions.json` from the git history: what files of the template and texts were, from 48701f0 on."""

import json
import subprocess
from pathlib import Path

import yaml
from update import TEMPLATE, flat_texts, is_ours, print_of_text, prints_of

REPOSITORY = Path(__file__).resolve().parent.parent

FIRST = "48701f0"


def git(*arguments: str) -> bytes:
    """Return what git prints."""
    return subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, check=True).stdout


def add(files: dict[str, set[str]], path: str, content: bytes) -> None:
    """Add the fingerprints of a version of a file."""
    for name, fingerprint in prints_of(path.removeprefix(f"{TEMPLATE}/"), content):
        files.setdefault(name, set()).add(fingerprint)


def main() -> None:
    """Read every version of every file once."""
    known: dict[tuple[str, str], bytes] = {}
    commits = git("rev-list", f"{FIRST}^..HEAD", "--", TEMPLATE, "languages").decode().split()
    for commit in [*commits, git("rev-parse", FIRST).decode().strip(), "HEAD"]:
        for line in git("ls-tree", "-r", "-z", commit, TEMPLATE, "languages").decode().split("\0"):
            if line:
                known[line.partition("\t")[2], line.split()[2]] = b""
    files: dict[str, set[str]] = {}
    texts: set[str] = set()
    now: set[str] = set()
    for path, blob in known:
        content = git("cat-file", "blob", blob) if path.endswith(".yaml") or is_ours(path) else b""
        if path.startswith("languages/") and path.endswith(".yaml"):
            texts |= {print_of_text(key, text) for key, text in flat_texts(yaml.load(content, yaml.CSafeLoader))}
        elif is_ours(path):
            add(files, path, content)
    for file in (REPOSITORY / "languages").glob("*.yaml"):
        found = yaml.load(file.read_bytes(), yaml.CSafeLoader)
        now |= {print_of_text(key, text) for key, text in flat_texts(found)}
    for file in (REPOSITORY / TEMPLATE).rglob("*"):  # not committed yet
        path = file.relative_to(REPOSITORY).as_posix()
        if file.is_file() and is_ours(path) and "__pycache__" not in path:
            add(files, path, file.read_bytes())
    result = {"files": {path: sorted(files[path]) for path in sorted(files)}, "texts": " ".join(sorted(texts - now))}
    (REPOSITORY / "tools" / "versions.json").write_text(
        json.dumps(result, indent=1) + "\n", encoding="utf-8", newline="\n"
    )


if __name__ == "__main__":
    main()

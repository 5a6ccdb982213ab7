"""What git knows about files of the project, as far as git is there."""

import shutil
import subprocess
from pathlib import Path


def ask(folder: Path, *words: str) -> str:
    """Return what `git` says to these words in a folder; "" if there is no git, no repository, or no answer."""
    git = shutil.which("git")
    if git is None or not folder.is_dir():
        return ""
    try:
        done = subprocess.run(
            [git, *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def committed_files(folder: Path, *paths: str) -> list[str]:
    """Return the files below these paths that any commit has, on any branch, as they are called from the top."""
    said = ask(folder, "-c", "core.quotePath=false", "log", "--all", "--format=", "--name-only", "--", *paths)
    return sorted({line for line in said.splitlines() if line})

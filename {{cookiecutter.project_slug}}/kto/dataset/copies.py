"""Where published votes and answers remain after they are taken out: in commits, and in datasets on the Hub."""

import contextlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from kto.errors import UserError
from kto.keys import secret
from kto.settings import Settings
from kto.texts import t


def _git(folder: Path, *arguments: str) -> str:
    """Return the output of `git` in a folder, "" if there is no git, no repository, or an error."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            ["git", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=60,
            check=True,
        ).stdout.strip()
    return ""


def committed_folder(folder: Path) -> str:
    """Return git's name of a folder of which a commit has files, "" if none does."""
    committed = _git(folder, "log", "--all", "-1", "--format=%h", "--", ".")
    return _git(folder, "rev-parse", "--show-prefix").rstrip("/") if committed else ""


def name_copies(config: Settings, paths: Sequence[str], datasets: Mapping[str, str]) -> None:
    """Print which files below `paths` are in commits of any branch, and which of the datasets are on the Hub.

    `datasets` has, by the command that pushes it, what follows the project's name in the name of a dataset.
    """
    listed = _git(config.root, "-c", "core.quotePath=false", "log", "--all", "--format=", "--name-only", "--", *paths)
    if files := sorted({line for line in listed.splitlines() if line}):
        print(t("technical.left_out_in_git", files=", ".join(files)), file=sys.stderr)
    try:
        repo_id, token = config.project.repo_id, secret(config, "HF_TOKEN")
    except UserError:  # without an owner nothing was pushed
        return
    from kto.hub import PUSHED
    from kto.hub_lookup import Hub

    hub = Hub(token)
    for command, suffix in datasets.items():
        name = f"{repo_id}{suffix}"
        if hub.has_dataset(name) is not False or hub.token_refused:  # also where the Hub does not tell
            print(t("technical.left_out_on_hub", repo_id=name, command=command, title=PUSHED), file=sys.stderr)

"""The Argilla server of this machine, started by another command: it ends with that command, also when it is killed."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kto.errors import UserError
from kto.texts import ROOT

SERVER = ROOT / "kto" / "vote" / "argilla_server" / "server.py"
_GRACE = 15  # seconds that the server has to end by itself


class LocalArgilla(NamedTuple):
    """A server that takes requests: its address, its owner's key, and the process that runs it."""

    url: str
    api_key: str
    process: "subprocess.Popen[str]"


@contextlib.contextmanager
def local_argilla(arguments: Sequence[str]) -> Iterator[LocalArgilla]:
    """Run `argilla_server/server.py` in its own environment, which uv makes, while the block runs.

    Raises
    ------
    UserError
        There is no uv.
    SystemExit
        The server did not start, and has said why.
    """
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise UserError("technical.no_uv")
    command = [uv, "run", "--no-project", "--script", str(SERVER), "--attached", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdin and process.stdout
    try:
        ready = process.stdout.readline()
        if not ready:
            sys.exit(process.wait() or 1)
        yield LocalArgilla(**json.loads(ready), process=process)
    finally:
        process.stdin.close()  # which the server takes for the end; a kill of this process closes it, too
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def has_key(home: Path, key: str) -> bool:
    """Tell whether the Argilla that keeps its data in `home` has this owner's key."""
    try:
        return bool(json.loads((home / "credentials.json").read_text(encoding="utf-8"))["api_key"] == key)
    except (OSError, ValueError, KeyError, TypeError):
        return False

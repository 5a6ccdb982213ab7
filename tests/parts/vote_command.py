"""`vote.py` of a project, started as in a terminal."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from argilla_server import PARTS, free_port, interpreter, nursery_for

_FORKED = PARTS / "forked.py"


class Vote:
    """Start `vote.py`; uv is a script that has the environment of Argilla's server already.

    Parameters
    ----------
    project
        A rendered project.
    tools
        Folder for that script; a tunnel program may be there, too.
    arguments
        After `vote.py`; without a port one is chosen.
    forked
        Whether Argilla may be forked from a process that has its packages, see `forked.py`; where a test is about the
        end of that very process, not.
    env
        Further variables.
    """

    def __init__(self, project: Path, tools: Path, *arguments: str, forked: bool = True, **env: str) -> None:
        tools.mkdir(exist_ok=True)
        uv = tools / "uv"
        usual = {name: value for name, value in os.environ.items() if name not in ("UV", "PYTHONDONTWRITEBYTECODE")}
        usual |= {"UV": str(uv), "HF_HUB_OFFLINE": "1", "HF_TOKEN": ""}
        usual["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"
        nursery = nursery_for({**usual, **env}) if forked else None
        program = f'"{interpreter()}"' + (f' -ISB "{_FORKED}" "{nursery.path}"' if nursery else "")
        new_uv = tools / f"uv-{uuid.uuid4().hex}"  # a program that is being started must not be written to
        new_uv.write_text(f'#!/bin/sh\nshift 3\nexec {program} "$@"\n', encoding="utf-8")
        new_uv.chmod(0o755)
        new_uv.replace(uv)
        self.port = free_port()
        if "--port" in arguments:
            self.port = arguments[arguments.index("--port") + 1]
        else:
            arguments = ("--port", str(self.port), *arguments)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = project / f"vote-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-B", "vote.py", *arguments],
                cwd=project,
                env={**usual, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> "Vote":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def until(self, check: Callable[[], Any], seconds: float = 120) -> Any:
        """Return what `check` returns as soon as that is true; what does not answer yet is not true."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if result := check():
                    return result
            except httpx.TransportError:
                pass
            assert self.process.poll() is None and time.monotonic() < deadline, self.output
            time.sleep(0.02)

    def wait_for(self, text: str) -> "Vote":
        self.until(lambda: text in self.output)
        return self

    def wait_for_argilla(self) -> "Vote":
        """Wait until Argilla is there and has everything."""
        return self.wait_for("Argilla's page").wait_for("Your own link").wait_for("New answers")

    def end(self) -> str:
        """Wait until it has ended by itself and return what it said, with its status in front."""
        return f"{self.process.wait(120)}: {self.output}"

    def stop(self) -> str:
        """End it as Ctrl-C does, which reaches all processes in the terminal, and return what `end` does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        return self.end()

    @property
    def own_secret(self) -> str:
        """The secret of the lead's link, once it was said."""
        return self.until(lambda: re.search(r"Your own link: \S+/vote/#(\S+)\n", self.output))[1]

    def call(self, name: str, body: dict[str, Any], secret: str = "", **headers: str) -> httpx.Response:
        """Call the API of the voting page."""
        headers |= {"Authorization": f"Bearer {secret}"} if secret else {}
        content = json.dumps(body)
        url = f"{self.url}/vote/api/{name}"
        return httpx.post(url, content=content, headers={"Content-Type": "application/json", **headers}, timeout=30)

    def enter(self, link: str) -> str:
        """Consent with the secret of a link and return that of the device."""
        return self.call("session", {"secret": link, "consent": "1"}).raise_for_status().json()["secret"]

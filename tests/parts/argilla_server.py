"""The real Argilla server of a rendered project, for tests that need one."""

import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import forking

PARTS = Path(__file__).resolve().parent
ROOT = PARTS.parents[1]
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
_PACKAGES = (
    *("uvicorn.protocols.http.auto", "uvicorn.lifespan.on", "fastapi.staticfiles", "starlette.middleware.gzip"),
    *("sqlalchemy.ext.asyncio", "sqlalchemy.dialects.sqlite.aiosqlite", "alembic.command", "alembic.autogenerate"),
    *("pydantic_settings", "pydantic.v1", "datasets", "PIL.Image", "elasticsearch8.helpers", "opensearchpy"),
    *("fakeredis", "rq.decorators", "jose.jwt", "social_core.backends.open_id_connect", "aiohttp", "yaml", "bcrypt"),
    *("rich.logging", "rich.progress", "typer", "brotli_asgi", "psutil", "standardwebhooks", "huggingface_hub.hf_api"),
)
"""What `argilla_server` imports of other people's, and what takes two thirds of the time that it needs to begin."""
_nurseries: list[tuple[dict[str, str], forking.Nursery]] = []


def copy_project(folder: Path) -> Path:
    """Make the part of a project that the server needs, in English, without rendering."""
    shutil.copytree(TEMPLATE / "kto", folder / "kto", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "languages" / "en.yaml", folder / "kto" / "texts.yaml")
    return folder


@functools.cache
def interpreter() -> str:
    """Return the interpreter of the server's environment, the same for all projects of the tests.

    `uv run` makes one for every path that the script has: some seconds, and then bytecode for hundreds of modules.
    """
    script = TEMPLATE / "kto" / "vote" / "argilla_server" / "server.py"
    subprocess.run(["uv", "sync", "--quiet", "--script", script], check=True)
    return subprocess.check_output(["uv", "python", "find", "--script", script], encoding="utf-8").strip()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def nursery_for(env: Mapping[str, str]) -> forking.Nursery | None:
    """Return what a server may be forked from, if this is one of the two environments that tests have."""
    if not hasattr(os, "fork") or "HF_HOME" in env:
        return None
    wanted = forking.at_import(env, without=["ARGILLA_"])  # which only Argilla itself reads, when it is there
    for has, nursery in _nurseries:
        if has == wanted:
            return nursery
    if len(_nurseries) == 2:
        return None
    # As `server.py` has it before it imports Argilla.
    nursery = forking.Nursery({**env, "HF_HUB_DISABLE_TELEMETRY": "1"}, _PACKAGES, interpreter())
    _nurseries.append((wanted, nursery))
    return nursery


class ArgillaServer:
    """Start and stop `kto/vote/argilla_server/server.py` of a project, as a context manager or by hand.

    Parameters
    ----------
    project_dir
        A rendered project.
    home
        Where it keeps its data; the project's `.argilla` if not given.
    python
        Interpreter of an environment with argilla-server, "" for `uv run`; if not given, one that all tests share.
    """

    def __init__(self, project_dir: Path, home: Path | None = None, python: str | None = None) -> None:
        self.project_dir = Path(project_dir)
        self.home = Path(home) if home else self.project_dir / ".argilla"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self.project_dir / f"argilla-{self.port}.log"
        python = interpreter() if python is None else python
        self.command = [python] if python else ["uv", "run", "--quiet"]
        self.process: subprocess.Popen[bytes] | forking.Forked | None = None

    def run(self, *arguments: str) -> "subprocess.Popen[bytes] | forking.Forked":
        """Start the script with any arguments, see `run_script`."""
        return self.run_script("kto/vote/argilla_server/server.py", *arguments)

    def run_script(self, *command: str) -> "subprocess.Popen[bytes] | forking.Forked":
        """Start a script in the server's environment and a process group of its own, and write what it says to `log`.

        Python may keep the bytecode of the server's packages, which uv does not make when it installs them: each start
        would spend half of its time on it.
        """
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        env.setdefault("HF_HUB_OFFLINE", "1")  # as `vote_command.py` has it: one nursery for both
        with open(self.log, "wb") as log:
            if self.command == [interpreter()] and (nursery := nursery_for(env)):
                return nursery.start(command, self.project_dir, env, log)
            return subprocess.Popen(
                [*self.command, *command],
                cwd=self.project_dir,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start(self, *arguments: str, timeout: float = 300) -> "ArgillaServer":
        """Start it and return when it takes requests; `timeout` in seconds covers a first download by uv."""
        self.process = self.run("--home", str(self.home), "--port", str(self.port), *arguments)
        deadline = time.monotonic() + timeout
        while self.url not in self.output:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop(kill=True)
                raise RuntimeError(f"Argilla did not start:\n{self.output}")
            time.sleep(0.05)
        return self

    def stop(self, kill: bool = False) -> int | None:
        """End it as Ctrl-C does (or as `kill -9` does) and return its exit status."""
        if self.process is None:
            return None
        process, self.process = self.process, None
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGINT)
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise RuntimeError(f"Argilla did not stop:\n{self.output}") from None

    def __enter__(self) -> "ArgillaServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def output(self) -> str:
        """What the server has said."""
        return self.log.read_text(encoding="utf-8")

    @property
    def credentials(self) -> dict[str, str]:
        return json.loads((self.home / "credentials.json").read_text(encoding="utf-8"))

    @property
    def api_key(self) -> str:
        return self.credentials["api_key"]

    @property
    def username(self) -> str:
        return self.credentials["username"]

    @property
    def password(self) -> str:
        return self.credentials["password"]

"""A model server on this machine, for `inference = "local"`: it runs while a block runs, one model at a time."""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from kto import processes
from kto.errors import UserError
from kto.files import as_path
from kto.model_names import split_provider
from kto.secrets import secret
from kto.settings import Settings
from kto.texts import ROOT

SERVE = ROOT / "kto" / "ask" / "serve.py"
_HOST = "127.0.0.1"
_NEEDS = ("torch", "accelerate", "fastapi", "uvicorn", "openai")
_OLDEST = 5  # major version of transformers whose `serve` takes a model as an argument
_PROBE = (
    "import importlib.metadata as m, importlib.util as u;"
    f"print(int(m.version('transformers').split('.')[0]) >= {_OLDEST} and all(map(u.find_spec, {_NEEDS!r})))"
)


def folder(config: Settings, model: str) -> Path | None:
    """Return the folder that a model's name stands for, None if it is an id on the Hub.

    Relative names start at the project folder.
    """
    path = as_path(config.root, model)
    try:
        return path if path and path.is_dir() else None
    except (OSError, ValueError):  # too long for a path
        return None


def served_name(config: Settings, model: str) -> str:
    """Return the name under which the server knows a model: its folder as it was written, or its id on the Hub."""
    if folder(config, model):
        return str(Path(model).expanduser()) if model.startswith("~") else model
    return split_provider(model)[0]


def is_chat_model(path: Path) -> bool:
    """Tell whether a folder holds a model with a tokenizer and a chat template."""
    if not (path / "config.json").is_file() or not any(path.glob("tokenizer*")):
        return False
    try:
        described = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        described = {}
    return (path / "chat_template.jinja").is_file() or "chat_template" in described


def weights_digest(path: Path) -> str:
    """Return a digest of the files of a model, so that answers of the model that was there before do not count.

    It reads everything once, so a large model takes a while.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(path.iterdir()):
        if file.is_file() and file.suffix in (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt"):
            with file.open("rb") as content:
                part = hashlib.file_digest(content, "blake2b").hexdigest()
            digest.update(f"{file.name}\0{part}\n".encode())
    return digest.hexdigest()


def is_transformers(config: Settings) -> bool:
    """Tell whether the server is `transformers serve`, not a command with arguments of its own."""
    return not any("{model}" in part for part in config.local.command)


def command(config: Settings, model: str, port: int) -> list[str]:
    """Return the command that serves a model on a port of this machine.

    The `command` in `settings.toml` is taken as it is if it says where the model goes, as in
    `["vllm", "serve", "{model}", "--port", "{port}"]`; otherwise the arguments of `transformers serve` follow it.
    Without it, an environment that has transformers is looked for, then uv makes one.

    Raises
    ------
    UserError
        There is neither such an environment nor uv.
    """
    values = {"model": served_name(config, model), "host": _HOST, "port": str(port), "device": config.local.device}
    if not is_transformers(config):
        return [_fill(part, values) for part in config.local.command]
    arguments = [values["model"], "--host", _HOST, "--port", values["port"], "--device", values["device"]]
    if config.local.command:
        return [*config.local.command, *arguments]
    python = _python_with_transformers()
    if python is not None:
        return [python, str(SERVE), *arguments]
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise UserError("no_transformers")
    return [uv, "run", "--no-project", "--script", str(SERVE), *arguments]


def _fill(part: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        part = part.replace(f"{{{name}}}", value)
    return part


def _python_with_transformers() -> str | None:
    """Return a Python that can serve models: the running one, or that of a `transformers` command on the PATH."""
    try:
        recent = int(importlib.metadata.version("transformers").split(".")[0]) >= _OLDEST
        if recent and all(importlib.util.find_spec(name) for name in _NEEDS):
            return sys.executable
    except (importlib.metadata.PackageNotFoundError, ValueError):
        pass
    script = shutil.which("transformers")
    for name in ("python.exe",) if sys.platform == "win32" else ("python", "python3"):
        python = Path(script).resolve().parent / name if script else None
        if python is None or not python.exists():
            continue
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            probe = subprocess.run([python, "-c", _PROBE], capture_output=True, text=True, timeout=60, check=False)
            if probe.stdout.strip() == "True":
                return str(python)
    return None


@contextlib.contextmanager
def serving(config: Settings, model: str, log: Path) -> Iterator[str]:
    """Serve a model while the block runs; yield the server's base URL.

    Raises
    ------
    UserError
        There is no way to start it, it ended by itself, or it was not ready in time.
    """
    with socket.socket() as free:
        free.bind((_HOST, 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
    if token := secret(config, "HF_TOKEN"):
        environment["HF_TOKEN"] = token  # for models whose owners want to be asked first
    if folder(config, model):
        environment["HF_HUB_OFFLINE"] = "1"  # everything is there, nothing has to be asked
    line = command(config, model, port)
    with processes.running(line, log=log, cwd=config.root, env=environment) as server:
        _wait_until_ready(config, model, port, server, log)
        yield f"http://{_HOST}:{port}/v1"


def _wait_until_ready(config: Settings, model: str, port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    import requests

    deadline = time.monotonic() + config.local.start_timeout
    session = requests.Session()
    session.trust_env = False  # no proxy leads to this machine
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise UserError("server_ended", model=model, reason=processes.last_line(log), log=log)
        with contextlib.suppress(requests.RequestException):
            # Servers that have no such page answer 404, those that are still loading 503.
            if session.get(f"http://{_HOST}:{port}/health", timeout=5).status_code < 500:
                return
        time.sleep(0.2)
    raise UserError("server_slow", model=model, seconds=round(config.local.start_timeout), log=log)

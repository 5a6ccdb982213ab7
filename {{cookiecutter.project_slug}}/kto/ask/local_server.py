"""Runs a model server on this machine for `inference = "local"` (`serve.py` or your command), one at a time."""

import asyncio
import contextlib
import dataclasses
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
from typing import TYPE_CHECKING

from kto import processes
from kto.ask.servers import Server
from kto.errors import UserError
from kto.files import as_path
from kto.keys import secret
from kto.model_names import split_provider
from kto.settings import Settings
from kto.texts import ROOT, t

if TYPE_CHECKING:
    from kto.ask.targets import ModelTarget

SERVE = ROOT / "kto" / "ask" / "serve.py"
_HOST = "127.0.0.1"
_NEEDS = ("torch", "accelerate", "fastapi", "uvicorn", "openai")
_OLDEST = 5  # major version of transformers whose `serve` takes a model as an argument
_DIGESTED = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")


def folder(config: Settings, model: str) -> Path | None:
    """Return the folder that a model's name stands for, relative to the project; None if it is an id on the Hub."""
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
    """Return a digest of a model's files, so that answers of an earlier model in the same folder do not count.

    It reads everything once, so a large model takes a while.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(path.iterdir()):
        if file.is_file() and file.suffix in _DIGESTED:
            with file.open("rb") as content:
                part = hashlib.file_digest(content, "blake2b").hexdigest()
            digest.update(f"{file.name}\0{part}\n".encode())
    return digest.hexdigest()


def is_transformers(config: Settings) -> bool:
    """Tell whether the server is `transformers serve`, not a command with arguments of its own."""
    return not any("{model}" in part for part in config.local.command)


def command(config: Settings, model: str, port: int) -> list[str]:
    """Return the command that serves a model on a port of this machine; raise `UserError` if there is none.

    The `command` in `settings.toml` is taken as it is if it has a place for the model, as in
    `["vllm", "serve", "{model}", "--port", "{port}"]`; otherwise the arguments of `transformers serve` follow it.
    Default: `serve.py` with this Python if that has the packages, else in an environment that uv makes.
    """
    values = {"model": served_name(config, model), "host": _HOST, "port": str(port), "device": config.local.device}
    own = list(config.local.command)
    if not is_transformers(config):
        for name, value in values.items():
            own = [part.replace(f"{{{name}}}", value) for part in own]
        return own
    arguments = [values["model"], "--host", _HOST, "--port", values["port"], "--device", values["device"]]
    if own:
        return [*own, *arguments]
    if _can_serve():
        return [sys.executable, str(SERVE), *arguments]
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise UserError("no_transformers")
    return [uv, "run", "--no-project", "--script", str(SERVE), *arguments]


def _can_serve() -> bool:
    """Tell whether this Python has the packages that `serve.py` needs."""
    try:
        version = importlib.metadata.version("transformers")
    except importlib.metadata.PackageNotFoundError:
        return False
    return int(version.split(".")[0]) >= _OLDEST and all(map(importlib.util.find_spec, _NEEDS))


@contextlib.contextmanager
def running(config: Settings, target: "ModelTarget") -> Iterator["ModelTarget"]:
    """Serve a model while the block runs; yield the target with its server.

    Raises `UserError` if there is no way to start it, it ends by itself, or it is not ready in time.
    """
    model = target.model
    position = [*config.generation.models, model].index(model) + 1
    log = config.root / "data" / "logs" / f"model-{position}.log"
    print(t("generate.starting", model=model, log=log.relative_to(config.root)), flush=True)
    with socket.socket() as free:
        free.bind((_HOST, 0))
        port = free.getsockname()[1]
    env = {**os.environ, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
    if token := secret(config, "HF_TOKEN"):
        env["HF_TOKEN"] = token  # for gated models
    if folder(config, model):
        env["HF_HUB_OFFLINE"] = "1"
    url = f"http://{_HOST}:{port}/v1"
    with processes.running(command(config, model, port), log=log, cwd=config.root, env=env) as server:
        asyncio.run(_wait_until_ready(config, model, url, server, log))
        yield dataclasses.replace(target, server=Server(url))


async def _wait_until_ready(config: Settings, model: str, url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    from kto.ask.client import ModelClient

    deadline = time.monotonic() + config.local.start_timeout
    async with ModelClient(Server(url)) as client:
        while time.monotonic() < deadline:
            if server.poll() is not None:
                raise UserError("server_ended", model=model, reason=processes.last_line(log), log=log)
            if await client.is_ready():
                return
            await asyncio.sleep(0.2)
    raise UserError("server_slow", model=model, seconds=round(config.local.start_timeout), log=log)

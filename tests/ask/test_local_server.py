"""How a model server for this machine is found, and what its environment is."""

import importlib.metadata
import os
import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from rendering import TEMPLATE

sys.path.insert(0, str(TEMPLATE))

from kto.ask import local_server
from kto.errors import UserError

pytest_plugins = ["generating_fixtures"]
pytestmark = pytest.mark.usefixtures("english")
MODEL = "acme/one:together"
ARGUMENTS = ["acme/one", "--host", "127.0.0.1", "--port", "8123", "--device", "cpu"]


def settings(root: Path, *command: str):
    return SimpleNamespace(root=root, local=SimpleNamespace(command=command, device="cpu"))


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without transformers and uv; returns an empty folder that is its PATH."""

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    monkeypatch.delenv("UV", raising=False)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def program(path: Path) -> None:
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o755)


def test_a_command_of_ones_own(tmp_path: Path) -> None:
    vllm = settings(tmp_path, "vllm", "serve", "{model}", "--port={port}", "--host", "{host}", "{x}")
    expected = ["vllm", "serve", "acme/one", "--port=8123", "--host", "127.0.0.1", "{x}"]
    assert local_server.command(vllm, MODEL, 8123) == expected and not local_server.is_transformers(vllm)
    plain = settings(tmp_path, "/opt/env/bin/transformers", "serve")
    assert local_server.command(plain, MODEL, 8123) == ["/opt/env/bin/transformers", "serve", *ARGUMENTS]
    assert local_server.is_transformers(plain)


def test_what_is_installed_comes_first(tmp_path: Path) -> None:
    assert local_server.command(settings(tmp_path), MODEL, 8123) == [
        sys.executable,
        str(local_server.SERVE),
        *ARGUMENTS,
    ]


@pytest.mark.skipif(os.name == "nt", reason="scripts of a shell")
def test_then_uv(bare: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Install uv"):
        local_server.command(settings(tmp_path), MODEL, 8123)
    program(bare / "uv")
    expected = [str(bare / "uv"), "run", "--no-project", "--script", str(local_server.SERVE), *ARGUMENTS]
    assert local_server.command(settings(tmp_path), MODEL, 8123) == expected


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "project" / "own").mkdir(parents=True)
    (tmp_path / "far").mkdir()
    project = settings(tmp_path / "project")
    assert local_server.served_name(project, "own") == "own"
    assert local_server.served_name(project, "~/far") == str(tmp_path / "far")
    assert local_server.served_name(project, str(tmp_path / "far")) == str(tmp_path / "far")
    assert local_server.served_name(project, "acme/own:cheapest") == "acme/own"


def test_the_digest_of_a_model_changes_with_any_of_its_files(tmp_path: Path) -> None:
    files = {"config.json": "{}", "model.safetensors": "w", "chat_template.jinja": "t"}
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    digests = {local_server.weights_digest(tmp_path)}
    (tmp_path / "README.md").write_text("not the model", encoding="utf-8")
    (tmp_path / "config.json").touch()
    assert local_server.weights_digest(tmp_path) in digests
    for name in files:
        (tmp_path / name).write_text("changed", encoding="utf-8")
        digests.add(local_server.weights_digest(tmp_path))
    assert len(digests) == 4


def test_the_environment_of_the_server_is_pinned() -> None:
    script = (TEMPLATE / "kto" / "ask" / "serve.py").read_text(encoding="utf-8")
    [block] = re.findall(r"(?m)^# /// script\n((?:#(?: .*)?\n)+)# ///\n\Z", script)
    described = tomllib.loads(re.sub(r"(?m)^# ?", "", block))
    pins = described["dependencies"]
    assert all(re.fullmatch(r"[a-z0-9.-]+(\[[a-z]+\])?==[\w.]+( ; .+)?", pin) for pin in pins)
    assert "torch==2.13.0" in pins and described["tool"]["uv"].keys() == {"exclude-newer"}

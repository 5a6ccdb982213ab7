"""Make projects from the template, through cookiecutter's own command."""

import json
import os
import runpy
import shlex
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import cookiecutter.hooks
import yaml
from click.testing import CliRunner
from cookiecutter.cli import main
from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment

PARTS = Path(__file__).resolve().parent
REPOSITORY = PARTS.parent.parent
TEMPLATE = REPOSITORY / "{{cookiecutter.project_slug}}"
LANGUAGES = sorted(path.stem for path in (REPOSITORY / "languages").glob("*.yaml"))
QUESTIONS = [name for name in json.loads((REPOSITORY / "cookiecutter.json").read_text("utf-8")) if name[0] != "_"]
ANSWERS = {
    "language": "en",
    "domain": "everyday life",
    "project_name": "Thumbs up",
    "project_slug": "kto-test",
    "hub_owner": "",
    "models": "acme/one, acme/two:together",
    "system_prompt": "",
    "prompts": "starter",
    "inference": "huggingface",
    "license": "cc-by-4.0",
}


def read_yaml(path: Path) -> Any:
    """Return what is in a file, read by libyaml: a catalogue takes a hundredth of a second instead of a tenth."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)


@dataclass
class Bake:
    """What one run of cookiecutter did."""

    status: int
    output: str
    folder: Path  # where projects go
    home: Path
    env: dict[str, str]

    @property
    def project(self) -> Path:
        """The project that was made."""
        (project,) = self.folder.iterdir()
        return project

    @property
    def nothing_written(self) -> bool:
        return not list(self.folder.iterdir())


def cookiecutter_environment(home: Path) -> dict[str, str]:
    """Return the environment of a cookiecutter that keeps everything in this folder, and is offline."""
    home.mkdir(parents=True, exist_ok=True)
    config = home / "config.yaml"
    config.write_text(
        json.dumps({"replay_dir": str(home / "replay"), "cookiecutters_dir": str(home)}), encoding="utf-8"
    )
    here = {"COOKIECUTTER_CONFIG": str(config), "HF_HUB_OFFLINE": "1", "HF_TOKEN": ""}
    return {**os.environ, **here, "HF_TOKEN_PATH": str(home / "token")}


def bake(
    folder: Path,
    *arguments: str,
    typed: str | None = None,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    template: Path = REPOSITORY,
) -> Bake:
    """Run cookiecutter with a home of its own below `folder`, offline unless `env` says otherwise."""
    home, out = folder / "home", folder / "out"
    out.mkdir(parents=True, exist_ok=True)
    environ = cookiecutter_environment(home)
    command = [sys.executable, "-m", "cookiecutter", str(template), "-o", str(out), *arguments]
    return _run(command, home, out, typed, environ | (env or {}), cwd)


def _run(
    command: list[str], home: Path, out: Path, typed: str | None, env: dict[str, str], cwd: Path | None = None
) -> Bake:
    done = subprocess.run(
        command,
        cwd=cwd,
        input=typed,
        stdin=subprocess.DEVNULL if typed is None else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=env,
        timeout=120,
    )
    return Bake(done.returncode, done.stdout, out, home, env)


def follow(refused: Bake, typed: str) -> Bake:
    """Run the command that a refused run has printed, word for word but for where cookiecutter is."""
    line = next(line for line in refused.output.splitlines() if line.startswith("    ") and "--replay" in line)
    program, *words = shlex.split(line)
    assert program == "cookiecutter" or words[:2] == ["-m", "cookiecutter"], line
    words = words if program == "cookiecutter" else words[2:]
    return _run([sys.executable, "-m", "cookiecutter", *words], refused.home, refused.folder, typed, refused.env)


def _run_hook(script: str, cwd: object = None) -> None:
    try:
        with mock.patch.object(sys, "path", [*sys.path]):
            runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise FailedHookException(f"Hook script failed (exit status: {end.code})") from None
    finally:
        Path(script).unlink()  # cookiecutter leaves them


_compile = Environment.compile
_compiled: dict[tuple[object, ...], Any] = {}


def _compile_once(environment: Environment, *what: Any) -> Any:
    """Compile a template that is the same for every project only for the first of them."""
    if what not in _compiled:
        _compiled[what] = _compile(environment, *what)
    return _compiled[what]


def bake_here(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Bake:
    """Do what `bake` does in this process, hooks included: that spares a second of starts and imports."""
    home, out = folder / "home", folder / "out"
    out.mkdir(parents=True, exist_ok=True)
    environ = cookiecutter_environment(home) | dict(env or {})
    with (
        mock.patch.dict(os.environ, environ, clear=True),
        mock.patch.object(cookiecutter.hooks, "run_script", _run_hook),
        mock.patch.object(Environment, "compile", _compile_once),
    ):
        done = CliRunner().invoke(main, [str(REPOSITORY), "-o", str(out), *arguments])
    output = done.output
    if done.exc_info and done.exc_info[0] is not SystemExit:
        output += "".join(traceback.format_exception(*done.exc_info))
    return Bake(done.exit_code, output, out, home, environ)


def replay(folder: Path, env: Mapping[str, str] | None = None, **answers: str) -> Bake:
    """Make a project from answers as they were typed: replayed answers are not rendered a second time."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {"_extensions", "_copy_without_render"}
    template = json.loads((REPOSITORY / "cookiecutter.json").read_text(encoding="utf-8"))
    context = {key: template[key] for key in own} | {"__checked": ""} | ANSWERS | answers
    file = folder / "answers.json"
    file.write_text(json.dumps({"cookiecutter": context}), encoding="utf-8")
    return bake_here(folder, "--replay-file", str(file), env=env)


def render(folder: Path, **answers: str) -> Path:
    """Make a project that must succeed and return its folder."""
    done = replay(folder, **answers)
    assert done.status == 0, done.output
    return done.project

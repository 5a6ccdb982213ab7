"""Rendered projects for the tests of generate.py and check.py, and how to run their commands."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import forking
import pytest
from rendering import TEMPLATE

if TYPE_CHECKING:
    from kto.ask.store import Store

sys.path.insert(0, str(TEMPLATE))

COMMANDS = (
    *("check.py", "generate.py prompts", "generate.py", "vote.py", "export.py", "train.py", "kto/ask/job.py"),
    *("kto/vote/outdated.py", "kto/vote/space.py", "kto/vote/argilla_server/server.py"),
)
"""All that people start, but for kto/ask/serve.py, whose command line is that of `transformers serve`."""
PROMPTS = ["How are you?", "Hoe houd ik brood vers?", "كيف أحافظ على الخبز؟", "पानी कैसे बचाएँ?", 'Say "\\" {{ x }} {% 🙂']
ENGLISH = (
    "Put it over a cup of hot tea or coffee for a few minutes. The steam makes the syrup soft again, and then you can "
    "enjoy it as if it had just been made. Do not wait too long before you eat it, for it gets hard when it is cold."
)
DUTCH = (
    "Leg hem een paar minuten op een kop hete thee of koffie. De stoom maakt de stroop zacht, en daarna kun je ervan "
    "genieten alsof hij net gebakken is. Wacht niet te lang met opeten, want als hij koud is, wordt hij weer hard."
)


def use(project: Path, section: str, **settings: object) -> None:
    """Change settings in `settings.toml` as a person would, line by line."""
    path = project / "settings.toml"
    head, mark, tail = path.read_text(encoding="utf-8").partition(f"[{section}]\n")
    body, _, rest = tail.partition("\n[")
    for name, value in settings.items():
        line = f"{name} = {json.dumps(value, ensure_ascii=False)}"
        body, count = re.subn(rf"(?m)^{name} = .*$", lambda _, line=line: line, body)
        assert count == 1, f"[{section}] {name}"
    path.write_text(f"{head}{mark}{body}" + (f"\n[{rest}" if rest else ""), encoding="utf-8")


def write_prompts(project: Path, prompts: list[str]) -> None:
    lines = [json.dumps({"prompt": prompt}, ensure_ascii=False) + "\n" for prompt in prompts]
    (project / "prompts" / "mine.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a person without keys."""
    names = ("HF_", "OPENAI_", "KTO_", "NO_PROXY", "no_proxy", "REQUESTS_CA_", "CURL_CA_", "SSL_CERT_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    here = {"HF_HUB_OFFLINE": "1", "HF_TOKEN_PATH": os.devnull, "PYTHONDONTWRITEBYTECODE": "1"}
    return kept | here | dict(env or {})


def start(
    project: Path, script: str, *arguments: str, env: Mapping[str, str] | None = None
) -> "subprocess.Popen[str] | forking.Forked":
    return forking.start([str(project / script), *arguments], project.parent, environment(env))


def run(
    project: Path, script: str, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of the project to its end, from outside its folder; no person ever gets a traceback."""
    with start(project, script, *arguments, env=env) as process:
        out, err = process.communicate(timeout=300)
    assert "Traceback" not in out + err, out + err
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def call(script: ModuleType, project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the `main` of a script in this process: the same, without the seconds of imports."""
    from kto.errors import UserError
    from kto.settings import load as load_settings

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(script, "load", lambda: load_settings(project))
        try:
            status = script.main([*arguments])
        except UserError as error:
            print(error, file=sys.stderr)
            status = 1
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def generate(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run generate.py in this process."""
    import generate

    return call(generate, project, "--output", str(project / "data" / "generations"), *arguments)


def figures(said: str) -> dict[str, dict[str, str]]:
    """Return the cells of the last table that a command has shown, by model and by head."""
    rows = [re.split(r"\s{2,}", line) for line in said[said.rindex("Model  ") :].splitlines()]
    head = rows[0]
    table = [row for row in rows[2:] if len(row) == len(head)]
    if head[1] in ("Prompts", "Requests"):
        return {row[0]: dict(zip(head, row, strict=True)) for row in table}
    return {model: {row[0]: row[place] for row in table} for place, model in enumerate(head) if place}


def check(project: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run check.py in this process, with the texts of the project."""
    import check
    from kto import texts

    own = texts.read(project)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ({"HF_TOKEN": "", "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": ""} | dict(env or {})).items():
            patch.setenv(name, value)
        patch.setattr(texts, "load", lambda: own)
        patch.setattr(texts, "ROOT", project)
        return call(check, project)


def keys(store: "Store") -> list[str]:
    """Return the keys of all answers in a store."""
    return [key for [key] in store._db.execute("SELECT key FROM answers")]

"""A rendered project, a real Argilla, and people who vote in it through Argilla's own HTTP API."""

import contextlib
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import forking
import httpx
import pyarrow.parquet as pq
import pytest
from argilla_server import ArgillaServer
from rendering import REPOSITORY, TEMPLATE, read_yaml, render

sys.path.insert(0, str(TEMPLATE))

from kto import tables, texts
from kto.ask import prompt_sources, table
from kto.errors import UserError
from kto.record_ids import text_id
from kto.settings import Settings
from kto.settings import load as load_settings
from kto.texts import settings_file
from kto.vote.client import connect
from kto.vote.records import read_generations, upload_records
from kto.vote.task import make_task

SYSTEM_PROMPT = "Answer kindly. أجب بلطف."
MODELS = ("acme/one", "acme/two")
_numbers = itertools.count()


def make_generations(answers: Mapping[str, Sequence[str | None]], models: Sequence[str] = MODELS) -> list[tables.Row]:
    """Return rows as generate.py writes them, for prompt → one answer per model (None is a gap)."""
    return [
        {
            "prompt_id": prompt_sources.prompt_id(prompt),
            "input": prompt,
            "system_prompt": SYSTEM_PROMPT,
            "generation_model": list(models),
            "generation_prompt": [prompt_sources.messages(SYSTEM_PROMPT, prompt)] * len(models),
            "raw_generation_responses": list(texts),
            "generations": list(texts),
            "finish_reason": [None if text is None else "stop" for text in texts],
            "language_verdict": [None if text is None else "unchecked" for text in texts],
            "answer_id": [f"{model} {prompt}" for model in models],
        }
        for prompt, texts in answers.items()
    ]


@dataclass
class Task:
    """A project of its own with an Argilla dataset of its own, on a server that tests share."""

    project: Path
    url: str
    key: str
    people: dict[str, httpx.Client] = field(default_factory=dict)
    _later: dict[str, list[dict[str, Any]]] | None = None

    @property
    def config(self) -> Settings:
        return load_settings(self.project)

    @property
    def data(self) -> Path:
        return self.project / "data"

    def set(self, **settings: str) -> None:
        """Change settings in `settings.toml`; each name is in one section only. Values are TOML."""
        path = settings_file(self.project)
        text = path.read_text(encoding="utf-8")
        for name, value in settings.items():
            text, count = re.subn(rf"(?m)^{name} = .*$", lambda _, line=f"{name} = {value}": line, text)
            assert count == 1, name
        path.write_text(text, encoding="utf-8")

    def generate(self, answers: Mapping[str, Sequence[str | None]], models: Sequence[str] = MODELS) -> None:
        rows = make_generations(answers, models)
        tables.write_rows(self.data / "generations" / "train.parquet", rows, table.schema())

    def run(self, *command: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a Python script or module of the project as a person would."""
        usual = {"HF_HUB_OFFLINE": "1", "HF_TOKEN": "", "PYTHONDONTWRITEBYTECODE": "1"}
        with forking.start(command, cwd or self.project, {**os.environ, **usual, **env}) as process:
            out, err = process.communicate(timeout=180)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def setup(self) -> None:
        """Create the task and upload the answers, in this process: faster than the notebook, by the same functions."""
        client = connect(self.config)
        dataset = make_task(client, self.config)
        upload_records(dataset, read_generations(self.config), self.config)

    def export(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run export.py in this process: the same, without two seconds of imports."""
        import export
        from kto.dataset import forget, leave_out, push

        out, err = io.StringIO(), io.StringIO()
        own = texts.read(self.project)
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            for module in (export, forget, leave_out):
                patch.setattr(module, "load", lambda: self.config)
            patch.setattr("kto.texts.load", lambda: own)
            command = next(iter(arguments), "").replace("-", "_")
            commands = {"push": push, "forget": forget, "leave_out": leave_out}
            try:
                status = commands[command].main([*arguments[1:]]) if command in commands else export.main([*arguments])
            except UserError as error:
                print(error, file=sys.stderr)
                status = 1
        return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())

    def export_command(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run("export.py", *arguments, **env)

    def person(self, name: str) -> httpx.Client:
        """Return an HTTP client that is logged in as this annotator; an account is made if there is none."""
        if name not in self.people:
            owner = self.person("owner")
            users = {user["username"]: user for user in owner.get("/api/v1/users").json()["items"]}
            user = users.get(name)
            if user is None:
                body = {"username": name, "first_name": name, "role": "annotator", "password": "password of " + name}
                user = owner.post("/api/v1/users", json=body).raise_for_status().json()
                workspaces = owner.get("/api/v1/me/workspaces").json()["items"]
                (workspace,) = [each["id"] for each in workspaces if each["name"] == "argilla"]
                owner.post(f"/api/v1/workspaces/{workspace}/users", json={"user_id": user["id"]}).raise_for_status()
            self.people[name] = self._client(user["api_key"])
        return self.people[name]

    def _client(self, key: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"X-Argilla-Api-Key": key}, timeout=60)

    @property
    def dataset_id(self) -> str:
        everything = self.person("owner").get("/api/v1/me/datasets").json()["items"]
        (id,) = [each["id"] for each in everything if each["name"] == self.config.annotation.dataset]
        return id

    def records(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Return what the owner gets, by (prompt, answer) as the table of generations has them."""
        query = {"limit": 1000, "include": "responses"}
        page = self.person("owner").get(f"/api/v1/datasets/{self.dataset_id}/records", params=query).json()
        table = self.data / "generations" / "train.parquet"
        rows = pq.read_table(table).to_pylist() if table.exists() else []
        pairs = [(row["input"], answer) for row in rows for answer in row["generations"] if answer]
        texts = {text_id(*pair): pair for pair in pairs}
        fields = ("prompt", "answer")
        return {
            texts.get(each["external_id"]) or tuple(each["fields"][name] for name in fields): each
            for each in page["items"]
        }

    def vote(self, name: str, record: Mapping[str, Any], vote: str, status: str = "submitted", **values: Any) -> str:
        """Vote, or vote again, as the web page does it; return the id of the response, "" if it is sent later."""
        wrapped = {key: {"value": value} for key, value in {"vote": vote, **values}.items()}
        item = {"values": wrapped, "status": status, "record_id": record["id"]}
        if self._later is not None:
            self._later.setdefault(name, []).append(item)
            return ""
        return self._send(name, [item])[0]["item"]["id"]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Send the votes of the block at its end, all of one person in one request: four times as fast."""
        self._later = {}
        yield
        later, self._later = self._later, None
        for name, items in later.items():
            assert all(answer["item"] for answer in self._send(name, items))

    def _send(self, name: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        sent = self.person(name).post("/api/v1/me/responses/bulk", json={"items": items})
        return sent.raise_for_status().json()["items"]

    def table(self, name: str) -> list[tables.Row]:
        return pq.read_table(self.data / name).to_pylist()


_running: list[ArgillaServer] = []  # one for all modules that import the fixture


@pytest.fixture(scope="session")
def argilla(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ArgillaServer:
    """A server that belongs to a project of its own and runs until the end of the session."""
    if not _running:
        server = ArgillaServer(render(tmp_path_factory.mktemp("argilla"))).start()
        request.config.add_cleanup(server.stop)
        _running.append(server)
    return _running[0]


@pytest.fixture
def task(argilla: ArgillaServer, tmp_path: Path, english: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    """A project that knows the server, without answers and without a dataset in Argilla."""
    for name in ("ARGILLA_API_URL", "ARGILLA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    ignore = shutil.ignore_patterns(".argilla", "*.log")
    project = Path(shutil.copytree(argilla.project_dir, tmp_path / "a project", ignore=ignore))
    task = Task(project, argilla.url, argilla.api_key)
    task.people["owner"] = task._client(argilla.api_key)
    task.set(dataset=f'"task-{next(_numbers)}"')
    yield task
    for client in task.people.values():
        client.close()


@pytest.fixture
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let modules of the template, imported as they stand, find the English texts."""
    english = read_yaml(REPOSITORY / "languages" / "en.yaml")
    monkeypatch.setattr("kto.texts.load", lambda: english)

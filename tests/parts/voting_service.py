"""A voting server on a database of Argilla's that is filled by SQL: no Argilla runs, and a test begins at once.

As a script it is the server in a process of its own: `python voting_service.py DATABASE PORT WORDS.json`.
"""

import contextlib
import functools
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import uuid
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from argilla_server import ROOT, ArgillaServer, copy_project

TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
sys.path.insert(0, str(TEMPLATE))
# ruff: noqa: E402 - the modules of the template are found now

from kto import texts as project_texts
from kto.questions import TASK, questions
from kto.record_ids import text_id
from kto.vote import page_json
from kto.vote.overlap import Overlap
from kto.vote.voting_server import links, page_files
from kto.vote.voting_server.database import connect, make_tables
from kto.vote.voting_server.http_server import VotingServer
from kto.vote.voting_server.service import Service

ENGLISH = yaml.load((ROOT / "languages" / "en.yaml").read_text("utf-8"), Loader=yaml.CSafeLoader)
ASKED = questions({"task": TASK}, ENGLISH)
DATASET, WORKSPACE = "answers", "argilla"
TIME = "2026-01-01 00:00:00.000000"
_MIGRATE = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from kto.vote.argilla_server import home as homes, server
from kto.vote.overlap import Overlap
home = Path(sys.argv[2])
credentials, _ = homes.load_credentials(home)
server.configure(home, credentials)
homes.prepare_database(home, Overlap())
asyncio.run(homes.ensure_owner(credentials))
"""


@functools.cache
def _migrated() -> Path:
    """Return a home of Argilla's that its own migrations have made: an owner, a workspace, no dataset."""
    folder = Path(tempfile.mkdtemp(prefix="kto-argilla-"))
    home = folder / "home"
    home.mkdir()
    server = ArgillaServer(folder)
    process = server.run_script("-c", _MIGRATE, str(copy_project(folder)), str(home))
    assert process.wait(120) == 0, server.output
    shutil.rmtree(folder / "kto")
    return home


def make_home(home: Path, answers: Mapping[str, Sequence[str]], overlap: int = 2) -> Path:
    """Make a home of Argilla's with a dataset that has a record and a card per answer; return its database.

    `answers` are prompt → answers. The home has Argilla's credentials, so that a real one can run on it.
    """
    shutil.copytree(_migrated(), home)
    path = home / "argilla.db"
    with contextlib.closing(connect(path)) as database:
        database.execute("BEGIN")
        (workspace,) = database.execute("SELECT id FROM workspaces WHERE name = ?", (WORKSPACE,)).fetchone()
        add_dataset(database, workspace, overlap)
        database.execute("COMMIT")
        make_tables(database)
        add_records(database, answers)
    return path


def add_dataset(database: sqlite3.Connection, workspace: str, overlap: int) -> str:
    """Write a dataset as `kto.vote.task` makes it through Argilla, without its words; return its id."""
    dataset = uuid.uuid4().hex
    distribution = json.dumps({"strategy": "overlap", "min_submitted": overlap})
    database.execute(
        "INSERT INTO datasets VALUES (?, ?, '', 'ready', ?, ?, ?, 1, ?, ?, NULL)",
        (dataset, DATASET, workspace, TIME, TIME, TIME, distribution),
    )

    def options(values: Sequence[str]) -> list[dict[str, Any]]:
        return [{"value": value, "text": value, "description": None} for value in values]

    labels = {"vote": ["good", "bad"], **ASKED.aspects}
    reasons = options(ASKED.all_reasons)
    asked: dict[str, dict[str, Any]] = {
        **{
            name: {"type": "label_selection", "options": options(values), "visible_options": None}
            for name, values in labels.items()
        },
        "reasons": {"type": "multi_label_selection", "options": reasons, "visible_options": None}
        | {"options_order": "natural"},
        "comment": {"type": "text", "use_markdown": False},
    }
    for name, settings in asked.items():
        row = (uuid.uuid4().hex, name, name, name == "vote", json.dumps(settings), dataset, TIME, TIME)
        database.execute("INSERT INTO questions VALUES (?, ?, ?, NULL, ?, ?, ?, ?, ?)", row)
    for name in ("prompt", "answer"):
        settings = {"type": "text", "use_markdown": name == "answer"}
        row = (uuid.uuid4().hex, name, name, 1, json.dumps(settings), dataset, TIME, TIME)
        database.execute("INSERT INTO fields VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    return dataset


def add_records(database: sqlite3.Connection, answers: Mapping[str, Sequence[str]], cards: bool = True) -> list[str]:
    """Add a record per answer to the dataset, with the card that people see; return their ids."""
    (dataset,) = database.execute("SELECT id FROM datasets WHERE name = ?", (DATASET,)).fetchone()
    ids: list[str] = []
    database.execute("BEGIN")
    for prompt, texts in answers.items():
        for answer in texts:
            ids.append(uuid.uuid4().hex)
            external, fields = text_id(prompt, answer), json.dumps({"prompt": prompt, "answer": answer})
            metadata = json.dumps({"model": ["acme/one"], "prompt_id": text_id(prompt, "")})
            row = (ids[-1], fields, external, dataset, TIME, TIME, metadata, "pending")
            database.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            if cards:
                database.execute("INSERT OR REPLACE INTO kto_cards VALUES (?, ?, ?)", (external, prompt, answer))
    database.execute("COMMIT")
    return ids


def words(language: str = "en", version: str = "1", task: int = TASK, **more: Any) -> dict[str, Any]:
    """Return words.json, from the catalogue of a language, without its longer texts."""
    own = yaml.load((ROOT / "languages" / f"{language}.yaml").read_text("utf-8"), Loader=yaml.CSafeLoader)
    catalogue = project_texts._merge(ENGLISH, own)  # as a project is rendered
    asked = questions({"task": task}, catalogue)
    said = page_json.asked_words(asked).items()
    example = {"prompt": "What is the capital of Australia?", "answer": "<p>Sydney.</p>", "raw": "Sydney."}
    return {
        "format": 1,
        "language": language,
        "direction": "rtl" if language in ("ar", "arz", "fa", "he", "ur") else "ltr",
        "digits": "0123456789",
        "title": "Everyday life",
        "consent": "<h2>Your votes</h2><p>They become an open dataset.</p>",
        "consent_version": "0123456789abcdef",
        "guidelines": "<h2>How to decide</h2><p>…</p>",
        "reasons": {vote: list(names) for vote, names in asked.reasons.items()},
        "aspects": {name: list(values) for name, values in asked.aspects.items()},
        "words": {**catalogue["page"], **{name: project_texts.look_up(catalogue, key) for name, key in said}}
        | {"question": catalogue["task"]["prompt"], "answer": "Answer"},
        "examples": [{**example, "vote": "bad", "reason": "It is Canberra."}] * 6,
        "version": version,
        **more,
    }


class Refused(Exception):
    """The server answered with another status than 200."""

    def __init__(self, status: int, answer: Mapping[str, Any]) -> None:
        super().__init__(status, answer)
        self.status, self.answer = status, answer


class Device:
    """A phone: it calls the API, and keeps its secret."""

    def __init__(self, url: str, secret: str = "") -> None:
        self.host, self.secret, self.person = url.split("//")[1], secret, ""
        self._connection: http.client.HTTPConnection | None = None

    def call(self, name: str, /, **body: Any) -> dict[str, Any]:
        """Return the answer; raise `Refused` or `OSError`."""
        headers = {"Content-Type": "application/json"}
        if self.secret:
            headers["Authorization"] = f"Bearer {self.secret}"
        reused, self._connection = self._connection, None
        for connection in (reused, http.client.HTTPConnection(self.host, timeout=30)):
            if connection is None:
                continue
            try:
                connection.request("POST", f"/vote/api/{name}", json.dumps(body), headers)
                reply = connection.getresponse()
                answer = json.loads(reply.read())
                break
            except (http.client.RemoteDisconnected, ConnectionError):
                connection.close()
                if connection is not reused:  # else the server has closed it; a browser opens another one, too
                    raise
            except BaseException:
                connection.close()
                raise
        if reply.will_close:
            connection.close()
        else:
            self._connection = connection
        if reply.status != 200:
            raise Refused(reply.status, answer)
        return answer

    def enter(self, link: str, consent: str = "0123456789abcdef") -> "Device":
        """Consent to a link, or to the secret of another device."""
        answer = Device(f"http://{self.host}").close_after("session", secret=link, consent=consent)
        self.secret, self.person = answer["secret"], answer["person"]
        return self

    def close_after(self, name: str, /, **body: Any) -> dict[str, Any]:
        try:
            return self.call(name, **body)
        finally:
            self.close()

    def cards(self, count: int = 10, have: Sequence[str] = ()) -> list[dict[str, Any]]:
        return self.call("cards", count=count, have=list(have))["cards"]

    def vote(self, record: str, vote: str | None = "good", replaces: str | None = None, **more: Any) -> str:
        """Send one line that is to be applied; return its id."""
        line = make_line(record, vote, replaces, **more)
        assert self.call("votes", lines=[line])["states"] == {line["id"]: "applied"}
        return line["id"]

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


def make_line(record: str, vote: str | None = "good", replaces: str | None = None, **more: Any) -> dict[str, Any]:
    """Return a line of the vote format."""
    start = {"v": 1, "id": uuid.uuid4().hex, "record": record, "vote": vote, "reasons": [], "replaces": replaces}
    return {**start, "ms": 1500, **more}


class _Server(VotingServer):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.sockets.add(request)
        super().process_request(request, client_address)


class VotingService:
    """A voting server on a database, in this process; as a context manager it is running."""

    def __init__(
        self,
        path: Path,
        page: Mapping[str, Any] | None = None,
        host: str = "127.0.0.1",
        overlap: Overlap | None = None,
    ) -> None:
        self.path, self.page, self.host, self.overlap = path, dict(page or words()), host, overlap
        self.port = 0

    def start(self) -> "VotingService":
        """Start it, on the port that it had before if it was stopped."""
        self.service = Service(self.path, DATASET, WORKSPACE, self.page["version"], self.overlap)
        self.service.open()
        listener = socket.create_server((self.host, self.port), backlog=512)
        self.port = listener.getsockname()[1]
        self.server = _Server(listener, self._files(), self.service.api)
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()
        for connection in [*self.server.sockets]:  # as the end of a process closes them
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.service.close()

    def change(self, **page: Any) -> None:
        """Serve another page from now on, also to those who are connected."""
        self.page.update(page)
        self.server.files = self._files()
        self.service.version = self.page["version"]

    def _files(self) -> Mapping[str, page_files.File]:
        return page_files.load(self.page, version=self.page["version"])[0]

    def __enter__(self) -> "VotingService":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """A connection of another process, as it were; the service notices what it writes."""
        with contextlib.closing(connect(self.path)) as database:
            yield database

    def secret(self, name: str | None = None) -> str:
        """Make a link, for a person or an open one, and return its secret."""
        return add_link(self.path, name)

    def link(self, name: str | None = None) -> str:
        """Make a link, and return the address to open in a browser."""
        return f"{self.url}/vote/#{self.secret(name)}"

    def device(self, name: str | None = None, link: str = "") -> Device:
        """Return a device whose person has consented: to a link, or to a new one."""
        return Device(self.url).enter(link or self.secret(name))

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.database() as database:
            return database.execute(query, values).fetchall()


def add_link(path: Path, name: str | None = None) -> str:
    """Make a link in a database, for a person or an open one, and return its secret."""
    with contextlib.closing(connect(path)) as database:
        return links.add_link(database, links.OPEN if name is None else links.PERSONAL, name)


class VotingProcess:
    """The same in a process of its own, which can be killed; as a context manager it is running."""

    def __init__(self, path: Path, command: Sequence[str] = ()) -> None:
        self.path, self.port = path, 0
        self.command = [*command, sys.executable, "-X", "utf8", str(Path(__file__)), str(path)]

    def start(self) -> "VotingProcess":
        """Start it, on the port that it had before, and return when it answers."""
        self.process = subprocess.Popen([*self.command, str(self.port)], stdout=subprocess.PIPE, encoding="utf-8")
        assert self.process.stdout
        said = self.process.stdout.readline().split()
        assert said[:1] == ["ready"], said
        self.port, self.pid = int(said[1]), int(said[2])
        return self

    def kill(self) -> None:
        """End it as `kill -9` does."""
        with contextlib.suppress(OSError):  # it has ended
            os.kill(self.pid, getattr(signal, "SIGKILL", signal.SIGTERM))  # not `process`: that may be a tracer
        self.process.wait(30)
        assert self.process.stdout
        self.process.stdout.close()

    def __enter__(self) -> "VotingProcess":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def voting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VotingService]:
    """A server with the `ANSWERS` of a test module, and with its `PRACTICE`, if there is one."""
    home = tmp_path_factory.mktemp("page") / "home"
    examples = {"examples": request.module.PRACTICE} if hasattr(request.module, "PRACTICE") else {}
    with VotingService(make_home(home, request.module.ANSWERS, overlap=90), words(**examples)) as service:
        yield service


def main(path: str, port: str, page: str = "") -> None:
    """Run the server until it is killed; say so when it answers."""
    service = VotingService(Path(path), json.loads(Path(page).read_text("utf-8")) if page else None)
    service.port = int(port)
    service.start()
    print("ready", service.port, os.getpid(), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])

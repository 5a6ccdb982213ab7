"""A rendered project whose Argilla is on this machine, and its commands, with a voting server on the same database."""

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from argilla_server import free_port
from kto.vote.overlap import overlap_of
from rendering import render
from voting import Task
from voting_service import DATASET, Device, Refused, VotingService, make_home

ANSWERS = {"How do I keep bread fresh?": ["In paper.", "Freeze it."], "Where do tulips grow?": ["In gardens.", "No."]}


class LocalVoting(Task):
    """The project, with what the tests of links ask of it."""

    @property
    def home(self) -> Path:
        return self.project / ".argilla"

    @property
    def service(self) -> VotingService:
        return VotingService(self.home / "argilla.db", overlap=overlap_of(self.config.annotation))

    def invite(self, *words: str, **env: str) -> tuple[int, str, str]:
        """Run `vote.py invite`; return its status and what it says."""
        done = self.run("vote.py", "invite", *words, **env)
        return done.returncode, done.stdout, done.stderr

    def made(self, *words: str) -> str:
        """Return what `vote.py invite` says, which must succeed."""
        status, said, errors = self.invite(*words)
        assert (status, errors) == (0, ""), errors
        return said

    def links(self) -> dict[str, str]:
        """Return name → secret from the file with the links."""
        lines = (self.data / "private" / "links.csv").read_text(encoding="utf-8").splitlines()
        assert lines[0] == "name,link"
        return {name: link.partition("#")[2] for name, link in (line.split(",") for line in lines[1:])}

    def link(self, *words: str) -> str:
        """Make a link as the words say, and return its secret."""
        self.made(*words)
        return self.links()["*" if "--open" in words else words[0]]

    @contextlib.contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.home / "argilla.db", isolation_level=None)) as database:
            yield database

    def rows(self, query: str, *values: object) -> list[tuple]:
        with self.database() as database:
            return database.execute(query, values).fetchall()

    def vote_all(self, device: Device, vote: str = "good") -> int:
        """Vote on all cards that a device gets; return their number."""
        cards = device.cards()
        for card in cards:
            device.vote(card["record"], vote)
        return len(cards)


def make(folder: Path, language: str = "en", overlap: int = 3) -> LocalVoting:
    """Render a project, and give it an Argilla that has been started once and has records."""
    project = render(folder, language=language)
    make_home(project / ".argilla", ANSWERS, overlap)
    key = json.loads((project / ".argilla" / "credentials.json").read_text("utf-8"))["api_key"]
    url = f"http://127.0.0.1:{free_port()}"
    (project / ".env").write_text(f"ARGILLA_API_URL={url}\nARGILLA_API_KEY={key}\n", encoding="utf-8")
    local = LocalVoting(project, url, key)
    local.set(dataset=f'"{DATASET}"', min_submitted=str(overlap), measured_share="0.0")
    return local


@pytest.fixture
def local(tmp_path: Path, english: None, monkeypatch: pytest.MonkeyPatch) -> LocalVoting:
    """A project with four answers, each for three votes."""
    for name in ("ARGILLA_API_URL", "ARGILLA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return make(tmp_path)


def refusal(device: Device, call: str = "progress", /, **body: object) -> tuple[int, str]:
    """Return the status and kind of the answer to a call that must be refused."""
    with pytest.raises(Refused) as refused:
        device.call(call, **body)
    device.close()
    return refused.value.status, refused.value.answer["kind"]


def refused_entry(service: VotingService, secret: str) -> tuple[int, str]:
    """Return how a device that opens a link is refused."""
    return refusal(Device(service.url), "session", secret=secret, consent="0" * 16)


def copy_home(local: LocalVoting, to: Path) -> Path:
    """Copy the home of an Argilla with its database, whole, while others may have it open."""
    to.mkdir(parents=True)
    for path in local.home.iterdir():
        if path.is_file() and not path.name.startswith("argilla.db"):
            shutil.copy(path, to / path.name)
    with local.database() as database, contextlib.closing(sqlite3.connect(to / "argilla.db")) as copy:
        database.backup(copy)
    os.chmod(to, 0o700)
    return to

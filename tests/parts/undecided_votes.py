"""People on the voting page of a project, from whose votes tests export, and what the lead decides about them."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from generating import write_prompts
from kto.ask.prompt_sources import prompt_id
from local_voting import ANSWERS, LocalVoting, make
from voting_service import Device, VotingService

PAPER, FREEZE, GARDENS, NO = "In paper.", "Freeze it.", "In gardens.", "No."


class Community:
    """People on the voting page of a project whose answers get two votes each."""

    def __init__(self, local: LocalVoting) -> None:
        self.local = local
        self._stack = contextlib.ExitStack()
        self._service: VotingService | None = None  # not before the first vote: it notices later changes after a second
        self._devices: dict[str, Device] = {}
        self._cast: dict[tuple[str, str], str] = {}  # lines of the vote format

    def vote(self, name: str, answer: str, vote: str, *reasons: str, **aspects: str) -> None:
        """Vote, or vote again."""
        self._service = self._service or self._stack.enter_context(self.local.service)
        if name not in self._devices:
            self._devices[name] = self._service.device(name)
            self._stack.callback(self._devices[name].close)
        ((record,),) = self.local.rows("SELECT id FROM records WHERE json_extract(fields, '$.answer') = ?", answer)
        before = self._cast.get((name, answer))
        line = self._devices[name].vote(record, vote, before, reasons=[*reasons], aspects=aspects)
        self._cast[name, answer] = line

    def all_vote(self, votes: Mapping[str, str]) -> None:
        """Vote on answers: `+` is good, `-` is bad, one sign per person."""
        for answer, signs in votes.items():
            for name, sign in zip(("ann", "ben", "cleo", "dan", "eve"), signs, strict=False):
                self.vote(name, answer, "good" if sign == "+" else "bad")

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def community(tmp_path: Path, english: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Community]:
    for name in ("ARGILLA_API_URL", "ARGILLA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    local = make(tmp_path, overlap=2)
    local.set(measured_share="0.0", test_fraction="0.0", prompts='"prompts/mine.jsonl"')
    write_prompts(local.project, list(ANSWERS))
    with local.database() as database:
        for prompt in ANSWERS:  # they are in use, so people are asked about them
            database.execute(
                """UPDATE records SET metadata = json_set(metadata, '$.prompt_id', ?)
                WHERE json_extract(fields, '$.prompt') = ?""",
                (prompt_id(prompt), prompt),
            )
    community = Community(local)
    yield community
    community.close()


def lines(community: Community, name: str) -> list[dict[str, Any]]:
    path = community.local.project / "prompts" / name
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def ties(community: Community, *words: str, status: int = 0) -> str:
    """Run `vote.py ties` as a person would, without a terminal; return what it says."""
    done = community.local.run("vote.py", "ties", *words)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout if status == 0 else done.stderr


def id_of(community: Community, answer: str) -> str:
    ((id,),) = community.local.rows(
        "SELECT external_id FROM records WHERE json_extract(fields, '$.answer') = ?", answer
    )
    return id

"""What the calls of the API do (docs/votes.md): session, cards, votes, withdraw, credits."""

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kto.rendering import answer_html
from kto.vote.voting_server import links, votes
from kto.vote.voting_server.database import Writer, connect
from kto.vote.voting_server.deck import LEASE, Deck
from kto.vote.voting_server.http_server import BadRequest

CARDS = 10  # at most, per call
LINES = 200  # at most, per call
PER_HOUR = 600  # votes of one device that came by an open link


class Service:
    """Votes on one dataset of an Argilla whose database is on this machine.

    Parameters
    ----------
    path
        Argilla's SQLite file.
    dataset, workspace
        Their ids, 32 hexadecimal digits.
    overlap
        Votes wanted per answer.
    reasons
        Names that a vote may give as its reasons.
    """

    def __init__(self, path: Path, dataset: str, workspace: str, overlap: int, reasons: tuple[str, ...]) -> None:
        self.dataset, self.workspace, self.reasons = dataset, workspace, reasons
        self.writer = Writer(path)
        self._path = path
        self._local = threading.local()
        self._recent: dict[str, list[float]] = {}
        self._voters: dict[str, links.Voter] = {}
        self.deck = Deck(overlap)
        self._load_lock = threading.Lock()
        self._version = -1
        self._reload()

    @property
    def api(self) -> Mapping[str, Callable[[str, Mapping[str, Any]], Any]]:
        return {name: getattr(self, name) for name in ("session", "cards", "votes", "withdraw", "credits")}

    def _read(self) -> sqlite3.Connection:
        """Return this thread's connection for reading."""
        if not hasattr(self._local, "connection"):
            self._local.connection = connect(self._path)
        connection: sqlite3.Connection = self._local.connection
        return connection

    def _reload(self) -> None:
        self.deck.load(self._read(), self.dataset)

    def session(self, secret: str, body: Mapping[str, Any]) -> dict[str, Any]:
        link, consent = body.get("secret"), body.get("consent")
        if not isinstance(link, str) or not isinstance(consent, str) or len(consent) > links.CONSENT_MAX:
            raise BadRequest(400, "session")
        try:
            entry = self.writer.run(lambda connection: links.enter(connection, link, consent))
        except links.TooMany as error:
            raise BadRequest(429, "too_many") from error
        return {"secret": entry.secret, "person": entry.user, "open": entry.is_open}

    def cards(self, secret: str, body: Mapping[str, Any]) -> dict[str, Any]:
        voter = links.find(self._read(), secret)
        count, have = body.get("count"), body.get("have")
        if not isinstance(count, int) or not isinstance(have, list) or len(have) > 100:
            raise BadRequest(400, "cards")
        drawn = self.deck.draw(voter.user, max(0, min(count, CARDS)), {id for id in have if isinstance(id, str)})
        if drawn:
            end = time.time() + LEASE
            self.writer.run(
                lambda connection: (
                    connection.executemany(
                        "INSERT OR REPLACE INTO kto_leases VALUES (?, ?, ?)", [(id, voter.user, end) for id in drawn]
                    ).rowcount
                )
            )
        return {"cards": [self._card(id, voter.user) for id in drawn], "progress": self.deck.progress(voter.user)}

    def _card(self, record: str, user: str) -> dict[str, Any]:
        prompt, answer = (
            self._read()
            .execute(
                """SELECT kto_cards.prompt, kto_cards.answer FROM records
            JOIN kto_cards ON kto_cards.external_id = records.external_id WHERE records.id = ?""",
                (record,),
            )
            .fetchone()
        )
        response = (
            self._read()
            .execute("SELECT updated_at FROM responses WHERE record_id = ? AND user_id = ?", (record, user))
            .fetchone()
        )
        line = votes.current_line(self._read(), record, user, response[0] if response else None)
        return {"record": record, "prompt": prompt, "answer": answer_html(answer), "raw": answer, "line": line}

    def votes(self, secret: str, body: Mapping[str, Any]) -> dict[str, Any]:
        voter = links.find(self._read(), secret)
        sent = body.get("lines")
        if not isinstance(sent, list) or len(sent) > LINES:
            raise BadRequest(400, "lines")
        try:
            lines = [votes.parse(line, self.reasons) for line in sent]
        except votes.BadLine as error:
            raise BadRequest(
                409 if str(error) == "version" else 400, "old_page" if str(error) == "version" else str(error)
            ) from None

        def write(connection: sqlite3.Connection) -> list[votes.Applied]:
            links.ensure_account(connection, voter.user, self.workspace)
            return [votes.apply(connection, line, voter.user, voter.link) for line in lines]

        applied = self.writer.run(write)
        for line, result in zip(lines, applied, strict=True):
            if result.state == "applied" and result.after:
                self.deck.settle(line.record, voter.user, result.before, result.after)
        elsewhere = [line.record for line, result in zip(lines, applied, strict=True) if result.state == "superseded"]
        return {
            "states": {line.id: result.state for line, result in zip(lines, applied, strict=True)},
            "judged_elsewhere": elsewhere,
            "progress": self.deck.progress(voter.user),
        }

    def withdraw(self, secret: str, body: Mapping[str, Any]) -> dict[str, Any]:
        voter = links.find(self._read(), secret)
        self.writer.run(lambda connection: links.withdraw(connection, voter.user))
        self._reload()
        return {}

    def credits(self, secret: str, body: Mapping[str, Any]) -> dict[str, Any]:
        voter, name = links.find(self._read(), secret), body.get("name")
        if not isinstance(name, str):
            raise BadRequest(400, "name")
        try:
            self.writer.run(lambda connection: links.set_credit(connection, voter.user, name))
        except ValueError:
            raise BadRequest(400, "name") from None
        return {}

"""What the calls of the API do (docs/votes.md): session, cards, votes, progress, withdraw, credits."""

import contextlib
import functools
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from kto.rendering import answer_html
from kto.vote.overlap import LOOKED_AT, Overlap
from kto.vote.voting_server import links, votes
from kto.vote.voting_server.attempts import Attempts
from kto.vote.voting_server.database import Readers, Writer
from kto.vote.voting_server.deck import Answer, Deck
from kto.vote.voting_server.http_messages import BadRequest

CARDS = 10  # at most, per call
LINES = 200  # at most, per call
PER_HOUR = 600  # answers that a device of an open link may judge, for its votes may be anybody's; what is beyond waits
_HAVE = 100  # records that a device may name as held
_RELOAD = 1.0  # seconds, at least, between two looks at what other processes have written
_SHARE = 0.02  # of the time, at most, goes into that
_CLEAN = 600  # seconds between two removals of leases that have ended
_RECORDS = f"""
SELECT records.id, coalesce(json_extract(metadata, '$.prompt_id'), records.id),
    coalesce(json_extract(metadata, '$.outdated'), 0) != 1 AND kto_cards.external_id IS NOT NULL,
    coalesce(records.external_id, records.id), json_extract(metadata, '$.{LOOKED_AT}')
FROM records LEFT JOIN kto_cards ON kto_cards.external_id = records.external_id
WHERE dataset_id = ? ORDER BY records.id
"""  # the ids are random, so that their order mixes prompts and models
_RESPONSES = f"""
SELECT record_id, user_id, status, json_extract("values", '$.vote.value'), json_extract("values", '$.reasons.value')
FROM responses WHERE user_id NOT IN ({links.LEFT_OUT})"""
_LEASES = "SELECT record_id, user_id, expires_at FROM kto_leases WHERE expires_at > ?"

_html = functools.lru_cache(4096)(answer_html)


class Service:
    """Votes on one dataset of an Argilla whose database is on this machine. Any number of threads may make its calls.

    Until it is open, and as long as there is no such dataset, its calls raise `BadRequest(503, "starting")`. `dataset`
    and `workspace` are names, `version` is that of the page, as words.json has it, and of `overlap` all counts but the
    number of votes, which is that of Argilla.
    """

    def __init__(
        self, path: Path, dataset: str, workspace: str, version: str = "", overlap: Overlap | None = None
    ) -> None:
        self._path, self._names, self.version = path, (dataset, workspace), version
        self._overlap = overlap or Overlap()
        self._writer: Writer | None = None
        self._readers: Readers | None = None
        self._judged = Attempts(PER_HOUR, 3600)  # by those who came by open links
        # The writing thread sets these:
        self._dataset: votes.Dataset | None = None
        self._deck = Deck(self._overlap)
        self._data_version = -1  # of the database, when the deck was loaded
        self._load_next = self._clean_next = 0.0  # time.monotonic()

    @property
    def api(self) -> Mapping[str, Callable[[str, Mapping[str, Any]], Any]]:
        """Name of a call → function of the device's secret and the body."""
        return {name: getattr(self, name) for name in ("session", "cards", "votes", "progress", "withdraw", "credits")}

    # --- the database ---

    def open(self) -> None:
        """Begin to answer; raise `sqlite3.Error` if the database is not there, or not one of Argilla."""
        if self._writer:
            return
        self._data_version, self._load_next = -1, 0.0
        writer = Writer(self._path, self._begin)
        try:
            writer.run(lambda connection: None)
        except BaseException:
            writer.close()
            raise
        self._readers, self._writer = Readers(self._path), writer

    def close(self) -> None:
        """Write what waits, and answer no more."""
        writer, readers = self._writer, self._readers
        self._writer = self._readers = None
        if writer and readers:
            writer.close()
            readers.close()

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Look, at the start of a transaction, whether other processes have written."""
        now = time.monotonic()
        if now >= self._load_next:
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            if version != self._data_version:
                self._load(connection)
                self._data_version = version
                self._load_next = now + max(_RELOAD, (time.monotonic() - now) / _SHARE)
        if now >= self._clean_next:
            connection.execute("DELETE FROM kto_leases WHERE expires_at < ?", (time.time(),))
            self._clean_next = now + _CLEAN

    def _load(self, connection: sqlite3.Connection) -> None:
        dataset = votes.find_dataset(connection, *self._names, self._overlap)
        if dataset is not None:
            self._deck = Deck(
                dataset.overlap,
                connection.execute(_RECORDS, (dataset.id,)),
                (
                    (record, user, Answer(status, vote, bool(reasons) and dataset.overlap.is_flag(json.loads(reasons))))
                    for record, user, status, vote, reasons in connection.execute(_RESPONSES)
                ),
                connection.execute(_LEASES, (time.time(),)),
            )
        self._dataset = dataset

    def _write(
        self, write: Callable[[sqlite3.Connection, votes.Dataset], Any], after: Any = lambda result: None
    ) -> Any:
        """Run a function in the next transaction, then `after` with its result; return the result."""
        writer = self._writer
        if writer is None:
            raise BadRequest(503, "starting")

        def run(connection: sqlite3.Connection) -> Any:
            if self._dataset is None:
                raise BadRequest(503, "starting")
            return write(connection, self._dataset)

        return writer.run(run, after)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        readers = self._readers
        if readers is None:
            raise BadRequest(503, "starting")
        with readers.reading() as connection:
            yield connection

    def _voter(self, secret: str) -> links.Voter:
        with self._reading() as connection:
            return links.find(connection, secret)

    def _require_turn(self, voter: links.Voter) -> None:
        if seconds := self._judged.seconds_to_wait(voter.user):
            raise BadRequest(429, "too_many", seconds=seconds)

    def _progress(self, user: str) -> dict[str, Any]:
        return {"progress": self._deck.progress(user), "version": self.version}

    # --- the calls ---

    def session(self, secret: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Let a device in by a link, or by another device's secret."""
        link, consent = body.get("secret"), body.get("consent")
        if not _is_text(link, 100) or not _is_text(consent, links.CONSENT_MAX):
            raise BadRequest(400, "session")
        with self._reading() as connection:  # strangers do not come as far as the writing thread
            if links.is_closed(connection, link) is None:
                links.find(connection, link)
        entry = self._write(lambda connection, dataset: links.enter(connection, link, consent))
        return {"secret": entry.secret, "person": entry.user, "open": entry.is_open}

    def cards(self, secret: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Give out cards."""
        voter = self._voter(secret)
        count, have = body.get("count"), body.get("have")
        if type(count) is not int or not isinstance(have, list) or len(have) > _HAVE:
            raise BadRequest(400, "cards")
        have = [id for id in have if _is_text(id, 32)]
        self._require_turn(voter)

        def write(connection: sqlite3.Connection, dataset: votes.Dataset) -> dict[str, Any]:
            for _ in range(2):
                deck = self._deck
                drawn = deck.draw(voter.user, min(count, CARDS), have)
                cards = [card for id in drawn if (card := _card(connection, id, voter.user))]
                if len(cards) == len(drawn) and (drawn or count < 1):
                    break
                self._load_next = 0.0  # before anybody is sent away: records may have been added or deleted just now
                self._begin(connection)
            connection.executemany(
                "INSERT OR REPLACE INTO kto_leases (record_id, user_id, expires_at) VALUES (?, ?, ?)",
                deck.leases(voter.user, [*have, *drawn]),
            )
            return {
                "cards": cards,
                "wait": None if cards else deck.wait(voter.user, have),
                "judged_elsewhere": deck.answered(voter.user, have),
            }

        answer = self._write(write)
        for card in answer["cards"]:
            card["answer"] = _html(card["raw"])
        return {**answer, **self._progress(voter.user)}

    def votes(self, secret: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Take votes."""
        voter = self._voter(secret)
        sent = body.get("lines")
        if not isinstance(sent, list) or len(sent) > LINES:
            raise BadRequest(400, "lines")
        lines: list[votes.Line] = []
        states: dict[str, str] = {}
        for item in sent:
            try:
                lines.append(votes.parse(item))
            except votes.BadLine as error:
                if error.kind == "version":
                    raise BadRequest(409, "old_page") from None
                if not error.id:
                    raise BadRequest(400, error.kind) from None
                states[error.id] = "refused"
        self._require_turn(voter)

        def write(connection: sqlite3.Connection, dataset: votes.Dataset) -> list[votes.Applied]:
            links.find(connection, secret)  # once more: nothing of a person comes after they have taken all back
            if lines:
                links.ensure_account(connection, voter.user, dataset.workspace)
            return [votes.apply(connection, line, voter.user, voter.link, dataset) for line in lines]

        def settle(results: list[votes.Applied]) -> None:
            for line, result in zip(lines, results, strict=True):
                if result.state == "applied" and result.status:
                    answer = Answer(result.status, result.vote, result.is_flagged)
                    self._deck.settle(line.record, voter.user, answer)

        results = self._write(write, settle)
        if voter.is_open:
            self._judged.count(voter.user, sum(result.is_first for result in results))
        elsewhere = []
        for line, result in zip(lines, results, strict=True):
            states[line.id] = result.state
            if result.state in ("superseded", "unknown_record"):
                elsewhere.append(line.record)
        return {"states": states, "judged_elsewhere": elsewhere, **self._progress(voter.user)}

    def progress(self, secret: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Tell how far this person and the community are."""
        voter = self._voter(secret)
        with self._reading() as connection:
            credit = links.credit(connection, voter.user)
        self._write(lambda connection, dataset: None)  # the newest votes of others
        return {**self._progress(voter.user), "credit": credit}

    def withdraw(self, secret: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Take a person's votes back."""
        voter = self._voter(secret)

        def write(connection: sqlite3.Connection, dataset: votes.Dataset) -> None:
            links.withdraw(connection, voter.user, dataset.overlap)

        def load_the_deck(_: None) -> None:
            self._data_version, self._load_next = -1, 0.0  # in the next transaction

        self._write(write, load_the_deck)
        return {}

    def credits(self, secret: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Name a person in the credits, or no more."""
        voter, name = self._voter(secret), body.get("name")
        if not _is_text(name, 1000):
            raise BadRequest(400, "name")
        try:
            self._write(lambda connection, dataset: links.set_credit(connection, voter.user, name))
        except ValueError:
            raise BadRequest(400, "name") from None
        return {}


def _is_text(value: Any, longest: int) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= longest and not any("\ud800" <= char <= "\udfff" for char in value)


def _card(connection: sqlite3.Connection, record: str, user: str) -> dict[str, Any] | None:
    found = connection.execute(
        """SELECT kto_cards.prompt, kto_cards.answer, responses.updated_at FROM records
        JOIN kto_cards ON kto_cards.external_id = records.external_id
        LEFT JOIN responses ON record_id = records.id AND user_id = ? WHERE records.id = ?""",
        (user, record),
    ).fetchone()
    if found is None:
        return None
    prompt, answer, updated_at = found
    line = votes.current_line(connection, record, user, updated_at)
    return {"record": record, "prompt": prompt, "answer": "", "raw": answer, "line": line}

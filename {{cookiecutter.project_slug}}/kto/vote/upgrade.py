"""`vote.py upgrade`: an older project asks what people are asked today, in the task that they have voted in.

    uv run vote.py upgrade              what would change
    uv run vote.py upgrade --yes        change it

The task is changed in Argilla's own database, for Argilla lets nobody change the questions of a task that has votes.
Records, votes, their ids and times stay. First comes a copy of the database, then one transaction, then the line
`task = 2` in the settings; after a kill anywhere in between the project works, and a second run does the rest.
"""

import argparse
import contextlib
import datetime
import json
import os
import re
import sqlite3
import stat
import tomllib
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kto import sqlite_files
from kto.command_line import Parser
from kto.errors import UserError
from kto.files import replacing
from kto.keys import secret
from kto.questions import TASK
from kto.settings import Settings, load
from kto.texts import number, settings_file, t
from kto.vote import local
from kto.vote.argilla_server import home as homes
from kto.vote.overlap import overlap_of, recount
from kto.vote.task import Asked, asked, check_task
from kto.vote.voting_server.database import argilla_time, connect
from kto.vote.voting_server.votes import Dataset, find_dataset

_SECTION = re.compile(
    r"(?ms)^[ \t]*\[[ \t]*[\"']?annotation[\"']?[ \t]*\][ \t]*(?:#[^\r\n]*)?(\r?\n|\Z)(.*?)(?=^[ \t]*\[|\Z)"
)
_VISIBLE = 3  # options, from which on Argilla's client says how many of them are shown
_VOTES = """
SELECT count(*) FROM responses JOIN records ON records.id = record_id
WHERE dataset_id = ? AND +responses.status = 'submitted'"""
_PENDING = """
SELECT records.id, coalesce(sum(json_extract("values", '$.vote.value') = 'good'), 0),
    coalesce(sum(json_extract("values", '$.vote.value') = 'bad'), 0)
FROM records LEFT JOIN responses ON record_id = records.id AND +responses.status = 'submitted'
WHERE dataset_id = ? AND records.status = 'pending' AND coalesce(json_extract(metadata, '$.outdated'), 0) != 1
GROUP BY records.id"""
_GIVEN = """
SELECT DISTINCT reason.value FROM responses JOIN records ON records.id = record_id,
json_each("values", '$.reasons.value') AS reason WHERE dataset_id = ?"""
_TASK_LINE = re.compile(r"(?m)^([ \t]*task[ \t]*=[ \t]*)\d+")


class Changes(NamedTuple):
    """What an upgrade changes in Argilla, and what it keeps."""

    votes: int = 0  # that stay
    questions: tuple[str, ...] = ()  # new ones, as people see them
    reasons: tuple[str, ...] = ()  # new ones, as people see them
    gone: tuple[str, ...] = ()  # texts of reasons that nobody has given
    kept: tuple[str, ...] = ()  # texts of reasons of before that somebody has given
    tied: int = 0  # records that come back because their votes differ
    measured: int = 0  # records that come back to measure agreement


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(t("commands.upgrade"))
    parser.add_argument("--yes", action="store_true", help=t("technical.help_upgrade_yes"))
    parser.add_argument("--home", type=Path, metavar="DIR", help=t("server.help_home"))
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    config = load()
    home = (options.home or config.root / local.HOME).resolve()
    url, key = secret(config, "ARGILLA_API_URL"), secret(config, "ARGILLA_API_KEY")
    is_ours = not (url and key) or local.has_key(home, key)
    if not is_ours and (not local.is_this_machine(url) or local.is_running(url)):
        print(t("technical.upgrade_elsewhere", url=url))
        return 0
    is_old = config.annotation.task < TASK
    planned = look(config, home)
    if not is_old and not (planned and (planned.questions or planned.reasons)):
        print(t("technical.upgrade_nothing"))
        return 0
    if planned is None:
        print(t("technical.upgrade_no_votes"))
    elif options.yes:
        with homes.only_server_of(home, "page-lock"), homes.only_server_of(home):
            print(t("technical.upgrade_copy", path=copy(home)))
            with writing(home) as connection:
                planned = change(connection, config)
    if planned:
        say(planned, config)
    if not options.yes:
        print(t("technical.upgrade_dry"))
        return 0
    if is_old:
        write_setting(settings_file(config.root))
    print(t("technical.upgrade_done"))
    return 0


def say(changes: Changes, config: Settings) -> None:
    """Print what changes and what stays."""
    print(t("technical.upgrade_votes", count=changes.votes))
    for key, listed in (
        ("technical.upgrade_questions", changes.questions),
        ("technical.upgrade_reasons", changes.reasons),
        ("technical.upgrade_gone", changes.gone),
        ("technical.upgrade_kept", changes.kept),
    ):
        if listed:
            print(t(key, names=" · ".join(listed)))
    print(t("technical.upgrade_tied", count=changes.tied))
    share = number(100 * config.annotation.measured_share)
    print(t("technical.upgrade_measured", count=changes.measured, share=share))


# --- the database -----------------------------------------------------------------------------------------------------


def look(config: Settings, home: Path) -> Changes | None:
    """Return what would change, by changing a copy in memory; None if there is no task here yet."""
    if not (home / "argilla.db").exists():
        return None
    try:
        with (
            contextlib.closing(local.open_database(home)) as source,
            contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as there,
        ):
            source.backup(there)
            if there.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone() is None:
                return None  # Argilla was never started as far as that
            if there.execute("SELECT version_num FROM alembic_version").fetchall() != [(local.REVISION,)]:
                raise UserError("technical.upgrade_argilla")
            return change(there, config)
    except sqlite3.Error as error:
        raise _unusable(home, error) from None


def _unusable(home: Path, error: sqlite3.Error) -> UserError:
    if sqlite_files.is_full(home / "argilla.db", error):
        return UserError("technical.store_full", path=home / "argilla.db")
    return UserError("argilla_home", home=home, reason=error)


def copy(home: Path) -> Path:
    """Copy the database beside itself, under a name that no copy of before has, and return the path."""
    names = (f"{homes.COPY}{'' if index == 1 else f'-{index}'}.db" for index in range(1, 10_000))
    path = next(home / name for name in names if not (home / name).exists())
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)  # of a run that was killed
    try:
        with (
            contextlib.closing(local.open_database(home)) as source,
            contextlib.closing(sqlite3.connect(temporary)) as to,
        ):
            source.backup(to)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.rename(path)
    except (OSError, sqlite3.Error) as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, sqlite3.Error):
            raise _unusable(home, error) from None
        raise UserError("cannot_write", path=path, reason=error) from None
    return path


@contextlib.contextmanager
def writing(home: Path) -> Iterator[sqlite3.Connection]:
    """Lend the database for one transaction, which is on the disk when the block ends; else nothing has changed."""
    try:
        with contextlib.closing(connect(home / "argilla.db")) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise _unusable(home, error) from None


def change(connection: sqlite3.Connection, config: Settings) -> Changes | None:
    """Change the task of this project, within the caller's transaction; None if there is none that people vote in.

    Raises `UserError` if the dataset is another task.
    """
    config = config.model_copy(update={"annotation": config.annotation.model_copy(update={"task": TASK})})
    annotation = config.annotation
    dataset = find_dataset(connection, annotation.dataset, annotation.workspace, overlap_of(annotation))
    if dataset is None:
        return None
    fields = [name for (name,) in connection.execute("SELECT name FROM fields WHERE dataset_id = ?", (dataset.id,))]
    check_task(config, {"options": [{"value": value} for value in dataset.questions.get("vote", ())]}, fields)
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    changes = _change_questions(connection, dataset, asked(config), now)
    tied, measured = _recount(connection, dataset, argilla_time(now))
    votes = connection.execute(_VOTES, (dataset.id,)).fetchone()[0]
    return changes._replace(votes=votes, tied=tied, measured=measured)


def _change_questions(
    connection: sqlite3.Connection, dataset: Dataset, wanted: Sequence[Asked], now: datetime.datetime
) -> Changes:
    query = "SELECT name, settings, inserted_at FROM questions WHERE dataset_id = ?"
    before = {name: (json.loads(settings), at) for name, settings, at in connection.execute(query, (dataset.id,))}
    new: list[str] = []
    changes = Changes()
    moment = now
    for question in wanted:
        settings, at = before.get(question.name, (None, ""))
        if settings is None:
            # Argilla's page shows questions in the order of this time.
            moment += datetime.timedelta(microseconds=1)
            values = (uuid.uuid4().hex, *_row(question), dataset.id, argilla_time(moment), argilla_time(now))
            connection.execute(
                "INSERT INTO questions (id, name, title, description, required, settings, dataset_id, inserted_at, "
                "updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            new.append(question.title)
            continue
        moment = datetime.datetime.fromisoformat(at)
        if question.name == "reasons":
            changes = _change_reasons(connection, dataset, question, settings["options"], argilla_time(now))
    return changes._replace(questions=tuple(new))


def _change_reasons(
    connection: sqlite3.Connection, dataset: Dataset, question: Asked, options: Sequence[dict[str, str]], now: str
) -> Changes:
    """Add reasons that are missing, and take away those of before that nobody has given, in a draft either."""
    given = {name for (name,) in connection.execute(_GIVEN, (dataset.id,))}
    old = {option["value"]: option["text"] for option in options}
    others = {value: text for value, text in old.items() if value not in question.labels}
    kept = {value: text for value, text in others.items() if value in given}
    _, title, description, _, settings = _row(question._replace(labels={**question.labels, **kept}))
    connection.execute(
        "UPDATE questions SET title = ?, description = ?, settings = ?, updated_at = ? "
        "WHERE dataset_id = ? AND name = ?",
        (title, description, settings, now, dataset.id, question.name),
    )
    return Changes(
        reasons=tuple(text for value, text in question.labels.items() if value not in old),
        gone=tuple(text for value, text in others.items() if value not in kept),
        kept=tuple(kept.values()),
    )


def _row(question: Asked) -> tuple[str, str, str, bool, str]:
    """Return name, title, description, required and settings as Argilla and its client write them for a new task."""
    settings: dict[str, Any] = {"type": question.type}
    if question.type == "text":
        settings["use_markdown"] = False
    else:
        options = [{"value": value, "text": text, "description": None} for value, text in question.labels.items()]
        visible = len(options) if len(options) >= _VISIBLE else None
        settings |= {"options": options, "visible_options": visible}
    if question.type == "multi_label_selection":
        settings["options_order"] = "natural"
    return question.name, question.title, question.description, question.required, json.dumps(settings)


def _recount(connection: sqlite3.Connection, dataset: Dataset, now: str) -> tuple[int, int]:
    """Set the status of all records; return how many come back because votes differ, and how many to be measured."""
    query = "SELECT id FROM records WHERE dataset_id = ? AND status = 'completed'"
    before = {id for (id,) in connection.execute(query, (dataset.id,))}
    recount(connection, dataset.overlap, now, "dataset_id = :value", dataset.id)
    back = [(good, bad) for id, good, bad in connection.execute(_PENDING, (dataset.id,)) if id in before]
    tied = sum(good == bad for good, bad in back)
    return tied, len(back) - tied


# --- the settings -----------------------------------------------------------------------------------------------------


def write_setting(path: Path) -> None:
    """Write `task = 2` into the section `annotation` of the settings; all else stays as it is, byte by byte.

    Raises `UserError` if that cannot be done.
    """
    try:
        content = path.read_bytes().decode("utf-8")
        wanted = tomllib.loads(content.removeprefix("\ufeff"))
        wanted["annotation"]["task"] = TASK
        new = _with_task(content)
        if new is None or tomllib.loads(new.removeprefix("\ufeff")) != wanted:
            raise UserError("technical.upgrade_write_yourself", path=path)
        mode = stat.S_IMODE(path.stat().st_mode)
        with replacing(path) as file:
            file.write(new.encode("utf-8"))
            if os.name == "posix":
                os.chmod(file.fileno(), mode)  # the lock on Argilla's folder closes new files to others
    except OSError as error:
        raise UserError("cannot_write", path=path, reason=error) from None


def _with_task(content: str) -> str | None:
    """Return the content of the settings with the line; None if there is no place for it."""
    section = _SECTION.search(content)
    if section is None:
        return None
    line_end, lines = section.groups()
    changed, count = _TASK_LINE.subn(rf"\g<1>{TASK}", lines, count=1)
    if not count:
        line = f"task = {TASK}                    # what people are asked; 1 was asked before November 2026"
        changed = f"{line}{line_end}{lines}" if line_end else f"\n{line}\n"
    return content[: section.start(2)] + changed + content[section.end(2) :]

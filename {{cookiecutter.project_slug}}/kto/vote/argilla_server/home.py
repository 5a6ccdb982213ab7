"""The folder where Argilla keeps votes and log-ins: who may use it, its secrets, its database."""

import contextlib
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from kto import dotenv, sqlite_files
from kto.errors import UserError
from kto.vote.overlap import Overlap, recount
from kto.vote.voting_server.database import argilla_time

COPY = "argilla-before-upgrade"
"""Names of copies of the database begin so; `vote.py upgrade` makes them."""
# What is made in the home; a home may hold other things too.
_FILES = (
    *("argilla.db", "argilla.db-wal", "argilla.db-shm", "credentials.json", "lock", "lock-journal"),
    *("page-lock", "page-lock-journal", "tunnel.log"),
)
_OURS = {*_FILES, "server_id.dat", ".argilla-page", f"{COPY}*"}


@contextlib.contextmanager
def only_server_of(home: Path, name: str = "lock", wait: float = 0) -> Iterator[None]:
    """Hold `home` for this process alone, until it ends in whatever way: the lock is the operating system's.

    There is one lock for Argilla and one, `page-lock`, for the voting page. `wait` is in seconds, for one that ends.
    """
    if os.name == "posix":
        os.umask(0o077)  # an open folder must not open the votes and the keys in it to everybody on this machine
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = sqlite3.connect(home / name, timeout=wait)
        lock.execute("BEGIN EXCLUSIVE")
    except (OSError, sqlite3.Error) as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            raise UserError("argilla_running", home=home) from None
        raise UserError("argilla_home", home=home, reason=error) from None
    try:
        yield
    finally:
        lock.close()


def keep_private(home: Path, project: Path) -> None:
    """Close files in `home` that an earlier start left open to others, and keep `home` out of the project's Git."""
    try:
        for path in (home / name for name in _FILES):
            if os.name == "posix" and path.exists():
                path.chmod(0o600)
        if home.is_relative_to(project) and not home.is_relative_to(project / ".argilla"):
            ignored = home / ".gitignore"
            lines = ignored.read_text(encoding="utf-8").splitlines() if ignored.exists() else []
            missing = [f"/{name}" for name in sorted(_OURS) if f"/{name}" not in lines]
            if missing and "*" not in lines:
                fresh = not lines and _OURS.issuperset(path.name for path in home.iterdir())
                lines = ["*"] if fresh else [*lines, *missing]
                ignored.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    except (OSError, UnicodeError) as error:
        raise UserError("argilla_home", home=home, reason=error) from None


def load_credentials(home: Path) -> tuple[dict[str, str], bool]:
    """Return the content of `home/credentials.json`, and whether it was made just now, from random bytes."""
    path = home / "credentials.json"
    if path.exists():
        try:
            credentials = json.loads(path.read_text(encoding="utf-8"))
            return {key: credentials[key] for key in ("username", "password", "api_key", "auth_secret")}, False
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError("bad_credentials", path=path) from None
    credentials = {
        "username": "owner",
        "password": secrets.token_urlsafe(12),
        "api_key": secrets.token_urlsafe(48),
        "auth_secret": secrets.token_urlsafe(48),
    }
    try:
        dotenv.write_private(path, json.dumps(credentials, indent=2) + "\n")
    except OSError as error:
        raise UserError("cannot_write", path=path, reason=error) from None
    return credentials, True


def refuse_weak(credentials: dict[str, str], home: Path) -> None:
    """Raise `UserError` if somebody could guess a password or key, written by hand, with which others may try."""
    for name, least in (("password", 12), ("api_key", 24), ("auth_secret", 24)):
        value = credentials[name]
        if len(value) < least or len(set(value)) < least // 2 or credentials["username"].lower() == value.lower():
            raise UserError("technical.weak_credentials", name=name, path=home / "credentials.json")


def prepare_database(home: Path, overlap: Overlap) -> None:
    """Create the tables, or bring those of an older Argilla up to date; refuse those of a newer one."""
    import alembic.command
    import argilla_server._version
    import sqlalchemy.exc
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    migrations = Path(argilla_server.__file__).parent / "alembic"
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    try:
        with contextlib.closing(sqlite3.connect("argilla.db", timeout=30)) as database:
            database.execute("PRAGMA schema_version").fetchall()  # fails if this is no database
            alembic.command.upgrade(config, "head")
            database.execute("PRAGMA journal_mode=WAL")  # votes are read while others are written
            with database:
                # Argilla may be killed between a vote and the status of the record that follows from it, and the
                # settings may have changed: such a record would be shown for ever, or never.
                recount(database, overlap, argilla_time())
    except (sqlite3.OperationalError, sqlalchemy.exc.OperationalError) as error:
        if sqlite_files.is_full(home / "argilla.db", getattr(error, "orig", None) or error):
            raise UserError("technical.store_full", path=home / "argilla.db") from None  # another folder has no votes
        raise UserError("argilla_home", home=home, reason=error) from None
    except (sqlite3.DatabaseError, CommandError):
        version = argilla_server._version.__version__
        raise UserError("argilla_home_version", home=home, version=version) from None


async def ensure_owner(credentials: dict[str, str]) -> None:
    """See to it that the workspace and the owner exist; new credentials replace lost ones."""
    from argilla_server.contexts import accounts
    from argilla_server.database import AsyncSessionLocal
    from argilla_server.enums import UserRole
    from argilla_server.models import User, Workspace

    name, workspace_name = credentials["username"], "argilla"
    async with AsyncSessionLocal() as db:
        workspace = await Workspace.get_by(db, name=workspace_name)
        workspace = workspace or await accounts.create_workspace(db, {"name": workspace_name})
        owner = await accounts.get_user_by_username(db, name)
        if owner is not None and owner.api_key == credentials["api_key"]:
            return
        secret = {"api_key": credentials["api_key"], "password_hash": accounts.hash_password(credentials["password"])}
        if owner is not None:
            await owner.update(db, **secret)
        else:
            role = UserRole.owner
            await User.create(db, username=name, first_name=name, role=role, workspaces=[workspace], **secret)

"""The people who vote: their accounts in Argilla and their passwords."""

import secrets
from pathlib import Path

from kto.settings import Settings
from kto.tables import read_csv, write_csv
from kto.vote.client import Argilla
from kto.vote.task import find_workspace

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # without those that look alike: people type passwords from paper


def read_passwords(path: Path) -> dict[str, str]:
    """Return name → password from the CSV file that `invite` writes, {} without one.

    Raises `UserError` if it cannot be read or lacks a column.
    """
    rows = read_csv(path, ("name", "password"))
    return {row["name"]: row["password"] for row in rows if row["name"] and row["password"]}


def invite(argilla: Argilla, config: Settings) -> list[str]:
    """Open the task to the people in `[annotation] annotators` and return the names of the new ones.

    A new person gets an account with a random password, which is added to `data/private/annotators.csv`. The password
    of an existing account stays. Raises `UserError` if Argilla refuses or the file cannot be read or written.
    """
    import argilla as rg

    path = config.root / "data" / "private" / "annotators.csv"
    passwords = read_passwords(path)
    workspace = find_workspace(argilla, config)
    users = {user.username: user for user in argilla.repeat(argilla.sdk.users.list)}
    members = {user.username for user in argilla.repeat(lambda: argilla.sdk.users.list(workspace))}
    names = dict.fromkeys(config.annotation.annotators)
    invited = [name for name in names if name not in users]
    with argilla.errors():
        for name in invited:
            # First the file, then the account: a password that nobody knows opens nothing.
            password = passwords.setdefault(name, "-".join(_letters(4) for _ in range(3)))
            write_csv(path, ("name", "password"), passwords.items())
            users[name] = rg.User(name, role="annotator", password=password, client=argilla.sdk).create()
        for user in (users[name] for name in names if name not in members):
            if user.role != "owner":
                user.add_to_workspace(workspace)
    return invited


def _letters(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))

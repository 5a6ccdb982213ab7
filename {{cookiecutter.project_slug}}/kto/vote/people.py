"""The people who vote: their accounts in Argilla and their passwords."""

import secrets
from pathlib import Path

from kto.settings import Settings
from kto.tables import read_csv, write_csv
from kto.vote.client import Argilla
from kto.vote.task import workspace_id

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
    path = config.root / "data" / "private" / "annotators.csv"
    passwords = read_passwords(path)
    workspace = workspace_id(argilla, config)
    users = {user["username"]: user for user in argilla.items("/users")}
    members = {user["username"] for user in argilla.items(f"/workspaces/{workspace}/users")}
    invited = [name for name in dict.fromkeys(config.annotation.annotators) if name not in users]
    for name in invited:
        # First the file, then the account: a password that nobody knows opens nothing.
        password = passwords.setdefault(name, "-".join(_letters(4) for _ in range(3)))
        write_csv(path, ("name", "password"), passwords.items())
        account = {"username": name, "first_name": name, "password": password, "role": "annotator"}
        users[name] = argilla.request("POST", "/users", json=account)
    for user in (users[name] for name in config.annotation.annotators if name not in members):
        if user["role"] != "owner":
            argilla.request("POST", f"/workspaces/{workspace}/users", json={"user_id": user["id"]})
    return invited


def _letters(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))

"""The people who vote: their accounts in Argilla and their passwords."""

import csv
import io
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kto import dotenv
from kto.errors import UserError
from kto.settings import Settings
from kto.tables import read_csv
from kto.vote.client import argilla_errors

if TYPE_CHECKING:
    import argilla as rg

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # without those that look alike: people type passwords from paper


def read_passwords(path: Path) -> dict[str, str]:
    """Return name → password from the CSV file that `invite` writes; a file that does not exist holds none.

    Raises
    ------
    UserError
        The file cannot be read, or is another table.
    """
    rows = read_csv(path, ("name", "password"))
    return {row["name"]: row["password"] for row in rows if row["name"] and row["password"]}


def invite(client: "rg.Argilla", config: Settings) -> list[str]:
    """Open the task to the people in `[annotation] annotators` and return the names of those who are new.

    A new person gets an account with a random password, which is added to `data/private/annotators.csv`. The password
    of an account that exists stays as it is.

    Raises
    ------
    UserError
        Argilla refuses, or the file cannot be read or written.
    """
    import argilla as rg

    path = config.root / "data" / "private" / "annotators.csv"
    passwords = read_passwords(path)
    invited = []
    with argilla_errors(client.api_url):
        workspace = next(item for item in client.workspaces.list() if item.name == config.annotation.workspace)
        users = {user.username: user for user in client.users.list()}
        members = {user.username for user in workspace.users}
        for name in config.annotation.annotators:
            user = users.get(name)
            if user is None:
                # First the file, then the account: a password that nobody knows opens nothing.
                password = passwords.setdefault(name, _random_password())
                _write_passwords(path, passwords)
                user = rg.User(username=name, first_name=name, password=password, role="annotator", client=client)
                user.create()
                invited.append(name)
            if name not in members and user.role != "owner":
                user.add_to_workspace(workspace)
    return invited


def _random_password() -> str:
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(3))


def _write_passwords(path: Path, passwords: Mapping[str, str]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([("name", "password"), *passwords.items()])
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        dotenv.write_private(path, text.getvalue())
    except OSError as error:
        raise UserError("cannot_write", path=path, reason=error) from None

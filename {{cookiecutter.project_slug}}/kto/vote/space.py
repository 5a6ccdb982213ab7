"""Argilla in a Space on the Hub (`vote.py space`), for people who cannot reach this machine."""

import json
import re
import secrets
import time
from typing import TYPE_CHECKING

from kto import card as cards
from kto import dotenv
from kto.command_line import Parser, run
from kto.errors import UserError
from kto.settings import Settings, load
from kto.tables import reading, writing
from kto.texts import published, t

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_FAILED = ("NO_APP_FILE", "CONFIG_ERROR", "BUILD_ERROR", "RUNTIME_ERROR")  # a new build can wipe no votes
_FINAL = ("RUNNING", "DELETING", "PAUSED", "STOPPED", *_FAILED[1:])  # any other stage passes


def _upload(api: "HfApi", config: Settings, workspace: str) -> None:
    """Send the files of `space/`, with the workspace that people get into in place of Argilla's usual one."""
    from huggingface_hub import CommitOperationAdd

    folder = published(config.root, "space")
    operations = []
    for path in (path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.name == ".oauth.yaml":
            text = path.read_text(encoding="utf-8")
            content = re.sub(r"(?m)^(\s*- name:) argilla$", rf"\1 {json.dumps(workspace)}", text).encode()
        elif path.name == "README.md":  # without a byte order mark, behind which the Hub would see no facts
            content = cards.read(path).encode()
        elif path.match("*.new.md") or path.match("*.old*.md"):
            continue
        operations.append(CommitOperationAdd(path.relative_to(folder).as_posix(), content))
    api.create_commit(config.annotation.space, operations, repo_type="space", commit_message="Update the Space")


def create_space(config: Settings, timeout: float = 1800, pause: float = 10) -> str:
    """Make the Space of `[annotation] space` if there is none, wait until it runs, and return its address.

    The owner's name, password and key are random and ours alone: the image's defaults are public knowledge. They are
    written to a file of this Space in `data/private`, the address and the key also to `.env`, where `connect` reads
    them. A Space that exists keeps what it has. The files of `space/` are sent to a new one and to one that has failed,
    never to one that runs: that would build it again, and a Space without a disk of its own then forgets all votes.

    The Space is public, because a private one answers only to its owner's Hub token and nobody else could vote.
    Votes and names are behind Argilla's own log-in either way.

    `timeout` and `pause` are seconds: until the Space runs, and between two checks. Raises `UserError` if no name is
    set, the page of the Space cannot be used, the Hub fails or refuses (new Docker Spaces need a plan), or the Space
    does not start.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    from kto.hub import hub_errors, hub_token

    repo_id = config.annotation.space
    if not repo_id:
        raise UserError("no_space")
    token = hub_token(config)
    api = HfApi(token=token)
    page = published(config.root, "space") / "README.md"
    with reading(page):
        card = cards.read(page)
    cards.check(card, page, ("sdk",))
    with hub_errors(repo_id):
        name = api.whoami()["name"]
        path = config.root / "data" / "private" / f"space-{repo_id.replace('/', '--')}.env"
        exists = api.repo_exists(repo_id, repo_type="space")
        with reading(path):
            login = dotenv.read(path)
        if exists and login.get("SPACE") != repo_id:
            raise UserError("space_of_others", repo_id=repo_id, path=path)
        if login.get("SPACE") != repo_id:
            login = {
                "SPACE": repo_id,
                "USERNAME": name,  # the owner of Argilla must be somebody whom the Hub knows by this name
                "PASSWORD": secrets.token_urlsafe(16),
                "API_KEY": secrets.token_urlsafe(48),
                "WORKSPACE": config.annotation.workspace,
            }
            with writing(path, 0o700):
                dotenv.update(path, login)  # before the Space is made: a secret on the Hub cannot be read again
        if not exists:
            cards.validate(card, "space", page, token)
            secret = [{"key": key, "value": value} for key, value in login.items() if key != "SPACE"]
            try:
                api.create_repo(repo_id, repo_type="space", space_sdk="docker", private=False, space_secrets=secret)
            except HfHubHTTPError as error:
                if error.response.status_code not in (402, 403):
                    raise
                reason = error.server_message or ""
                raise UserError("space_refused", repo_id=repo_id, reason=reason) from None
        if not exists or api.get_space_runtime(repo_id).stage in _FAILED:
            _upload(api, config, login["WORKSPACE"])
            time.sleep(pause)  # until then the Hub may still say what went wrong before
        space = api.space_info(repo_id)
        address = space.host or f"https://{space.subdomain}.hf.space"
        deadline = time.monotonic() + timeout
        while (stage := api.get_space_runtime(repo_id).stage) not in _FINAL and time.monotonic() < deadline:
            time.sleep(pause)
    if stage != "RUNNING":
        raise UserError("space_not_running", repo_id=repo_id, stage=stage)
    env = config.root / ".env"
    with writing(env):
        dotenv.update(env, {"ARGILLA_API_URL": address, "ARGILLA_API_KEY": login["API_KEY"]})
    return address


def main(argv: list[str] | None = None) -> int:
    Parser(t("technical.help_space")).parse_args(argv)
    print(t("notebook.address", url=create_space(load())))
    return 0


if __name__ == "__main__":
    run(main)

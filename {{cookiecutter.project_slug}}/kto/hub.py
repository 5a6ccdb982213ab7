"""The Hub: our token, its errors as `HubError`, and a push of tables and card that loses nothing others wrote.

A push is one commit, so one that breaks off leaves the dataset as it was. What earlier pushes wrote is read from the
Hub's history, so it does not matter from which machine the last one came.
"""

import contextlib
import json
import math
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx2
import yaml
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, DatasetCard, HfApi, constants, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    get_session,
    hf_raise_for_status,
    logging,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from kto import card as cards
from kto import errors
from kto.errors import HubError, UserError
from kto.keys import secret
from kto.pages import MARKED, fingerprint
from kto.retries import TEMPORARY, retry
from kto.settings import Settings
from kto.tables import writing
from kto.terminal import enter_pressed
from kto.texts import t

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets.info import DatasetInfosDict

SHARD = 500 * 10**6
"""Bytes of a table in memory per file."""
PUSHED = "Update data and card"
"""Prefix of our commit titles; the commit that squashes the history must keep it."""
_FORMER_TITLES = ("Upload README.md with huggingface_hub", "Upload dataset")
"""Titles of the last two commits of a push by earlier versions, the newest first."""
_GENERATED = ("configs", "dataset_info")
"""Facts on a card that are made from the tables."""
_OUR_COLUMN = "prompt_id"
"""A column of all our tables, and of hardly any others."""
_README = constants.REPOCARD_NAME
_DATA = re.compile(r"\.(parquet|arrow|csv|tsv|jsonl?|txt|xml|zip|gz|zst|tar)$", re.IGNORECASE)

_BY_STATUS: Mapping[int, type[HubError]] = {
    401: errors.HubTokenRefused,
    403: errors.HubAccessDenied,
    404: errors.HubAccessDenied,
    409: errors.HubConflict,
    412: errors.HubConflict,
    413: errors.HubTooLarge,
    429: errors.HubBusy,
}


def hub_token(config: Settings) -> str:
    """Return the token for the Hub; raise `UserError` if there is none."""
    token = secret(config, "HF_TOKEN")
    if not token:
        raise UserError("no_hub_token")
    return token


@contextlib.contextmanager
def hub_errors(repo_id: str) -> Iterator[None]:
    """Raise errors of the Hub and of the network as `HubError`, and silence huggingface_hub's own messages."""
    logging.set_verbosity_error()
    disable_progress_bars()
    try:
        yield
    except (HfHubHTTPError, httpx2.HTTPError, ConnectionError, RuntimeError, json.JSONDecodeError) as error:
        cause = _cause(error)
        said = getattr(cause, "server_message", None) or str(cause)
        reason = " ".join(said.split())[:500] or type(cause).__name__
        status, kind = 0, HubError
        if isinstance(cause, HfHubHTTPError):
            status = cause.response.status_code
            if status != 403 or "storage" not in reason.lower():  # 403 also says that an account is full
                kind = _BY_STATUS.get(status, HubError)
        elif isinstance(cause, OfflineModeIsEnabled):
            kind = errors.HubOffline
        elif isinstance(cause, httpx2.HTTPError | ConnectionError):
            kind = errors.HubUnreachable
        raise kind(status=status, detail=reason, repo_id=repo_id) from None


def _cause(error: BaseException) -> BaseException:
    """Return the error of the Hub or the network, which an upload of a large file wraps in a `RuntimeError`."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _is_temporary(error: Exception) -> bool:
    """Tell whether another attempt may succeed; huggingface_hub has retried failed connections itself."""
    cause = _cause(error)
    if isinstance(cause, HfHubHTTPError):
        return cause.response.status_code in TEMPORARY
    no_connection = isinstance(cause, httpx2.ConnectError | httpx2.ProxyError)
    return isinstance(cause, httpx2.TransportError | json.JSONDecodeError) and not no_connection


# --- a push -----------------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """A configuration of a dataset: its name, the folder of its files, and its tables by split."""

    name: str
    folder: str
    splits: "Mapping[str, pa.Table]"

    @property
    def configuration(self) -> dict[str, Any]:
        """What the card says about it in `configs`."""
        files = [{"split": split, "path": f"{self.folder}/{split}-*"} for split in self.splits]
        return {"config_name": self.name, "data_files": files}

    def has_file(self, path: str) -> bool:
        """Tell whether a path in the repository is one that a push, ours or `push_to_hub`, gives to this part."""
        return re.fullmatch(rf"{re.escape(self.folder)}/[a-z]+-\d{{5}}-of-\d{{5}}\.parquet", path) is not None


class _Card(NamedTuple):
    """A dataset card: its facts, and the text below them."""

    facts: Mapping[str, Any] = {}
    text: str = ""

    @classmethod
    def parse(cls, page: str) -> "_Card":
        front_matter, text = cards.split(page)
        try:
            facts = yaml.safe_load(front_matter or "")
        except yaml.YAMLError:
            facts, text = {}, page
        return cls(facts if isinstance(facts, dict) else {}, text.strip())

    @property
    def written(self) -> tuple[dict[str, Any], str]:
        """The parts that people write: all but the facts from the tables and the text that `export.py` fills in."""
        facts = {name: value for name, value in self.facts.items() if name not in _GENERATED and value is not None}
        return facts, fingerprint(self.text)

    def by_configuration(self, fact: str) -> dict[str, dict[str, Any]]:
        """Return the entries of `configs` or `dataset_info`; a single one may stand there without a list."""
        entries = self.facts.get(fact) or []
        entries = entries if isinstance(entries, list) else [entries]
        return {str(entry.get("config_name", "default")): entry for entry in entries if isinstance(entry, dict)}


class _Remote(NamedTuple):
    """A dataset as it is on the Hub; without a commit if there is none, or if we have just made it."""

    repo_id: str
    commit: str | None = None
    files: frozenset[str] = frozenset()
    card: _Card = _Card()


def push(repo_id: str, *, token: str, private: bool, parts: Sequence[Part], page: str, path: Path, command: str) -> str:
    """Send tables and card in one commit; return the address of the dataset or, see below, of a pull request.

    Configurations and facts that only the Hub has stay there. If the commit would replace something that others wrote,
    a person at a terminal is asked; without a terminal or a yes, it becomes a pull request.

    Parameters
    ----------
    private
        Visibility of a new dataset; an existing one keeps its own.
    parts
        The first is what `load_dataset(repo_id)` gives, unless somebody has made another one the default.
    page, path
        The card, and the file in which people correct it.
    command
        The script that pushes, for the Hub's history.
    """
    import datasets  # takes a second

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    cards.check(page, path, cards.NEEDS)
    api = HfApi(token=token)
    title = f"{PUSHED} ({command})"
    replace: dict[tuple[str, ...], bool] = {}  # by what would be lost: the user's answer, asked once

    def attempt() -> str:
        remote = _read_remote(api, repo_id)
        filled = _fill(page, parts, infos, remote.card)
        cards.validate(filled, "dataset", path, token)
        if remote.commit is None:
            url = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
            remote = remote._replace(repo_id=url.repo_id)
        lost = _lost(api, remote, _Card.parse(page), parts)
        if lost and lost not in replace:
            replace[lost] = enter_pressed(t("export.replace", names=", ".join(lost)))
        stale = [name for name in remote.files if name not in files and any(part.has_file(name) for part in parts)]
        commit = api.create_commit(
            remote.repo_id,
            [
                *(CommitOperationAdd(name, file) for name, file in files.items()),
                CommitOperationAdd(_README, filled.encode()),
                *(CommitOperationDelete(name) for name in stale),
            ],
            commit_message=title,
            repo_type="dataset",
            parent_commit=remote.commit,
            create_pr=bool(lost) and not replace[lost],
        )
        if not commit.pr_url:
            return f"{constants.ENDPOINT}/datasets/{remote.repo_id}"
        print(t("export.pull_request", names=", ".join(lost), path=path), file=sys.stderr)
        with contextlib.suppress(HfHubHTTPError, httpx2.HTTPError):
            _close_former_requests(api, repo_id, title, commit.pr_url)
        return commit.pr_url

    with hub_errors(repo_id), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with writing(Path(folder)):
            files, infos = _write(parts, Path(folder))
        return retry(attempt, _is_temporary)


def _write(parts: Sequence[Part], folder: Path) -> "tuple[dict[str, Path], DatasetInfosDict]":
    """Write the tables as `push_to_hub` does; return the files by path on the Hub, and the facts of each part."""
    import datasets
    from datasets.info import DatasetInfosDict

    files: dict[str, Path] = {}
    infos = DatasetInfosDict()
    for part in parts:
        info = datasets.DatasetInfo(splits=datasets.SplitDict(), download_size=0, dataset_size=0)
        for split, table in part.splits.items():
            dataset = datasets.Dataset(datasets.table.InMemoryTable(table))
            count = max(1, math.ceil(table.nbytes / SHARD))
            for index in range(count):
                name = f"{part.folder}/{split}-{index:05d}-of-{count:05d}.parquet"
                file = files[name] = folder / name.replace("/", "-")
                dataset.shard(count, index, contiguous=True).to_parquet(file)
                info.download_size += file.stat().st_size
            info.features = dataset.features
            info.splits[split] = datasets.SplitInfo(split, num_bytes=table.nbytes, num_examples=len(table))
            info.dataset_size += table.nbytes
        infos[part.name] = info
    return files, infos


def _read_remote(api: HfApi, repo_id: str) -> _Remote:
    try:
        info = api.dataset_info(repo_id)
    except RepositoryNotFoundError:
        return _Remote(repo_id)
    files = frozenset(sibling.rfilename for sibling in info.siblings or ())
    card = _read_card(api, repo_id, info.sha or "main") if _README in files else _Card()
    return _Remote(info.id, info.sha, files, card)


def _read_card(api: HfApi, repo_id: str, revision: str) -> _Card:
    url = hf_hub_url(repo_id, _README, repo_type="dataset", revision=revision, endpoint=constants.ENDPOINT)
    response = get_session().get(url, headers=build_hf_headers(token=api.token))
    if response.status_code == 404:
        return _Card()
    hf_raise_for_status(response)
    return _Card.parse(response.content.decode("utf-8", "replace"))


def _last_pushed(api: HfApi, remote: _Remote) -> _Card | None:
    """Return the card as our last push left it, None if there was none."""
    commits = api.list_repo_commits(remote.repo_id, repo_type="dataset", revision=remote.commit)
    for commit, before in zip(commits, [*commits[1:], None], strict=True):
        former = before is not None and (commit.title, before.title) == _FORMER_TITLES
        if former or commit.title.startswith(PUSHED):
            card = _read_card(api, remote.repo_id, commit.commit_id)
            if not former or f"<!-- end {MARKED[0]} -->" in card.text:  # others push with the same tools
                return card
    return None


def _close_former_requests(api: HfApi, repo_id: str, title: str, newest: str) -> None:
    """Close our open pull requests but the newest, which has all that they had."""
    open_requests = api.get_repo_discussions(
        repo_id, repo_type="dataset", discussion_type="pull_request", discussion_status="open"
    )
    for request in list(open_requests):
        if request.title == title and not newest.endswith(f"/{request.num}"):
            api.change_discussion_status(repo_id, request.num, "closed", repo_type="dataset")


def _fill(page: str, parts: Sequence[Part], infos: "DatasetInfosDict", remote: _Card) -> str:
    """Return our card with the facts of the tables, and with those that only the card on the Hub has."""
    ours = _Card.parse(page)
    front_matter, text = cards.split(page)
    card = DatasetCard(f"---\n{front_matter}---\n{text}")
    for name, value in remote.facts.items():
        if name not in ours.facts and value is not None:
            card.data[name] = value
    names = {part.name for part in parts}
    configs, described = (remote.by_configuration(fact) | ours.by_configuration(fact) for fact in _GENERATED)
    others = {name: config for name, config in configs.items() if name not in names}
    card.data["dataset_info"] = [{**described[name], "config_name": name} for name in others if name in described]
    infos.to_dataset_card_data(card.data)
    own = [part.configuration for part in parts]
    has_default = "default" in {parts[0].name, *others} or any(config.get("default") for config in others.values())
    if not has_default:
        own[0]["default"] = True
    card.data["configs"] = [*own, *others.values()]
    return str(card)


def _lost(api: HfApi, remote: _Remote, ours: _Card, parts: Sequence[Part]) -> tuple[str, ...]:
    """Return what others wrote and this push would replace: names of facts, of configurations and of files."""
    configs = remote.card.by_configuration("configs")
    columns = {
        name: [column.get("name") for column in info.get("features") or ()]
        for name, info in remote.card.by_configuration("dataset_info").items()
    }
    lost = [part.name for part in parts if part.name in configs and _OUR_COLUMN not in columns.get(part.name, ())]
    unknown = [
        part.name
        for part in parts
        if part.name not in [*configs, *columns] and any(part.has_file(name) for name in remote.files)
    ]
    if not configs:  # then `load_dataset` takes every file, until there are configurations
        data = sorted(name for name in remote.files if _DATA.search(name))
        lost += [name for name in data if not any(part.has_file(name) for part in parts)]
    facts, text = ours.written
    remote_facts, remote_text = remote.card.written
    changed = [name for name, value in remote_facts.items() if name in facts and not _covers(facts[name], value)]
    if remote.card.text and remote_text != text:
        changed.append(_README)
    if changed or unknown:  # perhaps it is what we pushed, and only our card has changed since
        pushed = _last_pushed(api, remote)
        if pushed is None:
            lost += [*unknown, *changed]
        elif pushed.written != remote.card.written:
            lost += changed
    return tuple(lost)


def _covers(value: object, other: object) -> bool:
    """Tell whether one value of a fact has all that another one has."""
    if isinstance(value, list):
        return all(item in value for item in (other if isinstance(other, list) else [other]))
    return value == other

"""A dataset on the Hub: tables and card go there in one commit, and what others wrote there stays.

A commit is whole or not there at all, so a push that breaks off leaves the dataset as it was. The Hub's history is the
memory of our pushes, so that it does not matter from which machine the last one came.
"""

import contextlib
import math
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx2
import yaml
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    DatasetCard,
    HfApi,
    constants,
    hf_hub_url,
)
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]

from kto import card as cards
from kto.errors import UserError
from kto.hub import passes, told_plainly
from kto.pages import MARKED, fingerprint
from kto.patience import patiently
from kto.terminal import enter_pressed
from kto.texts import t

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets.info import DatasetInfosDict

SHARD = 500 * 10**6
"""Bytes of a table in memory that become one file, which is smaller."""
PUSHED = "Update data and card"
"""With it the title of each commit of ours begins; one that clears the history has to have it, too."""
_FORMER_TITLES = ("Upload README.md with huggingface_hub", "Upload dataset")
"""Titles of the last two commits of a push by earlier versions, the newest first."""
_MADE = ("configs", "dataset_info")
"""Facts on a card that are made from the tables."""
_OURS = "prompt_id"
"""A column that each of our tables has, and hardly any other."""
_README = constants.REPOCARD_NAME
_DATA = re.compile(r"\.(parquet|arrow|csv|tsv|jsonl?|txt|xml|zip|gz|zst|tar)$", re.IGNORECASE)


class Part(NamedTuple):
    """A configuration: its name, the folder of its files, and its tables by name of the split."""

    name: str
    folder: str
    splits: "Mapping[str, pa.Table]"

    def made(self, path: str) -> bool:
        """Tell whether this is a file that we, or `push_to_hub` for us, gave this name."""
        return re.fullmatch(rf"{re.escape(self.folder)}/[a-z]+-\d{{5}}-of-\d{{5}}\.parquet", path) is not None


class _Page(NamedTuple):
    """A card that is on the Hub: its facts, and the text below them."""

    facts: dict[str, Any]
    text: str

    @classmethod
    def parse(cls, page: str) -> "_Page":
        front_matter, text = cards.split(page)
        try:
            facts = yaml.safe_load(front_matter or "")
        except yaml.YAMLError:
            facts, text = {}, page  # somebody's text, whatever it is
        return cls(facts if isinstance(facts, dict) else {}, text.strip())

    @property
    def written(self) -> tuple[dict[str, Any], str]:
        """What people wrote: without what is made from the tables, and without what `export.py` fills in."""
        facts = {name: value for name, value in self.facts.items() if name not in _MADE and value is not None}
        return facts, fingerprint(self.text)

    def named(self, fact: str) -> dict[str, dict[str, Any]]:
        """Return the entries of `configs` or `dataset_info` by configuration; a single one may stand without a list."""
        found = self.facts.get(fact) or []
        entries = [each for each in (found if isinstance(found, list) else [found]) if isinstance(each, dict)]
        return {str(each.get("config_name", "default")): each for each in entries}


class _There(NamedTuple):
    """The dataset as it is on the Hub; a new one has no commit that matters."""

    repo_id: str
    commit: str | None
    files: frozenset[str]
    page: _Page


class _Repository:
    """What is asked of the Hub about one dataset."""

    def __init__(self, repo_id: str, token: str) -> None:
        self.repo_id, self.token = repo_id, token
        self.api = HfApi(token=token)

    def look(self) -> _There | None:
        """Return the dataset as it is now, None if there is none."""
        try:
            info = self.api.dataset_info(self.repo_id)
        except RepositoryNotFoundError:
            return None
        files = frozenset(each.rfilename for each in info.siblings or ())
        page = self._page(info.sha or "main") if _README in files else _Page({}, "")
        return _There(info.id, info.sha, files, page)

    def _page(self, revision: str) -> _Page:
        url = hf_hub_url(self.repo_id, _README, repo_type="dataset", revision=revision, endpoint=constants.ENDPOINT)
        response = get_session().get(url, headers=build_hf_headers(token=self.token))
        if response.status_code == 404:
            return _Page({}, "")
        hf_raise_for_status(response)
        return _Page.parse(response.content.decode("utf-8", "replace"))

    def pushed_page(self, there: _There) -> _Page | None:
        """Return the card as our last push left it, None if there was none."""
        commits = self.api.list_repo_commits(self.repo_id, repo_type="dataset", revision=there.commit)
        for commit, before in zip(commits, [*commits[1:], None], strict=True):
            if commit.title.startswith(PUSHED):
                return self._page(commit.commit_id)
            if before and (commit.title, before.title) == _FORMER_TITLES:
                page = self._page(commit.commit_id)
                if f"<!-- end {MARKED[0]} -->" in page.text:  # others push with the same tools
                    return page
        return None

    def close_former_requests(self, title: str, newest: str) -> None:
        """Close our open pull requests but the newest, which has all that they had."""
        for each in list(
            self.api.get_repo_discussions(
                self.repo_id, repo_type="dataset", discussion_type="pull_request", discussion_status="open"
            )
        ):
            if each.title == title and not newest.endswith(f"/{each.num}"):
                self.api.change_discussion_status(self.repo_id, each.num, "closed", repo_type="dataset")


def push(repo_id: str, *, token: str, private: bool, parts: Sequence[Part], page: str, path: Path, command: str) -> str:
    """Send tables and card, and return where they are: the dataset's address, or that of a pull request.

    Configurations and facts that only the Hub has stay there. If something that others wrote would be replaced, a
    person at a terminal is asked; where nobody is, or does not want that, it becomes a pull request.

    Parameters
    ----------
    private
        Counts only for a dataset that does not exist yet: whoever has made theirs public meant it.
    parts
        The first is what `load_dataset(repo_id)` gives, unless somebody has made another one the default.
    page, path
        The card, and the file that people correct if something is wrong with it.
    command
        Who pushes; the Hub's history says it.

    Raises
    ------
    UserError
        The card cannot be used, or the Hub cannot be reached, or refuses.
    """
    import datasets  # takes a second

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    cards.check(page, path, cards.NEEDS)
    title = f"{PUSHED} ({command})"
    answers: dict[tuple[str, ...], bool] = {}  # whether that may be replaced; asked once
    with told_plainly(repo_id), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            files, infos = _write(parts, Path(folder))
        except OSError as error:  # the disk is full
            raise UserError("cannot_write", path=folder, reason=error) from None

        def attempt() -> str:
            repository = _Repository(repo_id, token)
            there = repository.look()
            filled = _fill(page, parts, infos, there.page if there else _Page({}, ""))
            cards.validate(filled, "dataset", path, token)
            if there is None:
                url = repository.api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
                there = _There(url.repo_id, None, frozenset(), _Page({}, ""))
            lost = _lost(repository, there, _Page.parse(page), parts)
            names = ", ".join(lost)
            if lost and lost not in answers:
                answers[lost] = enter_pressed(t("export.replace", names=names))
            stale = [name for name in there.files if name not in files and any(part.made(name) for part in parts)]
            done = repository.api.create_commit(
                there.repo_id,
                [
                    *(CommitOperationAdd(name, file) for name, file in files.items()),
                    CommitOperationAdd(_README, filled.encode()),
                    *(CommitOperationDelete(name) for name in stale),
                ],
                commit_message=title,
                repo_type="dataset",
                parent_commit=there.commit,
                create_pr=bool(lost) and not answers[lost],
            )
            address = f"{constants.ENDPOINT}/datasets/{there.repo_id}"
            if not done.pr_url:
                return address
            print(t("export.pull_request", names=names, path=path), file=sys.stderr)
            with contextlib.suppress(HfHubHTTPError, httpx2.HTTPError):  # what matters is there
                repository.close_former_requests(title, done.pr_url)
            return done.pr_url

        return patiently(attempt, passes)


def _write(parts: Iterable[Part], folder: Path) -> "tuple[dict[str, Path], DatasetInfosDict]":
    """Write the tables as `push_to_hub` does: path in the dataset → file, and what there is to know about each part."""
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


def _fill(page: str, parts: Sequence[Part], infos: "DatasetInfosDict", theirs: _Page) -> str:
    """Return our card with what the Hub needs to know about the tables, and with what only the other card has."""
    front_matter, text = cards.split(page)
    card = DatasetCard(f"---\n{front_matter}---\n{text}")
    ours = _Page.parse(page)
    for name, value in theirs.facts.items():
        if name not in ours.facts and value is not None:
            card.data[name] = value
    names = {part.name for part in parts}
    others = {
        name: each for name, each in (theirs.named("configs") | ours.named("configs")).items() if name not in names
    }
    described = theirs.named("dataset_info") | ours.named("dataset_info")
    card.data["dataset_info"] = [{**each, "config_name": name} for name, each in described.items() if name in others]
    infos.to_dataset_card_data(card.data)
    configs: list[dict[str, Any]] = [
        {
            "config_name": part.name,
            "data_files": [{"split": split, "path": f"{part.folder}/{split}-*"} for split in part.splits],
        }
        for part in parts
    ]
    if configs[0]["config_name"] != "default" and not any(
        each.get("default") or name == "default" for name, each in others.items()
    ):
        configs[0]["default"] = True
    card.data["configs"] = [*configs, *others.values()]
    return str(card)


def _lost(repository: _Repository, there: _There, ours: _Page, parts: Sequence[Part]) -> tuple[str, ...]:
    """Return what others wrote and this push would replace: names of facts, of configurations and of files."""
    described = {
        name: [column.get("name") for column in each.get("features") or ()]
        for name, each in there.page.named("dataset_info").items()
    }
    named = there.page.named("configs")
    lost = [part.name for part in parts if part.name in named and _OURS not in described.get(part.name, ())]
    unknown = [
        part.name
        for part in parts
        if part.name not in [*named, *described] and any(part.made(name) for name in there.files)
    ]
    if not named:  # then `load_dataset` takes every file, until there are configurations
        lost += sorted(
            name for name in there.files if _DATA.search(name) and not any(part.made(name) for part in parts)
        )
    facts, text = ours.written
    other_facts, other_text = there.page.written
    changed = [name for name, value in other_facts.items() if name in facts and not _covers(facts[name], value)]
    if there.page.text and other_text != text:
        changed.append(_README)
    if changed or unknown:  # perhaps it is what we pushed, and only we have changed something since
        pushed = repository.pushed_page(there)
        if pushed is None:
            lost += [*unknown, *changed]
        elif pushed.written != there.page.written:
            lost += changed
    return tuple(lost)


def _covers(value: object, other: object) -> bool:
    """Tell whether a fact says all that another one does."""
    if isinstance(value, list):
        return all(each in value for each in (other if isinstance(other, list) else [other]))
    return value == other

"""What the stand-in for the Hub (standin_hub.py) stores, and the shapes in which the Hub tells it."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

LICENSES = """
    apache-2.0, mit, openrail, bigscience-openrail-m, creativeml-openrail-m, bigscience-bloom-rail-1.0,
    bigcode-openrail-m, afl-3.0, artistic-2.0, bsl-1.0, bsd, bsd-2-clause, bsd-3-clause, bsd-3-clause-clear, c-uda, cc,
    cc0-1.0, cc-by-2.0, cc-by-2.5, cc-by-3.0, cc-by-4.0, cc-by-sa-3.0, cc-by-sa-4.0, cc-by-nc-2.0, cc-by-nc-3.0,
    cc-by-nc-4.0, cc-by-nd-4.0, cc-by-nc-nd-3.0, cc-by-nc-nd-4.0, cc-by-nc-sa-2.0, cc-by-nc-sa-3.0, cc-by-nc-sa-4.0,
    cdla-sharing-1.0, cdla-permissive-1.0, cdla-permissive-2.0, wtfpl, ecl-2.0, epl-1.0, epl-2.0, etalab-2.0, eupl-1.1,
    eupl-1.2, agpl-3.0, gfdl, gpl, gpl-2.0, gpl-3.0, lgpl, lgpl-2.1, lgpl-3.0, isc, lppl-1.3c, ms-pl, mpl-2.0, odc-by,
    odbl, openrail++, osl-3.0, postgresql, ofl-1.1, ncsa, unlicense, zlib, pddl, lgpl-lr, gemma, unknown, other, array
"""
"""What the Hub says a licence must be one of, most of the models' own left out; `array` is part of its message."""
LFS_SUFFIXES = {".parquet", ".arrow", ".bin", ".safetensors", ".gz", ".zip", ".png", ".jpg", ".wav", ".pt"}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def object_id(name: str) -> str:
    return hashlib.sha1(name.encode()).hexdigest()[:24]


def chat_model(providers: dict[str, dict] | None = None, *, parameters: int = 0, **fields: Any) -> dict:
    """Fields of a chat model as the Hub has them, for `hub.models[id]`.

    providers: name → what differs from live and conversational, e.g. `{"fal-ai": {"task": "text-to-image"}}`; also
    `context_length` (tokens) and `pricing` (USD per million tokens) for the router. None: served by nobody.
    parameters: number of weights, told as BF16 safetensors. fields: any field of the Hub (`gated="manual"`,
    `disabled=True`, `tags=[…]`, …), and two of the stand-in: `granted`, names of users who may read a gated model, and
    `files`, {path: bytes}.
    """
    mapping = {name: {"status": "live", "task": "conversational"} | more for name, more in (providers or {}).items()}
    weights = {"safetensors": {"parameters": {"BF16": parameters}, "total": parameters}} if parameters else {}
    base = {"private": False, "gated": False, "disabled": False, "pipeline_tag": "text-generation", "downloads": 0}
    base |= {"likes": 0, "library_name": "transformers", "tags": ["transformers", "safetensors", "conversational"]}
    return base | {"usedStorage": 2 * parameters, "inferenceProviderMapping": mapping} | weights | fields


def served(info: dict, provider: str | None = None, *, chat: bool = False) -> bool:
    """Whether a provider (any by default) has the model live now; chat: for conversations."""
    mapping = info.get("inferenceProviderMapping", {}).items()
    live = [(name, m) for name, m in mapping if m["status"] == "live" and provider in (None, name)]
    return any(m["task"] == "conversational" or not chat for _, m in live)


def card_errors(page: str) -> list[str]:
    """What the Hub has against the facts of a card, in its words; it knows many more rules."""
    found = re.match(r"---\r?\n(.*?)\r?\n---", page, re.DOTALL)
    try:
        facts = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError as error:
        return [f"YAML parsing error: {error}"]
    if not isinstance(facts, dict):
        return []  # it warns, and takes it
    errors = []
    licenses = " ".join(LICENSES.split())
    for value in facts.get("license", []) if isinstance(facts.get("license"), list) else [facts.get("license", "mit")]:
        if value not in licenses.split(", ")[:-1]:
            errors.append(f'"license" must be one of [{licenses}]')
    if not isinstance(facts.get("pretty_name", ""), str):
        errors.append('"pretty_name" must be a string')
    languages = facts.get("language", [])
    for value in languages if isinstance(languages, list) else [languages]:
        if not isinstance(value, str) or not re.fullmatch(r"[a-z]{2,3}|code|multilingual", value):
            errors.append(
                f'"language" with value "{value}" is not valid. It must be an ISO 639-1, 639-2 or 639-3 code '
                '(two/three letters), or a special value like "code", "multilingual". If you want to use BCP-47 '
                "identifiers, you can specify them in language_bcp47."
            )
    return errors


class HubError(Exception):
    """An answer that is not 2xx. `code` becomes the header X-Error-Code, which the client turns into a typed error."""

    def __init__(self, status: int, message: str, code: str = "", body: Any = None) -> None:
        self.body = {"error": message} if body is None else body
        self.status, self.headers = status, {"X-Error-Message": message.encode("ascii", "replace").decode()}
        if code:
            self.headers["X-Error-Code"] = code
        if status == 429:
            self.headers |= {"RateLimit": '"api";r=0;t=0', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}


class Reply(NamedTuple):
    body: Any  # bytes go out as they are, anything else as JSON
    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})


@dataclass
class User:
    name: str
    orgs: tuple[str, ...] = ()
    role: str = "write"  # of the token: "read" may not write
    pro: bool = True  # without it there are no new Docker or Gradio Spaces


@dataclass
class Fault:
    """See `StandinHub.fail`."""

    pattern: str
    status: int
    delay: float
    drop: bool
    times: int | None
    after: int
    message: str = ""


@dataclass
class Request:
    """One line of `hub.requests`. Header names are lower case, without Authorization: `user` is whose token it was."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = field(repr=False)
    user: User | None
    raw_path: str = field(repr=False)
    status: int | None = None  # None until answered; stays None for a dropped connection

    def first(self, name: str) -> str | None:
        return self.query.get(name, [None])[0]  # type: ignore[list-item]

    def json(self) -> dict:
        return json.loads(self.body or b"{}")


@dataclass(frozen=True)
class Blob:
    data: bytes
    lfs: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def pointer(self) -> bytes:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n".encode()

    @property
    def oid(self) -> str:
        """Git's name of the file, or of the pointer that stands for it."""
        stored = self.pointer if self.lfs else self.data
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


@dataclass
class Commit:
    title: str
    message: str
    author: str
    files: dict[str, Blob]
    parent: str = ""
    date: str = field(default_factory=now)

    @property
    def id(self) -> str:
        state = [self.parent, self.title, self.message, sorted((path, blob.oid) for path, blob in self.files.items())]
        return hashlib.sha1(json.dumps(state).encode()).hexdigest()


@dataclass
class PullRequest:
    """Its `commits` are those of the branch it was made from, and then its own."""

    num: int
    title: str
    author: str
    commits: list[Commit]
    status: str = "open"
    date: str = field(default_factory=now)


class Repo:
    """A repository: `info` are the Hub's fields, `commits` run from the oldest to the newest."""

    def __init__(self, kind: str, repo_id: str, info: dict, files: dict[str, bytes] | None = None) -> None:
        self.kind, self.id, self.info = kind, repo_id, info
        info.setdefault("createdAt", now())
        start = {".gitattributes": b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"} if files is None else files
        first = {path: Blob(data, PurePosixPath(path).suffix in LFS_SUFFIXES) for path, data in start.items()}
        self.commits = [Commit("initial commit", "", "system", first)]
        self.pulls: list[PullRequest] = []
        # Of a Space. Secrets never leave the server; a test may set the stage (RUNNING, BUILDING, BUILD_ERROR, …).
        self.secrets: dict[str, str] = {}
        self.variables: dict[str, str] = {}
        self.volumes: list[dict] = []
        self.hardware, self.stage = "cpu-basic", "RUNNING"

    @property
    def private(self) -> bool:
        return bool(self.info.get("private"))

    @property
    def files(self) -> dict[str, bytes]:
        """Path → content, newest commit."""
        return {path: blob.data for path, blob in self.commits[-1].files.items()}

    def add(self, files: dict[str, bytes], title: str = "Update README.md", author: str = "somebody") -> None:
        """Commit files as a person does in the browser."""
        new = {path: Blob(data, PurePosixPath(path).suffix in LFS_SUFFIXES) for path, data in files.items()}
        head = self.commits[-1]
        self.commits.append(Commit(title, "", author, head.files | new, head.id))

    def history(self, revision: str) -> list[Commit]:
        """Return a commit and all before it, the oldest first."""
        for pull in self.pulls:
            if revision == f"refs/pr/{pull.num}":
                return pull.commits
        for commits in [self.commits, *(pull.commits for pull in self.pulls)]:
            for number, commit in enumerate(commits, 1):
                if commit.id == revision or (revision == "main" and number == len(commits)):
                    return commits[:number]
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def at(self, revision: str) -> Commit:
        return self.history(revision)[-1]


def sibling(path: str, blob: Blob, details: str | None) -> dict:
    if details != "true":
        return {"rfilename": path}
    lfs = {"lfs": {"sha256": blob.sha256, "size": len(blob.data), "pointerSize": len(blob.pointer)}} if blob.lfs else {}
    return {"rfilename": path, "size": len(blob.data), "blobId": blob.oid} | lfs


def tree_entries(commit: Commit, expand: bool) -> Iterator[dict]:
    """Every folder and file of a commit, as `tree` and `paths-info` show them."""
    more = {"lastCommit": {"id": commit.id, "title": commit.title, "date": commit.date}} if expand else {}
    folders = {str(parent) for path in commit.files for parent in PurePosixPath(path).parents} - {"."}
    for folder in sorted(folders):
        yield {"type": "directory", "oid": hashlib.sha1(folder.encode()).hexdigest(), "size": 0, "path": folder} | more
    for path, blob in sorted(commit.files.items()):
        size = len(blob.data)
        lfs = {"lfs": {"oid": blob.sha256, "size": size, "pointerSize": len(blob.pointer)}} if blob.lfs else {}
        yield {"type": "file", "oid": blob.oid, "size": size, "path": path} | lfs | more

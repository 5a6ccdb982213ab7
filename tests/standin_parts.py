"""What the stand-in for the Hub (standin_hub.py) stores, and the shapes in which the Hub tells it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

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


class Repo:
    """A repository: `info` are the Hub's fields, `commits` run from the oldest to the newest."""

    def __init__(self, kind: str, repo_id: str, info: dict, files: dict[str, bytes] | None = None) -> None:
        self.kind, self.id, self.info = kind, repo_id, info
        info.setdefault("createdAt", now())
        start = {".gitattributes": b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"} if files is None else files
        first = {path: Blob(data, PurePosixPath(path).suffix in LFS_SUFFIXES) for path, data in start.items()}
        self.commits = [Commit("initial commit", "", "system", first)]
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

    def at(self, revision: str) -> Commit:
        for commit in reversed(self.commits):
            if revision in ("main", commit.id):
                return commit
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


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

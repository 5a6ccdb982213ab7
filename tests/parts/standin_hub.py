"""A stand-in for the Hugging Face Hub, and for its router of chat models, on loopback.

The real clients talk to it: huggingface_hub, datasets and openai, or plain requests as in a cookiecutter hook.

    from standin_hub import StandinHub
    from standin_parts import chat_model

    with StandinHub() as hub:
        hub.models["acme/tiny-chat"] = chat_model({"together": {}, "groq": {"status": "staging"}}, parameters=10**9)
        hub.fail("/api/models/acme/slow", delay=30)
        subprocess.run(command, env={**os.environ, **hub.env(tmp_path)})
        assert hub.repos["datasets/ann/votes"].private and not hub.unexpected

`hub.env()` is for new processes: the clients read HF_ENDPOINT when they are imported, so inside a process that has
imported them already only `HfApi(endpoint=hub.url, token=TOKEN)` reaches the stand-in. Large files go through Git LFS:
huggingface_hub 2.4 uploads them to Xet storage, which is not here, unless HF_HUB_DISABLE_XET=1 is set (it is in `env`).
What no route answers, a request for Xet and a defect of the stand-in itself are in `hub.unexpected`.
Status codes, headers and messages are those of the Hub as its Python client 2.4 and the Hub's documentation have them.
It serves other processes until Ctrl+C: `python tests/parts/standin_hub.py --port 8000 --models models.json`.
"""

import argparse
import base64
import hashlib
import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from standin_parts import (
    LFS_SUFFIXES,
    Blob,
    Commit,
    Fault,
    HubError,
    PullRequest,
    Reply,
    Repo,
    Request,
    User,
    card_errors,
    chat_model,
    now,
    object_id,
    served,
    sibling,
    tree_entries,
)
from standin_router import Router

TOKEN = "hf_standin"  # belongs to the user "ann"
log = logging.getLogger("standin_hub")

# What `expand` may ask for of a model (ExpandModelProperty_T in huggingface_hub): all else gets 400, as on the Hub
EXPANDABLE = """
    author baseModels cardData childrenModelCount config createdAt disabled downloads downloadsAllTime evalResults gated
    gguf inference inferenceProviderMapping lastModified library_name likes mask_token model-index pipeline_tag private
    resourceGroup safetensors sha siblings spaces tags transformersInfo trendingScore usedStorage widgetData
"""
KINDS = {None: "models", "model": "models", "dataset": "datasets", "space": "spaces"}


class StandinHub:
    """The server, what it has and what it was asked. Tests read and set the public attributes."""

    def __init__(self, port: int = 0) -> None:
        self.models: dict[str, dict] = {}  # id → fields (see chat_model): models that are there from the start
        self.repos: dict[str, Repo] = {}  # "datasets/ann/votes" → what clients created
        self.users: dict[str, User] = {TOKEN: User("ann", orgs=("ann-community",))}  # token → user
        self.requests: list[Request] = []
        self.unexpected: list[str] = []  # what no route answers, and errors of the stand-in itself
        self.card_errors: list[str] = []  # what validate-yaml complains about, besides what is wrong
        self.router = Router()  # its knobs: see standin_router.py
        self._faults: list[Fault] = []
        self._lfs: dict[str, bytes] = {}
        self._uploads: set[str] = set()  # oids that a writer announced
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.hub = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closing.set()  # ends the delays
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def env(self, home: Path, token: str | None = TOKEN) -> dict[str, str]:
        """Environment variables for a process whose Hub this shall be; `home` keeps its caches apart."""
        here = {"HF_ENDPOINT": self.url, "HF_TOKEN": token or "", "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        caches = {"HF_HOME": str(home), "HF_DATASETS_CACHE": str(home / "datasets")}
        return here | caches | {"HF_UPDATE_DOWNLOAD_COUNTS": "0"}  # `datasets` would count its loads at Amazon's

    def fail(
        self,
        pattern: str,
        status: int = 0,
        *,
        message: str = "",
        delay: float = 0.0,
        drop: bool = False,
        times: int | None = None,
        after: int = 0,
    ) -> Fault:
        """Disturb requests whose path fits the pattern (`*` matches anything), `times` times or always.

        The first `after` of them are answered as usual.

        status: answer this code, with this message. delay: seconds to wait first. drop: close the connection without an
        answer. To end it, set `times = 0` on what is returned.
        """
        self._faults.append(Fault(pattern, status, delay, drop, times, after, message))
        return self._faults[-1]

    # --- a request, from the log to the answer ---------------------------------------------------------------------

    def _disturb(self, path: str) -> bool:
        """Waits or raises as `fail` asked; True: drop the connection."""
        with self._lock:
            hit = [fault for fault in self._faults if fnmatchcase(path, fault.pattern) and fault.times != 0]
            for fault in [fault for fault in hit if fault.after]:
                fault.after -= 1
                hit.remove(fault)
            for fault in hit:
                fault.times = None if fault.times is None else fault.times - 1
        for fault in hit:
            self._closing.wait(fault.delay)
            if fault.status:
                raise HubError(fault.status, fault.message or f"The stand-in was told to answer {fault.status}")
        return any(fault.drop for fault in hit)

    def _answer(self, call: Request, token: str | None) -> Reply:
        if token and not call.user and (self.router.require_token or not call.path.startswith("/v1/")):
            raise HubError(401, "Invalid credentials in Authorization header")
        for methods, pattern, handler in ROUTES:
            match = re.fullmatch(pattern, call.raw_path)
            if match and call.method.replace("HEAD", "GET") in methods.split():
                with self._lock:
                    reply = handler(self, call, **{k: v and unquote(v) for k, v in match.groupdict().items()})
                return reply if isinstance(reply, Reply) else Reply(reply)
        self._note(f"no route for {call.method} {call.raw_path}")
        raise HubError(404, "Sorry, we can't find the page you are looking for.")

    def _note(self, text: str) -> None:
        self.unexpected.append(text)
        log.warning("stand-in Hub: %s", text)

    # --- who may do what -------------------------------------------------------------------------------------------

    def _find(self, call: Request, kind: str | None, id: str) -> Repo:
        """The repository, if it exists and this user may know about it."""
        kind = kind or "models"
        info = self.models.get(id) if kind == "models" else None
        repo = Repo(kind, id, info, info.get("files", {})) if info is not None else self.repos.get(f"{kind}/{id}")
        if repo is None or (repo.private and not self._owns(call.user, id)):
            if call.user:
                raise HubError(404, "Repository not found", "RepoNotFound")
            raise HubError(401, "Invalid username or password.", "RepoNotFound")
        return repo

    def _owns(self, user: User | None, id: str) -> bool:
        return user is not None and id.split("/")[0] in (user.name, *user.orgs)

    def _writable(self, call: Request, kind: str | None, id: str) -> Repo:
        if call.user is None:
            raise HubError(401, "Invalid username or password.")
        repo = self._find(call, kind, id)
        if call.user.role != "write" or not self._owns(call.user, id):
            raise HubError(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
        return repo

    def _open(self, call: Request, kind: str | None, id: str) -> Repo:
        """The repository, if this user may read its files: not disabled, and not gated or access was granted."""
        repo = self._find(call, kind, id)
        if repo.info.get("disabled"):
            raise HubError(403, "Access to this resource is disabled.")
        name = call.user.name if call.user else None
        if repo.info.get("gated") and not self._owns(call.user, id) and name not in repo.info.get("granted", ()):
            about = f"Access to {repo.kind[:-1]} {id} is restricted"
            if name is None:
                message = f"{about}. You must have access to it and be authenticated to access it. Please log in."
                raise HubError(401, message, "GatedRepo")
            where = f"{self.url}/{'' if repo.kind == 'models' else repo.kind + '/'}{id}"
            message = f"{about} and you are not in the authorized list. Visit {where} to ask for access."
            raise HubError(403, message, "GatedRepo")
        return repo

    # --- accounts and look-ups -------------------------------------------------------------------------------------

    def whoami(self, call: Request) -> dict:
        if call.user is None:
            raise HubError(401, "Invalid username or password.")
        who = call.user
        orgs = [{"type": "org", "id": object_id(o), "name": o, "fullname": o, "roleInOrg": "write"} for o in who.orgs]
        auth = {"type": "access_token", "accessToken": {"displayName": "test", "role": who.role, "createdAt": now()}}
        name = {"type": "user", "id": object_id(who.name), "name": who.name, "fullname": who.name.title()}
        return name | {"isPro": who.pro, "canPay": False, "orgs": orgs, "auth": auth}

    def info(self, call: Request, kind: str, id: str, rev: str = "main") -> dict:
        repo = self._find(call, kind, id)
        return self._fields(call, repo, repo.at(rev))

    def _fields(self, call: Request, repo: Repo, commit: Commit, *, listed: bool = False) -> dict:
        everything = {"_id": object_id(repo.id), "id": repo.id, "author": repo.id.split("/")[0]} | repo.info
        everything |= {"sha": commit.id, "lastModified": commit.date}
        everything["siblings"] = [sibling(path, blob, call.first("blobs")) for path, blob in commit.files.items()]
        if repo.kind == "spaces":
            everything |= {"runtime": self._runtime(repo), "subdomain": repo.id.replace("/", "-").lower()}
        if repo.kind == "models":
            everything |= {"modelId": repo.id} | ({"inference": "warm"} if served(repo.info) else {})
            providers = repo.info.get("inferenceProviderMapping", {})
            mapping = {name: {"providerId": repo.id} | m for name, m in providers.items()}
            as_list = [{"provider": name} | m for name, m in mapping.items()]  # the Hub: a list in lists, else a dict
            everything["inferenceProviderMapping"] = as_list if listed else mapping
        asked = set(call.query.get("expand", []) + call.query.get("expand[]", []))
        if repo.kind == "models" and (wrong := asked - set(EXPANDABLE.split())):
            raise HubError(400, f"Invalid value for expand: {', '.join(sorted(wrong))}")
        if asked:
            return {key: value for key, value in everything.items() if key in asked | {"_id", "id"}}
        hidden = {"granted", "files", "inference", "inferenceProviderMapping"}  # the last two: only when asked for
        if listed and call.first("full") != "true":
            hidden |= {"sha", "siblings", "lastModified", "gated", "disabled", "safetensors", "usedStorage", "author"}
        return {key: value for key, value in everything.items() if key not in hidden}

    def list_models(self, call: Request) -> list[dict]:
        known = {"search", "author", "pipeline_tag", "inference", "inference_provider", "gated", "filter", "sort"}
        if odd := set(call.query) - known - {"limit", "expand", "expand[]", "full", "direction"}:
            self._note(f"list of models: no such filter here: {', '.join(sorted(odd))}")
        providers = ",".join(call.query.get("inference_provider", [])).split(",")
        filters = [tag for each in call.query.get("filter", []) for tag in each.split(",")]

        def fits(repo: Repo) -> bool:
            info = repo.info
            return (
                (call.first("search") or "").casefold() in repo.id.casefold()
                and call.first("author") in (None, repo.id.split("/")[0])
                and call.first("pipeline_tag") in (None, info.get("pipeline_tag"))
                and call.first("gated") in (None, "true" if info.get("gated") else "false")
                and (call.first("inference") != "warm" or served(info))
                and (providers == [""] or any(served(info, None if p == "all" else p) for p in providers))
                and all(tag in info.get("tags", []) for tag in filters)
            )

        repos = [Repo("models", id, info, {}) for id, info in self.models.items()]
        repos = [repo for repo in repos if fits(repo) and (not repo.private or self._owns(call.user, repo.id))]
        order = call.first("sort") or "trendingScore"
        repos.sort(key=lambda repo: repo.info.get(order, 0 if order != "createdAt" else ""), reverse=True)
        limit = int(call.first("limit") or 1000)
        return [self._fields(call, repo, repo.commits[-1], listed=True) for repo in repos[:limit]]

    def auth_check(self, call: Request, kind: str, id: str, write: str | None) -> dict:
        self._writable(call, kind, id) if write else self._open(call, kind, id)
        return {}

    # --- repositories and their files ------------------------------------------------------------------------------

    def create(self, call: Request) -> dict:
        ask = call.json()
        kind = KINDS[ask.get("type")]
        if call.user is None:
            raise HubError(401, "Invalid username or password.")
        id = f"{ask.get('organization') or call.user.name}/{ask['name']}"
        what, where = kind[:-1], id.split("/")[0]
        if call.user.role != "write" or not self._owns(call.user, id):
            raise HubError(403, f'You don\'t have the rights to create a {what} under the namespace "{where}".')
        if kind == "spaces" and ask["sdk"] in ("docker", "gradio") and not call.user.pro and "hardware" not in ask:
            message = "Static Spaces are free for everyone, but hosting Gradio and Docker Spaces on free cpu-basic "
            raise HubError(402, message + "requires a PRO subscription. Subscribe at https://huggingface.co/pro")
        url = f"{self.url}/{'' if kind == 'models' else kind + '/'}{id}"
        if f"{kind}/{id}" in self.repos:
            message = f"You already created this {what} repo"
            raise HubError(409, message, body={"error": message, "url": url})
        info = chat_model() if kind == "models" else {"gated": False, "disabled": False, "tags": [], "likes": 0}
        visibility = ask.get("visibility") or ("private" if ask.get("private") else "public")
        info |= {"visibility": visibility, "private": visibility == "private"}
        repo = self.repos[f"{kind}/{id}"] = Repo(kind, id, info)
        if kind == "spaces":
            info["sdk"] = ask["sdk"]
            repo.secrets = {each["key"]: each["value"] for each in ask.get("secrets", [])}
            repo.variables = {each["key"]: each["value"] for each in ask.get("variables", [])}
            repo.volumes, repo.hardware = ask.get("volumes", []), ask.get("hardware", repo.hardware)
        return {"url": url, "name": id, "id": object_id(id)}

    def settings(self, call: Request, kind: str, id: str) -> dict:
        info, ask = self._writable(call, kind, id).info, call.json()
        if "visibility" in ask:
            ask["private"] = ask["visibility"] == "private"
        info |= {key: ask[key] for key in ("visibility", "private", "gated") if key in ask}
        return {key: info[key] for key in ("private", "gated")}

    def _target(self, call: Request, kind: str | None, id: str) -> Repo:
        """The repository to write to; whoever may read it may propose a change."""
        if call.first("create_pr") == "1" and call.user and call.user.role == "write":
            return self._open(call, kind, id)
        return self._writable(call, kind, id)

    def preupload(self, call: Request, kind: str, id: str, rev: str) -> dict:
        there = self._target(call, kind, id).at(rev).files

        def plan(file: dict) -> dict:
            large = file["size"] > 10 * 2**20 or b"\0" in base64.b64decode(file.get("sample", ""))
            mode = "lfs" if large or Path(file["path"]).suffix in LFS_SUFFIXES else "regular"
            known = {"oid": there[file["path"]].etag} if file["path"] in there else {}
            return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False} | known

        return {"files": [plan(file) for file in call.json()["files"]]}

    def lfs_batch(self, call: Request, kind: str | None, id: str) -> Reply:
        self._writable(call, kind, id)
        objects = [{"oid": o["oid"], "size": o["size"]} for o in call.json()["objects"]]
        for each in objects:
            if each["oid"] not in self._lfs:  # no actions for what is there already
                self._uploads.add(each["oid"])
                each["actions"] = {"upload": {"href": f"{self.url}/lfs-storage/{each['oid']}"}}
        answer = {"transfer": "basic", "objects": objects}
        return Reply(answer, headers={"Content-Type": "application/vnd.git-lfs+json"})

    def lfs_put(self, call: Request, oid: str) -> dict:
        if oid not in self._uploads:  # as with a signed address: whoever was told it may use it
            raise HubError(403, "This upload was not announced")
        if hashlib.sha256(call.body).hexdigest() != oid:
            raise HubError(400, "The content does not have this sha256")
        self._lfs[oid] = call.body
        return {}

    def commit(self, call: Request, kind: str, id: str, rev: str) -> dict:
        repo = self._target(call, kind, id)
        lines = [json.loads(line) for line in call.body.splitlines() if line]
        about = lines[0]["value"]
        pull = next((pull for pull in repo.pulls if rev == f"refs/pr/{pull.num}"), None)
        branch = pull.commits if pull else repo.commits
        if repo.at(rev) is not branch[-1]:
            raise HubError(400, f"Can only commit to a branch, not to {rev}")
        if call.first("create_pr") == "1":  # a branch of its own, from the commit that is named
            branch = list(repo.history(about.get("parentCommit", rev)))
        head, files = branch[-1], dict(branch[-1].files)
        if about.get("parentCommit", head.id) != head.id:
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        for key, value in ((line["key"], line["value"]) for line in lines[1:]):
            path = value["path"]
            if key == "file":
                files[path] = Blob(base64.b64decode(value["content"]))
            elif key == "lfsFile" and value["oid"] in self._lfs:
                files[path] = Blob(self._lfs[value["oid"]], lfs=True)
            elif key == "deletedFile" and path in files:
                del files[path]
            elif key == "deletedFolder":
                files = {p: blob for p, blob in files.items() if not p.startswith(path.rstrip("/") + "/")}
            else:
                raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        author = call.user.name if call.user else ""
        new = Commit(about["summary"], about.get("description", ""), author, files, head.id)
        branch.append(new)
        url = f"{self.url}/{'' if kind == 'models' else kind + '/'}{id}"
        answer = {"success": True, "commitUrl": f"{url}/commit/{new.id}", "commitOid": new.id, "hookOutput": ""}
        if call.first("create_pr") == "1":
            repo.pulls.append(PullRequest(len(repo.pulls) + 1, about["summary"], author, branch))
            answer["pullRequestUrl"] = f"{url}/discussions/{len(repo.pulls)}"
        return answer

    def commits(self, call: Request, kind: str, id: str, rev: str) -> Reply:
        """The history, the newest first, 50 commits at a time."""
        history = self._open(call, kind, id).history(rev)[::-1]
        page = int(call.first("p") or 0)
        found = [
            {"id": c.id, "title": c.title, "message": c.message, "authors": [{"user": c.author}], "date": c.date}
            for c in history[50 * page : 50 * (page + 1)]
        ]
        more = (
            {"Link": f'<{self.url}{call.raw_path}?p={page + 1}>; rel="next"'} if len(history) > 50 * page + 50 else {}
        )
        return Reply(found, headers=more)

    def discussions(self, call: Request, kind: str, id: str) -> dict:
        """Pull requests; there are no other discussions here."""
        pulls = [each for each in self._open(call, kind, id).pulls if call.first("status") in (None, each.status)]
        repo = {"name": id, "type": kind[:-1]}
        found = [
            {"num": each.num, "title": each.title, "author": {"name": each.author}, "createdAt": each.date}
            | {"status": each.status, "repo": repo, "isPullRequest": True}
            for each in reversed(pulls)
        ]
        return {"count": len(found), "start": 0, "discussions": found if call.first("p") in (None, "0") else []}

    def discussion_status(self, call: Request, kind: str, id: str, num: str) -> dict:
        pulls = {str(each.num): each for each in self._writable(call, kind, id).pulls}
        if num not in pulls:
            raise HubError(404, "There is no such discussion")
        pulls[num].status = call.json()["status"]
        author = call.user.name if call.user else ""
        event = {"id": object_id(num), "type": "status-change", "createdAt": now(), "author": {"name": author}}
        return {"newStatus": event | {"data": {"status": pulls[num].status}}}

    def merge(self, kind: str, id: str, num: int) -> None:
        """Merge a pull request as its owner does in the browser; nothing may have happened since."""
        repo = self.repos[f"{kind}/{id}"]
        pull = repo.pulls[num - 1]
        head = repo.commits[-1]
        assert head in pull.commits
        pull.status = "merged"
        title = f"{pull.title} (#{num})"
        repo.commits.append(Commit(title, "", pull.author, pull.commits[-1].files, head.id))

    def refs(self, call: Request, kind: str, id: str) -> dict:
        head = self._open(call, kind, id).commits[-1].id
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": head}
        return {"branches": [main], "converts": [], "tags": [], "pullRequests": []}

    def tree(self, call: Request, kind: str, id: str, rev: str, path: str | None = None) -> list[dict]:
        commit = self._open(call, kind, id).at(rev)
        within = f"{path}/" if path else ""
        entries = [e for e in tree_entries(commit, call.first("expand") == "true") if e["path"].startswith(within)]
        if path and not entries:
            raise HubError(404, f"{path} does not exist on '{rev}'", "EntryNotFound")
        deep = call.first("recursive") == "true"
        return [entry for entry in entries if deep or "/" not in entry["path"][len(within) :]]

    def paths_info(self, call: Request, kind: str, id: str, rev: str) -> list[dict]:
        ask = parse_qs(call.body.decode())
        commit = self._open(call, kind, id).at(rev)
        return [e for e in tree_entries(commit, ask.get("expand") == ["true"]) if e["path"] in ask["paths"]]

    def resolve(self, call: Request, kind: str | None, id: str, rev: str, path: str) -> Reply:
        commit = self._open(call, kind, id).at(rev)
        headers = {"X-Repo-Commit": commit.id, "Accept-Ranges": "bytes"}
        if path not in commit.files:
            error = HubError(404, "Entry not found", "EntryNotFound")
            error.headers |= headers
            raise error
        blob = commit.files[path]
        headers |= {"ETag": f'"{blob.etag}"', "Content-Type": "application/octet-stream"}
        if blob.lfs:
            headers |= {"X-Linked-Etag": f'"{blob.etag}"', "X-Linked-Size": str(len(blob.data))}
        size = len(blob.data)
        if part := re.fullmatch(r"bytes=(\d*)-(\d*)", call.headers.get("range", "")):
            start = int(part[1]) if part[1] else max(size - int(part[2]), 0)
            end = min(int(part[2]) + 1, size) if part[1] and part[2] else size
            if start >= end:
                raise HubError(416, f"The file has {size} bytes")
            return Reply(blob.data[start:end], 206, headers | {"Content-Range": f"bytes {start}-{end - 1}/{size}"})
        return Reply(blob.data, headers=headers)

    def no_xet(self, call: Request, **_: str) -> dict:
        self._note("a client wants Xet storage: set HF_HUB_DISABLE_XET=1 (see StandinHub.env)")
        raise HubError(404, "The stand-in has no Xet storage: set HF_HUB_DISABLE_XET=1")

    def validate_yaml(self, call: Request) -> Reply:
        page = call.json()["content"]
        messages = [*self.card_errors, *card_errors(page)]
        empty = not re.match(r"---\r?\n.*\S", page)
        warnings = ["empty or missing yaml metadata in repo card"] if empty else []
        status = 400 if messages else 200
        if call.headers.get("accept", "").startswith("text/plain"):
            lines = [f"- Error: {each}" for each in messages] + [f"- Warning: {each}" for each in warnings]
            return Reply("\n".join(lines).encode(), status, {"Content-Type": "text/plain; charset=utf-8"})
        return Reply(
            {
                "errors": [{"message": each} for each in messages],
                "warnings": [{"message": each} for each in warnings],
            },
            status,
        )

    # --- Spaces ----------------------------------------------------------------------------------------------------

    def runtime(self, call: Request, id: str) -> dict:
        return self._runtime(self._find(call, "spaces", id))

    def _runtime(self, repo: Repo) -> dict:
        hardware = {"current": repo.hardware if repo.stage == "RUNNING" else None, "requested": repo.hardware}
        volumes = repo.volumes or None
        return {"stage": repo.stage, "hardware": hardware, "gcTimeout": 172800, "storage": None, "volumes": volumes}

    def keys(self, call: Request, id: str, what: str) -> dict:
        """Secrets and variables: read, set one, delete one. The value of a secret is never told."""
        repo = self._writable(call, "spaces", id)
        keys: dict[str, str] = getattr(repo, what)
        if call.method == "POST":
            keys[call.json()["key"]] = call.json()["value"]
        elif call.method == "DELETE":
            keys.pop(call.json()["key"], None)
        return {key: {} if what == "secrets" else {"value": value} for key, value in keys.items()}

    def set_volumes(self, call: Request, id: str) -> dict:
        self._writable(call, "spaces", id).volumes = call.json()["volumes"]
        return {}


_REPO = r"/api/(?P<kind>models|datasets|spaces)/(?P<id>[^/]+/[^/]+)"
_SPACE = r"/api/spaces/(?P<id>[^/]+/[^/]+)"
_WEB = r"/(?:(?P<kind>datasets|spaces)/)?(?P<id>[^/]+/[^/]+)"
ROUTES: list[tuple[str, str, Callable]] = [  # the first that fits answers
    ("GET", r"/v1/models", lambda hub, call: hub.router.list_models(hub.models)),
    ("POST", r"/v1/chat/completions", lambda hub, call: hub.router.chat(call, hub.models)),
    ("GET", r"/api/whoami-v2", StandinHub.whoami),
    ("GET", r"/api/agent-harnesses", lambda hub, call: {"standardEnvVars": [], "harnesses": {}}),
    ("GET", r"/api/models", StandinHub.list_models),
    ("POST", r"/api/validate-yaml", StandinHub.validate_yaml),
    ("POST", r"/api/repos/create", StandinHub.create),
    ("GET", _SPACE + r"/runtime", StandinHub.runtime),
    ("GET POST DELETE", _SPACE + r"/(?P<what>secrets|variables)", StandinHub.keys),
    ("PUT", _SPACE + r"/volumes", StandinHub.set_volumes),
    ("GET", _REPO + r"/auth-check(?P<write>/write)?", StandinHub.auth_check),
    ("PUT", _REPO + r"/settings", StandinHub.settings),
    ("POST", _REPO + r"/preupload/(?P<rev>[^/]+)", StandinHub.preupload),
    ("POST", _REPO + r"/commit/(?P<rev>[^/]+)", StandinHub.commit),
    ("GET", _REPO + r"/commits/(?P<rev>[^/]+)", StandinHub.commits),
    ("GET", _REPO + r"/discussions", StandinHub.discussions),
    ("POST", _REPO + r"/discussions/(?P<num>\d+)/status", StandinHub.discussion_status),
    ("GET", _REPO + r"/refs", StandinHub.refs),
    ("GET", _REPO + r"/tree/(?P<rev>[^/]+)", StandinHub.tree),
    ("GET", _REPO + r"/tree/(?P<rev>[^/]+)/(?P<path>.+)", StandinHub.tree),
    ("POST", _REPO + r"/paths-info/(?P<rev>[^/]+)", StandinHub.paths_info),
    ("GET", _REPO + r"/xet-(?:read|write)-token/.+", StandinHub.no_xet),
    ("GET", _REPO + r"/revision/(?P<rev>[^/]+)", StandinHub.info),
    ("GET", r"/api/(?P<kind>models|datasets|spaces)/(?P<id>[^/]+(?:/[^/]+)?)", StandinHub.info),
    ("POST", _WEB + r"\.git/info/lfs/objects/batch", StandinHub.lfs_batch),
    ("PUT", r"/lfs-storage/(?P<oid>[0-9a-f]{64})", StandinHub.lfs_put),
    ("GET", _WEB + r"/resolve/(?P<rev>[^/]+)/(?P<path>.+)", StandinHub.resolve),
]


# --- the server -----------------------------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    request_queue_size = 512  # clients ask with many connections at once
    hub: StandinHub

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away; defects of the stand-in are noted in _handle


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _handle(self) -> None:
        hub, parts = self.server.hub, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        token = headers.pop("authorization", "").removeprefix("Bearer ").strip() or None
        user = hub.users.get(token) if token else None
        query = parse_qs(parts.query, keep_blank_values=True)
        call = Request(self.command, unquote(parts.path), query, headers, body, user, parts.path)
        hub.requests.append(call)
        try:
            if hub._disturb(call.path) or hub._closing.is_set():  # also for a connection that was kept alive
                self.close_connection = True
                return
            reply = hub._answer(call, token)
        except HubError as error:
            reply = Reply(error.body, error.status, error.headers)
        except Exception:
            log.exception("defect of the stand-in Hub")
            hub.unexpected.append(f"{self.command} {self.path}: {traceback.format_exc()}")
            reply = Reply({"error": "the stand-in has a defect"}, 500)
        call.status = reply.status
        log.info("%s %s %s", self.command, self.path, reply.status)
        self._write(reply)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle

    def _write(self, reply: Reply) -> None:
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(data)), **reply.headers}
        self.send_response(reply.status)
        for name, value in headers.items():
            self.send_header(name, value)
        with suppress(ConnectionError):  # the client did not wait
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass  # hub.requests is the log


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the stand-in for the Hugging Face Hub until Ctrl+C.")
    parser.add_argument("--port", type=int, default=0, help="0, the default: any free port")
    parser.add_argument("--models", type=Path, help='JSON file: {"org/name": {"providers": {…}, "gated": …, …}, …}')
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    with StandinHub(args.port) as hub:
        if args.models:
            described = json.loads(args.models.read_text(encoding="utf-8"))
            hub.models.update({id: chat_model(**fields) for id, fields in described.items()})
        print(f"HF_ENDPOINT={hub.url} HF_TOKEN={TOKEN} HF_HUB_DISABLE_XET=1", flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()

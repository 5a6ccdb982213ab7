"""The rendered project's Argilla server, through HTTP and through the real SDK."""

import contextlib
import functools
import http.server
import json
import os
import re
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import argilla as rg
import httpx
import pytest
from argilla_server import ArgillaServer, copy_project, free_port

RECORDS = [
    ("en", "The cat sleeps on the sofa.", "short", 3, 0.1),
    ("ar", "القطة تنام على الأريكة.", "short", 5, 0.2),
    ("hi", "बिल्ली सोफ़े पर सोती है।", "short", 7, 0.3),
    ("th", "แมวนอนบนโซฟา", "long", 11, 0.4),
    ("zh", "猫在沙发上睡觉。", "long", 13, 0.5),
    ("sw", "Paka analala kwenye sofa.", "long", 17, None),
]

SUGGESTED = {True: (["a", "b"], [0.2, 0.9]), False: (["c"], [0.4])}  # by number < 10: labels and their scores


def eventually(check: Callable[[], Any], seconds: float = 15) -> Any:
    """Return what `check` returns as soon as that is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (result := check()):
        assert time.monotonic() < deadline, f"still {result!r} after {seconds} s"
        time.sleep(0.05)
    return result


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArgillaServer]:
    with ArgillaServer(copy_project(tmp_path_factory.mktemp("project"))) as server:
        yield server
    assert "Traceback" not in server.output


class Api:
    """Argilla's HTTP API as one user."""

    def __init__(self, server: ArgillaServer, api_key: str | None = None) -> None:
        headers = {"X-Argilla-Api-Key": api_key or server.api_key}
        self.client = httpx.Client(base_url=f"{server.url}/api/v1", headers=headers, timeout=60)

    def __call__(self, method: str, path: str, **options: Any) -> Any:
        answer = self.client.request(method, path, **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def search(self, dataset: str, *filters: dict, **query: Any) -> list[str]:
        """The external ids of the records that this user gets, in order."""
        body = query | ({"filters": {"and": list(filters)}} if filters else {})
        found = self("POST", f"/me/datasets/{dataset}/records/search", json=body, params={"limit": 1000})
        assert found["total"] == len(found["items"])
        return [each["record"]["external_id"] for each in found["items"]]

    def statuses(self, dataset: rg.Dataset) -> dict[str, str]:
        """The status of each record, by external id."""
        found = self("GET", f"/datasets/{dataset.id}/records", params={"limit": 1000})
        return {each["external_id"]: each["status"] for each in found["items"]}

    def queue(self, dataset: str, status: str) -> set[str]:
        """What the page shows under Pending, Draft, Discarded or Submitted."""
        scopes = ["response", "record"] if status == "pending" else ["response"]
        return set(self.search(dataset, *(terms({"entity": scope, "property": "status"}, status) for scope in scopes)))

    def answer(self, record: str, value: str | None = "good", status: str = "submitted") -> None:
        values = {"vote": {"value": value}} if value else {}
        self("POST", f"/records/{record}/responses", json={"values": values, "status": status})


def terms(scope: dict, *values: str) -> dict:
    return {"type": "terms", "scope": scope, "values": list(values)}


def metadata(name: str) -> dict:
    return {"entity": "metadata", "metadata_property": name}


@pytest.fixture(scope="module")
def owner(server: ArgillaServer) -> Api:
    return Api(server)


@pytest.fixture(scope="module")
def new_user(server: ArgillaServer, owner: Api) -> Callable[[], Api]:
    (workspace,) = owner("GET", "/me/workspaces")["items"]
    assert workspace["name"] == "argilla"

    def make() -> Api:
        name = f"u{uuid4().hex[:8]}"
        user = owner("POST", "/users", json={"username": name, "first_name": name, "password": uuid4().hex})
        owner("POST", f"/workspaces/{workspace['id']}/users", json={"user_id": user["id"]})
        return Api(server, user["api_key"])

    return make


def make_dataset(server: ArgillaServer, min_submitted: int = 2) -> rg.Dataset:
    client = rg.Argilla(api_url=server.url, api_key=server.api_key)
    settings = rg.Settings(
        fields=[
            rg.TextField(name="prompt", client=client),
            rg.ChatField(name="chat", _client=client),
        ],
        questions=[
            rg.LabelQuestion(name="vote", labels={"good": "👍", "bad": "👎"}, client=client),
            rg.MultiLabelQuestion(name="reasons", labels=["a", "b", "c"], required=False, client=client),
            rg.TextQuestion(name="comment", required=False, client=client),
        ],
        metadata=[
            rg.TermsMetadataProperty(name="length", client=client),
            rg.IntegerMetadataProperty(name="number", client=client),
            rg.FloatMetadataProperty(name="share", client=client),
        ],
        vectors=[rg.VectorField(name="vector", dimensions=2, _client=client)],
        distribution=rg.TaskDistribution(min_submitted=min_submitted),
    )
    dataset = rg.Dataset(name=f"d{uuid4().hex[:8]}", workspace="argilla", settings=settings, client=client).create()
    dataset.records.log(
        [
            rg.Record(
                id=id,
                fields={"prompt": text, "chat": [{"role": "assistant", "content": f"This is {id}, answered."}]},
                metadata={"length": length, "number": number} | ({"share": share} if share is not None else {}),
                vectors={"vector": [number, 10]},
                suggestions=[rg.Suggestion("reasons", *SUGGESTED[number < 10], agent=f"agent {length}")],
            )
            for id, text, length, number, share in RECORDS
        ]
    )
    return dataset


@pytest.fixture(scope="module")
def shared(server: ArgillaServer) -> rg.Dataset:
    """A dataset that nobody answers."""
    return make_dataset(server)


def record_ids(dataset: rg.Dataset) -> dict[str, str]:
    return {str(each.id): str(each._server_id) for each in dataset.records()}


# --- Searching, filtering, sorting


@pytest.mark.parametrize(
    ("query", "field", "expected"),
    [
        ("cat", None, {"en"}),
        ("القطة", None, {"ar"}),
        ("बिल्ली", None, {"hi"}),
        ("बिल्ल", None, set()),
        ("นอน", None, {"th"}),
        ("沙发", None, {"zh"}),
        ("sofa -cat", None, {"sw"}),
        ("cat | paka", None, {"en", "sw"}),
        ('"on the sofa"', "prompt", {"en"}),
        ("sof*", None, {"en", "sw"}),
        ("answered sofa", None, {"en", "sw"}),
        ("answered", "prompt", set()),
        ("answered sw", "chat", {"sw"}),
        ("assistant", None, set()),
        ("'; DROP TABLE records; --", None, set()),
    ],
)
def test_text_search(owner: Api, shared: rg.Dataset, query: str, field: str | None, expected: set[str]) -> None:
    assert set(owner.search(str(shared.id), query={"text": {"q": query, "field": field}})) == expected


SUGGESTION = {"entity": "suggestion", "question": "reasons"}
INSERTED = {"type": "range", "scope": {"entity": "record", "property": "inserted_at"}}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([terms(metadata("length"), "long")], "th zh sw"),
        ([terms(metadata("length"), "long", "short")], "en ar hi th zh sw"),
        ([terms(metadata("number"), "5")], "ar"),
        ([{"type": "range", "scope": metadata("number"), "ge": 7, "le": 13}], "hi th zh"),
        ([{"type": "range", "scope": metadata("share"), "le": 0.2}], "en ar"),
        ([{"type": "range", "scope": metadata("share"), "ge": 0}], "en ar hi th zh"),
        ([terms(metadata("length"), "long"), {"type": "range", "scope": metadata("number"), "le": 11}], "th"),
        ([terms(SUGGESTION | {"property": "value"}, "b")], "en ar hi"),
        ([terms(SUGGESTION | {"property": "agent"}, "agent long")], "th zh sw"),
        ([terms(SUGGESTION | {"property": "type"}, "human")], ""),
        ([{"type": "range", "scope": SUGGESTION | {"property": "score"}, "ge": 0.5}], "en ar hi"),
        ([terms({"entity": "suggestion", "question": "vote", "property": "value"}, "good")], ""),
        ([terms({"entity": "record", "property": "status"}, "pending")], "en ar hi th zh sw"),
        ([terms({"entity": "record", "property": "external_id"}, "zh", "nothing")], "zh"),
        ([terms({"entity": "record", "property": "id"}, "no id")], ""),
        ([INSERTED | {"ge": "2020-01-01T00:00:00Z"}], "en ar hi th zh sw"),
        ([INSERTED | {"le": 1577836800000}], ""),
        ([terms({"entity": "response", "property": "status"}, "submitted", "draft")], ""),
        ([terms({"entity": "response", "question": "vote"}, "good")], ""),
    ],
)
def test_filters(owner: Api, shared: rg.Dataset, filters: list[dict], expected: str) -> None:
    assert set(owner.search(str(shared.id), *filters)) == set(expected.split())


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ([(metadata("number"), "desc")], "sw zh th hi ar en"),
        ([(metadata("share"), "asc")], "en ar hi th zh sw"),
        ([(metadata("share"), "desc")], "zh th hi ar en sw"),  # without a value: last in either direction
        ([(metadata("length"), "asc"), (metadata("number"), "desc")], "sw zh th hi ar en"),
        ([(SUGGESTION | {"property": "score"}, "asc"), (metadata("number"), "asc")], "en ar hi th zh sw"),
        ([(SUGGESTION | {"property": "score"}, "desc"), (metadata("number"), "desc")], "hi ar en sw zh th"),
        ([({"entity": "record", "property": "inserted_at"}, "desc")], "sw zh th hi ar en"),
        ([({"entity": "record", "property": "external_id"}, "asc")], "ar en hi sw th zh"),
    ],
)
def test_sorting(owner: Api, shared: rg.Dataset, sort: list[tuple[dict, str]], expected: str) -> None:
    order = [{"scope": scope, "order": direction} for scope, direction in sort]
    assert owner.search(str(shared.id), sort=order) == expected.split()


def test_sdk_queries(shared: rg.Dataset) -> None:
    def ids(query: rg.Query) -> list[str]:
        return [str(each.id) for each in shared.records(query=query)]

    assert ids(rg.Query(query="sofa")) == ["en", "sw"]
    assert ids(rg.Query(filter=rg.Filter([("metadata.number", "<=", 5), ("status", "==", "pending")]))) == ["en", "ar"]
    one = next(each for each in shared.records() if each.id == "th")
    assert ids(rg.Query(filter=rg.Filter(("_server_id", "==", str(one._server_id))))) == ["th"]


def test_pages_add_up_and_each_user_has_an_order_that_stays(
    server: ArgillaServer, shared: rg.Dataset, new_user: Callable[[], Api]
) -> None:
    orders = []
    for _ in range(4):
        user = new_user()
        pages = [
            user("POST", f"/me/datasets/{shared.id}/records/search", json={}, params={"limit": 4, "offset": offset})
            for offset in (0, 4, 8)
        ]
        assert [each["total"] for each in pages] == [6, 6, 6]
        order = [each["record"]["external_id"] for page in pages for each in page["items"]]
        assert order == user.search(str(shared.id))
        assert sorted(order) == sorted(each[0] for each in RECORDS)
        orders.append(tuple(order))
    assert len(set(orders)) > 1


def test_similarity(shared: rg.Dataset) -> None:
    def nearest(value: Any, **options: Any) -> list[tuple[str, float]]:
        limit = options.pop("limit", 3)
        found = shared.records(query=rg.Query(similar=rg.Similar("vector", value, **options)), limit=limit)
        return [(str(record.id), score) for record, score in found]

    near = nearest([17, 10])
    assert [id for id, _ in near] == ["sw", "zh", "th"]
    assert near[0][1] == pytest.approx(1)
    assert near[2][1] == pytest.approx((1 + 287 / (17**2 + 100) ** 0.5 / (11**2 + 100) ** 0.5) / 2)
    assert [id for id, _ in nearest([17, 10], most_similar=False)] == ["en", "ar", "hi"]
    record = next(each for each in shared.records() if each.id == "th")
    assert [id for id, _ in nearest(record, limit=10)] == ["zh", "sw", "hi", "ar", "en"]


def test_metadata_metrics(owner: Api, shared: rg.Dataset) -> None:
    properties = owner("GET", f"/me/datasets/{shared.id}/metadata-properties")["items"]
    metrics = {each["name"]: owner("GET", f"/metadata-properties/{each['id']}/metrics") for each in properties}
    assert metrics == {
        "length": {
            "type": "terms",
            "total": 6,
            "values": [{"term": "long", "count": 3}, {"term": "short", "count": 3}],
        },
        "number": {"type": "integer", "min": 3, "max": 17},
        "share": {"type": "float", "min": 0.1, "max": 0.5},
    }


# --- Voting


def test_queues_and_progress(server: ArgillaServer, owner: Api, new_user: Callable[[], Api]) -> None:
    dataset = make_dataset(server)
    id = str(dataset.id)
    records = record_ids(dataset)
    everything = {each[0] for each in RECORDS}
    one, two, three = new_user(), new_user(), new_user()
    one.answer(records["en"], "good")
    one.answer(records["ar"], "bad")
    one.answer(records["hi"], None, "draft")
    one.answer(records["th"], None, "discarded")
    two.answer(records["en"], "bad")

    assert one.queue(id, "pending") == {"zh", "sw"}
    assert one.queue(id, "submitted") == {"en", "ar"}
    assert one.queue(id, "draft") == {"hi"}
    assert one.queue(id, "discarded") == {"th"}
    assert two.queue(id, "submitted") == {"en"}
    assert three.queue(id, "pending") == everything - {"en"}  # two votes: nobody else is asked
    status = {"entity": "response", "property": "status"}
    assert set(one.search(id, terms(status, "pending", "draft"))) == {"zh", "sw", "hi"}
    assert set(one.search(id, terms({"entity": "response", "question": "vote"}, "bad"))) == {"ar"}
    by_vote = {"scope": {"entity": "response", "question": "vote"}, "order": "asc"}
    assert one.search(id, sort=[by_vote])[:2] == ["ar", "en"]

    # A query that belongs to no user sees everybody's responses.
    found = dataset.records(query=rg.Query(filter=rg.Filter(("response.status", "==", "pending"))))
    assert {each.id for each in found} == {"zh", "sw"}
    found = dataset.records(query=rg.Query(filter=rg.Filter(("vote.response", "==", "bad"))))
    assert {each.id for each in found} == {"en", "ar"}

    counts = {"total": 6, "submitted": 2, "draft": 1, "discarded": 1, "pending": 2}
    assert one("GET", f"/me/datasets/{id}/metrics") == {"responses": counts}
    progress = owner("GET", f"/datasets/{id}/progress")
    assert (progress["total"], progress["completed"], progress["pending"]) == (6, 1, 5)
    assert len(progress["users"]) == 2
    assert dataset.progress(with_users_distribution=True)["completed"] == 1


def test_a_changed_number_of_votes_is_applied(server: ArgillaServer, owner: Api, new_user: Callable[[], Api]) -> None:
    dataset = make_dataset(server)
    records = record_ids(dataset)
    new_user().answer(records["en"])
    path = f"/datasets/{dataset.id}"
    assert owner("GET", f"{path}/progress")["completed"] == 0

    def is_completed(records: int) -> bool:
        return owner("GET", f"{path}/progress")["completed"] == records

    for min_submitted, completed in ((1, 1), (2, 0)):
        owner("PATCH", path, json={"distribution": {"strategy": "overlap", "min_submitted": min_submitted}})
        eventually(functools.partial(is_completed, completed))


def test_twelve_people_at_once(server: ArgillaServer, owner: Api, new_user: Callable[[], Api]) -> None:
    dataset = make_dataset(server, min_submitted=12)
    id = str(dataset.id)
    records = record_ids(dataset)
    users = [new_user() for _ in range(12)]

    def vote(user: Api) -> None:
        for name in user.search(id):
            user.answer(records[name])

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(vote, users))
    assert owner("GET", f"/datasets/{id}/progress")["completed"] == len(RECORDS)
    assert "locked" not in server.output


def test_webhooks_are_sent_in_order_and_a_slow_one_stops_nobody(
    server: ArgillaServer, owner: Api, new_user: Callable[[], Api]
) -> None:
    events: list[str] = []
    go_on = threading.Event()

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            go_on.wait(15)
            events.append(body["type"])
            self.send_response(500 if len(events) == 1 else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    dataset = make_dataset(server)
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{receiver.server_port}/"
    webhook = owner("POST", "/webhooks", json={"url": url, "events": ["response.created", "dataset.updated"]})
    try:
        new_user().answer(record_ids(dataset)["en"])
        owner("PATCH", f"/datasets/{dataset.id}", json={"guidelines": "Be fair."})
        assert events == []  # both came back while the first webhook was still waiting for its answer
        go_on.set()
        eventually(lambda: len(events) == 2)
        assert events == ["response.created", "dataset.updated"]
    finally:
        go_on.set()
        owner("DELETE", f"/webhooks/{webhook['id']}")
        receiver.shutdown()
        receiver.server_close()
    assert "notify_event_job" in server.output  # the first one was refused: that is said


# --- Starting, stopping, starting again


def test_first_start(server: ArgillaServer) -> None:
    assert server.output.count(server.password) == 1
    assert server.username in server.output
    assert "unencrypted" not in server.output
    assert len(server.password) >= 16
    environment = (server.project_dir / ".env").read_text(encoding="utf-8")
    assert environment == f"ARGILLA_API_URL={server.url}\nARGILLA_API_KEY={server.api_key}\n"
    if os.name == "posix":
        for path in (server.home / "credentials.json", server.project_dir / ".env"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(server.home.stat().st_mode) == 0o700
    for secret in ("1234", "12345678", "argilla.apikey", "owner.apikey"):
        assert httpx.get(f"{server.url}/api/v1/me", headers={"X-Argilla-Api-Key": secret}).status_code == 401
        login = {"username": server.username, "password": secret}
        assert httpx.post(f"{server.url}/api/v1/token", data=login).status_code == 401


def test_what_people_made_outlives_restart_and_kill(tmp_path: Path) -> None:
    # A name of a folder that would break an address.
    server = ArgillaServer(copy_project(tmp_path / "50% of ü? #1"), home=tmp_path / "die Stimmen" / "a%20b?c")
    right = dict.fromkeys((each[0] for each in RECORDS), "pending") | {"en": "completed"}
    with server:
        login = {"username": server.username, "password": server.password}
        token = httpx.post(f"{server.url}/api/v1/token", data=login).json()["access_token"]
        dataset = make_dataset(server, min_submitted=1)
        Api(server).answer(record_ids(dataset)["en"])
        assert Api(server).statuses(dataset) == right
        credentials = server.credentials

        # A second server with the same home is refused and leaves the first alone.
        second = ArgillaServer(server.project_dir, home=server.home)
        assert second.run("--home", str(server.home), "--port", str(second.port)).wait(60) == 1
        assert len(second.output.strip().splitlines()) == 1 and str(server.home) in second.output
        assert f"ARGILLA_API_URL={server.url}\n" in (server.project_dir / ".env").read_text(encoding="utf-8")

        def still_there() -> None:
            me = httpx.get(f"{server.url}/api/v1/me", headers={"Authorization": f"Bearer {token}"})
            assert me.json()["username"] == login["username"]
            assert server.credentials == credentials
            assert server.password not in server.output
            assert str(server.home / "credentials.json") in server.output
            (answered,) = Api(server).queue(str(dataset.id), "submitted")
            assert answered == "en"
            assert "Traceback" not in server.output
            assert Api(server).statuses(dataset) == right

        assert server.stop() in (0, 130)
        assert not (server.home / ".argilla-page").exists()
        assert not (server.home / ".gitignore").exists()  # it is not in the project
        server.start()
        still_there()
        assert server.stop(kill=True) not in (0, None)
        # Argilla writes the status of a record after the vote, so a kill may come between them.
        with contextlib.closing(sqlite3.connect(server.home / "argilla.db")) as database, database:
            for record, status in (("en", "pending"), ("ar", "completed")):
                database.execute("UPDATE records SET status = ? WHERE external_id = ?", (status, record))

        # Lost credentials are made anew, the votes stay; an Argilla elsewhere in .env is left alone.
        (server.home / "credentials.json").unlink()
        elsewhere = "ARGILLA_API_URL=https://someone-votes.hf.space\nARGILLA_API_KEY=theirs\n"
        (server.project_dir / ".env").write_text(elsewhere, encoding="utf-8")
        server.start()
        assert server.credentials != credentials
        assert (server.project_dir / ".env").read_text(encoding="utf-8") == elsewhere
        assert "https://someone-votes.hf.space" in server.output
        login["password"] = server.password
        assert httpx.post(f"{server.url}/api/v1/token", data=login).is_success
        assert Api(server).queue(str(dataset.id), "submitted") == {"en"}


def test_the_page_asks_nobody_else(server: ArgillaServer) -> None:
    page = httpx.get(f"{server.url}/").text
    sheets = set(re.findall(r"/_nuxt/\w+\.css", page))
    assert sheets
    for part in [page, *(httpx.get(server.url + sheet).text for sheet in sheets)]:
        assert not re.search(r"""(@import url\(|src=["']?)https?:""", part)


def test_headers_keep_the_page_from_loading_anything_elsewhere(server: ArgillaServer) -> None:
    for path in ("/", "/sign-in", "/dataset/x/annotation-mode"):
        headers = httpx.get(server.url + path).headers
        rules = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
        assert rules["default-src"] == rules["form-action"] == "'self'"
        assert rules["object-src"] == rules["frame-src"] == "'none'"
        assert rules["img-src"] == "'self' data: blob:"
        assert "unsafe" not in rules["script-src"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
    answer = httpx.get(f"{server.url}/api/v1/version")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" not in answer.headers


def test_what_else_is_in_the_home_stays(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project [1]")
    server = ArgillaServer(project, home=project / "votes")
    (server.home / "tmp").mkdir(parents=True)
    (server.home / "tmp" / "diary.txt").write_text("mine", encoding="utf-8")
    (server.home / ".gitignore").write_text("notes/\n", encoding="utf-8")
    with server:
        assert "@@" not in httpx.get(server.url).text  # a bracket in its path leaves the page whole
    assert (server.home / "tmp" / "diary.txt").read_text(encoding="utf-8") == "mine"
    assert not (server.home / ".argilla-page").exists()
    assert (server.home / ".gitignore").read_text(encoding="utf-8").startswith("notes/\n")
    assert git_sees(project) == {"votes/.gitignore", "votes/tmp/diary.txt"}


def git_sees(project: Path) -> set[str]:
    """The files that `git add` would take, but for those that `copy_project` and the tests made."""
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    listing = subprocess.check_output(["git", "ls-files", "-o", "--exclude-standard"], cwd=project, text=True)
    own = ("kto/", "texts.yaml", "argilla-", ".env")
    return {line for line in listing.splitlines() if not line.startswith(own)}


def test_a_home_in_the_project_is_never_committed(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    with ArgillaServer(project, home=project / "votes"):
        assert git_sees(project) == set()
    with ArgillaServer(project, home=project):
        assert git_sees(project) == {".gitignore"}


@pytest.mark.skipif(os.name != "posix", reason="files have no mode")
def test_an_open_folder_as_home_does_not_open_what_is_in_it(tmp_path: Path) -> None:
    server = ArgillaServer(copy_project(tmp_path / "project"), home=tmp_path / "home")
    server.home.mkdir()
    server.home.chmod(0o755)

    def opened() -> set[str]:
        files = [path for path in server.home.iterdir() if path.is_file()]
        assert {"argilla.db", "credentials.json"} <= {path.name for path in files}
        return {path.name for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077}

    with server:
        assert opened() == set()
    for name in ("argilla.db", "credentials.json"):
        (server.home / name).chmod(0o644)
    with server:
        assert opened() == set()


# --- Bad input


def fails(server: ArgillaServer, *arguments: str) -> str:
    """Run with `arguments`, expect exit status 1 and return what was said."""
    assert server.run(*arguments).wait(120) == 1, server.output
    said = server.output.replace("Argilla is starting …", "").strip()
    assert "Traceback" not in said and len(said.splitlines()) == 1, said
    return said


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> ArgillaServer:
    """A server that is not running."""
    return ArgillaServer(copy_project(tmp_path_factory.mktemp("idle")))


@pytest.mark.parametrize("port", ["many", "-1", "65536", "1e3", "", "٦٩٠٠"])
def test_bad_port(idle: ArgillaServer, port: str) -> None:
    assert "65535" in fails(idle, f"--port={port}")


def test_port_in_use(idle: ArgillaServer, server: ArgillaServer) -> None:
    assert str(server.port) in fails(idle, "--port", str(server.port))


def test_bad_host(idle: ArgillaServer) -> None:
    assert "no.such.host.invalid" in fails(idle, "--host", "no.such.host.invalid", "--port", str(free_port()))


def test_home_that_cannot_be_used(idle: ArgillaServer, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    for home in (file, file / "below"):
        assert str(home) in fails(idle, "--home", str(home), "--port", "0")
    assert file.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("kind", ["newer", "no database"])
def test_home_of_another_argilla(idle: ArgillaServer, tmp_path: Path, kind: str) -> None:
    if kind == "newer":
        with sqlite3.connect(tmp_path / "argilla.db") as database:
            database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
            database.execute("INSERT INTO alembic_version VALUES ('fedcba987654')")
        database.close()
    else:
        (tmp_path / "argilla.db").write_text("This is a diary and no database. " * 100, encoding="utf-8")
    before = (tmp_path / "argilla.db").read_bytes()
    assert "2.8.0" in fails(idle, "--home", str(tmp_path), "--port", "0")
    if kind == "no database":
        assert (tmp_path / "argilla.db").read_bytes() == before


def test_credentials_that_cannot_be_read(idle: ArgillaServer, tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text('{"username": ', encoding="utf-8")
    assert "credentials.json" in fails(idle, "--home", str(tmp_path), "--port", "0")


def test_without_the_package(tmp_path: Path) -> None:
    plain = ArgillaServer(copy_project(tmp_path), python=sys.executable)
    assert "uv run vote.py" in fails(plain)
    assert not plain.home.exists()


def test_without_any_package(idle: ArgillaServer) -> None:
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "kto/vote/argilla_server/server.py"],
        cwd=idle.project_dir,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 1
    assert "PyYAML is not" in answer.stderr and "uv" in answer.stderr and "Traceback" not in answer.stderr


def test_help(idle: ArgillaServer) -> None:
    process = idle.run("--help")
    assert process.wait(60) == 0
    assert all(option in idle.output for option in ("--home", "--port", "--host"))


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::"])
def test_an_open_host_in_a_shell_that_is_set_up_for_another_argilla(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    if ":" in host and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    monkeypatch.setenv("ARGILLA_DATABASE_URL", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    monkeypatch.setenv("ARGILLA_BASE_URL", "/other")
    monkeypatch.setenv("ARGILLA_SEARCH_ENGINE", "elasticsearch")
    monkeypatch.setenv("USERNAME", "root")
    monkeypatch.setenv("PASSWORD", "root-root-root")
    server = ArgillaServer(copy_project(tmp_path / "project"))
    try:
        server.start("--host", host)
        assert [each["username"] for each in Api(server)("GET", "/users")["items"]] == [server.username]
        assert "embedded" in json.dumps(Api(server)("GET", "/status"))
        assert not (tmp_path / "elsewhere.db").exists()
        # Others use another address than this machine does.
        assert f"ARGILLA_API_URL={server.url}\n" in (tmp_path / "project" / ".env").read_text(encoding="utf-8")
        others = [line.split()[-1] for line in server.output.splitlines() if line.startswith("Others ")]
        assert ("unencrypted" in server.output) == bool(others)
        assert server.url not in others
        for url in others:
            assert httpx.get(f"{url}/api/v1/version", trust_env=False).json()["version"].startswith("2.8")
    finally:
        server.stop()

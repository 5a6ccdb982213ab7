"""`vote.py` from outside: how soon people can vote, what a kill leaves, and who reaches what."""

import contextlib
import json
import os
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from argilla_server import free_port
from browser import chromium, open_page
from rendering import REPOSITORY, TEMPLATE, render
from vote_command import Vote
from voting import Task, english

__all__ = ["english"]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-in for uv is a shell script")

ANSWERS = {f"Question {number}?": [f"One & <b>{number}</b>.", f"*Two* {number}."] for number in range(8)}


def make_project(folder: Path) -> Task:
    task = Task(render(folder), "", "")
    task.set(annotators='["amina"]')
    task.generate(ANSWERS)
    return task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Task]:
    """A project that has been started once: first starts take long."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ARGILLA_API_URL", "ARGILLA_API_KEY"):
            patch.delenv(name, raising=False)
        task = make_project(tmp_path_factory.mktemp("project"))
        with start(task) as vote:
            vote.wait_for_argilla()
        yield task
        for client in task.people.values():
            client.close()


def start(task: Task, *arguments: str, forked: bool = True, **env: str) -> Vote:
    return Vote(task.project, task.project.parent / "bin", *arguments, forked=forked, **env)


@pytest.fixture
def vote(task: Task) -> Iterator[Vote]:
    with start(task) as vote:
        yield vote


def database(task: Task) -> contextlib.closing[sqlite3.Connection]:
    return contextlib.closing(sqlite3.connect(task.project / ".argilla" / "argilla.db", timeout=30))


def cards(vote: Vote, device: str, count: int = 1) -> list[dict[str, Any]]:
    return vote.call("cards", {"count": count, "have": []}, device).raise_for_status().json()["cards"]


def line(card: dict[str, Any], choice: str | None = "good") -> dict[str, Any]:
    start = {"v": 1, "id": uuid.uuid4().hex, "record": card["record"], "vote": choice}
    return {**start, "reasons": [], "replaces": card["line"], "ms": 900}


def send(vote: Vote, device: str, *lines: dict[str, Any]) -> dict[str, str]:
    return vote.call("votes", {"lines": [*lines]}, device).raise_for_status().json()["states"]


def stored(task: Task, *lines: dict[str, Any]) -> bool:
    """Tell whether Argilla has a response for each of these votes."""
    with database(task) as connection:
        query = "SELECT 1 FROM responses WHERE record_id = ? AND status = 'submitted'"
        return all(connection.execute(query, (each["record"],)).fetchone() for each in lines)


def argilla_of(vote: Vote) -> psutil.Process:
    [process] = vote.until(
        lambda: [
            child
            for child in psutil.Process(vote.process.pid).children(recursive=True)
            if any(part.endswith("server.py") for part in child.cmdline())
        ]
    )
    return process


# --- How soon


def test_people_vote_while_argilla_starts(task: Task, vote: Vote) -> None:
    device = vote.enter(vote.own_secret)
    [card] = cards(vote, device)
    given = line(card)
    assert send(vote, device, given) == {given["id"]: "applied"}
    assert "Argilla's page" not in vote.output  # it takes seconds
    assert stored(task, given)
    assert {card["prompt"], card["raw"]} <= {*ANSWERS, *(answer for two in ANSWERS.values() for answer in two)}
    notice = httpx.get(vote.url, headers={"Accept": "text/html"})
    assert notice.status_code in (200, 503) and ("Argilla is starting" in notice.text) is (notice.status_code == 503)
    vote.wait_for_argilla()
    assert httpx.get(vote.url).status_code == 200 and "_nuxt" in httpx.get(vote.url).text
    memory = psutil.Process(vote.process.pid).memory_info().rss
    assert memory < 120_000_000, "the page's process has imported what only Argilla needs"


def test_the_first_start_shows_the_page_at_once(tmp_path: Path, english: None) -> None:
    task = make_project(tmp_path / "project")
    with start(task) as vote:
        page = vote.until(lambda: httpx.get(f"{vote.url}/vote/"))
        assert page.status_code == 200 and "page.css" in page.text
        assert httpx.get(f"{vote.url}/vote/words.json").json()["words"]["starting"]
        refused = vote.call("session", {"secret": "x", "consent": "1"})
        assert (refused.status_code, refused.json()) == (503, {"kind": "starting"})
        assert not local_database(task)
        vote.wait_for_argilla()
        assert "Log in as owner" in vote.output
        device = vote.enter(vote.own_secret)
        assert len(cards(vote, device, 10)) == 10
        [link] = re.findall(r"(?m)^amina,\S+/vote/#(\S+)$", (task.data / "private" / "links.csv").read_text("utf-8"))
        assert cards(vote, vote.enter(link))
    home = task.project / ".argilla"
    assert all(not stat.S_IMODE(path.stat().st_mode) & 0o077 for path in home.iterdir())


def local_database(task: Task) -> bool:
    """Tell whether Argilla has made its tables."""
    path = task.project / ".argilla" / "argilla.db"
    if not path.exists():
        return False
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone() is not None


def test_the_newest_migration_is_the_known_one(task: Task) -> None:
    from kto.vote.local import REVISION, is_current

    with database(task) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISION,)]
    assert is_current(task.project / ".argilla") and not is_current(task.project)


def test_votes_wait_while_an_older_database_is_changed(task: Task) -> None:
    """A database that an older Argilla has made: here only its mark is older, which Argilla refuses or mends."""
    with database(task) as connection, connection:
        [(newest,)] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        connection.execute("UPDATE alembic_version SET version_num = 'fedcba987654'")
    try:
        with start(task) as vote:
            vote.until(lambda: httpx.get(f"{vote.url}/vote/").status_code == 200)
            assert vote.call("session", {"secret": "x", "consent": "1"}).json() == {"kind": "starting"}
            said = vote.end()  # a newer Argilla has made it
            assert said.startswith("1: ") and "2.8.0" in said and "Traceback" not in said
    finally:
        with database(task) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (newest,))


# --- Kills


@pytest.fixture
def unforked(task: Task) -> Iterator[Vote]:
    """Its Argilla is its own child."""
    with start(task, forked=False) as vote:
        yield vote


def test_a_killed_argilla_stops_no_vote(task: Task, unforked: Vote) -> None:
    vote = unforked.wait_for_argilla()
    device = vote.enter(vote.own_secret)
    first, second = cards(vote, device, 2)
    argilla_of(vote).kill()
    given = line(first)
    assert send(vote, device, given) == {given["id"]: "applied"}
    vote.wait_for("Argilla has ended. People can go on voting")
    page = httpx.get(vote.url, headers={"Accept": "text/html"})
    assert page.status_code == 503 and "Argilla has ended" in page.text and "Traceback" not in page.text
    assert httpx.get(f"{vote.url}/api/v1/version").status_code == 503
    later = line(second, "bad")
    assert send(vote, device, later) == {later["id"]: "applied"} and stored(task, given, later)
    assert vote.output.count("Argilla has ended") == 1
    assert vote.stop().startswith("0: ")


@pytest.mark.parametrize("moment", ["while Argilla starts", "afterwards"])
def test_a_kill_loses_no_vote_and_leaves_nothing_behind(task: Task, moment: str) -> None:
    vote = start(task, forked=False)
    device = vote.enter(vote.own_secret)
    given = [line(card) for card in cards(vote, device, 2)]
    argilla = argilla_of(vote)
    if moment == "afterwards":
        vote.wait_for_argilla()
    assert set(send(vote, device, *given).values()) == {"applied"}
    vote.process.kill()
    vote.process.wait(10)
    assert stored(task, *given)
    with start(task) as again:  # at once, while Argilla may still be ending
        assert again.until(lambda: set(send(again, device, *given).values())) == {"applied"}
        again.wait_for_argilla()
        assert not argilla.is_running() or argilla.status() == psutil.STATUS_ZOMBIE
        assert "Traceback" not in again.output and "already running" not in again.output


def test_ctrl_c_at_any_time(task: Task) -> None:
    for word in ("Argilla is starting", "Your own link", "Argilla's page"):
        vote = start(task, forked=False).wait_for(word)
        argilla = argilla_of(vote)
        said = vote.stop()
        assert said.startswith("0: ") and "Traceback" not in said and "has ended" not in said, said
        deadline = time.monotonic() + 5  # uv, which Ctrl-C reaches as well, may be gone a moment before its child
        while argilla.is_running() and argilla.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        socket.create_server(("127.0.0.1", vote.port)).close()


def test_a_set_up_that_fails_stops_no_vote(task: Task) -> None:
    left_out = task.project / "prompts" / "left_out.jsonl"
    left_out.write_text("no JSON\n", encoding="utf-8")
    try:
        with start(task) as vote:
            vote.wait_for("Lines of ")
            device = vote.enter(vote.own_secret)
            given = line(cards(vote, device)[0])
            assert send(vote, device, given) == {given["id"]: "applied"}
            assert "Traceback" not in vote.output
    finally:
        left_out.unlink()


def test_a_second_command_waits_while_argilla_starts(task: Task, vote: Vote) -> None:
    vote.wait_for("Argilla is starting")
    env = f"ARGILLA_API_URL={vote.url}\nARGILLA_API_KEY={task_key(task)}\n"
    (task.project / ".env").write_text(env, encoding="utf-8")
    said = start(task, "--port", str(vote.port)).end()
    assert said.startswith("0: New answers in Argilla: 0\n") and "Traceback" not in said


def test_a_second_page_of_one_home(task: Task, vote: Vote) -> None:
    vote.wait_for("Your own link")
    (task.project / ".env").write_text("", encoding="utf-8")  # so that it does not know of the first
    second = start(task).end()
    assert second.startswith("1: ") and "already running" in second and "Traceback" not in second
    assert vote.process.poll() is None


# --- Who reaches what


def paths_of(server: str) -> list[tuple[str, str]]:
    """Return all routes of Argilla's API, from its own description."""
    described = httpx.get(f"{server}/api/v1/openapi.json").json()["paths"]
    routes = [(method.upper(), path) for path in described for method in described[path]]
    return [(method, f"/api/v1{re.sub('{.*?}', uuid.uuid4().hex, path)}") for method, path in routes]


def test_a_stranger_reaches_nothing_of_argilla(vote: Vote) -> None:
    vote.wait_for_argilla()
    routes = paths_of(vote.url)
    assert len(routes) > 60 and ("POST", "/api/v1/token") in routes
    ways = [{"X-Forwarded-For": "192.0.2.1"}, {"Host": f"vote.example:{vote.port}"}]
    with httpx.Client(base_url=vote.url, timeout=30) as stranger:
        for headers in ways:
            for method, path in [*routes, ("GET", "/sign-in"), ("GET", "/_nuxt/entry.js"), ("GET", "/favicon.ico")]:
                reply = stranger.request(method, path, headers=headers)
                assert (reply.status_code, reply.content) == (404, b""), (method, path)
            moved = stranger.get("/", headers=headers)
            assert (moved.status_code, moved.headers["location"]) == (302, "vote/")


def test_a_voter_has_no_key_to_argilla(task: Task, vote: Vote) -> None:
    vote.wait_for_argilla()
    link = re.search(r"(?m)^amina,\S+#(\S+)$", (task.data / "private" / "links.csv").read_text("utf-8"))[1]
    device = vote.enter(link)
    given = line(cards(vote, device)[0])
    send(vote, device, given)
    for secret in (link, device):
        for headers in ({"X-Argilla-Api-Key": secret}, {"Authorization": f"Bearer {secret}"}):
            assert httpx.get(f"{vote.url}/api/v1/me", headers=headers).status_code == 401
    # Whoever has the database's hashes or Argilla's keys has no way into the page's API.
    with database(task) as connection:
        query = "SELECT hash FROM kto_voters UNION SELECT hash FROM kto_links UNION SELECT api_key FROM users"
        known = [value for (value,) in connection.execute(query)]
        everything = "\n".join(connection.iterdump())
    assert link not in everything and device not in everything
    for secret in known:
        assert vote.call("progress", {}, secret).status_code == 403
        assert vote.call("session", {"secret": secret, "consent": "1"}).status_code in (400, 403)
    # And of Argilla the cards have nothing but prompt and answer.
    [card] = cards(vote, device)
    assert card.keys() <= {"record", "prompt", "answer", "raw", "line"}
    assert "acme" not in vote.call("cards", {"count": 10, "have": []}, device).text


def test_what_it_writes_tells_no_secret(task: Task, vote: Vote) -> None:
    vote.wait_for_argilla()
    device = vote.enter(vote.own_secret)
    vote.call("cards", {"count": 1, "have": []}, device)
    vote.call("session", {"secret": "a wrong secret", "consent": "1"})
    key = json.loads((task.project / ".argilla" / "credentials.json").read_text("utf-8"))["api_key"]
    for text in (device, key, "a wrong secret", "127.0.0.1 -"):
        assert text not in vote.output
    for process in [psutil.Process(vote.process.pid), *psutil.Process(vote.process.pid).children(recursive=True)]:
        assert not any(secret in " ".join(process.cmdline()) for secret in (device, key, vote.own_secret))


def test_annotators_elsewhere_log_in_to_argilla_where_that_is_wanted(task: Task) -> None:
    with start(task, "--argilla") as vote:
        vote.wait_for_argilla()
        elsewhere = {"X-Forwarded-For": "192.0.2.1"}
        password = re.search(r"(?m)^amina,(\S+)$", (task.data / "private" / "annotators.csv").read_text("utf-8"))[1]
        login = {"username": "amina", "password": password}
        token = httpx.post(f"{vote.url}/api/v1/token", data=login, headers=elsewhere).raise_for_status().json()
        headers = {**elsewhere, "Authorization": f"Bearer {token['access_token']}"}
        with httpx.Client(base_url=vote.url, headers=headers, timeout=30) as amina:
            assert amina.get("/api/v1/me").json()["username"] == "amina"
            [dataset] = amina.get("/api/v1/me/datasets").json()["items"]
            status = {"entity": "response", "property": "status"}
            pending = {"type": "terms", "scope": status, "values": ["pending"]}  # other tests have voted as her
            url = f"/api/v1/me/datasets/{dataset['id']}/records/search"
            search = {"query": {}, "filters": {"type": "and", "and": [pending]}}
            found = amina.post(url, json=search).json()
            assert found["items"] and "acme" not in json.dumps(found)
            record = found["items"][0]["record"]
            assert amina.get(f"/api/v1/records/{record['id']}").status_code == 403  # blind
            body = {"values": {"vote": {"value": "good"}}, "status": "submitted"}
            voted = amina.post(f"/api/v1/records/{record['id']}/responses", json=body)
            assert voted.is_success, f"{voted.status_code} {voted.text}"
            assert record["id"] not in {item["record"]["id"] for item in amina.post(url, json=search).json()["items"]}
            assert amina.get("/api/v1/users").status_code == 403
        assert "_nuxt" in httpx.get(vote.url, headers=elsewhere).text
        # A stranger who guesses passwords does not hold up those who work.
        waited = guess_and_measure(vote, {"X-Argilla-Api-Key": task_key(task)})
        assert waited < 1.5, f"GET /me took {waited:.2f} s"


def task_key(task: Task) -> str:
    return json.loads((task.project / ".argilla" / "credentials.json").read_text("utf-8"))["api_key"]


def guess_and_measure(vote: Vote, headers: dict[str, str]) -> float:
    """Return the longest of ten answers to the lead while five guess passwords all the time, in seconds."""
    over = threading.Event()

    def guess() -> None:
        while not over.is_set():
            with contextlib.suppress(httpx.TransportError):
                login = {"username": "amina", "password": "wrong"}
                httpx.post(f"{vote.url}/api/v1/token", data=login, headers={"Via": "1.1 x"}, timeout=30)

    guessing = [threading.Thread(target=guess) for _ in range(5)]
    for thread in guessing:
        thread.start()
    took = []
    for _ in range(10):
        begin = time.monotonic()
        httpx.get(f"{vote.url}/api/v1/me", headers=headers, timeout=30).raise_for_status()
        took.append(time.monotonic() - begin)
        time.sleep(0.1)
    over.set()
    for thread in guessing:
        thread.join()
    return max(took)


def test_argillas_page_works_behind_ours(task: Task, vote: Vote) -> None:
    if shutil.which("chromium") is None and not os.environ.get("KTO_CHROMIUM"):
        pytest.skip("no Chromium on this machine; KTO_CHROMIUM names one")
    vote.wait_for_argilla()
    credentials = json.loads((task.project / ".argilla" / "credentials.json").read_text("utf-8"))
    with chromium() as browser, open_page(browser, vote.url, "en") as page:
        page.log_in(credentials["username"], credentials["password"])
        assert page.vote_with_mouse("good") == ("submitted", "good")
        assert page.vote_with_keys("2") == ("submitted", "bad")


def test_argillas_own_client_works_behind_ours(task: Task, vote: Vote) -> None:
    import argilla as rg

    vote.wait_for_argilla()
    client = rg.Argilla(api_url=vote.url, api_key=task_key(task))
    settings = rg.Settings(
        fields=[rg.TextField("text", client=client)], questions=[rg.TextQuestion("q", client=client)]
    )
    dataset = rg.Dataset(f"d{uuid.uuid4().hex[:8]}", "argilla", settings, client).create()
    texts = ["long " * 20_000 + str(number) for number in range(120)]  # 12 MB
    dataset.records.log([{"text": text} for text in texts], batch_size=60)
    assert {record.fields["text"] for record in dataset.records} == {*texts}
    dataset.delete()


# --- Addresses


def test_a_web_server_in_front(task: Task) -> None:
    """With --url the port never leads to Argilla: a web server on this machine connects like the lead does."""
    with start(task, "--url", "https://vote.example/thumbs/") as vote:
        vote.wait_for_argilla()
        assert "Your own link: https://vote.example/thumbs/vote/#" in vote.output
        assert "Others reach the page here: https://vote.example/thumbs\n" in vote.output
        assert httpx.get(f"{vote.url}/api/v1/version").status_code == 404
        assert httpx.get(vote.url).headers["location"] == "vote/"
        assert httpx.get(f"{vote.url}/thumbs/vote/").status_code == 200
        argilla = re.search(r"Argilla's page, for you: (\S+)", vote.output)[1]
        assert httpx.get(f"{argilla}/api/v1/version").is_success and argilla != vote.url
        assert f"ARGILLA_API_URL={argilla}\n" in (task.project / ".env").read_text(encoding="utf-8")
        own = {"Origin": "https://vote.example", "Host": "127.0.0.1"}
        assert vote.call("session", {"secret": vote.own_secret, "consent": "1"}, **own).is_success
        assert vote.call("session", {"secret": vote.own_secret, "consent": "1"}, Origin="https://x").status_code == 403
    # Links are printed anew with the address of the next start.
    with start(task) as vote:
        vote.wait_for("The address has changed. Send these links once more.")
        vote.wait_for(f"  amina: {vote.url}/vote/#")


@pytest.mark.skipif(shutil.which("caddy") is None, reason="no Caddy on this machine")
def test_the_caddy_files_of_the_documentation(task: Task, tmp_path: Path) -> None:
    """Both, with names of this machine and Caddy's own certificates."""
    files = re.findall(r"```caddyfile\n(.*?)```", (REPOSITORY / "docs" / "web-server.md").read_text("utf-8"), re.DOTALL)
    ports = free_port(), free_port()
    with start(task, "--url", f"https://localhost:{ports[1]}/thumbs") as vote:
        names = {"vote.example.org {": f"localhost:{ports[0]} {{\n\ttls internal"}
        names |= {"\nexample.org {": f"\nlocalhost:{ports[1]} {{\n\ttls internal", ":6900": f":{vote.port}"}
        text = "{\n\tadmin off\n\tskip_install_trust\n}\n" + "\n".join(files)
        for before, after in names.items():
            assert before in text
            text = text.replace(before, after)
        (tmp_path / "Caddyfile").write_text(text, encoding="utf-8")
        log = (tmp_path / "caddy.log").open("wb")
        env = {**os.environ, "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        command = ["caddy", "run", "--config", str(tmp_path / "Caddyfile")]
        caddy = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            with httpx.Client(verify=False, timeout=30) as client:
                sites = f"https://localhost:{ports[0]}", f"https://localhost:{ports[1]}/thumbs"
                for site in sites:
                    vote.until(lambda site=site: client.get(f"{site}/").status_code == 302)
                    page = client.get(site, follow_redirects=True)
                    assert page.url == f"{site}/vote/" and "page.css" in page.text
                    assert client.get(f"{site}/api/v1/version").status_code == 404
                    body = {"secret": vote.own_secret, "consent": "1"}
                    origin = {"Origin": site.removesuffix("/thumbs")}
                    session = client.post(f"{site}/vote/api/session", json=body, headers=origin)
                    assert session.is_success, session.text
                    bearer = {**origin, "Authorization": f"Bearer {session.json()['secret']}"}
                    body = {"count": 10, "have": []}
                    assert client.post(f"{site}/vote/api/cards", json=body, headers=bearer).json()["cards"]
        finally:
            caddy.terminate()
            caddy.wait()
            log.close()


def test_an_address_that_is_none(task: Task) -> None:
    for url in ("vote.example", "ftp://vote.example", "https://", "https://a/?b"):
        said = start(task, "--url", url).end()
        assert said.startswith("1: ") and "--url" in said and said.count("\n") == 1


def test_in_the_network(task: Task) -> None:
    with start(task, "--host", "0.0.0.0") as vote:
        vote.wait_for_argilla()
        others = re.findall(r"Others reach the page here: (\S+)", vote.output)
        if not others:
            pytest.skip("no network here")
        assert "unencrypted" in vote.output and f"Your own link: {others[0]}/vote/#" in vote.output
        assert f"ARGILLA_API_URL={vote.url}\n" in (task.project / ".env").read_text(encoding="utf-8")
        assert httpx.get(f"{others[0]}/vote/", trust_env=False).status_code == 200


WEAK = {"password": "1234", "api_key": "argilla.apikey", "auth_secret": "secret"}


@pytest.mark.parametrize("name", WEAK)
@pytest.mark.parametrize("option", [["--host", "0.0.0.0"], ["--url", "https://vote.example"], ["--tunnel"]])
def test_secrets_that_can_be_guessed_open_nothing(task: Task, name: str, option: list[str]) -> None:
    tool(task, "cloudflared", "exit 1")
    path = task.project / ".argilla" / "credentials.json"
    before = path.read_text(encoding="utf-8")
    path.write_text(json.dumps({**json.loads(before), name: WEAK[name]}), encoding="utf-8")
    try:
        said = start(task, *option).end()
        assert said.startswith("1: ") and f"The {name} in " in said and said.count("\n") == 1
    finally:
        path.write_text(before, encoding="utf-8")


# --- Tunnels


def tool(task: Task, name: str, script: str) -> Path:
    folder = task.project.parent / "bin"
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    return folder


CLOUDFLARED = """
echo $$ > "$0.pid"
echo "$@" > "$0.arguments"
echo "Your quick Tunnel has been created! Visit it at https://api.trycloudflare.com" >&2
echo "|  https://$NAME.trycloudflare.com  |" >&2
sleep 300 & wait
"""


def test_a_tunnel(task: Task) -> None:
    folder = tool(task, "cloudflared", CLOUDFLARED)
    with start(task, "--tunnel", NAME="some-words") as vote:
        vote.wait_for_argilla()
        url = "https://some-words.trycloudflare.com"
        assert f"Your own link: {url}/vote/#" in vote.output and f"Others reach the page here: {url}\n" in vote.output
        assert "Everything goes through cloudflared, and its operator can read it." in vote.output
        arguments = (folder / "cloudflared.arguments").read_text(encoding="utf-8").split()
        assert arguments[:3] == ["tunnel", "--no-autoupdate", "--url"]
        inside = arguments[3]
        assert inside != vote.url
        # What comes through the tunnel looks as if it came from here, and does not reach Argilla.
        assert httpx.get(f"{inside}/vote/").status_code == 200
        for path in ("/api/v1/version", "/api/v1/me", "/sign-in"):
            assert httpx.get(f"{inside}{path}", headers={"X-Argilla-Api-Key": task_key(task)}).status_code == 404
        assert httpx.get(inside).headers["location"] == "vote/"
        assert httpx.get(f"{vote.url}/api/v1/version").is_success  # the lead, on the usual port
        secret, origin = vote.own_secret, {"Origin": url, "Host": "some-words.trycloudflare.com"}
        body = {"secret": secret, "consent": "1"}
        assert httpx.post(f"{inside}/vote/api/session", json=body, headers=origin).is_success
        pid = int((folder / "cloudflared.pid").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE

    with start(task, "--tunnel", NAME="other-words") as vote:  # quick tunnels have another address each time
        vote.wait_for("The address has changed. Send these links once more.")
        vote.wait_for("  amina: https://other-words.trycloudflare.com/vote/#")
        pid = int(vote.until(lambda: (folder / "cloudflared.pid").read_text()))
        vote.process.kill()
        vote.process.wait()
        deadline = time.monotonic() + 30
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_tunnel_that_ends(task: Task) -> None:
    tool(task, "cloudflared", "echo 'failed to request quick Tunnel: no network'; exit 1")
    with start(task, "--tunnel") as vote:
        vote.wait_for("cloudflared has ended").wait_for("Your own link")  # on this machine people can vote
        assert "(failed to request quick Tunnel: no network)" in vote.output and "Traceback" not in vote.output
        assert cards(vote, vote.enter(vote.own_secret))


def test_no_tunnel_program(task: Task) -> None:
    for name in ("cloudflared", "tailscale", "ngrok"):
        (task.project.parent / "bin" / name).unlink(missing_ok=True)
    empty = str(task.project.parent / "bin")
    said = start(task, "--tunnel", PATH=empty).end()
    assert said.startswith("1: ") and "Install cloudflared" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("program", "printed", "address"),
    [
        ("cloudflared", "INF |  https://a-b-c.trycloudflare.com      |", "https://a-b-c.trycloudflare.com"),
        ("tailscale", "Available on the internet:\n\nhttps://lap.tail1.ts.net/\n|-- proxy", "https://lap.tail1.ts.net"),
        ("ngrok", 'lvl=info msg="started tunnel" url=https://1a2b.ngrok-free.app', "https://1a2b.ngrok-free.app"),
        ("cloudflared", "ERR https://api.trycloudflare.com/tunnel: EOF", None),
    ],
)
def test_addresses_of_tunnel_programs(program: str, printed: str, address: str | None) -> None:
    sys.path.insert(0, str(TEMPLATE))
    from kto.vote.tunnel import PROGRAMS

    match = PROGRAMS[program].address.search(printed)
    assert (match and match[match.lastindex or 0]) == address

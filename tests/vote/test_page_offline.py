"""The voting page without a network, in two tabs, with a storage that refuses, and with servers that come and go."""

import json
import socket
from pathlib import Path

import pytest
from browser import browser
from playwright.sync_api import Browser, Request, Route
from voting_phone import Phone, phone
from voting_service import VotingService, make_home, voting, words

__all__ = ["browser", "voting"]

ANSWERS = {f"Question {number}?": [f"Answer {number}."] for number in range(40)}
NO_STORAGE = (
    """Object.defineProperty(window, "localStorage", {get() { throw new DOMException("no", "SecurityError"); }})"""
)
FULL_STORAGE = """Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); }"""
KEPT = """caches.open("kto-1").then(cache => cache.keys()).then(all => all.map(request => request.url))"""
# What browsers have over https and on this machine only.
INSECURE = """for (const [owner, name] of [[Crypto.prototype, "subtle"], [Crypto.prototype, "randomUUID"],
    [Navigator.prototype, "locks"], [Navigator.prototype, "serviceWorker"], [Navigator.prototype, "clipboard"]])
        Object.defineProperty(owner, name, {value: undefined});"""


def votes(voting: VotingService, name: str) -> int:
    """Return how many votes of a person are stored."""
    query = (
        "SELECT count(*) FROM responses JOIN users ON users.id = user_id WHERE username = ? AND status = 'submitted'"
    )
    return voting.rows(query, name)[0][0]


def lines(voting: VotingService, name: str) -> list[str]:
    """Return the states of the lines that a person has sent."""
    query = "SELECT state FROM kto_lines JOIN users ON users.id = user_id WHERE username = ?"
    return [state for (state,) in voting.rows(query, name)]


def test_offline_and_back(browser: Browser, voting: VotingService) -> None:
    with phone(browser) as person:
        person.join(voting.link("ann")).vote("good")
        person.eventually(lambda: votes(voting, "ann"), 1)
        person.eventually(person.outbox, [])
        person.context.set_offline(True)
        for number in range(2, 5):
            person.vote("bad")
            person.eventually(
                lambda number=number: person.notice, voting.page["words"]["offline"].format(count=number - 1)
            )
        person.click("#undo")
        person.vote("good")
        assert votes(voting, "ann") == 1 and person.mine() == 4
        person.page.close()  # a dead battery
        person.context.set_offline(False)
        person.page = person.context.new_page()
        person.open(f"{voting.url}/vote/")
        person.eventually(lambda: votes(voting, "ann"), 4)
        person.eventually(person.outbox, [])
        assert person.mine() == 4 and person.heading == "Question 5"
    assert set(lines(voting, "ann")) == {"applied"}


def test_the_page_opens_offline_and_votes(browser: Browser, voting: VotingService) -> None:
    with phone(browser) as person:
        person.join(voting.link("bob").replace("127.0.0.1", "localhost"))
        person.page.evaluate("navigator.serviceWorker.ready.then(ready => true)")
        assert person.page.evaluate("caches.keys()") == ["kto-1"]
        person.context.set_offline(True)
        person.page.reload()
        person.page.locator("#prompt").wait_for()
        while person.heading != voting.page["words"]["offline_empty"]:
            person.vote("good")
        kept = len(person.outbox())
        assert kept >= 8
        person.page.reload()
        person.eventually(lambda: person.heading, voting.page["words"]["offline_empty"])
        person.context.set_offline(False)
        person.page.locator("#prompt").wait_for()
        person.eventually(lambda: votes(voting, "bob"), kept)
        person.eventually(lambda: person.notice, voting.page["words"]["online"])
        assert "/api/" not in str(person.page.evaluate(KEPT))


def test_it_can_be_installed(browser: Browser, voting: VotingService) -> None:
    with phone(browser) as person:
        person.join(voting.link("cem").replace("127.0.0.1", "localhost"))
        person.page.evaluate("navigator.serviceWorker.ready.then(ready => true)")
        session = person.context.new_cdp_session(person.page)
        manifest = session.send("Page.getAppManifest")
        assert manifest["errors"] == [] and json.loads(manifest["data"])["name"] == voting.page["title"]
        errors = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
        assert [error["errorId"] for error in errors if error["errorId"] != "in-incognito"] == []


def test_votes_of_a_person_who_left_are_still_sent(browser: Browser, voting: VotingService) -> None:
    other = voting.link("pat").replace("127.0.0.1", "localhost")
    with phone(browser) as person:
        person.join(voting.link("oda").replace("127.0.0.1", "localhost"))
        person.page.evaluate("navigator.serviceWorker.ready.then(ready => true)")
        person.context.set_offline(True)
        person.vote("good")
        person.menu("That is not me")
        person.action(0)
        assert votes(voting, "oda") == 0
        person.context.set_offline(False)
        person.join(other).vote("bad")
        person.eventually(lambda: (votes(voting, "oda"), votes(voting, "pat")), (1, 1))
        person.eventually(lambda: "left" in str(person.page.evaluate("Object.keys(localStorage)")), False)


@pytest.mark.parametrize("secure", [True, False])
def test_two_tabs(secure: bool, browser: Browser, voting: VotingService) -> None:
    name = f"dee{secure}".lower()
    with phone(browser) as first:
        if not secure:
            first.context.add_init_script(INSECURE)
        sent: list[str] = []
        first.context.on("request", lambda request: sent.extend(_sent(request)))
        first.join(voting.link(name))
        second = Phone(first.context).open(f"{voting.url}/vote/")
        second.page.locator("#prompt").wait_for()
        assert second.prompt == first.prompt
        first.vote("good")
        first.eventually(lambda: second.heading, "Question 2")
        assert second.prompt == first.prompt
        first.context.set_offline(True)
        second.vote("bad")
        first.eventually(lambda: first.heading, "Question 3")
        first.vote("bad")
        first.eventually(lambda: second.heading, "Question 4")
        first.context.set_offline(False)  # both tabs want to send now
        first.eventually(lambda: votes(voting, name), 3)
        first.eventually(first.outbox, [])
        assert len(sent) >= len(set(sent)) == 3 and first.errors == second.errors == []
        assert lines(voting, name) == ["applied"] * 3
        assert first.mine() == second.mine() == 3


def _sent(request: Request) -> list[str]:
    """Return the ids of the lines in a request."""
    return [line["id"] for line in request.post_data_json["lines"]] if request.url.endswith("/votes") else []


@pytest.mark.parametrize("script", [NO_STORAGE, FULL_STORAGE], ids=["none", "full"])
def test_a_storage_that_refuses(script: str, browser: Browser, voting: VotingService) -> None:
    name = f"eve{len(script)}"
    with phone(browser) as person:
        person.context.add_init_script(script)
        person.join(voting.link(name))
        assert person.notice == voting.page["words"]["storage_refused"]
        person.vote("good")
        person.eventually(lambda: votes(voting, name), 1)
        person.context.set_offline(True)
        person.vote("good")
        assert person.notice == voting.page["words"]["storage_refused"]
        person.context.set_offline(False)
        person.eventually(lambda: votes(voting, name), 2)


def test_another_version_of_the_server(browser: Browser, voting: VotingService) -> None:
    loads: list[str] = []
    try:
        with phone(browser) as person:
            person.join(voting.link("fil").replace("127.0.0.1", "localhost"))
            person.page.evaluate("navigator.serviceWorker.ready.then(ready => true)")
            person.page.on("domcontentloaded", lambda page: loads.append(page.url))
            person.vote("good")
            person.eventually(lambda: votes(voting, "fil"), 1)
            person.context.set_offline(True)
            person.vote("good")
            person.eventually(lambda: person.notice, voting.page["words"]["offline"].format(count="1"))
            voting.change(version="2")
            person.context.set_offline(False)
            person.eventually(lambda: votes(voting, "fil"), 2)
            person.eventually(lambda: len(loads), 1)
            person.page.locator("#prompt").wait_for()
            person.eventually(lambda: person.page.evaluate("caches.keys()"), ["kto-2"])
            person.vote("good")
            person.eventually(lambda: votes(voting, "fil"), 3)
            assert len(loads) == 1
            # A network that goes on giving out the old page: it is not loaded for ever.
            voting.service.version = "3"
            person.vote("good")
            person.eventually(lambda: len(loads), 2)
            person.eventually(lambda: person.notice, voting.page["words"]["old_page"])
            person.vote("good")
            person.eventually(lambda: votes(voting, "fil"), 5)
            assert len(loads) == 2
    finally:
        voting.change(version="1")


def test_servers_that_start_or_want_a_rest(browser: Browser, voting: VotingService) -> None:
    starting, too_many = (503, {"kind": "starting"}), (429, {"kind": "too_many", "seconds": 1})
    answers = [starting, too_many, (502, None), (200, "a log-in page")]

    def misbehave(route: Route) -> None:
        if not answers:
            return route.continue_()
        status, body = answers[0]
        return route.fulfill(status=status, body=body if isinstance(body, str) else json.dumps(body))

    with phone(browser) as person:
        person.page.route("**/vote/api/**", misbehave)
        person.open(voting.link("gil")).action(1)
        for key in ("starting", "too_many", "unreachable"):
            person.eventually(lambda key=key: person.notice, voting.page["words"][key])
            answers.pop(0)
        answers.pop()
        person.page.locator("#prompt").wait_for()
        answers.append(starting)
        person.vote("good")
        person.eventually(lambda: person.notice, voting.page["words"]["starting"])
        answers[:] = [too_many]
        person.eventually(lambda: person.notice, voting.page["words"]["too_many"])
        answers.clear()
        person.eventually(lambda: votes(voting, "gil"), 1)
        person.eventually(lambda: person.notice, "")
        answers.append((400, {"kind": "id"}))
        person.vote("good")
        person.eventually(lambda: person.notice, voting.page["words"]["failed"])
        assert len(person.outbox()) == 1
        answers[:] = [(409, {"kind": "old_page"})]
        person.vote("good")
        person.eventually(lambda: person.notice, voting.page["words"]["old_page"])
        answers.clear()
        person.page.reload()
        person.eventually(lambda: votes(voting, "gil"), 3)


def test_plain_http_in_the_own_network(browser: Browser, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; says which address of this machine others see
            address = probe.getsockname()[0]
        except OSError:
            address = ""  # no network: then the page has to do without by a script
    home = make_home(tmp_path / "home", ANSWERS)
    with VotingService(home, words(), host="0.0.0.0" if address else "127.0.0.1") as voting, phone(browser) as person:
        if not address:
            person.context.add_init_script(INSECURE)
        link = voting.link().replace("127.0.0.1", address or "127.0.0.1")
        person.join(link).vote("good")
        assert person.page.evaluate("navigator.serviceWorker === undefined && !crypto.subtle")
        person.vote("skip")
        person.eventually(lambda: voting.rows("SELECT count(*) FROM responses"), [(2,)])
        person.menu("Go on in my browser")
        person.action(0)
        person.eventually(lambda: person.page.locator("#actions button").first.inner_text(), "Copied")
        assert not person.page.evaluate("isSecureContext") or not address

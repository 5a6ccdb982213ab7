"""Links: `vote.py invite`, what the file and the database hold of them, and what a device gets that opens one."""

import concurrent.futures
import http.client
import os
import re
import shutil
import stat
import sys
import unicodedata
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import segno
from argilla_server import ArgillaServer
from earlier_project import put_argilla, put_into
from local_voting import LocalVoting, copy_home, local, make, refusal, refused_entry
from rendering import TEMPLATE, read_yaml, render
from voting import english
from voting_service import Device, Refused, VotingService

sys.path.insert(0, str(TEMPLATE))

from kto.errors import UserError
from kto.vote import addresses, links_file
from kto.vote.voting_server import links

__all__ = ["english", "local"]

posix = pytest.mark.skipif(sys.platform == "win32", reason="permissions and pseudo-terminals of POSIX")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- personal links ---------------------------------------------------------------------------------------------------


def test_a_personal_link_and_its_message(tmp_path: Path, english: None) -> None:
    local = make(tmp_path, language="nl")
    said = local.made("ann", "Bob.2")
    secrets = local.links()
    assert list(secrets) == ["Bob.2", "ann"] and len({*secrets.values()}) == 2
    assert all(re.fullmatch("[A-Za-z0-9]{22}", secret) for secret in secrets.values())
    message = read_yaml(local.project / "kto" / "texts.yaml")["community"]["personal_message"]
    for name, secret in secrets.items():
        link = f"{local.url}/vote/#{secret}"
        assert f"{name}\n\n{message.format(language='Nederlands', link=link).rstrip()}\n" in said
    assert "█" not in said, "no code where nobody can point a phone at it"
    assert "--tunnel" in said.splitlines()[-1]
    # The database knows hashes only, and git nothing.
    content = b"".join(path.read_bytes() for path in local.home.glob("argilla.db*"))
    assert not [secret for secret in secrets.values() if secret.encode() in content]
    assert links.digest(secrets["ann"]).encode() in content
    assert "data/private/" in (local.project / ".gitignore").read_text("utf-8")
    if sys.platform != "win32":
        assert mode(local.data / "private" / "links.csv") == 0o600
    # Again: the same.
    assert local.made("ann", "Bob.2") == said and local.links() == secrets


def test_the_address_of_links_is_the_one_that_vote_py_noted(local: LocalVoting) -> None:
    local.made("ann")
    secret = local.links()["ann"]
    with local.database() as database:
        database.execute("INSERT OR REPLACE INTO kto_state VALUES ('address', 'https://vote.example.org/kto')")
    said = local.made("ann")
    assert f"\nhttps://vote.example.org/kto/vote/#{secret}\n" in said and "--tunnel" not in said
    assert links_file.current_links(local.config, None) == {"ann": f"https://vote.example.org/kto/vote/#{secret}"}


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("http://127.0.0.1:6900", True),
        ("http://localhost:6900/kto", True),
        ("http://[::1]:6900", True),
        ("http://192.168.1.4:6900", False),
        ("https://vote.example.org", False),
    ],
)
def test_who_can_reach_an_address(address: str, here: bool) -> None:
    assert addresses.is_loopback(urlsplit(address).hostname or "") is here


def test_names_in_the_settings_get_links_too(local: LocalVoting) -> None:
    status, _, errors = local.invite()
    assert status == 1 and "--open" in errors
    local.set(annotators='["ann", "owner", "bob"]')
    assert list(links_file.link_annotators(local.config, None)) == ["ann", "bob"]
    local.made("--revoke", "bob")
    assert list(links_file.link_annotators(local.config, None)) == ["ann"], "a closed link stays closed"
    assert "bob" not in local.made() and list(local.links()) == ["ann"]
    assert "bob" in local.made("bob"), "but for who is invited by name"
    assert list(links_file.link_annotators(local.config, None)) == ["ann", "bob"] == list(local.links())


@pytest.mark.parametrize(
    "name",
    [
        "=cmd|' /C calc'!A0",
        "+1",
        "-x",
        "@x",
        "",
        " ",
        "ann\n",
        "a,b",
        'a"b',
        "émile",
        "አና",
        "a\x1b[31m",
        "x" * 100,
        "../a",
    ],
)
def test_names_that_nobody_can_have(local: LocalVoting, name: str) -> None:
    status, said, errors = local.invite("good", "--", name)
    assert (status, said) == (2, "") and "annotators" not in errors and "\x1b" not in errors
    assert not (local.data / "private" / "links.csv").exists()


def test_names_that_are_others(local: LocalVoting) -> None:
    with local.service as service:
        guest = service.device()
        local.vote_all(guest)
        ((name,),) = local.rows("SELECT username FROM users WHERE id = ?", guest.person)
        for taken in ("owner", name, "guest-1"):
            status, said, errors = local.invite("good", taken)
            assert (status, said) == (1, "") and taken in errors
        with pytest.raises(UserError, match="owner"), links_file.opened(local.config, None) as links:
            links_file.require_person(links, "owner")
        guest.close()
    assert not (local.data / "private" / "links.csv").exists()


def test_the_lead_votes_with_the_owners_account(local: LocalVoting) -> None:
    link = links_file.own_link(local.config, None)
    assert links_file.own_link(local.config, local.home) == link
    with local.service as service:
        lead = service.device(link=link.partition("#")[2])
        assert local.vote_all(lead) == 4
        assert local.rows("SELECT role FROM users WHERE id = ?", lead.person) == [("owner",)]
        # A name that has become an owner's since its link was made opens nothing any more.
        secret = local.link("ann")
        local.vote_all(service.device(link=secret))
        with local.database() as database:
            database.execute("UPDATE users SET role = 'admin' WHERE username = 'ann'")
        assert refused_entry(service, secret) == (403, "revoked")
        lead.close()


def test_before_the_first_start_and_elsewhere(local: LocalVoting, tmp_path: Path) -> None:
    shutil.move(local.home, tmp_path / "argilla")
    for words in (["ann"], ["--list"], ["ann", "--home", str(tmp_path / "nowhere")]):
        status, said, errors = local.invite(*words)
        assert (status, said) == (1, "") and "uv run vote.py" in errors
    assert not (tmp_path / "nowhere").exists() and not (local.data / "private" / "links.csv").exists()
    assert "ann" in local.made("ann", "--home", str(tmp_path / "argilla"))
    (local.project / ".env").write_text("ARGILLA_API_URL=https://argilla.example.org\nARGILLA_API_KEY=k\n")
    status, _, errors = local.invite("ann")
    assert status == 1 and "https://argilla.example.org" in errors


def test_a_lost_file_means_new_links(local: LocalVoting) -> None:
    old = local.link("ann")
    (local.data / "private" / "links.csv").unlink()
    new = local.link("ann")
    assert new != old
    with local.service as service:
        one, two = service.device(link=old), service.device(link=new)
        assert one.person == two.person
        local.made("--revoke", "ann")
        assert [refusal(device) for device in (one, two)] == [(403, "revoked")] * 2
        assert [refused_entry(service, secret) for secret in (old, new)] == [(403, "revoked")] * 2
        for device in (one, two):
            device.close()
    assert local.links() == {}


@pytest.mark.parametrize("content", ["", "name;link\nann;http://127.0.0.1/vote/#short\n", "\ufeffname,link\n"])
def test_a_file_that_somebody_has_edited(local: LocalVoting, content: str) -> None:
    local.made("ann")
    path = local.data / "private" / "links.csv"
    path.write_text(content, encoding="utf-8")
    status, _, errors = local.invite("ann")
    if content:
        assert status == 0 and re.fullmatch("[A-Za-z0-9]{22}", local.links()["ann"])
    else:  # something has gone wrong, and there may be a better copy
        assert status == 1 and str(path) in errors


def test_a_lost_database_keeps_the_links(local: LocalVoting, tmp_path: Path) -> None:
    before = (local.link("ann"), local.link("--open"))
    fresh = make(tmp_path / "fresh")
    shutil.rmtree(local.home)
    shutil.copytree(fresh.home, local.home)
    assert (local.link("ann"), local.link("--open")) == before
    with local.service as service:
        for secret in before:
            service.device(link=secret).close()


def test_two_commands_at_once(local: LocalVoting) -> None:
    names = [f"person{number}" for number in range(6)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert {status for status, *_ in pool.map(local.invite, names)} == {0}
    assert sorted(local.links()) == names


def test_a_file_that_cannot_be_written_leaves_no_link(local: LocalVoting) -> None:
    private = local.data / "private"
    shutil.rmtree(private, ignore_errors=True)
    private.parent.mkdir(exist_ok=True)
    private.write_text("a file where the folder should be", encoding="utf-8")
    status, _, errors = local.invite("ann")
    assert status == 1 and "links.csv" in errors
    assert local.rows("SELECT * FROM kto_links") == []


# --- one link for a channel -------------------------------------------------------------------------------------------


def test_an_open_link_and_its_announcement(local: LocalVoting) -> None:
    said = local.made("--open")
    link = f"{local.url}/vote/#{local.links()['*']}"
    page = local.data / "private" / "announcement.md"
    text = page.read_text(encoding="utf-8")
    assert text in said and str(page) in said and text.count(link) == 2
    assert text.startswith("# To paste into Discord\n") and "\n# To paste into a messenger\n" in text
    assert "{" not in text and "Write to me here" not in text
    if sys.platform != "win32":
        assert mode(page) == 0o600
    assert local.made("--open") == said
    for words in (["--open", "--limit", "0"], ["--open", "--limit", "x"], ["ann", "--limit", "3"]):
        assert local.invite(*words)[0] == 2
    for words in (["ann", "--open"], ["--list", "--close"], ["--votes"], ["--open", "--votes"]):
        assert local.invite(*words)[0] == 2


def get(service: VotingService, path: str, method: str = "GET", agent: str = "Twitterbot/1.0") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    try:
        connection.request(method, path, headers={"User-Agent": agent})
        return connection.getresponse().status
    finally:
        connection.close()


def test_fifty_robots_use_nothing_up(local: LocalVoting) -> None:
    secret = local.link("--open", "--limit", "1")
    with local.service as service:
        before = [local.rows(f"SELECT * FROM {name}") for name in ("kto_voters", "kto_lines", "kto_leases", "users")]
        paths = ["/vote/", "/vote/index.html", f"/vote/?{secret}", f"/vote/{secret}", "/vote/api/session"]
        for number in range(50):
            get(service, paths[number % 5], "HEAD" if number % 3 else "GET")
        after = [local.rows(f"SELECT * FROM {name}") for name in ("kto_voters", "kto_lines", "kto_leases", "users")]
        assert after == before
        device = service.device(link=secret)
        assert local.vote_all(device) == 4
        device.close()


def test_who_only_consents_takes_no_place_and_no_account(local: LocalVoting) -> None:
    secret = local.link("--open", "--limit", "2")
    with local.service as service:
        accounts = local.rows("SELECT id FROM users")
        looking = [service.device(link=secret) for _ in range(5)]
        assert all(device.cards(1) for device in looking[:3])
        assert local.rows("SELECT id FROM users") == accounts
        for device in looking[:2]:
            device.vote(device.cards(1)[0]["record"])
        assert refused_entry(service, secret) == (403, "full")
        # Who is in may vote: what somebody has tapped already is not refused.
        looking[2].vote(looking[2].cards(1)[0]["record"])
        assert len(local.rows("SELECT id FROM users")) == len(accounts) + 3
        names = {name for (name,) in local.rows("SELECT username FROM users WHERE role = 'annotator'")}
        assert {re.fullmatch("guest-[0-9a-f]{8}", name) is not None for name in names} == {True}
        local.made("--open", "--limit", "10")
        service.device(link=secret).close()
        for device in looking:
            device.close()


def test_a_race_at_the_limit(local: LocalVoting) -> None:
    secret = local.link("--open", "--limit", "3")

    def come(number: int) -> str:
        device = Device(service.url)
        try:
            device.enter(secret)
            device.vote(device.cards(1)[0]["record"])
            return device.person
        except Refused as refused:
            assert (refused.status, refused.answer["kind"]) == (403, "full")
            return ""
        finally:
            device.close()

    with local.service as service, concurrent.futures.ThreadPoolExecutor(8) as pool:
        people = [person for person in pool.map(come, range(8)) if person]
        assert 3 <= len({*people}) == len(people)
        voted = local.rows("SELECT DISTINCT user_id FROM responses")
        assert {person for (person,) in voted} == {*people}, "everybody who was let in has voted"
        assert refused_entry(service, secret) == (403, "full")


def test_a_flood_of_consents_ends(local: LocalVoting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(links.JOINS, links.OPEN, 20)
    secret = local.link("--open")
    with local.service as service:
        devices = [service.device(link=secret) for _ in range(20)]
        with pytest.raises(Refused) as refused:
            service.device(link=secret)
        assert (refused.value.status, refused.value.answer["kind"]) == (429, "too_many")
        assert 3500 < refused.value.answer["seconds"] <= 3600
        # Nor can one of them be multiplied; those inside stay, and others come in by links of their own.
        with pytest.raises(Refused):
            service.device(link=devices[0].secret)
        local.vote_all(devices[0])
        service.device(link=local.link("ann")).close()
        with local.database() as database:
            database.execute("UPDATE kto_voters SET consented_at = '2026-01-01 00:00:00.000000'")
        service.device(link=secret).close()
        for device in devices:
            device.close()
    assert len(local.rows("SELECT * FROM users WHERE role = 'annotator'")) == 2


def test_a_closed_link_keeps_those_inside(local: LocalVoting) -> None:
    secret = local.link("--open")
    with local.service as service:
        inside = service.device(link=secret)
        inside.vote(inside.cards(1)[0]["record"])
        assert "Those who have joined stay" in local.made("--close")
        assert refused_entry(service, secret) == (403, "closed")
        assert local.vote_all(inside) == 3
        browser = service.device(link=inside.secret)  # "go on in my browser"
        assert browser.person == inside.person and browser.secret != inside.secret
        assert browser.call("progress")["progress"]["mine"] == 4
        new = local.link("--open")
        assert new != secret and refused_entry(service, secret) == (403, "closed")
        for device in (inside, browser, service.device(link=new)):
            device.close()


def test_votes_by_open_links_are_left_out_and_come_back(local: LocalVoting) -> None:
    secret = local.link("--open")
    with local.service as service:
        guests = [service.device(link=secret) for _ in range(3)]
        for guest in guests:
            assert local.vote_all(guest) == 4
        ann = service.device(link=local.link("ann"))
        assert ann.cards() == [], "three votes are enough"
        stored = local.rows("SELECT * FROM responses ORDER BY id")
        assert local.made("--close", "--votes") == "Votes that do not count any more: 12\n"
        assert [refusal(guest) for guest in guests] == [(403, "revoked")] * 3, "who would not count is not asked"
        wait_for(lambda: ann.call("progress")["progress"]["all"] == 0)
        assert len(ann.cards()) == 4, "others are asked again"
        assert local.made("--restore") == "Votes that count again: 12\n"
        assert local.rows("SELECT * FROM responses ORDER BY id") == stored, "it is a mark and nothing else"
        assert refused_entry(service, secret) == (403, "closed")
        wait_for(lambda: guests[0].call("progress")["progress"]["all"] == 12)
        # One of them alone.
        ((name,),) = local.rows("SELECT username FROM users WHERE id = ?", guests[0].person)
        assert local.made("--revoke", name, "--votes") == "Votes that do not count any more: 4\n"
        assert refusal(guests[0]) == (403, "revoked") and guests[1].call("progress")
        assert local.made("--restore", name) == "Votes that count again: 4\n"
        for device in (*guests, ann):
            device.close()


def wait_for(condition: object, seconds: float = 20) -> None:
    """Wait until the service has seen what another process wrote."""
    import time

    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- revoked, restored, withdrawn -------------------------------------------------------------------------------------


def test_a_revoked_person_is_out_on_all_devices(local: LocalVoting) -> None:
    secret = local.link("ann")
    with local.service as service:
        phone, laptop = (service.device(link=secret) for _ in range(2))
        assert phone.person == laptop.person
        assert local.vote_all(phone) == 4
        assert local.made("--revoke", "ann") == "The link of ann is closed. The votes stay.\n"
        assert [refusal(device, "cards", count=1, have=[]) for device in (phone, laptop)] == [(403, "revoked")] * 2
        assert refused_entry(service, secret) == (403, "revoked")
        new = local.link("ann")  # the same person, by a new link
        assert service.device(link=new).person == phone.person != ""
        assert refusal(phone) == (403, "revoked")
        assert local.made("--revoke", "ann", "--votes") == "Votes that do not count any more: 4\n"
        status, _, errors = local.invite("bob", "ann")
        assert status == 1 and "--restore ann" in errors and list(local.links()) == []
        assert local.made("--restore", "ann") == "Votes that count again: 4\n"
        assert local.made("ann")
        for device in (phone, laptop):
            device.close()


@pytest.mark.parametrize("words", [["--revoke", "nobody"], ["--close"], ["--restore", "nobody"], ["--revoke", ""]])
def test_links_that_there_are_not(local: LocalVoting, words: list[str]) -> None:
    status, said, errors = local.invite(*words)
    assert (status, said) == (1, "") and "--list" in errors


def test_a_person_of_argillas_page_is_the_same_person(local: LocalVoting) -> None:
    ann = uuid.uuid4().hex
    row = (ann, "ann", None, "ann", "annotator", "key of ann", "x", "2026-01-01 00:00:00", "2026-01-01 00:00:00")
    with local.database() as database:
        columns = "id, first_name, last_name, username, role, api_key, password_hash, inserted_at, updated_at"
        database.execute(f"INSERT INTO users ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    with local.service as service:
        device = service.device(link=local.link("ann"))
        assert device.person == ann and local.vote_all(device) == 4
        assert len(local.rows("SELECT * FROM users WHERE username = 'ann'")) == 1
        with local.database() as database:  # the lead deletes the account in Argilla
            database.execute("PRAGMA foreign_keys = ON")
            database.execute("DELETE FROM users WHERE id = ?", (ann,))
        assert refusal(device) == (403, "revoked")
        device.close()


def test_who_takes_the_votes_back_is_out(local: LocalVoting) -> None:
    secret = local.link("ann")
    with local.service as service:
        phone, laptop = (service.device(link=secret) for _ in range(2))
        other = service.device(link=local.link("bob"))
        record = phone.cards(1)[0]["record"]
        phone.vote(record, "bad", reasons=["unsafe"], comment="I am Ann")
        phone.call("credits", name="Ann")
        other.vote(record)
        assert phone.call("withdraw") == {}
        assert [refusal(device) for device in (phone, laptop)] == [(403, "withdrawn")] * 2
        assert refused_entry(service, secret) == (403, "revoked")
        assert refused_entry(service, phone.secret) == (403, "withdrawn")
        assert other.call("progress")["progress"]["all"] == 1
        assert local.rows("SELECT credit FROM kto_voters WHERE user_id = ?", phone.person) == [(None,), (None,)]
        status, _, errors = local.invite("ann")
        assert status == 1 and "Choose another name" in errors
        for device in (phone, laptop, other):
            device.close()
    responses = local.rows('SELECT "values", status FROM responses WHERE user_id = ?', phone.person)
    assert responses == [("{}", "discarded")]
    assert local.rows("SELECT * FROM kto_lines WHERE user_id = ?", phone.person) == []


def test_taken_back_as_argilla_discards(local: LocalVoting, tmp_path: Path) -> None:
    """All tables but ours are what Argilla's own API makes of the same; times and the order apart."""
    local.set(min_submitted="1")
    with local.database() as database:
        database.execute("""UPDATE datasets SET distribution = '{"strategy": "overlap", "min_submitted": 1}'""")
    with local.service as service:
        ann, bob = (service.device(link=local.link(name)) for name in ("ann", "bob"))
        cards = [card["record"] for card in ann.cards()]
        for record, vote in zip(cards, ["good", "bad", "skip", "good"], strict=True):
            ann.vote(record, vote)
        ann.vote(cards[3], None, replaces=local.rows("SELECT id FROM kto_lines WHERE record_id = ?", cards[3])[0][0])
        with local.database() as database:  # a second vote on the first answer, by somebody else
            links.ensure_account(database, bob.person, *local.rows("SELECT id FROM workspaces")[0])
            now = "2026-01-01 00:00:00.000000"
            values = (uuid.uuid4().hex, '{"vote": {"value": "bad"}}', cards[0], bob.person, now, now)
            database.execute(
                'INSERT INTO responses (id, "values", status, record_id, user_id, inserted_at, updated_at) '
                "VALUES (?, ?, 'submitted', ?, ?, ?, ?)",
                values,
            )
        home = copy_home(local, tmp_path / "by argilla")
        ann.call("withdraw")
        for device in (ann, bob):
            device.close()
    ours = tables(local)
    with ArgillaServer(local.project, home) as server:
        ((key,),) = local.rows("SELECT api_key FROM users WHERE id = ?", ann.person)
        local.url = server.url
        with local._client(key) as client:
            for (id,) in local.rows("SELECT id FROM responses WHERE user_id = ?", ann.person):
                body = {"values": {}, "status": "discarded"}
                client.put(f"/api/v1/responses/{uuid.UUID(id)}", json=body).raise_for_status()
            # The account is one that nobody can log in to with a password, and that is no error of the server's.
            log_in = client.post("/api/v1/token", data={"username": "ann", "password": "x"})
            assert log_in.status_code == 401
    by_argilla = tables(local, home)
    assert ours == by_argilla
    statuses = {row["id"]: row["status"] for row in ours["records"]}
    assert [statuses[id] for id in cards] == ["completed", "pending", "pending", "pending"]


def tables(local: LocalVoting, home: Path | None = None) -> dict[str, list[dict]]:
    import sqlite3

    database = sqlite3.connect((home or local.home) / "argilla.db")
    database.row_factory = sqlite3.Row
    names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    rows = {
        name: [dict(row) for row in database.execute(f'SELECT * FROM "{name}"')]
        for name in names
        if not name.startswith(("kto_", "sqlite_"))
    }
    database.close()
    for name, some in rows.items():
        for row in some:
            for column in ("updated_at", "last_activity_at"):
                if row.get(column):
                    row[column] = "" if row[column] > "2026-06" else row[column]  # changed in this test, or not
        some.sort(key=str)
        assert name
    return rows


# --- credits ----------------------------------------------------------------------------------------------------------

SHOWN = ["Ann", "  Ann  O'Neil ", "አና በቀለ", "محمد", "می‌خواهم", "<script>alert(1)</script>", "=2+2", "x" * 80, "e\u0301"]
NOT_SHOWN = ["x" * 81, "a\x00b", "a\u202eb", "a\u200bb", "a\x1b[31m", "\ue000", "a\x7f", "\u2066x\u2069"]


def test_credits_are_off_until_tapped_and_can_be_taken_off(local: LocalVoting) -> None:
    with local.service as service:
        phone = service.device(link=local.link("ann"))
        laptop = service.device(link=local.links()["ann"])
        assert phone.call("progress")["credit"] == ""
        for name in SHOWN:
            assert phone.call("credits", name=name) == {}
            assert laptop.call("progress")["credit"] == unicodedata.normalize("NFC", " ".join(name.split()))
        for name in [*NOT_SHOWN, 7, None, ["Ann"]]:
            assert refusal(phone, "credits", name=name)[0] == 400
        assert laptop.call("progress")["credit"] == "é"
        phone.call("credits", name="Ann")
        tablet = service.device(link=local.links()["ann"])
        assert tablet.call("progress")["credit"] == "Ann"
        tablet.call("credits", name="")
        assert {device.call("progress")["credit"] for device in (phone, laptop, tablet)} == {""}
        for device in (phone, laptop, tablet):
            device.close()


# --- the list, the terminal, an earlier project -----------------------------------------------------------------------


def test_the_list(local: LocalVoting) -> None:
    assert local.made("--list") == ""
    open_link = local.link("--open", "--limit", "20")
    local.made("ann", "bob", "carl")
    with local.service as service:
        guest = service.device(link=open_link)
        service.device(link=open_link).close()
        ann = service.device(link=local.links()["ann"])
        local.vote_all(guest), local.vote_all(ann)
        ((name,),) = local.rows("SELECT username FROM users WHERE id = ?", guest.person)
        guest.close(), ann.close()
    local.made("--revoke", "bob")
    local.made("--revoke", "carl", "--votes")
    assert local.made("--list").splitlines() == [
        "open link: valid, joined: 2 / 20, votes: 4 (50 %)",
        "ann: valid, joined: 1, votes: 4 (50 %)",
        "bob: closed, joined: 0, votes: 0 (0 %)",
        "carl: votes left out, joined: 0, votes: 0 (0 %)",
        f"  {name}: valid, joined: 1, votes: 4 (50 %)",
    ]


def in_terminal(local: LocalVoting, columns: int, **env: str) -> str:
    """Return what `vote.py invite ann` shows in a terminal of this width."""
    import pexpect

    usual = {"HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1", "TERM": "xterm-256color", "PYTHONUTF8": "0"}
    child = pexpect.spawn(
        sys.executable,
        ["vote.py", "invite", "ann"],
        cwd=str(local.project),
        env={name: value for name, value in {**os.environ, **usual, **env}.items() if name != "COLUMNS"},
        dimensions=(60, columns),
        encoding="utf-8",
        codec_errors="replace",
        timeout=60,
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    return child.before.replace("\r\n", "\n")


@posix
def test_the_code_in_a_terminal_is_the_link(local: LocalVoting) -> None:
    text = in_terminal(local, 80, LC_ALL="C.UTF-8")
    link = f"{local.url}/vote/#{local.links()['ann']}"
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in text.splitlines()]
    drawn = [line for line in lines if line and not line.strip("█▀▄ ")]
    wanted = [
        [bool(module) for module in row] for row in segno.make(link, error="l", micro=False).matrix_iter(border=2)
    ]
    rows: list[list[bool]] = []
    for line in drawn:
        rows += [[char in "█▀" for char in line], [char in "█▄" for char in line]]
    assert [row for row in rows if any(row)] == [row for row in wanted if any(row)]
    assert "\x1b[38;2;0;0;0;48;2;255;255;255m" in text or "48;5;" in text, "black on white, whatever the theme"
    assert link in text


@posix
@pytest.mark.parametrize(
    ("columns", "env"),
    [
        (20, {"LC_ALL": "C.UTF-8"}),
        (80, {"LC_ALL": "en_US.ISO-8859-1", "PYTHONIOENCODING": "cp1252"}),
        (80, {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "cp1252"}),
    ],
)
def test_terminals_that_cannot_show_the_code(local: LocalVoting, columns: int, env: dict[str, str]) -> None:
    text = in_terminal(local, columns, **env)
    assert "▀" not in text and "█" not in text
    assert local.links()["ann"] in text.replace("\n", "")


def test_a_console_with_few_letters(local: LocalVoting) -> None:
    assert "👋" in local.invite("ann", PYTHONIOENCODING="cp1252", PYTHONUTF8="0")[1]


def test_an_earlier_project(tmp_path: Path, english: None) -> None:
    """Its Argilla has people and votes and none of our tables."""
    project = render(tmp_path)
    put_into(project)
    put_argilla(project)
    earlier = LocalVoting(project, "", "")
    before = earlier.rows("SELECT id, username FROM users")
    people = [name for _, name in before if name != "owner"]
    assert people
    said = earlier.made(people[0])
    assert earlier.links()[people[0]] in said
    assert earlier.rows("SELECT id, username FROM users") == before
    with earlier.database() as database:
        entry = links.enter(database, earlier.links()[people[0]], "0" * 16)
    assert entry.user in {id for id, name in before if name == people[0]}
    assert "joined: 1" in earlier.made("--list")

"""The rules of the voting server: what becomes of votes, cards and people, whatever happens meanwhile."""

import contextlib
import json
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from argilla_server import TEMPLATE
from voting_service import DATASET, WORKSPACE, Refused, VotingService, add_dataset, add_records, make_home, make_line

sys.path.insert(0, str(TEMPLATE))

from kto.questions import COMMENT_MAX
from kto.vote.overlap import Overlap
from kto.vote.voting_server import attempts, links, service
from kto.vote.voting_server.http_messages import BadRequest
from kto.vote.voting_server.service import Service

ANSWERS = {f"Question {number}?": ["one", "**two**"] for number in range(3)}


@pytest.fixture
def voting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VotingService]:
    monkeypatch.setattr(service, "_RELOAD", 0.0)  # look at once at what others have written
    monkeypatch.setattr(service, "_SHARE", 1e9)
    with VotingService(make_home(tmp_path / "home", ANSWERS)) as running:
        yield running


def response(voting: VotingService, record: str) -> Any:
    (values,) = voting.rows('SELECT status, "values" FROM responses WHERE record_id = ?', record)
    return values[0], json.loads(values[1])


def states(device: Any, *lines: dict[str, Any]) -> list[str]:
    answer = device.call("votes", lines=list(lines))
    return [answer["states"][line["id"]] for line in lines]


def refusal(call: Callable[..., Any], *arguments: Any, **body: Any) -> tuple[int, str]:
    with pytest.raises(Refused) as error:
        call(*arguments, **body)
    return error.value.status, error.value.answer["kind"]


# --- votes ------------------------------------------------------------------------------------------------------------


def test_a_vote_from_card_to_progress(voting: VotingService) -> None:
    device = voting.device("amina")
    answer = device.call("cards", count=3, have=[])
    assert answer["progress"] == {"mine": 0, "all": 0, "all_goal": 12}
    assert answer["version"] == "1" and answer["wait"] is None and answer["judged_elsewhere"] == []
    card = answer["cards"][0]
    assert set(card) == {"record", "prompt", "answer", "raw", "line"} and card["line"] is None
    assert card["raw"] in ("one", "**two**") and card["answer"].startswith('<div dir="ltr"><p>')
    sent = device.call("votes", lines=[line := make_line(card["record"], "bad", reasons=["off_topic", "not_true"])])
    assert sent["states"] == {line["id"]: "applied"} and sent["judged_elsewhere"] == []
    assert sent["progress"] == {"mine": 1, "all": 1, "all_goal": 12} and sent["version"] == "1"
    chosen = {"vote": {"value": "bad"}, "reasons": {"value": ["not_true", "off_topic"]}}
    assert response(voting, card["record"]) == ("submitted", chosen)
    assert voting.rows("SELECT * FROM kto_leases WHERE record_id = ?", card["record"]) == []


def test_two_devices_of_one_person(voting: VotingService) -> None:
    secret = voting.secret("amina")
    phone, laptop = voting.device(link=secret), voting.device(link=secret)
    assert phone.person == laptop.person and phone.secret != laptop.secret
    card = phone.cards(1)[0]
    first = phone.vote(card["record"], "good")
    # The laptop had the card, too, and does not know of the vote.
    answer = laptop.call("votes", lines=[late := make_line(card["record"], "bad", reasons=["unsafe"])])
    assert answer["states"] == {late["id"]: "superseded"} and answer["judged_elsewhere"] == [card["record"]]
    # What follows on that device is superseded as well; nothing is thrown away.
    assert states(laptop, make_line(card["record"], None, late["id"])) == ["superseded"]
    assert response(voting, card["record"]) == ("submitted", {"vote": {"value": "good"}})
    kept = voting.rows("SELECT line FROM kto_lines WHERE state = 'superseded' ORDER BY rowid")
    assert json.loads(kept[0][0]) == late and len(kept) == 2
    phone.vote(card["record"], "bad", first)
    assert voting.rows("SELECT count(*) FROM responses") == [(1,)]
    other = phone.cards(10)
    assert not {card["record"] for card in laptop.cards(10, [])} & {card["record"] for card in other} or len(other) == 5
    told = laptop.call("cards", count=0, have=[card["record"], other[0]["record"]])
    assert told["judged_elsewhere"] == [card["record"]]


def test_another_device_goes_on_with_the_secret_of_the_first(voting: VotingService) -> None:
    in_app = voting.device()  # a browser inside a messenger, by the link in a channel
    browser = voting.device(link=in_app.secret)
    assert browser.person == in_app.person
    browser.vote(in_app.cards(1)[0]["record"])
    assert voting.rows("SELECT count(*) FROM users WHERE username LIKE 'guest-%'") == [(1,)]


def test_two_tabs_send_the_same_lines_at_once(voting: VotingService) -> None:
    device = voting.device("amina")
    cards = device.cards(6)
    lines = [make_line(card["record"]) for card in cards]
    tabs = [voting.device(link=device.secret) for _ in range(4)]
    for tab in tabs:
        tab.secret = device.secret
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda tab=tab: found.append(states(tab, *lines))) for tab in tabs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["applied"] * 6] * 4
    assert voting.rows("SELECT count(*) FROM responses") == voting.rows("SELECT count(*) FROM kto_lines") == [(6,)]
    assert device.call("progress")["progress"]["mine"] == 6


def test_late_votes_count_beyond_the_overlap(voting: VotingService) -> None:
    late = voting.device("zuri")
    cards = late.cards(10)
    assert len(cards) == 6
    with voting.database() as database:  # the lease has ended long ago
        database.execute("DELETE FROM kto_leases")
    voting.stop()
    voting.start()
    for name in ("amina", "piet"):
        device = voting.device(name)
        for card in device.cards(10):
            device.vote(card["record"], "bad")
    assert late.call("progress")["progress"] == {"mine": 0, "all": 12, "all_goal": 12}
    assert states(late, *[make_line(card["record"]) for card in cards]) == ["applied"] * 6
    assert voting.rows("SELECT count(*) FROM responses WHERE status = 'submitted'") == [(18,)]
    assert late.call("progress")["progress"] == {"mine": 6, "all": 12, "all_goal": 12}
    assert late.cards(10) == []


def test_lines_that_are_none(voting: VotingService) -> None:
    device = voting.device("amina")
    record = device.cards(1)[0]["record"]
    good = make_line(record, "good")
    wrong: list[dict[str, Any]] = [
        make_line(record, "bad", reasons=["Clumsy!"]),
        make_line(record, "bad", reasons=["a" * 41]),
        make_line(record, "bad", reasons=[f"reason_{number}" for number in range(41)]),
        make_line(record, "skip", reasons=["clumsy"]),
        make_line(record, "skip", aspects={"language": "natural"}),
        make_line(record, None, aspects={"language": "natural"}),
        make_line(record, "good", aspects=["language"]),
        make_line(record, "good", aspects={"language": ["natural"]}),
        make_line(record, "good", aspects={"language": ""}),
        make_line(record, "good", aspects={"Language": "natural"}),
        make_line(record, None, reasons=["clumsy"]),
        make_line(record, "bad", reasons="clumsy"),
        make_line(record, "bad", reasons=[["clumsy"]]),
        make_line(record, "bad", comment="x" * (COMMENT_MAX + 1)),
        make_line(record, "bad", comment=["x"]),
        make_line(record, "bad", comment="half \ud83d a letter"),
        make_line(record, None, comment="x"),
        make_line(record, "better"),
        make_line(record, True),  # type: ignore[arg-type]
        make_line(record, "good", ms=-1),
        make_line(record, "good", ms="3"),
        make_line(record, "good", ms=True),
        make_line(record, "good", more="x" * 10_000),
        make_line(record.upper(), "good"),
        make_line("1", "good"),
        make_line(record, "good", "1"),
        make_line(record, "good", 3),  # type: ignore[arg-type]
    ]
    assert states(device, *wrong, good) == ["refused"] * len(wrong) + ["applied"], "the others are taken"
    assert voting.rows("SELECT id FROM kto_lines") == [(good["id"],)]
    for start in ({"v": 2}, {"v": "1"}, {"v": True}, {"v": 1.0}):
        assert refusal(device.call, "votes", lines=[{**good, **start}]) == (409, "old_page")
    assert refusal(device.call, "votes", lines=["good"]) == (409, "old_page")
    for start in ({"id": "1"}, {"id": None}, {"id": good["id"].upper()}):
        assert refusal(device.call, "votes", lines=[{**good, **start}]) == (400, "id")
    assert refusal(device.call, "votes", lines="x") == (400, "lines")
    assert refusal(device.call, "votes", lines=[good] * 201) == (400, "lines")
    assert states(device, make_line(record, "bad", good["id"], comment="x" * COMMENT_MAX, later="field")) == ["applied"]


def test_what_the_task_does_not_ask_stays_in_the_line(voting: VotingService) -> None:
    """A device may have an earlier page, or the lead may ask for less than before: the vote counts all the same."""
    device = voting.device("amina")
    first, second = device.cards(2)
    more = {"reasons": ["wrong_language", "useful", "my_own"], "aspects": {"language": "superb", "tone": "warm"}}
    line = make_line(first["record"], "good", **more)
    assert states(device, line) == ["applied"]
    assert response(voting, first["record"]) == (
        "submitted",
        {"vote": {"value": "good"}, "reasons": {"value": ["useful"]}},
    )
    ((kept,),) = voting.rows("SELECT line FROM kto_lines")
    assert json.loads(kept) == line
    said = make_line(second["record"], "bad", reasons=["not_true", "unsafe"], aspects={"language": "wrong"})
    assert states(device, said) == ["applied"]
    everything = {"vote": "bad", "language": "wrong", "reasons": ["not_true", "unsafe"]}
    assert response(voting, second["record"])[1] == {name: {"value": value} for name, value in everything.items()}


def test_a_third_vote_where_two_differ(tmp_path: Path) -> None:
    """Also after a restart, and only by somebody else."""
    with VotingService(make_home(tmp_path / "home", ANSWERS), overlap=Overlap(2, asks_third=True)) as voting:
        amina, piet, zuri, late = (voting.device(name) for name in ("amina", "piet", "zuri", "late"))
        for index, card in enumerate(sorted(amina.cards(), key=lambda card: card["record"])):
            amina.vote(card["record"], "good")
            piet.vote(card["record"], "bad" if index < 2 else "good")
        tied = {id for (id,) in voting.rows("SELECT id FROM records WHERE status = 'pending'")}
        assert len(tied) == 2
        assert amina.cards() == piet.cards() == []
        voting.stop()
        voting.start()
        assert {card["record"] for card in zuri.cards()} == tied
        assert late.cards() == [], "one more is enough"
        for record in tied:
            zuri.vote(record, "bad")
        assert zuri.call("progress")["progress"] == {"mine": 2, "all": 12, "all_goal": 12}
        assert voting.rows("SELECT DISTINCT status FROM records") == [("completed",)]


def test_a_flagged_answer(voting: VotingService) -> None:
    amina, piet = voting.device("amina"), voting.device("piet")
    held = [card["record"] for card in piet.cards()]
    flagged = held[0]
    line = make_line(flagged, "bad", reasons=["personal_data"])
    assert states(amina, line) == ["applied"]
    assert piet.call("cards", count=0, have=held)["judged_elsewhere"] == [flagged]
    assert flagged not in {card["record"] for card in voting.device("zuri").cards()}
    voting.stop()
    voting.start()
    assert flagged not in {card["record"] for card in voting.device("late").cards()}
    assert voting.rows("SELECT status FROM records WHERE id = ?", flagged) == [("completed",)]
    with voting.database() as database:  # as the lead's look writes it
        change = "UPDATE records SET metadata = json_set(metadata, '$.looked_at', 'keep') WHERE id = ?"
        database.execute(change, (flagged,))
    assert states(piet, make_line(flagged, "good")) == ["applied"]
    assert voting.rows("SELECT status FROM records WHERE id = ?", flagged) == [("completed",)], "two votes"
    assert amina.vote(flagged, "skip", line["id"])
    assert voting.rows("SELECT status FROM records WHERE id = ?", flagged) == [("pending",)]


def test_a_record_that_was_deleted(voting: VotingService) -> None:
    device = voting.device("amina")
    gone, stays = device.cards(2)
    with voting.database() as database:
        database.execute("DELETE FROM records WHERE id = ?", (gone["record"],))
    lines = [make_line(gone["record"]), make_line(stays["record"])]
    answer = device.call("votes", lines=lines)
    assert list(answer["states"].values()) == ["unknown_record", "applied"]
    assert answer["judged_elsewhere"] == [gone["record"]]
    assert states(device, *lines) == ["unknown_record", "applied"]
    assert answer["progress"]["all_goal"] == 10


def test_records_of_other_datasets_are_unknown(voting: VotingService) -> None:
    device = voting.device("amina")
    with voting.database() as database:
        database.execute("UPDATE datasets SET name = 'another'")
        (workspace,) = database.execute("SELECT id FROM workspaces").fetchone()
        elsewhere = [id for (id,) in database.execute("SELECT id FROM records")]
        add_dataset(database, workspace, overlap=1)
        added = add_records(database, {"New?": ["answer"]})
    assert [card["record"] for card in device.cards()] == added
    assert states(device, make_line(elsewhere[0]), make_line(added[0])) == ["unknown_record", "applied"]


# --- other processes --------------------------------------------------------------------------------------------------


def test_records_that_come_go_and_change_while_people_vote(voting: VotingService) -> None:
    device = voting.device("amina")
    assert len(device.cards()) == 6
    with voting.database() as database:
        new = add_records(database, {"New?": ["answer"]})
        bare = add_records(database, {"Without a card?": ["answer"]}, cards=False)
    assert [card["record"] for card in device.cards()] == new
    with voting.database() as database:
        database.execute(
            "UPDATE records SET metadata = json_set(metadata, '$.outdated', json('true')) WHERE id = ?", new
        )
    other = voting.device("piet")
    drawn = {card["record"] for card in other.cards()}
    assert len(drawn) == 6 and not drawn & {*new, *bare}
    assert other.call("progress")["progress"]["all_goal"] == 12
    # The vote on a card that was given out before counts all the same.
    assert states(device, make_line(new[0])) == ["applied"]
    assert device.call("progress")["progress"] == {"mine": 1, "all": 0, "all_goal": 12}


def test_the_lead_changes_the_overlap(voting: VotingService) -> None:
    for name in ("amina", "piet"):
        device = voting.device(name)
        for card in device.cards():
            device.vote(card["record"])
    third = voting.device("zuri")
    assert third.cards() == []
    distribution = json.dumps({"strategy": "overlap", "min_submitted": 3})
    with voting.database() as database:
        database.execute("UPDATE datasets SET distribution = ?", (distribution,))
        database.execute("UPDATE records SET status = 'pending'")
    cards = third.cards()
    assert len(cards) == 6 and third.call("progress")["progress"]["all_goal"] == 18
    third.vote(cards[0]["record"])
    assert voting.rows("SELECT status, count(*) FROM records GROUP BY 1") == [("completed", 1), ("pending", 5)]


def test_votes_on_argillas_page_are_noticed(voting: VotingService) -> None:
    device = voting.device("amina")
    (owner,) = voting.rows("SELECT id FROM users WHERE role = 'owner'")[0]
    with voting.database() as database:
        insert = "INSERT INTO responses SELECT lower(hex(randomblob(16))), '{}', 'submitted', id, ?, ?, ? FROM records"
        now = "2026-11-30 10:00:00.000000"
        database.execute(insert, (owner, now, now))
    assert device.call("progress")["progress"] == {"mine": 0, "all": 6, "all_goal": 12}


def test_own_commits_load_nothing(voting: VotingService, monkeypatch: pytest.MonkeyPatch) -> None:
    device = voting.device("amina")
    cards = device.cards()
    loads: list[int] = []
    load = Service._load
    monkeypatch.setattr(Service, "_load", lambda self, connection: loads.append(1) or load(self, connection))
    for card in cards:
        device.vote(card["record"])
    device.cards()
    assert loads == []
    with voting.database() as database:
        database.execute("UPDATE records SET status = status")
    device.call("progress")
    device.call("progress")
    assert loads == [1]


def test_how_often_others_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_RELOAD", 3600.0)
    with VotingService(make_home(tmp_path / "home", ANSWERS)) as voting:
        device = voting.device("amina")
        held = [card["record"] for card in device.cards(2)]
        with voting.database() as database:
            add_records(database, {"New?": ["answer"]})
        assert device.call("progress")["progress"]["all_goal"] == 12, "not now"
        rest = [card["record"] for card in device.cards(10, held)]
        assert len(rest) == 4
        new = device.cards(10, [*held, *rest])
        assert len(new) == 1, "nobody is sent away before it has looked"
        with voting.database() as database:
            database.execute("DELETE FROM records WHERE id NOT IN (?, ?)", held)
        other = voting.device("piet")
        assert {card["record"] for card in other.cards()} == set(held), "and nobody gets a card that is gone"


# --- people -----------------------------------------------------------------------------------------------------------


def test_who_may_vote(voting: VotingService) -> None:
    device = voting.device("amina")
    record = device.cards(1)[0]["record"]
    for secret in ("", "x" * 22, "a.b"):
        device.secret, kept = secret, device.secret
        for name in ("cards", "votes", "progress", "withdraw", "credits"):
            assert refusal(device.call, name) == (403, "unknown")
        device.secret = kept
    assert refusal(device.enter, "x" * 22) == (403, "unknown")
    for body in ({}, {"secret": "x"}, {"secret": 1, "consent": "1"}, {"secret": "x", "consent": "1" * 65}):
        assert refusal(device.call, "session", **body) == (400, "session")
    with voting.database() as database:
        assert links.close(database, "amina")
    assert refusal(device.call, "votes", lines=[make_line(record)]) == (403, "revoked")
    assert voting.rows("SELECT * FROM responses") == []


def test_somebody_takes_their_votes_back(voting: VotingService) -> None:
    amina, piet = voting.device("amina"), voting.device("piet")
    for card in amina.cards():
        amina.vote(card["record"], comment="Mine")
        piet.vote(card["record"])
    assert voting.rows("SELECT DISTINCT status FROM records") == [("completed",)]
    assert amina.call("withdraw") == {}
    assert refusal(amina.call, "cards", count=1, have=[]) == (403, "withdrawn")
    assert piet.call("progress")["progress"] == {"mine": 6, "all": 6, "all_goal": 12}
    assert voting.rows("SELECT DISTINCT status FROM records") == [("pending",)]
    assert voting.rows("SELECT count(*) FROM responses WHERE \"values\" LIKE '%Mine%'") == [(0,)]
    assert len(voting.device("zuri").cards()) == 6, "others are asked again"


def test_credits(voting: VotingService) -> None:
    device = voting.device("amina")
    assert device.call("progress")["credit"] == ""
    assert device.call("credits", name="  Amina A. ") == {}
    assert device.call("progress")["credit"] == "Amina A."
    assert device.call("credits", name="") == {} and device.call("progress")["credit"] == ""
    for name in (None, 3, "x" * 2000, "\ud83d"):
        assert refusal(device.call, "credits", name=name) == (400, "name")


def test_a_device_of_an_open_link_votes_too_much(voting: VotingService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voting.service._judged, "_most", 3)
    now = time.monotonic()
    monkeypatch.setattr(attempts.time, "monotonic", lambda: now)
    guest, person = voting.device(), voting.device("amina")
    records = [card["record"] for card in guest.cards()]
    person.cards()
    first = guest.vote(records[0])
    guest.vote(records[0], "bad", first)  # a change is no other answer
    assert states(guest, *[make_line(record) for record in records[1:3]]) == ["applied"] * 2
    waiting = make_line(records[3])
    with pytest.raises(Refused) as error:
        guest.call("votes", lines=[waiting])
    assert (error.value.status, error.value.answer) == (429, {"kind": "too_many", "seconds": 3600})
    assert refusal(guest.call, "cards", count=1, have=[]) == (429, "too_many")
    assert states(person, *[make_line(record) for record in records]) == ["applied"] * 6
    now += 3601
    assert states(guest, waiting) == ["applied"], "nothing is lost"


# --- the life of the server -------------------------------------------------------------------------------------------


def test_before_the_database_is_ready(tmp_path: Path) -> None:
    def starting(voting: Service) -> bool:
        calls = [("cards", {"count": 1, "have": []}), ("progress", {}), ("session", {"secret": "x", "consent": "1"})]
        for name, body in calls:
            with pytest.raises(BadRequest) as error:
                voting.api[name]("x" * 22, body)
            assert (error.value.status, error.value.kind) == (503, "starting")
        return True

    path = tmp_path / "argilla.db"
    voting = Service(path, DATASET, WORKSPACE, "1")
    assert starting(voting)
    with pytest.raises(service.sqlite3.Error):
        voting.open()
    assert not path.exists() and starting(voting)
    with contextlib.closing(service.sqlite3.connect(path)) as database:  # nothing of Argilla's in it yet
        database.execute("CREATE TABLE alembic_version (version_num)")
    with pytest.raises(service.sqlite3.Error):
        voting.open()
    with contextlib.closing(service.sqlite3.connect(path)) as database:
        assert len(database.execute("SELECT * FROM sqlite_master").fetchall()) == 1
    assert starting(voting)
    voting.close()

    path = make_home(tmp_path / "home", ANSWERS)
    with contextlib.closing(service.sqlite3.connect(path)) as database, database:
        database.execute("UPDATE datasets SET status = 'draft'")
    voting = Service(path, DATASET, WORKSPACE, "1")
    voting.open()
    voting.open()
    with pytest.raises(links.NoEntry):
        voting.progress("x" * 22, {})
    with contextlib.closing(service.sqlite3.connect(path)) as database, database:
        link = links.add_link(database, links.PERSONAL, "amina")
    with pytest.raises(BadRequest, match="starting"):
        voting.session("", {"secret": link, "consent": "1"})
    with contextlib.closing(service.sqlite3.connect(path)) as database, database:
        database.execute("UPDATE datasets SET status = 'ready'")
    voting._load_next = 0.0
    secret = voting.session("", {"secret": link, "consent": "1"})["secret"]
    assert len(voting.cards(secret, {"count": 10, "have": []})["cards"]) == 6
    voting.close()
    voting.close()
    assert starting(voting)
    voting.open()
    assert voting.progress(secret, {})["progress"]["all_goal"] == 12
    voting.close()


def test_leases_survive_a_restart_and_are_cleaned(voting: VotingService, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("amina", "piet"):
        assert len(voting.device(name).cards()) == 6
    voting.stop()
    voting.start()
    late = voting.device("zuri")
    answer = late.call("cards", count=10, have=[])
    assert answer["cards"] == [] and 170 < answer["wait"] <= 180
    assert voting.rows("SELECT count(*) FROM kto_leases") == [(12,)]
    voting.stop()
    now = time.time() + 3600
    monkeypatch.setattr(service.time, "time", lambda: now)
    voting.start()
    assert voting.rows("SELECT count(*) FROM kto_leases") == [(0,)]
    assert len(late.cards()) == 6


def test_every_call_is_described(voting: VotingService) -> None:
    assert set(voting.service.api) == {"session", "cards", "votes", "progress", "withdraw", "credits"}
    device = voting.device("amina")
    for body in (
        {"count": "3", "have": []},
        {"count": 3},
        {"count": True, "have": []},
        {"count": 3, "have": [1] * 101},
    ):
        assert refusal(device.call, "cards", **body) == (400, "cards")
    odd = [1, None, "\ud83d", "x" * 33, uuid.uuid4().hex]
    assert len(device.call("cards", count=99, have=odd)["cards"]) == 6
    assert device.call("cards", count=-1, have=[])["cards"] == []

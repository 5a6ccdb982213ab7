"""From an invitation to rows of the dataset, as people go: a phone in Dutch and in Arabic, a laptop in Amharic."""

import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from browser import browser
from playwright.sync_api import Browser
from rendering import REPOSITORY, read_yaml, render
from vote_command import Vote
from voting import Task
from voting_phone import DESKTOP, PHONE, Phone, phone

__all__ = ["browser"]

ANSWERS = {f"{number}?": [f"{number}+{number}", f"{number}-{number}"] for number in range(1, 7)}
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-in for uv is a shell script")


class Votes:
    """What Argilla's database holds, read while everything runs."""

    def __init__(self, project: Path) -> None:
        self.path = project / ".argilla" / "argilla.db"

    def of(self, name: str) -> dict[str, tuple[str, str]]:
        """Return answer → (status, vote) of a person."""
        query = """SELECT kto_cards.answer, responses.status, json_extract("values", '$.vote.value') FROM responses
            JOIN users ON users.id = user_id JOIN records ON records.id = record_id
            JOIN kto_cards ON kto_cards.external_id = records.external_id WHERE username = ?"""
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, timeout=30)) as database:
            return {answer: (status, vote) for answer, status, vote in database.execute(query, (name,))}


def answer(phone: Phone) -> str:
    """Return the answer on the card."""
    return phone.page.locator(".answer").first.inner_text().strip()


def vote(phone: Phone, what: str) -> str:
    """Judge a card, with the finger or with the keys, and return its answer."""
    judged = answer(phone)
    if phone.page.viewport_size["width"] < 1000:
        phone.vote(what)
    else:
        key = {"good": "1", "bad": "2", "skip": "3"}[what]
        phone.eventually(
            lambda: phone.page.keyboard.press(key) or phone.page.wait_for_timeout(400) or answer(phone) != judged
        )
    return judged


def judge_all(phone: Phone, done: str, opinion: Callable[[str], str]) -> set[str]:
    """Judge cards until the page says that all is `done`, and return their answers."""
    judged: set[str] = set()

    def has_card() -> bool:
        return phone.page.locator("body").get_attribute("data-screen") == "card"

    while True:
        phone.eventually(lambda: has_card() or done in phone.page.locator("main").inner_text())
        if not has_card():
            return judged
        shown = answer(phone)
        phone.vote(opinion(shown))
        judged.add(shown)


def words(phone: Phone) -> set[str]:
    """Return the words of Latin letters that the page shows or says, menu included."""
    shown = phone.page.locator("body").inner_text()
    phone.click("#open-menu")
    shown += phone.page.locator("body").inner_text() + phone.said
    names = "[...document.querySelectorAll('[aria-label]')].map(e => e.getAttribute('aria-label')).join(' ')"
    return {word.lower() for word in re.findall("[A-Za-z]{3,}", shown + phone.page.evaluate(names))}


def english_words() -> set[str]:
    """Return the words of the page's English texts."""
    texts = read_yaml(REPOSITORY / "languages" / "en.yaml")["page"].values()
    return {word.lower() for text in texts for word in re.findall("[A-Za-z]{3,}", re.sub(r"\{\w+\}", "", text))}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("language", "kind"), [("nl", PHONE), ("ar", PHONE), ("am", DESKTOP)])
def test_from_the_link_to_the_row(language: str, kind: dict[str, Any], browser: Browser, tmp_path: Path) -> None:
    pictures = Path(os.environ.get("KTO_SCREENSHOTS") or tmp_path)
    pictures.mkdir(parents=True, exist_ok=True)
    project = render(tmp_path / "project", language=language)
    task = Task(project, "", "")
    task.set(min_votes="1")
    task.generate(ANSWERS)
    votes, tools = Votes(project), tmp_path / "bin"
    texts = read_yaml(project / "kto" / "texts.yaml")
    said, done = texts["vote"]["link"].split("{link}")[0], texts["page"]["all_done"]

    with Vote(project, tools) as server:
        server.wait_for(said)
        server.until(lambda: votes.path.exists() and (project / "data" / "private" / "links.csv").exists())

        # The lead invites somebody; robots of messengers look at the link before she does.
        invited = task.run("vote.py", "invite", "amina")
        assert invited.returncode == 0, invited.stderr
        (link,) = re.findall(r"http://127\.0\.0\.1:\d+/vote/#\S+", invited.stdout)
        for _ in range(50):
            assert httpx.get(link).is_success

        with (
            phone(browser, **kind, locale=language) as first,
            phone(browser, locale=language) as second,
            phone(browser, locale=language) as guest,
            phone(browser, **kind, locale=language) as lead,
        ):
            first.join(link)
            assert "#" not in first.page.url and link.split("#")[1] not in first.page.content()
            first.page.screenshot(path=pictures / f"card-{language}.png")
            expected = {vote(first, "good"): ("submitted", "good")}
            first.eventually(lambda: votes.of("amina"), expected)
            expected[vote(first, "bad")] = ("submitted", "bad")
            expected[vote(first, "skip")] = ("discarded", None)

            # A vote that is taken back, and given anew.
            changed = vote(first, "good")
            first.click("#undo")
            assert vote(first, "bad") == changed
            expected[changed] = ("submitted", "bad")
            first.eventually(lambda: votes.of("amina"), expected)

            # Without a network: kept on the device, sent later.
            first.context.set_offline(True)
            kept = [vote(first, "good"), vote(first, "good")]
            first.page.locator("#notice").wait_for()
            first.page.screenshot(path=pictures / f"offline-{language}.png")
            assert votes.of("amina") == expected
            first.context.set_offline(False)
            expected |= dict.fromkeys(kept, ("submitted", "good"))
            first.eventually(lambda: votes.of("amina"), expected)

            # Another device of hers goes on where she was.
            second.join(link)
            more = vote(second, "good")
            assert more not in expected
            expected[more] = ("submitted", "good")
            second.eventually(lambda: votes.of("amina"), expected)

            # One link for a channel, and the lead's own.
            opened = task.run("vote.py", "invite", "--open", "--limit", "5")
            guest.join(re.findall(r"http://127\.0\.0\.1:\d+/vote/#\S+", opened.stdout)[0])
            by_guest = judge_all(guest, done, lambda shown: "bad")
            guest.eventually(guest.outbox, [])
            # Where these two differ, somebody else is asked; who is unsure about one of them leaves it tied.
            differ = [shown for shown, (_, vote) in expected.items() if vote == "good" and shown in by_guest]
            assert len(differ) == 4
            lead.join(re.findall(re.escape(said) + r"(\S+)", server.output)[0])
            by_lead = judge_all(lead, done, lambda shown: "skip" if shown == differ[0] else "bad")
            assert {*differ} <= by_lead
            lead.eventually(lead.outbox, [])
            ties = task.run("vote.py", "ties")
            assert ties.returncode == 0, ties.stderr
            (id,) = re.findall("vote.py ties ([0-9a-f]+) good", ties.stdout)
            assert differ[0] in ties.stdout
            assert task.run("vote.py", "ties", id, "good").returncode == 0
            running = task.export_command()
            assert running.returncode == 0, running.stderr
            table = pq.read_table(project / "data" / "votes" / "train.parquet").to_pylist()
            if language != "nl":  # of the page itself, nothing is English there
                assert not words(first) & english_words()
    assert "Traceback" not in server.output

    # After Ctrl-C: the same rows.
    stopped = task.export_command()
    assert stopped.returncode == 0, stopped.stderr
    assert pq.read_table(project / "data" / "votes" / "train.parquet").to_pylist() == table
    counted = {answer: vote == "good" for answer, (status, vote) in expected.items() if status == "submitted"}
    people = {row["annotator"] for row in table}
    assert len(people) == 3 and not any("amina" in person or "guest" in person for person in people)
    hers = [
        {row["completion"][0]["content"]: row["vote"] for row in table if row["annotator"] == person}
        for person in people
    ]
    assert counted in hers
    assert sum(row["open_link"] for row in table) == len(by_guest)
    rows = [row for path in (project / "data" / "kto").glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    assert {row["label"] for row in rows} == {True, False}
    third = {row["completion"][0]["content"]: row["label"] for row in rows if row["label_from"] == "third_vote"}
    assert third == dict.fromkeys(differ[1:], False)
    by_lead = {row["completion"][0]["content"]: row["label"] for row in rows if row["label_from"] == "lead"}
    assert by_lead == {differ[0]: True}

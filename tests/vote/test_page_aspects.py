"""What can be said after the thumb: about the language, reasons of both thumbs, flags; with a finger and with keys."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import browser
from playwright.sync_api import Browser, Locator
from voting_phone import DESKTOP, PHONE, WAIT, Phone, phone
from voting_service import VotingService, make_home, voting, words

__all__ = ["browser", "voting"]

ANSWERS = {f"Question {number}?": [f"Answer {number}."] for number in range(12)}
NARROW: dict[str, Any] = {"viewport": {"width": 320, "height": 568}}
OWN = {"tone": ["warm", "cold"]}
OWN_WORDS = {"aspect_tone": "Tone", "aspect_tone_question": "How is the tone?"}
OWN_WORDS |= {"aspect_tone_warm": "Warm", "aspect_tone_cold": "Cold"}
PLACES = """() => ["foot", "bad", "skip", "good"].map(id => {
    const box = document.getElementById(id).getBoundingClientRect();
    return [id, box.x, box.y, box.width, box.height].join(" ");
}).join("\\n")"""
OUTSIDE = """() => [...document.querySelectorAll(".aspect .chip")].filter(chip => {
    const box = chip.getBoundingClientRect();
    return box.left < 0 || box.right > innerWidth || chip.scrollWidth > chip.clientWidth + 1;
}).map(chip => chip.innerText)"""


@pytest.fixture(params=["nl", "ar", "am"])
def language(request: pytest.FixtureRequest, voting: VotingService) -> Iterator[str]:
    """The page speaks a language; after the test it speaks English again."""
    voting.change(**words(request.param))
    yield request.param
    voting.change(**words())


def group(person: Phone, voting: VotingService, aspect: str = "language") -> Locator:
    """Return the row of an aspect, as a screen reader finds it."""
    return person.page.get_by_role("group", name=voting.page["words"][f"aspect_{aspect}_question"])


def said(voting: VotingService, name: str) -> list[dict[str, Any]]:
    """Return the lines that have arrived, oldest first."""
    query = "SELECT line FROM kto_lines JOIN users ON users.id = user_id WHERE username = ? ORDER BY kto_lines.rowid"
    return [json.loads(line) for (line,) in voting.rows(query, name)]


def stored(voting: VotingService, name: str) -> dict[str, Any]:
    """Return the values of a person's only response."""
    query = 'SELECT "values" FROM responses JOIN users ON users.id = user_id WHERE username = ?'
    return {key: value["value"] for key, value in json.loads(voting.rows(query, name)[0][0]).items()}


@pytest.mark.parametrize("window", [PHONE, DESKTOP], ids=["phone", "keys"])
def test_what_is_said_arrives(language: str, window: dict[str, Any], browser: Browser, voting: VotingService) -> None:
    has_keys, text = window is DESKTOP, voting.page["words"]
    name = f"amina-{language}-{'keys' if has_keys else 'phone'}"

    def tap(chip: Locator) -> None:
        if not has_keys:
            return chip.tap()
        chip.scroll_into_view_if_needed()
        for _ in range(30):
            if chip.evaluate("chip => chip === document.activeElement"):
                return person.page.keyboard.press("Enter")
            person.page.keyboard.press("Tab")
        raise AssertionError("no key leads there")

    with phone(browser, **window) as person:
        person.join(voting.link(name))
        first = person.prompt
        person.vote("good")
        second = person.prompt
        row = group(person, voting)
        values = {
            value: row.get_by_role("button").nth(number)
            for number, value in enumerate(voting.page["aspects"]["language"])
        }
        assert [chip.inner_text() for chip in values.values()] == [text[f"aspect_language_{value}"] for value in values]

        def pressed() -> list[str]:
            return [value for value, chip in values.items() if chip.get_attribute("aria-pressed") == "true"]

        for value, wanted in (
            ("natural", ["natural"]),
            ("wrong", ["wrong"]),
            ("wrong", []),
            ("understandable", ["understandable"]),
        ):
            tap(values[value])
            assert pressed() == wanted
        for reason in ("fits_culture", "personal_data"):
            tap(person.chip(text[f"reason_{reason}"]))
        assert person.prompt == second, "nothing of this is in the way of the next card"
        person.eventually(lambda: len(said(voting, name)), 7)
        assert stored(voting, name) == {
            "vote": "good",
            "language": "understandable",
            "reasons": ["fits_culture", "personal_data"],
        }
        lines = said(voting, name)
        assert [line.get("aspects") for line in lines] == [
            None,
            {"language": "natural"},
            {"language": "wrong"},
            None,
            *[{"language": "understandable"}] * 3,
        ]
        assert lines[-1]["reasons"] == ["fits_culture", "personal_data"]
        assert [line["replaces"] for line in lines] == [None, *(line["id"] for line in lines[:-1])]

        person.page.keyboard.press("Backspace") if has_keys else person.click("#undo")
        person.eventually(lambda: person.prompt, first)
        person.eventually(lambda: stored(voting, name), {})
        assert "aspects" not in said(voting, name)[-1]
        person.vote("bad")
        assert pressed() == [], "the card has come anew"
        person.eventually(lambda: stored(voting, name), {"vote": "bad"})
        tap(values["natural"])
        person.eventually(lambda: stored(voting, name), {"vote": "bad", "language": "natural"})


def test_a_comment_and_a_reason_keep_what_was_said(browser: Browser, voting: VotingService) -> None:
    with phone(browser) as person, phone(browser) as other:
        person.join(voting.link("bela")).vote("bad")
        group(person, voting).get_by_text("Natural").tap()
        person.click(person.chip("Comment"))
        person.page.locator("#comment").fill("It is Canberra.")
        person.click(person.page.get_by_role("button", name="Save"))
        person.chip("Not true").tap()
        wanted = {"vote": "bad", "language": "natural", "reasons": ["not_true"], "comment": "It is Canberra."}
        person.eventually(lambda: stored(voting, "bela"), wanted)
        person.page.reload()
        person.page.locator("#prompt").wait_for()
        chip = group(person, voting).get_by_text("Natural")
        assert chip.get_attribute("aria-pressed") == "true"
        other.join(voting.link("carol"))
        assert group(other, voting).count() == 0, "nothing was judged here"


def test_two_tabs_say_the_same(browser: Browser, voting: VotingService) -> None:
    with phone(browser) as person:
        person.join(voting.link("dan")).vote("good")
        second = person.context.new_page()
        second.set_default_timeout(WAIT)
        second.goto(f"{voting.url}/vote/")
        chip = second.get_by_role("group", name="How is the language?").get_by_text("Natural")
        chip.wait_for()
        person.page.bring_to_front()
        group(person, voting).get_by_text("Natural").tap()
        person.eventually(lambda: chip.get_attribute("aria-pressed"), "true")
        second.bring_to_front()
        chip.tap()
        first = group(person, voting).get_by_text("Natural")
        person.eventually(lambda: first.get_attribute("aria-pressed"), "false")
        person.eventually(lambda: stored(voting, "dan"), {"vote": "good"})


@pytest.mark.parametrize("window", [{}, NARROW, DESKTOP], ids=["phone", "narrow", "wide"])
def test_nothing_jumps(language: str, window: dict[str, Any], browser: Browser, voting: VotingService) -> None:
    """The bar is as high with nothing to say as after each vote."""
    with phone(browser, **window) as person:
        person.join(voting.link())
        places = [person.page.evaluate(PLACES)]
        row = group(person, voting)
        for vote in ("good", "skip", "bad"):
            person.vote(vote)
            places.append(person.page.evaluate(PLACES))
            assert row.count() == (vote != "skip")
            assert person.page.locator("#undo").is_visible()
        person.click("#undo")
        places.append(person.page.evaluate(PLACES))
        assert len(set(places)) == 1
        assert row.count() == 0


def test_three_answers_fit_a_small_window(browser: Browser, voting: VotingService) -> None:
    with phone(browser, **NARROW) as person:
        person.join(voting.link()).vote("good")
        assert person.page.evaluate(OUTSIDE) == []


def test_without_aspects(browser: Browser, voting: VotingService) -> None:
    """A task of before, and one that switches them off."""
    for page in (words(task=1), words() | {"aspects": {}}):
        voting.change(**page)
        try:
            with phone(browser) as person:
                person.join(voting.link()).vote("bad")
                assert person.page.get_by_role("group").count() == 0
                assert person.page.locator("#last").bounding_box()["height"] == 56
                assert person.chip("Clumsy").count() == (not page["aspects"] and "clumsy" in page["reasons"]["bad"])
        finally:
            voting.change(**words())


def test_two_aspects_have_two_rows(browser: Browser, tmp_path: Path) -> None:
    page = words()
    page["aspects"] |= OWN
    page["words"] |= OWN_WORDS
    home = make_home(tmp_path / "home", ANSWERS)
    with VotingService(home, page) as voting, phone(browser) as person:
        person.join(voting.link("emma")).vote("good")
        group(person, voting, "tone").get_by_text("Cold").tap()
        group(person, voting).get_by_text("Wrong").tap()
        person.eventually(lambda: len(said(voting, "emma")), 3)
        assert said(voting, "emma")[-1]["aspects"] == {"tone": "cold", "language": "wrong"}
        assert stored(voting, "emma") == {"vote": "good", "language": "wrong"}, "Argilla's task has no such question"

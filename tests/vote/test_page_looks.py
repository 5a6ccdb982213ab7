"""How the voting page looks and reads: axe in every state, buttons that stand still, small windows, large letters.

Pictures of all states go to `KTO_SCREENSHOTS`, if that is set.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import browser
from payloads import PAYLOADS
from playwright.sync_api import Browser
from voting_phone import DESKTOP, Phone, phone
from voting_service import VotingService, make_home, voting, words

__all__ = ["browser", "voting"]

CODE = (
    "Like this:\n\n```python\nwith open('notes.txt') as file:\n    print(file.read())\n```\n\n# The end\n\nThat is all."
)
TABLE = "| Food | Keeps for | Where |\n|---|---|---|\n" + "| Bread with seeds | two days | a paper bag |\n" * 3
LONG = "\n\n".join(f"{number}. A step of the recipe that takes a while to read." for number in range(1, 60))
RIGHT_TO_LEFT = "يمكنك تجميد الخبز لمدة شهرين."
ANSWERS = {
    "Short?": ["Yes."],
    "Code?": [CODE],
    "Table?": [TABLE],
    "Long?": [LONG],
    "هل يمكنني تجميد الخبز؟": [RIGHT_TO_LEFT],
    "Is this " + "a long question with many words, " * 30 + "or not?": ["It is."],
    **{f"Question {number}?": [f"Answer {number}."] for number in range(3)},
}
NARROW: dict[str, Any] = {"viewport": {"width": 320, "height": 568}}
BOXES = "['bad', 'skip', 'good'].map(id => JSON.stringify(document.getElementById(id).getBoundingClientRect()))"
SMALL = """() => [...document.querySelectorAll("button, input, textarea")].filter(made => {
    const box = made.getBoundingClientRect();
    return made.offsetParent && (box.width < 44 || box.height < 44);
}).map(made => made.outerHTML)"""
# A word that leaves its button, or a page that is wider than its window.
CUT = """width => [...document.querySelectorAll("#thumbs button, #actions button, #open-menu, #undo, .list button")]
    .filter(made => made.offsetParent)
    .filter(made => made.scrollWidth > made.clientWidth + 1 || made.scrollHeight > made.clientHeight + 1)
    .map(made => made.innerText).concat(document.documentElement.scrollWidth > width ? ["the page"] : [])"""
HIDDEN = """() => [...document.querySelectorAll("button")].filter(made => made.offsetParent && !made.closest("#chips"))
    .filter(made => { made.scrollIntoView({block: "center"}); const box = made.getBoundingClientRect();
        const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
        return !top || !made.contains(top); }).map(made => made.innerText)"""


def states(person: Phone, link: str) -> Iterator[str]:
    """Go through the states of the page, in an order that gets to all of them quickly."""
    person.open(link)
    person.page.locator("#actions button").first.wait_for()
    yield "consent"
    person.action(0)
    person.page.locator("#thumbs").wait_for()
    yield "practice"
    person.vote("good")
    yield "reason"
    person.action(1)
    person.page.locator("#open-menu").wait_for()
    yield "card"
    for number in range(len(ANSWERS) - 1):
        person.vote(("bad", "good", "skip")[number % 3])
        if number == 0:
            person.page.locator("#chips button").first.click()
        yield f"card {number}"
    person.click("#open-menu")
    yield "menu"
    for entry in (0, 3, 4, 5, 6):
        person.click(person.page.locator("#menu .action").nth(entry + 1 if entry else 0))
        yield f"menu {entry}"
        back = person.page.locator("#actions button, .list .action.second").last
        person.click(back)
        person.click("#open-menu")
    person.action()
    person.click(person.page.locator("#chips button").last)
    yield "comment"
    person.click(person.page.locator(".list .action").nth(1))
    person.context.set_offline(True)
    person.vote("good")
    person.eventually(lambda: bool(person.notice))
    yield "offline"
    person.context.set_offline(False)
    person.eventually(person.outbox, [])
    person.page.locator("#actions button").wait_for()
    yield "all done"


@pytest.mark.parametrize(
    ("language", "scheme", "window"),
    [("en", "light", {}), ("en", "dark", DESKTOP), ("ar", "dark", {}), ("ar", "light", NARROW)],
    ids=["en", "en-wide-dark", "ar-dark", "ar-narrow"],
)
def test_every_state(
    language: str, scheme: str, window: dict[str, Any], browser: Browser, voting: VotingService, tmp_path: Path
) -> None:
    """axe finds nothing, buttons are large and stand still, words are whole, one region is live."""
    pictures = Path(os.environ.get("KTO_SCREENSHOTS") or tmp_path)
    found: dict[str, Any] = {}
    places = set()
    voting.change(**words(language))
    try:
        with phone(browser, color_scheme=scheme, reduced_motion="reduce", **window) as person:
            for state in states(person, voting.link()):
                violations = Axe().run(person.page).response["violations"]
                found[state] = [(item["id"], item["nodes"][0]["html"]) for item in violations]
                assert person.page.evaluate(SMALL) == [], state
                assert person.page.evaluate(CUT, person.page.viewport_size["width"]) == [], state
                if person.page.locator("#thumbs").is_visible():
                    places.add(str(person.page.evaluate(BOXES)))
                assert person.page.evaluate("document.querySelectorAll('[aria-live], [role=status]').length") == 1
                assert "undefined" not in person.page.locator("body").inner_text()
                if "KTO_SCREENSHOTS" in os.environ:
                    person.page.screenshot(path=pictures / f"page-{language}-{scheme}-{state}.png")
    finally:
        voting.change(**words())
    assert {state: violations for state, violations in found.items() if violations} == {}
    assert len(places) == 1


@pytest.mark.parametrize("language", ["de", "fi", "ta", "am"])
@pytest.mark.parametrize("letters", [16, 32])
def test_small_windows_and_large_letters(language: str, letters: int, browser: Browser, voting: VotingService) -> None:
    """A browser whose letters are twice as large, and 320 pixels: every word is whole and can be reached."""
    voting.change(**words(language))
    try:
        with phone(browser, **NARROW) as person:
            session = person.context.new_cdp_session(person.page)
            session.send("Page.enable")
            session.send("Page.setFontSizes", {"fontSizes": {"standard": letters, "fixed": letters}})
            person.join(voting.link())
            assert person.page.evaluate("parseFloat(getComputedStyle(document.documentElement).fontSize)") == letters
            person.vote("bad")
            assert person.page.evaluate(CUT, person.page.viewport_size["width"]) == []
            assert person.page.evaluate(HIDDEN) == []
            assert person.page.locator("#foot").bounding_box()["height"] < 568 / 2
    finally:
        voting.change(**words())


def test_a_long_answer_scrolls_by_itself_and_a_long_question_folds(browser: Browser, voting: VotingService) -> None:
    with phone(browser) as person:
        person.join(voting.link())
        while person.prompt != "Long?":
            person.vote("skip")
        more = "document.body.classList.contains('more')"
        person.eventually(lambda: person.page.evaluate(more))
        person.page.locator("#main").evaluate("main => main.scrollTo(0, 1e6)")
        person.eventually(lambda: person.page.evaluate(more), False)
        assert person.page.locator(".answer li").last.is_visible()
        person.vote("skip")
        assert person.page.evaluate("document.querySelector('#main').scrollTop") == 0
    with phone(browser) as person:
        person.join(voting.link())
        while not person.prompt.startswith("Is this"):
            person.vote("skip")
        height = person.page.locator("#prompt").bounding_box()["height"]
        person.page.get_by_role("button", name="Show all of it").click()
        assert person.page.locator("#prompt").bounding_box()["height"] > 2 * height
        person.page.get_by_role("button", name="As written").click()
        assert person.page.locator(".raw").inner_text() == "It is."


def test_directions(browser: Browser, voting: VotingService) -> None:
    voting.change(**words("ar"))
    try:
        with phone(browser) as person:
            person.join(voting.link())
            good, bad = (person.page.locator("#" + vote).bounding_box() for vote in ("good", "bad"))
            assert good["x"] < bad["x"]  # mirrored
            seen = {}
            for _ in range(len(ANSWERS)):
                direction = "getComputedStyle(document.querySelector('.answer > div')).direction"
                seen[person.prompt] = person.page.evaluate(direction)
                person.vote("skip")
            assert seen["Code?"] == "ltr" and seen["هل يمكنني تجميد الخبز؟"] == "rtl"
    finally:
        voting.change(**words())


def test_the_focus_and_the_order_of_keys(browser: Browser, voting: VotingService) -> None:
    with phone(browser, **DESKTOP) as person:
        person.join(voting.link())
        person.vote("bad")
        focused = "document.activeElement.innerText.trim()"
        assert person.page.evaluate(focused) == "Question 2"
        order = []
        for _ in range(20):
            person.page.keyboard.press("Tab")
            order.append(person.page.evaluate("document.activeElement.id") or person.page.evaluate(focused))
        wanted = ["As written", "bad", "skip", "good", "Natural", "Understandable", "Wrong", *_chips(person), "undo"]
        assert [name for name in order if name in wanted][: len(wanted)] == wanted
        assert person.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != ""


def _chips(person: Phone) -> list[str]:
    return [text.strip() for text in person.page.locator("#chips button").all_inner_texts()]


def test_texts_are_no_html(browser: Browser, tmp_path: Path) -> None:
    assert len(PAYLOADS) == 37
    home = make_home(tmp_path / "home", {f"{payload} prompt": [f"{payload} answer"] for payload in PAYLOADS}, overlap=9)
    everything = "\n".join(PAYLOADS)
    page = words()
    nasty = {name: f"{text} {PAYLOADS[number % 37]}" for number, (name, text) in enumerate(page["words"].items())}
    example = {"prompt": everything, "answer": everything, "raw": everything, "vote": "good", "reason": everything}
    page |= {
        "title": everything,
        "words": nasty,
        "examples": [example] * 6,
        "consent": everything,
        "guidelines": everything,
    }
    with VotingService(home, page) as voting, phone(browser) as person:
        person.context.add_init_script("window.hits = 0; window.hit = () => { window.hits += 1 }")
        asked: list[str] = []
        person.page.on("request", lambda request: asked.append(request.url))
        person.open(voting.link("zoe")).action(0)
        person.vote("good")
        person.action(1)
        seen = set()
        for number in range(37):
            person.page.locator("#prompt").wait_for()
            seen.add(person.prompt)
            assert person.page.locator(".answer").first.inner_text().endswith("answer")
            person.page.locator(".row .chip").click()
            assert person.page.locator(".raw").inner_text() == person.prompt.removesuffix("prompt") + "answer"
            person.vote("bad")
            if number == 0:
                for entry in (0, 4):
                    person.click("#open-menu")
                    person.click(person.page.locator("#menu .action").nth(entry))
                    person.action(-1 if entry else 0)
        assert len(seen) == 37
        assert person.page.evaluate("window.hits") == 0
        assert {url.split("/")[3] for url in asked} == {"vote"} and not [url for url in asked if url.endswith("/x")]
        script = "document.querySelectorAll('script, style, iframe, object, embed, img, svg, form, base, meta').length"
        assert person.page.evaluate(script) == 7  # ours

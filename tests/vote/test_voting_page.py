"""The voting page in languages of many scripts, as people see it in a browser.

The pictures go to `KTO_SCREENSHOTS`, if that is set.
"""

import functools
import os
import subprocess
import unicodedata
from pathlib import Path

import pytest
from argilla_server import ArgillaServer
from browser import browser, open_page
from playwright.sync_api import Browser
from rendering import read_yaml, render
from voting import Task

__all__ = ["browser"]

LANGUAGES = ["nl", "ar", "fa", "he", "hi", "th", "ja", "am", "ta"]
CUT = """ours => [...document.querySelectorAll("label, h1, h2, h3, span, p")]
    .filter(e => ours.some(text => (e.innerText || "").includes(text)) && e.offsetParent && e.clientWidth > 0
        && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflow !== "visible").map(e => e.innerText)"""
DIRECTION = """words => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; node = walker.nextNode();)
        if (node.data.includes(words)) {
            const range = document.createRange();
            range.selectNodeContents(node);
            const line = range.getClientRects()[0], block = node.parentElement.getBoundingClientRect();
            return [getComputedStyle(node.parentElement).direction, line.left - block.left, block.right - line.right];
        }
    return null;
}"""


def examples(rows: list[dict[str, str]]) -> dict[str, list[str]]:
    """Return question → answers of the worked examples."""
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["question"], []).append(row["answer"])
    return {question: [*answers, None][:2] for question, answers in found.items()}


@functools.cache
def families_with(char: str) -> frozenset[str]:
    """Return the families of fonts on this machine that have a character."""
    listed = subprocess.run(["fc-list", f":charset={ord(char):x}", "family"], capture_output=True, encoding="utf-8")
    return frozenset(name.strip() for line in listed.stdout.splitlines() for name in line.split(","))


def boxes(shown: list[tuple[str, set[str]]]) -> list[str]:
    """Return the texts in which a letter or mark is shown as a box, because no font that was chosen has it."""
    letters = {text: {char for char in text if unicodedata.category(char)[0] in "LM"} for text, _ in shown}
    marks = range(0xFE00, 0xFE10)  # variation selectors show nothing
    return [
        text
        for text, used in shown
        if any(not families_with(char) & used for char in letters[text] if ord(char) not in marks)
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_speaks_the_language(
    language: str, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = Path(os.environ.get("KTO_SCREENSHOTS") or tmp_path)
    pictures.mkdir(parents=True, exist_ok=True)
    right_to_left = language in ("ar", "fa", "he")
    project = render(tmp_path, language=language)
    texts = read_yaml(project / "kto" / "texts.yaml")
    for name in ("ARGILLA_API_URL", "ARGILLA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("kto.texts.load", lambda: texts)
    with ArgillaServer(project) as argilla, open_page(browser, argilla.url, language) as page:
        task = Task(project, argilla.url, argilla.api_key)
        task.generate(examples(texts["examples"]["rows"]))
        task.setup()
        page.log_in(argilla.username, argilla.password)
        ours = [texts["task"][key] for key in ("vote", "good", "bad", "why", "reason_unsafe", "prompt", "answer")]
        ours += [texts["aspects"]["language"][key] for key in ("question", "natural", "wrong")]
        assert [text for text in ours if not page.shows(text)] == []
        assert page.page.evaluate("document.body.lang") == language
        assert page.page.evaluate(CUT, ours) == []
        page.screenshot(pictures / f"page-{language}.png")
        page.open_guidelines()
        page.screenshot(pictures / f"page-guidelines-{language}.png")
        shown = page.fonts("body *")
        assert texts["task"]["comment"] in "".join(text for text, _ in shown)
        assert boxes(shown) == []
        heading = texts["task"]["guidelines"].splitlines()[0].lstrip("# ")
        direction, left, right = page.page.evaluate(DIRECTION, heading)
        assert direction == ("rtl" if right_to_left else "ltr")
        assert (left > right) is right_to_left
        assert page.first_is_right_of_last(texts["task"]["vote"]) is right_to_left

"""The voting page in languages of many scripts, as people see it in a browser.

The pictures go to `KTO_SCREENSHOTS`, if that is set.
"""

import os
import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest
import yaml
from argilla_server import ArgillaServer
from browser import open_browser
from rendering import render
from voting import Task, argilla

__all__ = ["argilla"]

LANGUAGES = ["nl", "ar", "fa", "he", "hi", "th", "ja", "am", "ta"]
CUT = """() => [...document.querySelectorAll("label, .questions__form h3, .questions__form span")]
    .filter(e => e.innerText && e.offsetParent && e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0
        && getComputedStyle(e).overflow !== "visible").map(e => e.innerText)"""
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


def examples(guidelines: str) -> dict[str, list[str]]:
    """Return question → answers of the table in the guidelines."""
    found: dict[str, list[str]] = {}
    for line in [line for line in guidelines.splitlines() if line.startswith("|")][2:]:
        question, answer, *_ = [cell.strip() for cell in line.strip().strip("|").split("|")]
        found.setdefault(question, []).append(answer)
    return {question: [*answers, None][:2] for question, answers in found.items()}


def without_letter(text: str) -> set[str]:
    """Return the characters of a text that no font on this machine can show."""
    shown = {
        char for char in text if unicodedata.category(char)[0] in "LMNPS" and ord(char) not in range(0xFE00, 0xFE10)
    }
    found = set()
    for char in shown:
        listed = subprocess.run(["fc-list", f":charset={ord(char):x}"], capture_output=True, encoding="utf-8")
        if not listed.stdout:
            found.add(char)
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_speaks_the_language(
    language: str, argilla: ArgillaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("chromium") is None and not os.environ.get("KTO_CHROMIUM"):
        pytest.skip("no Chromium on this machine; KTO_CHROMIUM names one")
    pictures = Path(os.environ.get("KTO_SCREENSHOTS") or tmp_path)
    pictures.mkdir(parents=True, exist_ok=True)
    project = render(tmp_path, language=language, project_slug=f"kto-page-{language}")
    env = f"ARGILLA_API_URL={argilla.url}\nARGILLA_API_KEY={argilla.api_key}\n"
    (project / ".env").write_text(env, encoding="utf-8")
    texts = yaml.safe_load((project / "texts.yaml").read_text(encoding="utf-8"))
    assert without_letter(yaml.safe_dump(texts["task"], allow_unicode=True)) == set()
    for name in ("ARGILLA_API_URL", "ARGILLA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("kto.texts.load", lambda: texts)
    task = Task(project, argilla.url, argilla.api_key)
    task.people["owner"] = task._client(argilla.api_key)
    task.generate(examples(texts["task"]["guidelines"]))
    task.setup()
    with open_browser(argilla.url, language) as page:
        page.log_in(argilla.username, argilla.password, f"/dataset/{task.dataset_id}/annotation-mode")
        for key in ("vote", "good", "bad", "reasons", "reason_unsafe", "prompt", "answer"):
            assert page.shows(texts["task"][key]), key
        assert page.page.evaluate(CUT) == []
        page.screenshot(pictures / f"page-{language}.png")
        page.open_guidelines()
        page.screenshot(pictures / f"page-guidelines-{language}.png")
        heading = texts["task"]["guidelines"].splitlines()[0].lstrip("# ")
        direction, left, right = page.page.evaluate(DIRECTION, heading)
        right_to_left = language in ("ar", "fa", "he")
        assert direction == ("rtl" if right_to_left else "ltr")
        assert (left > right) is right_to_left
    task.people["owner"].close()

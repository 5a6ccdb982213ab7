"""What people read on the real voting page is what the dataset holds."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from html import unescape

import pytest
from browser import Page, open_browser
from hypothesis import given
from hypothesis import strategies as st
from payloads import PAYLOADS
from rendering import TEMPLATE
from voting import Task, argilla, english, task

sys.path.insert(0, str(TEMPLATE))

__all__ = ["argilla", "english", "task"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    if shutil.which("chromium") is None and not os.environ.get("KTO_CHROMIUM"):
        pytest.skip("no Chromium on this machine; KTO_CHROMIUM names one")
    with open_browser("", "en") as page:
        page.page.add_init_script("window.hits = 0; window.hit = () => { window.hits += 1 }")
        yield page


def read(browser: Page, task: Task, prompt: str, answer: str) -> tuple[str, str]:
    """Upload an answer, open it on the page as an annotator and return what can be read there of prompt and answer."""
    page = browser.page
    task.generate({prompt: [answer, None]})
    task.setup()
    task.person("reader")
    if not page.url.startswith(task.url):
        page.goto(task.url)
        page.locator("input[type=text]").fill("reader")
        page.locator("input[type=password]").fill("password of reader")
        page.locator("button[type=submit]").click()
        page.locator(".dataset-card").first.wait_for()
    page.goto(f"{task.url}/dataset/{task.dataset_id}/annotation-mode")
    areas = page.locator(".text_field_component .content-area")
    areas.nth(1).wait_for(state="attached")
    page.wait_for_load_state("networkidle")
    texts = [re.sub(r"::highlight\(.*", "", area, flags=re.DOTALL).strip() for area in areas.all_inner_texts()]
    return texts[0], texts[1]


def in_front(browser: Page, selector: str) -> bool:
    """Tell whether a person who clicks on the middle of an element hits it."""
    return browser.page.evaluate(
        """selector => {
            const found = document.querySelector(selector), box = found.getBoundingClientRect();
            const hit = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
            return box.width > 0 && (found === hit || found.contains(hit));
        }""",
        selector,
    )


@pytest.mark.parametrize(
    "answer",
    [
        "쌀을 3~5번 씻고 10~15분 끓이세요.",
        "Le billet coûte 10 $ et le repas 20 $.",
        "<style>body{display:none}</style>",
        "Use the <title> tag, then <script>.",
        '<div style="position:fixed;inset:0;z-index:9999;background:red">here</div>',
        "It is 2*3*4, ~~not~~ \\(x^2\\).\n> 5 is more &lt; www.example.org, [a](https://example.org)\n---\n<https://b.org>",
        "One line.\nAnother line.\n\nAnd a paragraph; nothing else.",
        "1986. Dat was het jaar.",
    ],
)
def test_an_answer_is_read_as_it_was_written(browser: Page, task: Task, answer: str) -> None:
    _, read_answer = read(browser, task, "Vraag?", answer)
    assert read_answer == answer
    assert in_front(browser, "label[for=vote_good]")


@pytest.mark.parametrize(
    "prompt",
    [
        "Wat doet de tag `<b>` in HTML, en `<script>`?",
        '<meta http-equiv=refresh content="0;url=/user-settings">Where am I?',
    ],
)
def test_a_prompt_is_read_as_it_was_written(browser: Page, task: Task, prompt: str) -> None:
    read_prompt, _ = read(browser, task, prompt, "Yes.")
    assert read_prompt == prompt
    assert task.dataset_id in browser.page.url


def test_markdown_of_models_is_read_as_such(browser: Page, task: Task) -> None:
    answer = (
        "## Title\n\n**Bold** and *it* and `x < y`\nnext line\n\n3. three\n7. seven\n   - sub\n\n"
        "| one | two |\n|---|---|\n| 1 | 2 |\n\n```python\nif a < b:\n\n\n    c()\n```\n\n"
        "![Een kat](https://example.org/kat.png)"
    )
    _, shown = read(browser, task, "Markdown?", answer)
    assert re.sub(r"\s*\n\s*", "\n", shown) == (
        "Title\nBold and it and x < y\nnext line\nthree\nseven\nsub\none\ttwo\n1\t2\npython\nif a < b:\nc()\n"
        "Een kat https://example.org/kat.png"
    )
    area = browser.page.locator(".text_field_component .content-area").nth(1)
    html = area.inner_html()
    for part in (
        "<h2>Title</h2>",
        "<strong>Bold</strong>",
        "<em>it</em>",
        "<code>x &lt; y</code>",
        "if a &lt; b:\n\n\n    c()",
    ):
        assert part in html
    assert [item.get_attribute("value") for item in area.locator("ol > li").all()] == ["3", "7"]
    assert area.locator("ol li ul li").count() == 1 and area.locator("td").count() == 2
    assert re.findall(r"<(img|del|blockquote)|kat\.png</a>", html) == []


def test_no_payload_runs_and_all_are_read(browser: Page, task: Task) -> None:
    assert len(PAYLOADS) == 37
    text = "\n\n".join(PAYLOADS)
    prompt, answer = read(browser, task, text, text)
    page = browser.page
    for number in (1, 2, 3):
        for link in page.locator(f"#link{number}").all():
            link.click(force=True, timeout=1000)
    assert page.evaluate("window.hits") == 0
    assert prompt == text
    marks = re.compile(r'[\s!\[\]()"]')  # of pictures
    assert marks.sub("", answer) == marks.sub("", text)
    assert task.dataset_id in page.url and in_front(browser, "label[for=vote_good]")
    page.locator("label[for=vote_good]").click()
    with page.expect_response(lambda response: "/responses" in response.url) as sent:
        page.locator("button.button--submit").click()
    assert sent.value.ok


def test_a_direction_of_its_own(browser: Page, task: Task) -> None:
    read(browser, task, "لماذا؟", "كيف **أوفر** الماء؟\n\n| أ | ب |\n|---|---|\n| merci | thanks |")
    area = browser.page.locator(".text_field_component .content-area").nth(1)
    assert area.locator("p").first.evaluate("e => getComputedStyle(e).direction") == "rtl"
    assert area.locator("table").evaluate("e => getComputedStyle(e).direction") == "rtl"


def test_search_finds_words_not_marks(task: Task) -> None:
    task.generate({"Is a < b?": ["This is im**port**ant: `a<b`.", None]})
    task.setup()

    def hits(words: str) -> int:
        url = f"/api/v1/me/datasets/{task.dataset_id}/records/search"
        return task.person("reader").post(url, json={"query": {"text": {"q": words}}}).json()["total"]

    assert [hits(words) for words in ("important", "strong", "div", "lt")] == [1, 0, 0, 0]


# --- for any text -----------------------------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text)


def seen(html: str) -> str:
    """Return the text of HTML, the numbers of lists included."""
    numbered = re.sub(r'<li value="(\d+)">', r" \1 ", html)
    return unescape(re.sub("<[^>]*>", " ", re.sub("</?(?:strong|em|code)[^>]*>", "", numbered)))


SIGNS = [*"*_`#|-+.:~$<>&()[]!\\\"'\n\n\n 1234567ab", "\n\n", "**", "```", "    ", "1. ", "![", "](", "é", "ب", "好"]
PIECES = st.sampled_from([*SIGNS, "| a | b |\n|--|--|\n"])


@given(st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=30).map("".join))
def test_the_words_that_people_see_are_those_of_the_text(text: str) -> None:
    from kto.rendering import answer_html, argilla_answer, as_written

    html = answer_html(text)
    assert "".join(words(seen(html))) == "".join(words(text))
    assert set(re.findall(r"<([a-z0-9]+)", html)) <= {
        *("div", "p", "br", "strong", "em", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li"),
        *("pre", "code", "small", "table", "thead", "tbody", "tr", "th", "td"),
    }
    for sign in "$<>&;,?%{}=":
        assert seen(html).count(sign) == text.count(sign)
    field = argilla_answer(text)
    assert field == text or (field.startswith("<div ") and "\n" not in field)
    assert words(unescape(as_written(text))) == words(text)

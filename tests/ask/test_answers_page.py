"""What a lead reads after a run: data/generations/answers.html in a browser, and the table in the terminal."""

import functools
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from browser import SWITCHES
from generating import ENGLISH, figures, generate, use, write_prompts
from model_server import ModelServer
from playwright.sync_api import Browser, sync_playwright
from rendering import REPOSITORY
from rich.cells import cell_len

pytest_plugins = ["generating_fixtures"]

HOSTILE = (
    '</div></section></main><script>document.title="x"</script><img src="http://127.0.0.1:9/x" onerror="x()"> "\'&'
)
ANSWERS = {
    "How do I keep bread fresh?": f"**Paper bag**.\n\n| a | b |\n|---|---|\n| 1 | {'W' * 300} |\n\n{ENGLISH}",
    "كيف أحافظ على الخبز طازجًا؟": "احفظه في كيس ورقي بدرجة حرارة الغرفة، وجمّد ما لن تأكله خلال يومين من شرائه.",
    f"<title>{HOSTILE}": f"# Title\n\n{HOSTILE}\n\n```\n{HOSTILE * 3}\n```\n\n{ENGLISH}",
    "Please refuse.": "I'm sorry, but I can't help with that.",
    "No answer, please.": "",
}
CUT = ENGLISH[:200]
MODELS = ["acme/one", "acme/cut", "a-very-long-owner-name/a-very-long-name-of-a-model-405B-Instruct:together"]


@functools.cache
def texts_of(tag: str) -> dict[str, Any]:
    def over(base: dict, own: dict) -> dict:
        return {**base, **{key: over(base.get(key, {}), it) if isinstance(it, dict) else it for key, it in own.items()}}

    read = {
        name: yaml.safe_load((REPOSITORY / "languages" / f"{name}.yaml").read_text("utf-8")) for name in ("en", tag)
    }
    return over(read["en"], read[tag]) | {"numbers": read[tag]["language"].get("numbers")}


@pytest.fixture(scope="module")
def pages(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """The page of a project in each of some languages, and what the command said."""
    made: dict[str, tuple[Path, str]] = {}
    with ModelServer() as server, pytest.MonkeyPatch.context() as patch:
        server.reply = reply
        project = Path(shutil.copytree(rendered, tmp_path_factory.mktemp("page") / "p"))
        use(project, "generation", models=MODELS, prompts="prompts/mine.jsonl", base_url=server.url, max_attempts=1)
        for tag, (script, direction) in {"en": ("Latn", "ltr"), "ar": ("Arab", "rtl"), "ja": ("Jpan", "ltr")}.items():
            more = 200 if tag == "en" else 0
            write_prompts(project, [*ANSWERS, *(f"Prompt {number}" for number in range(more))])
            patch.setattr("kto.texts.load", lambda tag=tag: texts_of(tag))
            use(project, "language", tag=tag, iso=tag, script=script, direction=direction, texts=[tag, "en"])
            use(project, "project", name=f"Thumbs & <b>up</b> {tag}")
            done = generate(project)
            assert "acme/cut" in done.stdout, done.stderr  # there are gaps
            path = project / "data" / "generations" / "answers.html"
            own = path.with_name(f"{tag}.html")
            if path.exists():
                shutil.copy(path, own)
            made[tag] = own, done.stdout
    return made


def reply(body: dict[str, Any]) -> Any:
    """Answer as it stands above; one model is cut off."""
    prompt = body["messages"][-1]["content"]
    text = next((text for start, text in ANSWERS.items() if prompt.startswith(start)), "Echo")
    if body["model"] == "acme/cut" and text:
        return 200, {"choices": [{"message": {"role": "assistant", "content": CUT}, "finish_reason": "length"}]}
    return text


class Nesting(HTMLParser):
    """Raises where an element is closed that is not the one that is open."""

    VOID = ("meta", "br")

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags = Counter[str]()
        self.feed(content)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags[tag] += 1
        assert len({name for name, _ in attrs}) == len(attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


class TestPageInABrowser:
    @pytest.fixture(scope="class")
    @classmethod
    def browser(cls, pages: dict) -> Iterator[Browser]:
        program = os.environ.get("KTO_CHROMIUM") or shutil.which("chromium")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=SWITCHES)
            yield browser
            browser.close()

    @pytest.mark.parametrize("width", [360, 1280])
    @pytest.mark.parametrize("tag", ["en", "ar", "ja"])
    def test_it_reads_well(self, pages: dict, browser: Browser, tag: str, width: int) -> None:
        path, said = pages[tag]
        assert path.exists() and f"{path.with_name('answers.html')}\n" in said
        words = texts_of(tag)["generate"]
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        look = page.evaluate
        assert asked == [path.as_uri()] and page.locator("script, img, link, iframe, style ~ style").count() == 0
        assert page.title() == page.locator("header h1").inner_text() == f"Thumbs & <b>up</b> {tag}"
        assert look("[document.documentElement.lang, document.documentElement.dir]") == [
            tag,
            "rtl" if tag == "ar" else "ltr",
        ]
        assert look("document.documentElement.scrollWidth") <= width  # wide tables scroll in themselves
        assert look("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"

        # Every prompt as it was written; 200 of 205.
        articles = page.locator("article")
        prompts = page.locator("h2").evaluate_all("all => all.map(e => e.textContent)")
        assert articles.count() == (200 if tag == "en" else 5) and prompts[:5] == [*ANSWERS]
        assert articles.nth(2).locator("h2, .text").filter(has_text=HOSTILE).count() == 3
        assert articles.nth(2).locator("section").count() == 3

        # Each answer reads in the direction of its own script, whatever that of the page.
        sides = [articles.nth(place).locator("h2").evaluate("e => getComputedStyle(e).direction") for place in (0, 1)]
        inner = [articles.nth(place).locator(".text > div").first.get_attribute("dir") for place in (0, 1)]
        assert sides == inner == ["ltr", "rtl"]

        # What is to be known of each answer, in the language of the page.
        marks = [articles.nth(place).locator(".marks").all_inner_texts() for place in range(5)]
        assert all(words["column_cut"] in marks[place][1] for place in range(4))
        assert marks[3][0].endswith(words["column_refused"]) and marks[4] == [words["column_empty"]] * 3
        english = words["column_right"] if tag == "en" else f"{words['column_wrong']} (en)"
        assert marks[0][0] == english

        boxes = [box.bounding_box() for box in articles.first.locator("section").all()]
        lefts, tops = ({round(box[side]) for box in boxes if box} for side in ("x", "y"))
        assert (len(lefts), len(tops)) == ((1, 3) if width < 500 else (3, 1))  # below each other, or side by side
        page.close()


def test_the_page_is_small_and_well_formed(pages: dict) -> None:
    content = pages["en"][0].read_text(encoding="utf-8")
    nesting = Nesting(content)
    assert nesting.tags["article"] == 200 and not nesting.tags["script"] and content.startswith("<!DOCTYPE html>")
    assert len(re.search("<style>(.*?)</style>", content, re.DOTALL)[1]) < 4000
    assert "cellpadding" not in content and "Prompts: 200 / 205" in content


def test_a_dry_run_writes_no_page_and_a_gap_keeps_its_place(project: Path, english: None) -> None:
    path = project / "data" / "generations" / "answers.html"
    with ModelServer() as server:
        use(project, "generation", base_url=server.url, max_attempts=1)
        assert generate(project, "--dry-run").returncode == 0 and not path.exists()
        server.fail("How are you?", model="acme/two", status=500)
        assert generate(project).returncode == 1
        assert path.exists()
        assert path.read_text("utf-8").count('<span class="missing" dir="auto">Missing</span>') == 1
        server.heal()
        assert generate(project).returncode == 0
        assert "Missing" not in path.read_text("utf-8")
        first = json.loads((project / "prompts" / "mine.jsonl").read_text("utf-8").splitlines()[0])["prompt"]

        # What is taken out for good leaves the page, too.
        from kto.ask.prompt_sources import prompt_id
        from kto.settings import load as load_settings
        from kto.vote import taking_out

        settings = load_settings(project)
        taking_out.clear_table(settings, taking_out.take_out(settings, [prompt_id(first)], "lead", "harmful"))
        assert first not in path.read_text("utf-8") and "<article>" in path.read_text("utf-8")
    ignored = (project / ".gitignore").read_text("utf-8").splitlines()
    assert "data/generations/answers.html" in ignored  # it can be made again, and holds what is taken out later


# --- the table in the terminal ----------------------------------------------------------------


@pytest.mark.parametrize("tag", ["en", "de", "fi", "hu", "ja", "ml", "am", "zh-Hant"])
def test_the_table_fits_a_terminal(tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from kto.ask import report
    from kto.ask.plan import Estimate
    from kto.ask.table import TableCounts
    from kto.ask.targets import ModelTarget
    from kto.ask.writer import RunCounts

    texts = texts_of(tag)
    monkeypatch.setattr("kto.texts.load", lambda: texts)
    names = [
        "Qwen/Qwen3-235B-A22B-Instruct-2507:cerebras",
        "acme/two",
        "模型/很长的名字很长的名字很长的名字很长",
        "x" * 90,
        "e",
    ]
    has = TableCounts(100_000, 99_000, 1_000, 12, 34_567, 3, 210, Counter(right=90_000, wrong=8_000, unchecked=1_000))
    did = RunCounts(99_000, 99_000, 12_345_678, 123_456_789, 1e6, 1234.5)
    targets = [ModelTarget(name, name, None, {}, {}, 1, 1, 1, prices=(1e-6, 1e-6)) for name in names]
    after = report.after(targets, dict.fromkeys(names, has), dict.fromkeys(names, did))
    before = report.before(dict.fromkeys(names, Estimate(100_000, 12_345_678, 123_456_789, 135.802467)))
    for shown in (after, before):
        assert max(map(cell_len, shown.splitlines())) <= 80
        assert "…" not in shown and "acme/two" in shown
    for column in ("asked", "missing", "cut", "unchecked", "seconds", "cost"):
        assert re.sub(r"\s", "", texts["generate"][f"column_{column}"]) in re.sub(r"\s", "", after)
    assert after.count(report._money(1234.5)) == len(names)


@pytest.mark.parametrize("tag", ["en", "ar", "ja"])
def test_what_the_command_says_fits_too(pages: dict, tag: str) -> None:
    _, said = pages[tag]
    table = [line for line in said.splitlines() if re.search(r"\S {3}|──", line)]
    assert len(table) >= 4 and max(map(cell_len, table)) <= 80, said
    if tag == "en":
        assert figures(said)["acme/one"]["Prompts"] == "205"

"""What the voting page says: `publish/voting/page.json`, the guidelines and the announcement, in every language."""

import json
import re
import sys
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import earlier_project
import pytest
import yaml
from generating import run, use
from hypothesis import given
from hypothesis import strategies as st
from payloads import PAYLOADS
from rendering import ANSWERS, LANGUAGES, REPOSITORY, TEMPLATE, read_yaml, render, replay

sys.path.insert(0, str(TEMPLATE))
sys.path.insert(0, str(REPOSITORY / "tools"))

import update
from kto import examples, pages, texts
from kto.answer_markdown import to_html
from kto.questions import BAD, GOOD, TASK, questions
from kto.rendering import answer_html
from kto.vote.page_json import page_json

from local_extensions import languages, rendering

TAGS = {"h2", "p", "ul", "li", "strong", "em", "table", "thead", "tbody", "tr", "th", "td"}
"""What the guidelines and the consent of every language are made of."""


class Read(HTMLParser):
    """What is in a piece of HTML: its tags with their attributes, and its words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.words += data


def made(
    language: str, contact: str = "", over: Mapping[str, Any] | None = None, task: int = TASK, **answers: str
) -> dict[str, Any]:
    """Return the file of a project with these answers, contact, changed texts and version of the task."""
    given_answers = ANSWERS | {"language": language} | answers
    values = rendering.values(given_answers) | {"contact": contact}
    whole = texts._merge(rendering.project_texts(given_answers), over or {})
    return json.loads(page_json(whole, values, questions({"task": task}, whole)))


def change(project: Path, **changed: object) -> None:
    """Change texts in `texts.yaml`; `section__key` names one."""
    content: dict[str, Any] = read_yaml(project / "texts.yaml") or {}
    for name, text in changed.items():
        section, key = name.split("__")
        content.setdefault(section, {})[key] = text
    (project / "texts.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")


def page_of(project: Path) -> dict[str, Any]:
    return json.loads((project / "publish" / "voting" / "page.json").read_text(encoding="utf-8"))


def bring(project: Path) -> str:
    done = run(project, "check.py", "pages")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return render(tmp_path, language="nl")


@pytest.mark.parametrize("tag", [*LANGUAGES, "gsw"])
def test_every_language_has_all_of_it(tag: str) -> None:
    page = made(tag)
    facts = languages.facts_of(tag)
    translated = facts.texts[0] != "en"
    assert page["format"] == 1 and page["title"] == "Thumbs up"
    assert (page["language"], page["direction"]) == (facts.texts[0], facts.direction if translated else "ltr")
    assert [int(digit) for digit in page["digits"]] == [*range(10)]
    flags = ["personal_data", "unpublishable"]
    reasons = {GOOD: ["useful", "complete", "well_said", "fits_culture"], BAD: ["not_true", "off_topic", "unsafe"]}
    assert page["reasons"] == {vote: names + flags for vote, names in reasons.items()}
    assert page["aspects"] == {"language": ["natural", "understandable", "wrong"]}
    assert re.fullmatch("[0-9a-f]{16}", page["consent_version"])
    for html in (page["consent"], page["guidelines"]):
        read = Read(html)
        assert {tag for tag, _ in read.tags} <= TAGS and not any(attributes for _, attributes in read.tags)
        assert "{" not in html and "|" not in read.words and "**" not in read.words
    wanted = {*(languages.catalogue("en") or {})["page"]} | {"question", "answer", "comment_help"}
    wanted |= {f"reason_{name}" for name in (*reasons[GOOD], *reasons[BAD], *flags)}
    wanted |= {f"aspect_language{key}" for key in ("", "_question", "_natural", "_understandable", "_wrong")}
    assert page["words"].keys() == wanted
    known = {"number", "total", "count", "percent", "url"}
    assert {name for text in page["words"].values() for name in pages.PLACEHOLDER.findall(text)} <= known
    assert page["words"]["unsure"] in Read(page["guidelines"]).words
    assert len(page["examples"]) >= 6 and {example["vote"] for example in page["examples"]} == {GOOD, BAD}
    for example in page["examples"]:
        assert example["answer"] == answer_html(example["raw"])
        assert "{" not in "".join(example.values())


@given(
    st.text()
    | st.lists(st.sampled_from([*PAYLOADS, '"', "&", "\u00a0", "|", "\n", "**", "`", "- ", "|---|"])).map("".join)
)
def test_an_answer_is_the_same_without_the_second_cleaning(answer: str) -> None:
    """The practice cards are made where nh3 is not installed."""
    assert to_html(answer) == answer_html(answer)


@pytest.mark.parametrize("language", ["nl", "ar", "am"])
def test_what_people_type_stays_text(language: str) -> None:
    for payload in PAYLOADS:
        page = made(language, contact=payload, project_name=payload, domain=payload)
        assert page["title"] == payload
        read = Read(page["consent"])
        assert {tag for tag, _ in read.tags} <= TAGS and not any(attributes for _, attributes in read.tags)
        assert payload in read.words
        assert payload in page["words"]["who"]
        over: dict[str, Any] = {
            "examples": {"rows": [dict.fromkeys(("question", "answer", "why"), payload) | {"vote": BAD}]}
        }
        over |= {"task": {"guidelines": f"{{examples}}\n\n{payload}"}, "community": {"consent": payload}}
        page = made(language, over=over)
        assert page["examples"][0]["raw"] == payload and page["examples"][0]["answer"] == answer_html(payload)
        for html in (page["consent"], page["guidelines"]):
            assert {tag for tag, _ in Read(html).tags} <= {*TAGS, "pre", "code"}


@pytest.mark.parametrize(
    ("markdown", "link"),
    [
        ("[x](https://a.org/?b=1&c=2)", "https://a.org/?b=1&amp;c=2"),
        ("<mailto:ann@a.org>", "mailto:ann@a.org"),
        ("[x](HTTP://a.org)", "HTTP://a.org"),
        ("[x](javascript:hit())", None),
        ("[x](/vote/api/withdraw)", None),
        ("[x](data:text/html,hit)", None),
        ("[x](vbscript:hit)", None),
        ("<javascript:hit()>", None),
        ("[x][y]\n\n[y]: javascript:hit()", None),
    ],
)
def test_only_harmless_links_are_links(markdown: str, link: str | None) -> None:
    html = made("en", over={"community": {"consent": markdown}})["consent"]
    found = re.findall(r"<a [^>]*>", html)
    assert found == ([f'<a href="{link}" target="_blank" rel="noopener noreferrer">'] if link else [])


def test_an_image_is_not_loaded() -> None:
    html = made("en", over={"community": {"consent": "![us](https://a.org/us.png)"}})["consent"]
    assert "<img" not in html and 'href="https://a.org/us.png"' in html


def test_the_consent_says_who_runs_this() -> None:
    """And its version changes with that, and with nothing else."""
    unknown, ann = made("en"), made("en", contact=" Ann & Ben, ann@example.org ".strip())
    assert "The person who sent you the link runs this." in unknown["consent"]
    assert "This is run by Ann &amp; Ben, ann@example.org." in ann["consent"]
    other = made("en", contact="Ann & Ben, ann@example.org", over={"page": {"undo": "Take back"}})
    assert other["words"]["undo"] == "Take back" and other["consent_version"] == ann["consent_version"]
    assert len({page["consent_version"] for page in (unknown, ann, made("nl"))}) == 3


def test_the_two_forms_of_the_guidelines_differ_where_the_pages_do(project: Path) -> None:
    ours, page = (project / "publish" / "community" / "guidelines.md").read_text(encoding="utf-8"), page_of(project)
    told = read_yaml(project / "kto" / "texts.yaml")
    assert told["task"]["unsure"] in ours and told["task"]["keys"] in ours and "Discard" in ours
    words = Read(page["guidelines"]).words
    assert told["page"]["unsure"] in words and told["page"]["keys"].replace("**", "") in words
    assert "Discard" not in words and "draft" not in words
    rows = told["examples"]["rows"]
    assert ours.count("\n| ") == len(rows) + 1 and page["guidelines"].count("<tr>") == len(rows) + 1
    assert all(row["why"].replace("{language}", "Nederlands") in words for row in rows)


def test_check_pages_brings_texts_and_settings_into_it(project: Path) -> None:
    path = project / "publish" / "voting" / "page.json"
    use(project, "annotation", contact="Ann, <ann@example.org>")
    use(project, "project", name="Duimen & <b>zo</b>")
    change(project, page__undo="Terug", task__reason_not_true="Klopt niet", examples__why="Want")
    assert "publish/voting/page.json" in bring(project)
    page = page_of(project)
    assert "Ann, &lt;ann@example.org&gt;" in page["consent"] and page["title"] == "Duimen & <b>zo</b>"
    assert page["words"]["undo"] == "Terug" and page["words"]["reason_not_true"] == "Klopt niet"
    assert "<th>Want</th>" in page["guidelines"]
    assert "| Want |" in (project / "publish" / "community" / "guidelines.md").read_text(encoding="utf-8")
    whole = path.read_bytes()
    for spoilt in (whole.replace(b"Terug", b"Weg"), b"\xff\xfe", None):
        path.write_bytes(spoilt) if spoilt is not None else path.unlink()
        said = bring(project)
        assert "publish/voting/page.json" in said and "--replace" not in said
        assert path.read_bytes() == whole
    path.write_bytes(whole.replace(b"\n", b"\r\n"))
    assert "page.json" not in bring(project), "line ends of Windows"


def test_examples_of_a_project_take_the_place_of_ours(project: Path) -> None:
    rows = [
        {"question": "a | b?", "answer": "**Ja** |\nnee", "vote": vote, "why": "Want {language}."}
        for vote in (GOOD, BAD)
    ]
    change(project, examples__rows=rows)
    bring(project)
    page = page_of(project)
    assert [(example["prompt"], example["raw"], example["vote"]) for example in page["examples"]] == [
        ("a | b?", "**Ja** |\nnee", vote) for vote in (GOOD, BAD)
    ]
    assert page["examples"][0]["reason"] == "Want Nederlands."
    assert page["guidelines"].count("<td>a | b?</td>") == 2
    ours = (project / "publish" / "community" / "guidelines.md").read_text(encoding="utf-8")
    assert "| a \\| b? | **Ja** \\| nee | 👍 | Want Nederlands. |\n" in ours


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("none", "each example in “examples.rows” needs question, answer, vote, why"),
        ([], "each example in “examples.rows” needs question"),
        ([{"question": "a", "answer": "b", "vote": "👍", "why": "c"}], "its vote is good or bad"),
        ([{"question": "a", "answer": "b", "vote": ["good"], "why": "c"}], "its vote is good or bad"),
        ([{"question": "a", "answer": "b", "vote": "good"}], "needs question, answer, vote, why"),
        ([{"question": "a", "answer": "", "vote": "good", "why": "c"}], "has no text for “examples.rows.answer”"),
        ([{"question": "a", "answer": "b", "vote": "good", "why": "{taal}"}], "“examples.rows.why” uses {taal}"),
    ],
)
def test_a_wrong_example_is_named(project: Path, rows: object, said: str) -> None:
    change(project, examples__rows=rows)
    before = (project / "publish" / "voting" / "page.json").read_bytes()
    for command in (["check.py", "pages"], ["check.py"]):
        done = run(project, *command)
        assert done.returncode == 1 and said in done.stderr and "texts.yaml" in done.stderr
    assert (project / "publish" / "voting" / "page.json").read_bytes() == before


def test_a_project_of_before_asks_what_it_asked(project: Path) -> None:
    """Its settings have no `task`; rendering, an update and `check.py pages` agree."""
    settings = project / "settings.toml"
    settings.write_text(re.sub(r"(?m)^task = .*\n", "", settings.read_text("utf-8")), encoding="utf-8")
    bring(project)
    page = page_of(project)
    assert page["reasons"] == {GOOD: [], BAD: ["wrong_language", "not_true", "off_topic", "clumsy", "unsafe"]}
    assert page["aspects"] == {} and "reason_useful" not in page["words"]
    (project / "publish" / "voting" / "page.json").unlink()
    assert update.main([str(project)]) == 0
    assert page_of(project) == page
    assert made("nl", task=1)["reasons"] == page["reasons"]


def use_reasons(project: Path, lists: str) -> None:
    path = project / "settings.toml"
    settings, count = re.subn(r"(?m)^(# )?reasons = .*$", f"reasons = {lists}", path.read_text("utf-8"))
    assert count == 1
    path.write_text(settings, encoding="utf-8")


OWN: dict[str, dict[str, Any]] = {
    "task": {"reason_funny": "Leuk, in het {language}"},
    "aspects": {
        "tone": {"question": "En de toon?", "help": "Als je wilt.", "short": "Toon", "warm": "Warm", "cold": "Koel"}
    },
}


def test_reasons_and_aspects_of_a_project(project: Path) -> None:
    use(project, "annotation", aspects=["language", "tone"])
    use_reasons(project, '{ good = ["funny"], bad = ["unsafe"], flags = [] }')
    (project / "texts.yaml").write_text(yaml.safe_dump(OWN, allow_unicode=True, sort_keys=False), encoding="utf-8")
    bring(project)
    page = page_of(project)
    assert page["reasons"] == {GOOD: ["funny"], BAD: ["unsafe"]} and page["aspects"]["tone"] == ["warm", "cold"]
    assert page["words"]["reason_funny"] == "Leuk, in het Nederlands"
    said = {name: text for name, text in page["words"].items() if name.startswith("aspect_tone")}
    assert [*said.values()] == ["Toon", "En de toon?", "Warm", "Koel"]
    assert "not texts of this project" not in run(project, "check.py").stdout
    use(project, "annotation", aspects=[])
    use_reasons(project, "{ good = [], bad = [], flags = [] }")
    bring(project)
    assert (page_of(project)["reasons"], page_of(project)["aspects"]) == ({GOOD: [], BAD: []}, {})


@pytest.mark.parametrize(
    ("key", "tone"),
    [
        ("reason_fun", OWN["aspects"]["tone"]),
        ("reason_funny", None),
        ("reason_funny", {**OWN["aspects"]["tone"], "short": ""}),
        ("reason_funny", {**OWN["aspects"]["tone"], "Very cold": "Ijs"}),
        ("reason_funny", {**OWN["aspects"]["tone"], False: "Nee"}),
        ("reason_funny", {name: text for name, text in OWN["aspects"]["tone"].items() if name != "cold"}),
        ("reason_funny", "Toon"),
    ],
)
def test_a_missing_text_of_ones_own_is_named(project: Path, key: str, tone: object) -> None:
    use(project, "annotation", aspects=["tone"])
    use_reasons(project, '{ good = ["funny", "useful"] }')
    texts = {"task": {key: "Leuk"}, "aspects": {"tone": tone}}
    (project / "texts.yaml").write_text(yaml.safe_dump(texts, allow_unicode=True), encoding="utf-8")
    for command in (["check.py", "pages"], ["check.py"]):
        done = run(project, *command)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        wanted = "“aspects.tone” needs" if key == "reason_funny" else "There is no text for “task.reason_funny”"
        assert wanted in done.stderr and "texts.yaml" in done.stderr and "settings.toml" in done.stderr


def test_check_knows_the_examples(project: Path) -> None:
    change(project, examples__rows=[{"question": "a", "answer": "b", "vote": "good", "why": "c"}])
    assert "not texts of this project" not in run(project, "check.py").stdout


OLD = "## Zo\n\nDoe maar.\n\n| Vraag | Stem |\n|---|---|\n| Wat? | 👍 |\n\nSla over met “Discard”.\n"


@pytest.fixture(params=["now", "48701f0"])
def with_own_guidelines(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A project whose guidelines are its own, written when there were no places for other texts in them."""
    if request.param == "now":
        project = render(tmp_path, language="nl")
        change(project, task__guidelines=OLD)
        return project
    project = earlier_project.rendered(tmp_path / "kto-test")
    content = read_yaml(project / "texts.yaml")
    content["task"]["guidelines"] = OLD
    (project / "texts.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    assert update.main([str(project)]) == 0
    assert page_of(project)["language"] == "nl", "it has the page before anybody runs check.py pages"
    return project


def test_guidelines_of_an_earlier_version_stay_everywhere(with_own_guidelines: Path) -> None:
    project = with_own_guidelines
    assert "voting/page.json" in bring(project)
    page = page_of(project)
    assert [tag for tag, _ in Read(page["guidelines"]).tags][:4] == ["h2", "p", "table", "thead"]
    assert "Sla over met “Discard”." in page["guidelines"] and page["words"]["unsure"] not in page["guidelines"]
    ours = texts.published(project, "community/guidelines.md")
    assert ours.read_text(encoding="utf-8").endswith(OLD)
    assert len(page["examples"]) >= 6, "practice takes those of the language"


def test_the_announcement_says_how_to_take_part(project: Path) -> None:
    page = project / "publish" / "community" / "announcement.md"
    told = read_yaml(project / "kto" / "texts.yaml")["community"]
    assert page.read_text(encoding="utf-8").endswith(f"{told['way_ask'].strip()}\n")
    change(project, community__way_ask="Stuur me een bericht!")
    bring(project)
    assert page.read_text(encoding="utf-8").endswith("\n\nStuur me een bericht!\n")
    change(project, community__announcement="Doe mee, vraag mij om een link!")
    bring(project)
    assert page.read_text(encoding="utf-8").endswith("\n\nDoe mee, vraag mij om een link!\n")


def test_readme_and_next_steps_name_the_commands(tmp_path: Path) -> None:
    done = replay(tmp_path, language="nl")
    readme = (done.project / "README.md").read_text(encoding="utf-8")
    first, second, third = (
        readme.index(command)
        for command in ("uv run vote.py\n", "   uv run vote.py invite NAME\n", "   uv run vote.py invite --open\n")
    )
    assert first < second < third and "words of the voting page" in readme
    told = read_yaml(done.project / "kto" / "texts.yaml")
    steps = done.output[done.output.index(told["next"]["look"]) :]
    assert f"{'py' if sys.platform == 'win32' else 'python3'} vote.py practice" in steps.splitlines()[1]


def test_thumbs_of_the_table_are_the_votes() -> None:
    assert {*examples.THUMBS} == {GOOD, BAD}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda texts: texts["page"].update(vote_skip="x" * 11), "page.vote_skip: “xxxxxxxxxxx” takes 11 columns"),
        (lambda texts: texts["page"].update(vote_good="goed goed goed!"), "page.vote_good: takes 15 columns"),
        (lambda texts: texts["page"].update(undo="良" * 7), "page.undo: takes 14 columns, and its button has 12"),
        (lambda texts: texts["page"].update(undo="Weg ermee"), "page.unsure: does not name the button “Weg ermee”"),
        (lambda texts: texts["page"].pop("withdraw"), "page.withdraw: is missing"),
        (lambda texts: texts["examples"]["rows"].pop(), "examples.rows: needs 6 examples"),
        (lambda texts: texts["examples"]["rows"][0].pop("why"), "examples.rows: needs 6 examples"),
        (lambda texts: texts["examples"]["rows"][0].update(vote="👍"), "examples.rows: needs 6 examples"),
        (lambda texts: texts["examples"]["rows"][0].update(why="{naam}"), "has {naam}, which means nothing there"),
        (lambda texts: texts["examples"].update(rows="x"), "examples.rows: needs 6 examples"),
        (
            lambda texts: texts["task"].update(guidelines="a {unsure}\n\n{examples}\n\n{keys}"),
            "task.guidelines: {unsure} is not a paragraph",
        ),
    ],
)
def test_the_check_of_a_catalogue_knows_the_page(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], object], said: str
) -> None:
    from tools import language as catalogues

    content = read_yaml(REPOSITORY / "languages" / "nl.yaml")
    spoil(content)
    (tmp_path / "nl.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    problems = catalogues.check("nl", tmp_path)
    assert any(said in problem for problem in problems), problems

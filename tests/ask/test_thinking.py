"""Models that think aloud: people read the answer alone, and nothing else is judged."""

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from generating import DUTCH, ENGLISH, generate, run, use, write_prompts
from hypothesis import given
from hypothesis import strategies as st
from kto.ask.table import clean
from model_server import ModelServer, completion

pytest_plugins = ["generating_fixtures"]
pytestmark = pytest.mark.usefixtures("english")

THOUGHT = (ENGLISH + "\n\n") * 4  # more than 900 characters
WHOLE = {
    "think": f"<think>\n{THOUGHT}</think>\n\n{DUTCH}",
    "THINK": f"[THINK]{THOUGHT}[/THINK]{DUTCH}",
    "thinking": f"<thinking>{THOUGHT}</thinking>\n{DUTCH}",
    "reasoning": f"<reasoning>\n{THOUGHT}</reasoning>\n{DUTCH}",
    "seed:think": f"<seed:think>{THOUGHT}</seed:think>{DUTCH}",
    "two blocks": f"<think>{THOUGHT}</think>\n<think>{THOUGHT}</think>\n{DUTCH}",
    "two kinds": f"<thinking>{THOUGHT}</thinking>\n[THINK]{THOUGHT}[/THINK]\n{DUTCH}",
    "no beginning": f"{THOUGHT}</thinking>\n\n{DUTCH}",
    "no beginning either": f"{THOUGHT}[/THINK]{DUTCH}",
    "no beginning, then a block": f"{THOUGHT}</think><think>{THOUGHT}</think>{DUTCH}",
    "gpt-oss": f"<|channel|>analysis<|message|>{THOUGHT}<|channel|>final<|message|>{DUTCH}",
    "gpt-oss, all marks": f"<|start|>assistant<|channel|>analysis<|message|>{THOUGHT}<|end|>"
    f"<|start|>assistant<|channel|>final<|message|>{DUTCH}<|return|>",
    "gpt-oss, begun": f"{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>{DUTCH}",
    "gpt-oss without marks": f"analysis{THOUGHT}assistantfinal{DUTCH}",
    "Gemma": f"<|channel>thought\n{THOUGHT}<channel|>{DUTCH}",
    "Command A": f"<|START_THINKING|>{THOUGHT}<|END_THINKING|><|START_RESPONSE|>{DUTCH}<|END_RESPONSE|>",
    "Kimi": f"◁think▷{THOUGHT}◁/think▷{DUTCH}",
    "Apertus": f"<|inner_prefix|>{THOUGHT}<|inner_suffix|>{DUTCH}",
    "Hunyuan": f"<think>\n{THOUGHT}</think>\n<answer>\n{DUTCH}\n</answer>",
    "capitals": f"<Think>{THOUGHT}</Think>{DUTCH}",
}
CUT = {
    "cut think": f"<think>{THOUGHT}",
    "cut THINK": f"[THINK]{THOUGHT}",
    "cut thinking": f"<thinking>{THOUGHT}",
    "cut second block": f"<think>{THOUGHT}</think>\n<think>{THOUGHT}",
    "cut gpt-oss": f"<|channel|>analysis<|message|>{THOUGHT}",
    "cut gpt-oss without marks": f"analysis{THOUGHT}",
    "reasoning": {"reasoning": THOUGHT},
    "reasoning_content": {"reasoning_content": THOUGHT},
}


def table(project: Path) -> dict[str, dict[str, Any]]:
    """Return what the table holds of the first model, by prompt."""
    rows = pq.read_table(project / "data" / "generations" / "train.parquet").to_pylist()
    return {
        row["input"]: {name: cell[0] if isinstance(cell, list) else cell for name, cell in row.items()} for row in rows
    }


def in_dutch(project: Path, **settings: object) -> None:
    use(project, "language", tag="nl", autonym="Nederlands", script="Latn")
    use(project, "generation", models=["acme/one"], **settings)


@pytest.fixture(scope="module")
def asked(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ModelServer, str]]:
    """A project whose model has answered in each of these ways, the server, and what the command said."""

    def reply(body: dict) -> Any:
        name = body["messages"][-1]["content"].split("?")[0]
        if name in WHOLE:
            return WHOLE[name]
        said = CUT[name[4:]] if name.startswith("Cut ") else None
        if isinstance(said, dict):
            return completion("" if name.endswith("_content") else None, "length", **said)
        return completion(said, "length") if said else completion(DUTCH, reasoning=THOUGHT, reasoning_content=THOUGHT)

    project = Path(shutil.copytree(rendered, tmp_path_factory.mktemp("thinking") / "project"))
    in_dutch(project)
    names = [*WHOLE, *(f"Cut {name}" for name in CUT), "Beside it"]
    write_prompts(project, [f"{name}?" for name in names])
    use(project, "generation", prompts="prompts/mine.jsonl")
    with ModelServer() as server:
        server.reply = reply
        done = run(project, "generate.py", "--base-url", server.url)
        yield project, server, done.stdout


@pytest.mark.parametrize("name", WHOLE)
def test_people_read_what_comes_after_the_thought(asked: tuple[Path, ModelServer, str], name: str) -> None:
    project, server, _ = asked
    row = table(project)[f"{name}?"]
    assert (row["generations"], row["language_verdict"], row["language"]) == (DUTCH, "right", "nl")
    assert row["raw_generation_responses"] == WHOLE[name]
    assert sum(chat.prompt.startswith(f"{name}?") for chat in server.chats) == 1  # it is not asked again


@pytest.mark.parametrize("name", CUT)
def test_a_thought_alone_is_no_answer(asked: tuple[Path, ModelServer, str], name: str) -> None:
    project, server, said = asked
    prompt = f"Cut {name}?"
    row = table(project)[prompt]
    raw = CUT[name] if isinstance(CUT[name], str) else ""
    assert (row["generations"], row["raw_generation_responses"], row["finish_reason"]) == (None, raw, "length")
    path = project / "data/generations/gaps.jsonl"
    gaps = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    reasons = [gap["reason"] for gap in gaps if gap["input"] == prompt]
    assert len(reasons) == 1 and "max_tokens" in reasons[0] and reasons[0] in said
    assert sum(chat.prompt.startswith(prompt) for chat in server.chats) == 1


def test_what_stands_beside_the_answer_is_no_part_of_it(asked: tuple[Path, ModelServer, str]) -> None:
    row = table(asked[0])["Beside it?"]
    assert row["generations"] == row["raw_generation_responses"] == DUTCH and row["language_verdict"] == "right"


def test_verdicts_on_thoughts_are_made_anew(project: Path) -> None:
    """As 48701f0 left it: the answer was judged together with its thought, and asked for a second time."""
    in_dutch(project)
    with ModelServer() as server:
        server.reply = lambda body: WHOLE["THINK"] if "Nederlands only" in body["messages"][-1]["content"] else ENGLISH
        assert generate(project, "--base-url", server.url).returncode == 0
        asked = len(server.chats)
        with sqlite3.connect(project / "data" / "answers.sqlite") as database:
            database.execute("UPDATE answers SET answer = ?", [WHOLE["THINK"]])
            [[name]] = database.execute("SELECT DISTINCT gate FROM judgements").fetchall()
            first = re.sub(r"^(py3langid [^/]+)/\d+/", r"\1/1/", name)
            database.execute("UPDATE judgements SET gate = ?, verdict = 'wrong', language = 'en'", [first])
        assert generate(project, "--base-url", server.url).returncode == 0
        assert {row["language_verdict"] for row in table(project).values()} == {"right"}
        assert {row["generations"] for row in table(project).values()} == {DUTCH} and len(server.chats) == asked


def test_the_answer_that_people_have_stays_the_one_that_counts(project: Path) -> None:
    """A second try was chosen because the first one seemed to be in the wrong language."""
    in_dutch(project)
    with ModelServer() as server:
        server.reply = lambda body: DUTCH if "Nederlands only" in body["messages"][-1]["content"] else ENGLISH
        assert generate(project, "--base-url", server.url).returncode == 0
        rows, asked = table(project), len(server.chats)
        assert {(row["generations"], row["asked_again"]) for row in rows.values()} == {(DUTCH, 1)}
        with sqlite3.connect(project / "data" / "answers.sqlite") as database:
            database.execute("UPDATE answers SET answer = ? WHERE answer = ?", [f"{WHOLE['THINK']} Ja.", ENGLISH])
            database.execute("DELETE FROM judgements")
        for _ in range(2):
            assert generate(project, "--base-url", server.url).returncode == 0
            assert table(project) == rows and len(server.chats) == asked


@pytest.mark.parametrize(
    "text",
    [
        "Zet je gedachten tussen <thinking> en </thinking>.",
        "Zo sluit je het blok: `</think>`. Daarna volgt het antwoord.",
        "Een lijst [1], [THINK] en een formule a < b > c.",
        "analysis of the text",
        "Het model schrijft “assistantfinal” voor zijn antwoord.",
        "Wie <|channel|>final<|message|> schrijft, bedoelt gpt-oss.",
        "<answer>Ja.</answer>",
    ],
)
def test_an_answer_about_such_marks_stays_whole(text: str) -> None:
    assert clean(text) == text


BLOCKS = st.sampled_from([("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>")])
TEXT = st.text(st.characters(exclude_categories=["Cs"])).filter(
    lambda text: not re.search(r"think|channel|assistantfinal|^\s*analysis|^\s*<", text, re.IGNORECASE)
)


@given(st.lists(st.tuples(BLOCKS, TEXT), max_size=3), TEXT)
def test_cleaning_takes_every_thought_and_nothing_else(thoughts: list, answer: str) -> None:
    before = " \n".join(f"{begin}{thought}{end}" for (begin, end), thought in thoughts)
    assert clean(before + answer) == (answer.strip() or None)
    if thoughts:
        (begin, _), thought = thoughts[0]
        assert clean(f"{begin}{thought}") is None


@pytest.mark.parametrize("whole", [*WHOLE.values(), "Hallo.", "[a](b)", "a > b", "analysis"])
def test_an_answer_is_empty_if_nothing_is_left_of_it(whole: str) -> None:
    from kto.ask.lookups import is_empty
    from kto.ask.store import Answer

    for end in range(len(whole) + 1):
        for text in (whole[:end], whole[len(whole) - end :]):
            assert is_empty(Answer(text, "stop")) == (clean(text) is None)


@pytest.mark.parametrize("unit", ["<think>", "</think>", "[THINK][/THINK]", "<answer>", "\n", "<|channel|>final", "a "])
def test_hostile_answers_are_cleaned_in_no_time(unit: str) -> None:
    clean(unit * (2_000_000 // len(unit)))  # pytest's own limit tells

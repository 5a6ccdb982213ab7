"""Answers that say which model wrote them: recognised in several languages, marked in the table, and not voted on.

`self_naming/gold.jsonl` was written before the rule; the first rule had precision 0.98 and recall 0.92 on it. Each
`held_out` file was written after the rule of its time, by somebody who knew the phrases, from the second on to avoid
them: precision was 1.00, 0.88, 0.90 and 0.41, recall 0.59, 0.47, 0.28 and 0.29. (What cost precision in the fourth was
taken back; the rule before that had 0.83 and 0.21 there.) The rule has learned from all of them since, so they measure
nothing new: they keep it from getting worse.
"""

import json
import re
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from generating import PROMPTS, figures, generate, use
from kto.ask import self_naming
from kto.settings import load
from kto.vote.records import make_records, read_generations
from model_server import ModelServer
from rendering import REPOSITORY, read_yaml

pytest_plugins = ["generating_fixtures"]

FOLDER = Path(__file__).parent / "self_naming"
MODELS = (
    *("Qwen/Qwen2.5-7B-Instruct", "CohereLabs/aya-expanse-8b", "google/gemma-3-4b-it:nebius"),
    *("Jacaranda/UlizaLlama3", "LSX-UniWue/LLaMmlein_7B_chat"),
)
LANGUAGE_FILES = REPOSITORY / "languages"
NAMED = "I am Qwen, a large language model made by Alibaba Cloud. Put the bread into a paper bag."
ABOUT = "Qwen is a family of language models by Alibaba Cloud. I put my bread into a paper bag."


def own_phrases(tag: str) -> str:
    """Return the phrases of a catalogue; Egyptian Arabic may lean on Arabic."""
    for name in (tag, "ar") if tag == "arz" else (tag,):
        if phrases := read_yaml(LANGUAGE_FILES / f"{name}.yaml").get("technical", {}).get("self_naming"):
            return phrases
    return ""


def rule(tag: str, monkeypatch: pytest.MonkeyPatch, models: tuple[str, ...] = MODELS) -> self_naming.SelfNaming:
    phrases = [own_phrases(tag), own_phrases("en")]
    monkeypatch.setattr("kto.texts.load", lambda: {"technical": {"self_naming": "".join(phrases)}})
    return self_naming.for_models(models)


def judged(tag: str, files: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[bool, bool]]:
    """Return how many answers (name their model, are said to)."""
    lines = [line for file in files for line in (FOLDER / file).read_text(encoding="utf-8").splitlines()]
    answers = [answer for answer in map(json.loads, lines) if answer["language"] == tag]
    tells = rule(tag, monkeypatch)
    return Counter((answer["names_itself"], tells(answer["answer"])) for answer in answers)


@pytest.mark.parametrize("tag", ["en", "de", "ar", "hi", "sw"])
def test_the_gold_answers(tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(tag, ("gold.jsonl",), monkeypatch)
    assert found.total() == 40
    assert found[True, True] / (found[True, True] + found[False, True]) >= 0.95
    assert found[True, True] / (found[True, True] + found[True, False]) >= 0.8


@pytest.mark.parametrize("tag", ["en", "de", "ar", "nl", "es", "fr"])
def test_answers_that_it_has_learned_from(tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(tag, tuple(path.name for path in FOLDER.glob("held_out*")), monkeypatch)
    assert found.total() >= 30 and not found[False, True]
    assert found[True, True] / (found[True, True] + found[True, False]) >= 0.5


@pytest.mark.parametrize("tag", [path.stem for path in sorted(LANGUAGE_FILES.glob("*.yaml"))])
def test_the_phrases_of_a_language_are_some(tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each catalogue, or the one that it leans on, names models and says words for what models are."""
    phrases = own_phrases(tag).splitlines()
    assert sum("{name}" in line for line in phrases) >= 10
    assert sum("{name}" not in line and bool(line.strip()) for line in phrases) >= 3
    tells = rule(tag, monkeypatch)
    named = re.compile("^[^…+^*]*$")  # a phrase that needs nothing but the name
    plain = [line for line in phrases if "{name}" in line and named.match(line)]
    assert plain
    for line in plain:
        words = " ".join(word.split("/")[0].replace("_", " ") for word in line.split())
        assert tells(words.replace("{name}", "Qwen")), line
    for sentences in read_yaml(FOLDER / "sentences.yaml").values():
        assert [text for text in sentences["about"] if tells(text)] == []


@pytest.mark.parametrize("tag", [*read_yaml(FOLDER / "sentences.yaml")])
def test_sentences_of_a_language(tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tells, sentences = rule(tag, monkeypatch), read_yaml(FOLDER / "sentences.yaml")[tag]
    assert [text for text in sentences["names_itself"] if not tells(text)] == []


def test_names_of_the_projects_own_models(monkeypatch: pytest.MonkeyPatch) -> None:
    tells = rule("en", monkeypatch, ("acme/zebulon-7b-chat", "/models/quokka-sft", "llama3.2:3b"))
    for name in ("Zebulon", "zebulon-7b-chat", "Quokka"):
        assert tells(f"I am {name}. How are you?") and not rule("en", monkeypatch)(f"I am {name}. How are you?")
    assert not tells("My name is Ann, and these are my models: one is large, one is a chat model.")


def test_hostile_text_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tells = rule("en", monkeypatch)
    for hostile in (
        "I am an AI " * 5_000 + "OpenAI",
        "OpenAI " * 9_000,
        "as a model by " * 4_000 + "Qwen",
        "“" * 60_000,
    ):
        start = time.process_time()
        tells(hostile)
        assert time.process_time() - start < 5


# --- the table, and who votes -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("english")
def test_it_is_marked_counted_kept_and_not_voted_on(project: Path) -> None:
    path = project / "data" / "generations" / "train.parquet"
    with ModelServer(names=("acme/one", "acme/two")) as server:
        server.reply = lambda body: NAMED if body["model"] == "acme/two" else ABOUT
        done = generate(project, "--base-url", server.url)
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(path).to_pylist()
    assert all(row["names_itself"] == [False, True] and row["generations"] == [ABOUT, NAMED] for row in rows)
    assert {model: row["Names itself"] for model, row in figures(done.stdout).items()} == {
        "acme/one": "0",
        "acme/two": "5",
    }
    config = load(project)
    generations = read_generations(config)
    assert {record["fields"]["answer"] for record in make_records(generations)} == {ABOUT}
    assert sum(sum(row["names_itself"]) for row in generations) == len(PROMPTS)

    # A table of an earlier version has no such column.
    pq.write_table(pq.read_table(path).drop_columns("names_itself"), path)
    assert read_generations(config) == generations

    use(project, "annotation", self_naming=True)
    generations = read_generations(load(project))
    assert {record["fields"]["answer"] for record in make_records(generations)} == {ABOUT, NAMED}
    assert not any(any(row["names_itself"]) for row in generations)


@pytest.mark.usefixtures("english")
def test_rows_that_stay_from_an_earlier_table_get_their_marks(project: Path) -> None:
    path = project / "data" / "generations" / "train.parquet"
    with ModelServer(names=("acme/one", "acme/two")) as server:
        server.reply = lambda body: NAMED if body["model"] == "acme/two" else ABOUT
        assert generate(project, "--base-url", server.url).returncode == 0
        pq.write_table(pq.read_table(path).drop_columns("names_itself"), path)
        (project / "prompts" / "system_prompt.txt").write_text("Another one.\n", encoding="utf-8")
        done = generate(project, "--limit", "1", "--base-url", server.url)
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(path).to_pylist()
    assert len({row["system_prompt"] for row in rows}) == 2
    assert all(row["names_itself"] == [False, True] for row in rows)

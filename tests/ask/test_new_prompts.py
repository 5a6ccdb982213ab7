"""New prompts from a model, through the front door: what is asked, what is taken, what stays away."""

import json
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from generating import run, start, use
from hypothesis import example, given
from hypothesis import strategies as st
from kto import near_duplicates
from kto.ask import new_prompts
from kto.near_duplicates import NearDuplicates, grams
from model_server import ModelServer
from rendering import PARTS, REPOSITORY, read_yaml

pytest_plugins = ["generating_fixtures"]

CATALOGUE = read_yaml(REPOSITORY / "languages" / "en.yaml")
WORDS = re.findall(r"[a-z]+", " ".join(CATALOGUE["starter_prompts"]))
DUTCH = [
    "Hoe kan ik het beste een fiets repareren als de band lek is?",
    "Waarom is de lucht eigenlijk blauw en in de avond vaak rood?",
    "Schrijf een vriendelijk briefje aan mijn buurman over het lawaai.",
    "Welke groenten kan ik in de herfst nog zaaien in mijn tuin?",
    "Leg uit hoe een spaarrekening met rente op rente werkt.",
]


def number_of(body: dict[str, Any]) -> int:
    """The number of a request, as the request says it."""
    return int(re.findall(r"request number ([\d,]+)", body["messages"][-1]["content"])[-1].replace(",", ""))


def sentences(number: int, count: int = 5) -> list[str]:
    """Prompts that are like no others."""
    chosen = random.Random(number)
    return [" ".join(chosen.choices(WORDS, k=12)).capitalize() + "?" for _ in range(count)]


def answer(body: dict[str, Any]) -> str:
    return "\n".join(f"{place}. {text}" for place, text in enumerate(sentences(number_of(body)), start=1))


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        server.reply = answer
        yield server


@pytest.fixture
def project(project: Path, server: ModelServer) -> Path:
    path = project / "settings.toml"
    path.write_text(re.sub(r"(?m)^\[new_prompts\].*$", "[new_prompts]", path.read_text("utf-8")), encoding="utf-8")
    use(project, "generation", base_url=server.url, max_attempts=1)
    use(project, "new_prompts", count=12, topics=["cooking for many", "when something breaks"])
    return project


def new(project: Path) -> list[dict[str, str]]:
    path = project / "prompts" / "new.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line] if path.exists() else []


def counted(output: str) -> dict[str, int]:
    return {name: int(count) for name, count in re.findall(r"(?m)^(.*?) {2,}(\d+)$", output)}


def test_what_is_asked_and_what_comes_of_it(project: Path, server: ModelServer) -> None:
    done = run(project, "generate.py", "prompts")
    assert (done.returncode, done.stderr) == (0, "")
    rows = new(project)
    assert [row["prompt"] for row in rows] == [text for number in (1, 2, 3) for text in sentences(number)][:12]
    assert {row["model"] for row in rows} == {"acme/one"}
    assert [row["topic"] for row in rows[::5]] == ["cooking for many", "when something breaks", "cooking for many"]
    assert (
        'prompts = ["prompts/mine.jsonl", "prompts/new.jsonl"]' in done.stdout
        and counted(done.stdout)["New prompts"] == 12
    )

    sent = {number_of(chat.body): chat.prompt for chat in server.chats}
    assert len(sent) == len(server.chats) and all(chat.model == "acme/one" for chat in server.chats)
    assert "Subject: cooking for many" in sent[1] and "Subject: when something breaks" in sent[2]
    assert "Every" not in sent[1].partition("# AI Application")[2] and "everyday life" in sent[1]
    assert "Develop 5 user queries" in sent[1] and "in English" in sent[1] and "Hoe houd ik brood vers?" in sent[1]

    # Nothing is missing, so nobody is asked.
    server.chats.clear()
    done = run(project, "generate.py", "prompts")
    assert done.returncode == 0 and new(project) == rows and not server.chats

    # Deleted lines stay away; the file is filled up, and what the people wrote stays as they wrote it.
    path = project / "prompts" / "new.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = "\n".join(["", lines[0].replace('": "', '" :  "'), *lines[4:]])  # no line end
    path.write_text(kept, encoding="utf-8")
    done = run(project, "generate.py", "prompts")
    assert done.returncode == 0, done.stderr
    content = path.read_text(encoding="utf-8")
    assert content.startswith(kept + "\n") and content.endswith("\n") and len(new(project)) == 12
    texts = [row["prompt"] for row in new(project)]
    assert texts == [row["prompt"] for row in [rows[0], *rows[4:]]] + [*sentences(3)[2:], *sentences(4)][:3]
    assert {number_of(chat.body) for chat in server.chats}.isdisjoint(sent)


def test_an_interrupted_run_goes_on(project: Path, server: ModelServer) -> None:
    use(project, "new_prompts", count=100)
    server.latency = 0.3
    first: list[int] = []
    for how in (signal.SIGINT, signal.SIGKILL):
        with start(project, "generate.py", "prompts") as process:
            deadline = time.monotonic() + 60
            while len(server.chats) < 6:
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.01)
            process.send_signal(how)
            _, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        if how == signal.SIGINT:
            assert process.returncode == 130 and "kept" in err
        asked = [number_of(chat.body) for chat in server.chats]
        assert not set(first) & set(asked)
        first += asked[:-4]  # the others were in flight
        server.chats.clear()
    server.latency = 0.0
    assert run(project, "generate.py", "prompts").returncode == 0
    assert not set(first) & {number_of(chat.body) for chat in server.chats}
    # It is as if nothing had happened.
    assert [row["prompt"] for row in new(project)] == [text for number in range(1, 21) for text in sentences(number)]


def test_what_is_not_new_and_what_is_in_another_language(project: Path, server: ModelServer) -> None:
    known = "How many litres of paint do I need for a wall of four by two and a half metres?"
    lines = [json.dumps({"prompt": text}) for text in (known, "What should I do when the lights go out?")]
    (project / "prompts" / "mine.jsonl").write_text("\n".join(lines), encoding="utf-8")
    fresh = "Which questions should I ask before I rent a flat in another town?"
    told = [
        known,
        "how many liters of paint do I need for a wall of four by two and a half metres",
        fresh,
        f"{fresh[:-1]}!",
        DUTCH[0],
    ]
    server.reply = lambda body: "\n".join(told if number_of(body) == 1 else DUTCH)
    done = run(project, "generate.py", "prompts", "--count", "3")
    assert done.returncode == 1 and "1 of 3 new prompts" in done.stderr and "nothing new" in done.stderr
    assert [row["prompt"] for row in new(project)] == [fresh]
    counts = counted(done.stdout)
    assert counts["Duplicates"] == 1 and counts["Near duplicates"] == 2 and counts["Wrong language"] > 5
    assert counts["Answers of the model"] < 60
    assert any("answer in English only" in chat.prompt for chat in server.chats)


HOSTILE = [
    "",
    " \n\t\n",
    "x" * 1_000_000,
    "How? " * 200_000,
    "why is it so?\n" * 70_000,
    json.dumps({"queries": [{"query": text} for text in sentences(900)]}),
    json.dumps(sentences(901), indent=1),
    "\x00How do I \x00 get rid of a zero in my text?\nAnd how \ud83d do I get rid of halves?",
    "<think>" + "\n".join(sentences(902)),
    "How do I write to [name of the company] about {{ product }}?\n\u202eWhat stands here backwards, and why?",
    "```\n" + "\n".join(sentences(903)) + "\n```",
    "# Questions\n| a | b |\n---\n" + "".join(f"- **{text}**\n" for text in sentences(904)),
    '{"a":' * 50_000,
    {"choices": [{"message": {"content": [{"type": "text", "text": 3}]}}]},
    {"choices": []},
    "Sure! Here are five questions:\n" + "\n".join(f"Question {n}: {s}" for n, s in enumerate(sentences(905), 1)),
]


def test_hostile_answers_do_no_harm(project: Path, server: ModelServer) -> None:
    use(project, "new_prompts", count=500)

    def reply(body: dict[str, Any]) -> Any:
        hostile = HOSTILE[number_of(body) % len(HOSTILE)]
        return (200, hostile) if isinstance(hostile, dict) else hostile

    server.reply = reply
    done = run(project, "generate.py", "prompts")
    assert done.returncode == 1 and "of 500 new prompts" in done.stderr
    texts = [row["prompt"] for row in new(project)]
    for number in (901, 903, 904):
        assert set(sentences(number)) <= set(texts)
    others = set(texts) - {text for number in (901, 903, 904) for text in sentences(number)}
    labelled = {f"Question {n}: {text}" for n, text in enumerate(sentences(905), 1)}  # for people to mend
    assert others <= {"why is it so?", "What stands here backwards, and why?"} | labelled


def test_a_server_that_refuses(project: Path, server: ModelServer) -> None:
    server.fail(status=402, body='{"error": "No credit is left."}')
    done = run(project, "generate.py", "prompts")
    assert done.returncode == 1 and "No credit is left" in done.stderr and "0 of 12" in done.stderr
    assert not new(project) and len(server.chats) <= 4


def test_a_model_on_this_machine(project: Path, server: ModelServer) -> None:
    serve = (
        "import sys, threading; sys.path[:0] = sys.argv[3:]; import test_new_prompts, model_server;"
        "server = model_server.ModelServer(port=int(sys.argv[2])); server.reply = test_new_prompts.answer;"
        "threading.Event().wait()"
    )
    command = [sys.executable, "-c", serve, "{model}", "{port}", str(Path(__file__).parent), str(PARTS)]
    use(project, "generation", inference="local", models=["acme/one", "acme/two"], base_url="")
    use(project, "new_prompts", model="acme/two", count=3)
    use(project, "local", command=command)
    done = run(project, "generate.py", "prompts", env={"PYTHONPATH": str(project)})
    assert done.returncode == 0, done.stderr
    assert [(row["prompt"], row["model"]) for row in new(project)] == [(text, "acme/two") for text in sentences(1)[:3]]
    assert not server.chats


@pytest.mark.parametrize(
    ("section", "settings", "arguments", "sentence"),
    [
        ("new_prompts", {}, ["--count", "0"], "0 is not a number of prompts"),
        ("new_prompts", {}, ["--count", "9" * 5000], "is not a number of prompts"),
        ("new_prompts", {}, ["--output", "new.txt"], "ends in .jsonl"),
        ("new_prompts", {"model": "acme/three"}, [], "acme/three is to write prompts"),
        ("generation", {"inference": "huggingface", "router_url": "{url}"}, [], "Add --yes"),
        ("generation", {"prompts": "prompts/absent.jsonl"}, [], "absent.jsonl"),
    ],
)
def test_what_cannot_be_done_is_said(
    project: Path, server: ModelServer, section: str, settings: dict[str, str], arguments: list[str], sentence: str
) -> None:
    use(project, section, **{name: value.replace("{url}", server.url) for name, value in settings.items()})
    done = run(project, "generate.py", "prompts", *arguments, env={"HF_TOKEN": "hf_secret"})
    assert done.returncode in (1, 2) and sentence in done.stderr
    assert not server.chats and not new(project)


def test_a_new_file_that_is_already_the_source(project: Path, server: ModelServer) -> None:
    use(project, "generation", prompts="prompts/new.jsonl", prompt_column="model")
    done = run(project, "generate.py", "prompts", "--count", "4", "--yes")
    assert done.returncode == 0, done.stderr
    assert [row["model"] for row in new(project)] == sentences(1)[:4]
    server.chats.clear()
    (project / "prompts" / "new.jsonl").write_text("", encoding="utf-8")  # all were bad
    assert run(project, "generate.py", "prompts", "--count", "2").returncode == 0
    assert len(server.chats) <= 2 and not {row["model"] for row in new(project)} & set(sentences(1)[:4])


# --- what an answer holds ---------------------------------------------------------------------

GOOD = "How do I keep bread fresh?"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([f"1. {GOOD}", "2) Why is it so warm today?"], [GOOD, "Why is it so warm today?"]),
        ([f"**1.** {GOOD}", "**2. Why is it so warm today?**"], [GOOD, "Why is it so warm today?"]),
        ([f"१. {GOOD}", "२. Why is it so warm today?"], [GOOD, "Why is it so warm today?"]),
        (
            ["１．今日の天気はどうですか？", "2、パンの作り方を教えて"],
            ["今日の天気はどうですか？", "パンの作り方を教えて"],
        ),
        ([f"- {GOOD}", f"* “{GOOD}”", f'"{GOOD}",', f"«{GOOD}»", f"「{GOOD}」"], [GOOD] * 5),
        (
            ["7. sınıfta neler öğrenilir?", "Ekmek nasıl taze kalır?"],
            ["7. sınıfta neler öğrenilir?", "Ekmek nasıl taze kalır?"],
        ),
        (
            ["Psalm 23: what does it say?", "Psalm 91: what does it say?"],
            ["Psalm 23: what does it say?", "Psalm 91: what does it say?"],
        ),
        (["1.5 litres or 2.5 litres, what is more?"], ["1.5 litres or 2.5 litres, what is more?"]),
        (
            ["“Me” or “I”: which is right?", "What does “ciao” mean?"],
            ["“Me” or “I”: which is right?", "What does “ciao” mean?"],
        ),
        (["Here they are:", "## Queries", "---", "", "Dear [Name], how are you?", "Why {x} and not y?"], [None] * 5),
        (["x" * 1001, "Why?", "\ud83d is half of what, and why?", "A ____ is a day of the week."], [None] * 4),
        (["Cafe\u0301 or tea, what do you like?"], ["Café or tea, what do you like?"]),
        (["می\u200cخواهم نان را تازه نگه دارم"], ["می\u200cخواهم نان را تازه نگه دارم"]),
    ],
)
def test_prompts_in_an_answer(lines: list[str], expected: list[str | None]) -> None:
    assert new_prompts.in_answer(lines, 20, cut=False) == expected


def test_what_max_tokens_cut_is_left_out() -> None:
    assert new_prompts.in_answer([GOOD, "And why does it", ""], 20, cut=True) == [GOOD]
    assert new_prompts.in_answer([GOOD] * 9, 3, cut=False) == [GOOD] * 3


@given(st.lists(st.text(max_size=60), max_size=6), st.booleans())
@example(["1. ", "**", "“”", "-", "\x00" * 9, "1.1.1.1."], False)
def test_whatever_an_answer_holds(lines: list[str], cut: bool) -> None:
    found = new_prompts.in_answer(lines, 5, cut)
    assert len(found) <= 5
    for text in found:
        if text is not None:
            assert text == text.strip() and "\n" not in text and len(text) <= new_prompts.LONGEST
            json.dumps(text, ensure_ascii=False).encode("utf-8")


# --- near duplicates --------------------------------------------------------------------------

ALIKE = st.text("abc ", min_size=1, max_size=12) | st.sampled_from(
    ["東京の天気", "京都の天気は？", "วันนี้อากาศ", "é", "E\u0301", "!", "?!"]
)


@given(st.lists(ALIKE, max_size=12), st.lists(ALIKE, max_size=12), st.floats(0.1, 1), st.sampled_from([1, 2, 3, 5]))
@example(["abcab", "abcabc"], ["abcabc ab"], 0.5, 2)
def test_near_duplicates_are_found_exactly(first: list[str], later: list[str], similarity: float, size: int) -> None:
    index = NearDuplicates(first, similarity, size)
    there = list(first)
    for text in later:
        own = grams(text, size)
        alike = [each for each in there if len(own & grams(each, size)) / len(own | grams(each, size)) >= similarity]
        assert index.find(text) == (alike[0] if alike else None)
        index.add(text)
        there.append(text)
    assert len(index) == len(there)


@pytest.mark.parametrize(
    ("script", "known", "alike", "other"),
    [
        (
            "Jpan",
            "東京でおいしいラーメンを食べたいのですが、どこがいいですか？",
            "大阪でおいしいラーメンを食べたいのですが、どこがいいですか",
            "東京から大阪まで新幹線で何時間かかりますか？",
        ),
        ("Hans", "怎样才能让面包保持新鲜更长时间？", "怎样才能让蛋糕保持新鲜更长时间", "怎样才能学好一门新的语言？"),
        (
            "Thai",
            "ฉันจะเก็บขนมปังให้สดใหม่ได้นานขึ้นอย่างไร",
            "ฉันควรเก็บขนมปังให้สดใหม่ได้นานขึ้นอย่างไร?",
            "ฉันจะเดินทางจากกรุงเทพไปเชียงใหม่ได้อย่างไร",
        ),
        (
            "Latn",
            "How do I keep my bread fresh for longer?",
            "how do I keep the bread fresh for longer",
            "How do I keep my plants alive in winter?",
        ),
        (
            "Deva",
            "मैं रोटी को ज़्यादा देर तक ताज़ा कैसे रखूँ?",
            "मैं रोटी को ज़्यादा देर तक ताज़ा कैसे रख सकता हूँ",
            "मैं पानी की बचत कैसे करूँ?",
        ),
    ],
)
def test_near_duplicates_in_any_script(script: str, known: str, alike: str, other: str) -> None:
    index = NearDuplicates([known], 0.6, near_duplicates.size_for(script))
    assert index.find(alike) == known and index.find(other) is None


def test_ten_thousand_prompts_take_seconds() -> None:
    old = [text for number in range(2000) for text in sentences(number)]
    began = time.monotonic()
    index = NearDuplicates(old, 0.7, 5)
    assert sum(index.find(text) is not None for number in range(1900, 2100) for text in sentences(number)) == 500
    assert time.monotonic() - began < 20

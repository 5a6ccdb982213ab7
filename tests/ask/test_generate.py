"""Step 1, through its front door: what generate.py asks, keeps, writes and says."""

import hashlib
import json
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from generating import PROMPTS, figures, generate, run, start, use, write_prompts
from hypothesis import assume, given
from hypothesis import strategies as st
from kto.ask.table import clean
from model_server import ModelServer
from rendering import PARTS
from tiny_models import CONVERSATIONS, make_tiny_model

pytest_plugins = ["generating_fixtures"]
MODELS = ["acme/one", "acme/two", "acme/no"]

LINUX = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="the processes are looked up in /proc")


@pytest.fixture
def server():
    with ModelServer() as server:
        yield server


def table(project: Path) -> list[dict]:
    return pq.read_table(project / "data" / "generations" / "train.parquet").to_pylist()


def columns(said: str, model: str) -> list[str]:
    """Return how many of a model's answers were wanted, are there, were there before, and are missing."""
    cells = figures(said)[model]
    return [cells[name] for name in ("Prompts", "Answers", "From before", "Missing")]


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


# --- the table --------------------------------------------------------------------------------


def test_the_table_and_what_later_runs_ask(project: Path) -> None:
    models = ["acme/one:together", "acme/two"]
    with ModelServer(latency=0.05, key="hf_secret") as server:
        server.reply = lambda body: f"<think>hm</think>\n {body['model']}: {body['messages'][-1]['content']} "
        use(project, "generation", inference="huggingface", models=models, router_url=server.url, concurrency=2)
        (project / ".env").write_text("HF_TOKEN=hf_secret\n", encoding="utf-8")

        done = run(project, "generate.py", "--limit", "2", "--yes")
        assert (done.returncode, done.stderr) == (0, "")
        assert "acme/one:together" in done.stdout and "price of some models is not known" in done.stdout
        assert [row["input"] for row in table(project)] == PROMPTS[:2]
        assert len(server.chats) == 4 and server.most_in_flight <= 4

        assert run(project, "generate.py", "--yes").returncode == 0
        rows = table(project)
        assert sorted((chat.model, chat.prompt) for chat in server.chats) == sorted(
            (model, prompt) for model in models for prompt in PROMPTS
        )
        system = (project / "prompts" / "system_prompt.txt").read_text(encoding="utf-8").removesuffix("\n")
        for row, prompt in zip(rows, PROMPTS, strict=True):
            sent = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
            assert row["input"] == prompt and row["system_prompt"] == system
            assert row["prompt_id"] == hashlib.sha256(prompt.encode()).hexdigest()[:16]
            assert row["generation_model"] == models and row["generation_prompt"] == [sent, sent]
            assert row["raw_generation_responses"] == [f"<think>hm</think>\n {model}: {prompt} " for model in models]
            assert row["generations"] == [f"{model}: {prompt}" for model in models]
            assert row["finish_reason"] == ["stop", "stop"] and len(set(row["answer_id"])) == 2
        body = {"max_tokens": 1024, "temperature": 0.7}
        assert all(
            chat.body == body | {"model": chat.model, "messages": chat.body["messages"]} for chat in server.chats
        )
        loaded = datasets.Dataset.from_parquet(str(project / "data/generations/train.parquet"), cache_dir=project / "c")
        assert loaded.to_list() == rows

        server.chats.clear()
        server.close()  # nothing is missing, so nobody is asked, not even whether there is a server
        done = run(project, "generate.py")
        assert done.returncode == 0 and table(project) == rows
        assert columns(done.stdout, "acme/two")[:4] == ["5", "5", "5", "0"]  # asked, answered, from before, missing

    with ModelServer(key="hf_secret") as server:  # the address is not part of a request
        changed = [*PROMPTS[:4], "A new one", PROMPTS[0]]
        write_prompts(project, changed)
        use(project, "generation", models=["acme/two", "acme/three"], router_url=server.url)
        done = run(project, "generate.py", "--yes", env={"HF_TOKEN": "hf_secret"})
        assert done.returncode == 0 and "Left out: 1" in done.stdout
        asked = [("acme/three", prompt) for prompt in changed[:5]] + [("acme/two", "A new one")]
        assert sorted((chat.model, chat.prompt) for chat in server.chats) == sorted(asked)
        assert [row["generation_model"] for row in table(project)] == [["acme/two", "acme/three"]] * 5
        assert [row["raw_generation_responses"][0] for row in table(project)[:4]] == [
            row["raw_generation_responses"][1] for row in rows[:4]
        ]


@pytest.mark.usefixtures("english")
def test_progress_counts_answers(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kto.progress._LINE_EVERY", 0.1)
    use(project, "generation", concurrency=1)
    with ModelServer(latency=0.2) as server:
        said = generate(project, "--base-url", server.url).stdout
    counts = [int(number) for number in re.findall(r"(?m)^Answers: (\d+)/10(?:, −\d:\d\d:\d\d)?$", said)]
    assert counts and counts == sorted(counts) and "Prompts done" not in said, said


def test_a_clone_without_the_store_asks_for_no_answer_again(project: Path) -> None:
    with ModelServer() as server:
        use(project, "generation", base_url=server.url)
        assert run(project, "generate.py").returncode == 0
        rows = table(project)
        server.chats.clear()
        for file in (project / "data").glob("answers.sqlite*"):
            file.unlink()
        assert run(project, "generate.py", "--limit", "2").returncode == 0
        assert table(project) == rows
        assert run(project, "generate.py").returncode == 0
        assert table(project) == rows and not server.chats


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, None),
        ("", None),
        (" \n", None),
        (" Hallo.\n", "Hallo."),
        ("<think>one\ntwo</think>\n\nHallo.", "Hallo."),
        ("\n<think>\n\n</think>Hallo.", "Hallo."),
        ("thinking aloud</think>Hallo.", "Hallo."),  # the template opened the block
        ("<think>too long for max_tokens", None),
        ("<think>a</think>", None),
        ("Write <think> first.", "Write <think> first."),
        ("Close <think>x</think> later.", "Close <think>x</think> later."),
        ("a < b > c </thinker>", "a < b > c </thinker>"),
    ],
)
def test_an_answer_is_cleaned(raw: str | None, expected: str | None) -> None:
    assert clean(raw) == expected


@given(st.text(), st.text())
def test_cleaning_takes_the_thought_and_nothing_else(thought: str, answer: str) -> None:
    thought, answer = (text.replace("think", "") for text in (thought, answer))
    assume("|>" not in answer)  # the end of another mark
    assert clean(f"<think>{thought}</think>{answer}") == clean(answer) == (answer.strip() or None)


# --- requests that fail -----------------------------------------------------------------------


def test_gaps_are_told_and_filled_by_the_next_run(project: Path, server: ModelServer) -> None:
    use(project, "generation", max_attempts=2, models=MODELS, concurrency=2)
    for prompt in PROMPTS:
        server.fail(prompt, model="acme/no", status=402, body='{"error": "No credit is left."}')
    server.fail(PROMPTS[0], model="acme/one", status=500)
    server.fail(PROMPTS[1], status=400, body='{"error": {"message": "The prompt is too long."}}')
    server.fail(PROMPTS[2], model="acme/one", drop=True, times=1)
    server.fail(PROMPTS[3], model="acme/two", status=429, headers={"Retry-After": "1"}, times=1)
    server.fail(PROMPTS[4], model="acme/two", body="<html>not an answer</html>", times=1)
    done = run(project, "generate.py", "--base-url", server.url)
    assert done.returncode == 1
    assert "8 answers are missing" in done.stderr and "Written:" in done.stdout
    # asked, answered, from before, missing
    assert columns(done.stdout, "acme/one")[:4] == ["5", "3", "0", "2"]
    assert columns(done.stdout, "acme/two")[:4] == ["5", "4", "0", "1"]
    assert columns(done.stdout, "acme/no")[:4] == ["5", "0", "0", "5"]
    for reason in (
        "acme/one: The server answered 500",
        "acme/two: The server answered 400 (The prompt is too long.). (prompts: 1)",
        "acme/no: The server requires payment (No credit is left.)",
    ):
        assert reason in done.stdout
    gaps = [json.loads(line) for line in (project / "data/generations/gaps.jsonl").read_text("utf-8").splitlines()]
    assert len(gaps) == 8 and {gap["model"] for gap in gaps if gap["input"] == PROMPTS[1]} == set(MODELS)
    assert all(gap["reason"] and gap["prompt_id"] for gap in gaps)
    none = [[text is None for text in row["generations"]] for row in table(project)]
    assert all(row.pop() for row in none)
    assert none == [[True, False], [True, True], [False] * 2, [False] * 2, [False] * 2]
    assert [row["raw_generation_responses"][0] is None for row in table(project)] == [True, True, False, False, False]
    # Two attempts and one answer; one each; from here on one of two is asked again.
    paid = [chat.prompt for chat in server.chats if chat.model == "acme/no"]
    assert [server.asked(prompt) - paid.count(prompt) for prompt in PROMPTS] == [3, 2, 3, 3, 3]
    assert len(paid) <= 2  # what was in flight when the answer came

    server.heal()
    server.chats.clear()
    assert run(project, "generate.py", "--base-url", server.url).returncode == 0
    asked = [("acme/one", PROMPTS[0]), ("acme/one", PROMPTS[1]), ("acme/two", PROMPTS[1])]
    asked += [("acme/no", prompt) for prompt in PROMPTS]
    assert sorted((chat.model, chat.prompt) for chat in server.chats) == sorted(asked)
    assert all(None not in row["generations"] for row in table(project))
    assert not (project / "data/generations/gaps.jsonl").exists()


def test_no_answer_at_all_leaves_the_old_table(project: Path, server: ModelServer) -> None:
    output = project / "out"
    arguments = ("generate.py", "--base-url", server.url, "--output", str(output))
    assert run(project, *arguments).returncode == 0
    old = (output / "train.parquet").read_bytes()
    use(project, "generation", max_attempts=1, models=["acme/three"])
    server.fail(status=503)
    done = run(project, *arguments)
    assert done.returncode == 1 and "No model gave an answer" in done.stderr
    assert sorted(file.name for file in output.iterdir()) == ["answers.html", "train.parquet"]
    assert (output / "train.parquet").read_bytes() == old


def test_a_table_that_cannot_be_written_costs_no_answer(project: Path, server: ModelServer) -> None:
    output = project / "out"
    output.write_bytes(b"a file, where a folder is wanted")
    arguments = ("generate.py", "--base-url", server.url, "--output")
    done = run(project, *arguments, str(output))
    assert done.returncode == 1 and str(output) in done.stderr and "Traceback" not in done.stderr
    assert "acme/one" not in done.stdout  # no numbers of a table that there is not
    assert run(project, *arguments, str(project / "elsewhere")).returncode == 0
    assert len(server.chats) == 10


def test_a_table_that_cannot_be_read_is_not_replaced(project: Path, server: ModelServer) -> None:
    output = project / "out"
    output.mkdir()
    (output / "train.parquet").write_bytes(b"answers, perhaps paid for")
    done = run(project, "generate.py", "--base-url", server.url, "--output", str(output))
    assert done.returncode == 1 and "train.parquet" in done.stderr and not server.chats
    assert (output / "train.parquet").read_bytes() == b"answers, perhaps paid for"


def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize(
    ("settings", "arguments", "env", "sentence"),
    [
        ({}, [], {}, "address of the model server is missing"),
        ({}, ["--base-url", "localhost:80"], {}, "is not the address of a server"),
        ({}, ["--base-url", "http://127.0.0.1:{port}/v1"], {}, "There is no server at"),
        ({}, ["--base-url", "http://256.0.0.1/v1"], {}, "There is no server at"),
        ({}, ["--base-url", "http://[/v1"], {}, "is not the address of a server"),
        ({}, ["--limit", "0"], {}, "0 is not a number of prompts"),
        ({}, ["--limit", "all"], {}, "all is not a number of prompts"),
        ({}, ["--base-url", "{url}"], {}, "(Invalid key.), and no key is set. If it wants one, write it into"),
        ({}, ["--base-url", "{url}"], {"OPENAI_API_KEY": "wrong"}, "does not accept your key"),
        ({}, ["--base-url", "{url}"], {"OPENAI_API_KEY": "sk-\u2013x"}, "OPENAI_API_KEY has characters"),
        ({"inference": "huggingface"}, [], {}, "HF_TOKEN is missing"),
        ({"inference": "huggingface"}, [], {"HF_TOKEN": " "}, "HF_TOKEN is missing"),
        ({"inference": "huggingface"}, ["--base-url", "{url}"], {"OPENAI_API_KEY": "right"}, "Add --yes, or a limit"),
        ({}, ["--base-url", "{url}", "--max-cost", "much"], {}, "much is not an amount of money"),
        ({}, ["--base-url", "{url}", "--max-cost", "-1"], {}, "-1 is not an amount of money"),
        ({"prompts": "nowhere.jsonl"}, ["--base-url", "{url}"], {}, "nowhere.jsonl cannot be read"),
        ({"temperature": 3.5}, ["--base-url", "{url}"], {}, "[generation] temperature = 3.5"),
    ],
)
def test_what_cannot_work_is_said_at_once(
    project: Path, settings: dict, arguments: list[str], env: dict, sentence: str
) -> None:
    with ModelServer(key="right") as server:
        use(project, "generation", **settings)
        filled = [argument.format(port=unused_port(), url=server.url) for argument in arguments]
        began = time.monotonic()
        done = run(project, "generate.py", *filled, env=env)
        assert done.returncode == 1 and done.stdout.count("\n") <= 6
        assert sentence in done.stderr and done.stderr.count("\n") <= 3
        assert time.monotonic() - began < 10 and not server.chats
        assert not (project / "data" / "generations").exists()


def test_help_is_in_the_texts(project: Path) -> None:
    done = run(project, "generate.py", "--help")
    assert done.returncode == 0 and "ask only the first N prompts" in done.stdout


def test_an_answer_store_that_is_broken(project: Path, server: ModelServer) -> None:
    (project / "data").mkdir()
    (project / "data" / "answers.sqlite").write_bytes(b"x" * 5000)
    done = run(project, "generate.py", "--base-url", server.url)
    assert done.returncode == 1 and "cannot be used to keep the answers" in done.stderr and not server.chats
    assert (project / "data" / "answers.sqlite").read_bytes() == b"x" * 5000


# --- stopped in the middle --------------------------------------------------------------------


def processes_of(project: Path) -> set[int]:
    """Every process that has the project's folder as its current one, or its path in its command line."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            cwd, line = str((entry / "cwd").readlink()), (entry / "cmdline").read_bytes().decode(errors="replace")
        except (OSError, NotADirectoryError):
            continue
        if entry.name.isdigit() and (cwd == str(project) or str(project) in line):
            found.add(int(entry.name))
    return found


@LINUX
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stop_stops_the_requests(project: Path, how: signal.Signals) -> None:
    prompts = [f"Prompt {number}" for number in range(60)]
    write_prompts(project, prompts)
    with ModelServer(latency=0.3) as server:
        with start(project, "generate.py", "--base-url", server.url) as process:
            until(lambda: len(server.chats) >= 40)
            process.send_signal(how)
            _, err = process.communicate(timeout=30)
        until(lambda: not processes_of(project), 20)
        asked = len(server.chats)
        assert asked < 100
        time.sleep(0.6)  # twice the time of an answer: nobody asks any more
        assert len(server.chats) == asked
        assert not (project / "data" / "generations").exists()
        if how == signal.SIGINT:
            assert process.returncode == 130 and "kept" in err and "Traceback" not in err
        if how == signal.SIGKILL:
            server.latency = 0
            assert run(project, "generate.py", "--base-url", server.url).returncode == 0
            assert all(None not in row["generations"] for row in table(project))
            assert len(server.chats) <= 120 + 8  # asked again: at most what was in flight, 2 models × 4


# --- models on this machine -------------------------------------------------------------------


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("tiny")
    return [make_tiny_model(folder / f"llama {seed}", seed) for seed in range(2)]


def test_models_on_this_machine(project: Path, tiny_models: list[Path], tmp_path: Path) -> None:
    shutil.copytree(tiny_models[0], project / "models" / "own")
    names = ["models/own", str(tiny_models[1])]
    use(project, "generation", inference="local", models=names, max_tokens=48, temperature=0.2)
    use(project, "local", device="cpu")
    write_prompts(project, [question for question, _ in CONVERSATIONS])
    env = {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0", "HTTP_PROXY": "http://127.0.0.1:9"}
    done = run(project, "generate.py", "--limit", "6", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "models/own" in done.stdout and done.stderr == ""
    rows = table(project)
    # What will be published names no folder of this machine.
    assert [row["generation_model"] for row in rows] == [["models/own", "llama 1"]] * 6
    answers = dict(CONVERSATIONS)
    for position in range(2):  # each has learned six of nine conversations, so at least three of these
        right = sum(row["generations"][position] == answers[row["input"]] for row in rows)
        assert right >= 2, [row["generations"][position] for row in rows]
    assert {reason for row in rows for reason in row["finish_reason"]} <= {"stop", "length"}
    if Path("/proc/self/cwd").exists():
        until(lambda: not processes_of(project), 20)

    logs = {path: path.stat().st_mtime_ns for path in (project / "data" / "logs").iterdir()}
    assert run(project, "generate.py", "--limit", "6", env=env).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in logs} == logs and table(project) == rows  # no server was started

    # Another model in the same folder is another model.
    for file in tiny_models[1].iterdir():
        shutil.copy(file, project / "models" / "own")
    use(project, "local", command=[sys.executable, "-c", "raise SystemExit('no such model here')"])
    done = run(project, "generate.py", "--limit", "6", env=env)
    assert done.returncode == 1 and "did not start (no such model here)" in done.stdout
    assert [row["generations"][0] for row in table(project)] == [None] * 6  # the other model's answers are as they were
    assert [row["generations"][1] for row in table(project)] == [row["generations"][1] for row in rows]


SLOW_SERVER = """
import subprocess, sys, time
sys.path.insert(0, {tests!r})
from model_server import ModelServer
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "a helper of the server"])
server = ModelServer(latency=600, port=int(sys.argv[2]))
print("serving", sys.argv[1], flush=True)
time.sleep(600)
"""


@LINUX
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stop_ends_the_model_server_too(project: Path, how: signal.Signals) -> None:
    script = project / "slow_server.py"
    script.write_text(SLOW_SERVER.format(tests=str(PARTS)), encoding="utf-8")
    use(project, "generation", inference="local")
    use(project, "local", command=[sys.executable, str(script), "{model}", "{port}"])
    log = project / "data" / "logs" / "model-1.log"
    with start(project, "generate.py") as process:
        until(lambda: log.exists() and "serving" in log.read_text(encoding="utf-8"))
        process.send_signal(how)
        process.communicate(timeout=60)
    until(lambda: not processes_of(project), 30)
    assert "serving acme/one" in (project / "data" / "logs" / "model-1.log").read_text(encoding="utf-8")


def test_a_model_server_that_is_never_ready(project: Path) -> None:
    use(project, "generation", inference="local")
    use(project, "local", command=[sys.executable, "-c", "import time; time.sleep(600)", "{model}"], start_timeout=1.0)
    done = run(project, "generate.py")
    assert done.returncode == 1 and "was not ready after 1 seconds" in done.stdout
    use(project, "local", command=["no-such-command", "{model}"])
    done = run(project, "generate.py")
    assert done.returncode == 1 and "did not start" in done.stdout and "no-such-command" in done.stdout


ADDED = """
        from distilabel.steps import StepInput, step
        from distilabel.steps.tasks import UltraFeedback
        from kto.ask.pipeline import StoredLLM

        @step(inputs=["generations"], outputs=["longest"])
        def longest(rows: StepInput):
            yield [row | {"longest": max(map(len, filter(None, row["generations"])), default=0)} for row in rows]

        judge = StoredLLM(target=targets[0], sink=writer)
        rate = UltraFeedback(name="rate", llm=judge, aspect="helpfulness", input_mappings={"instruction": "input"})
        answers >> longest(name="longest") >> rate
"""


def test_a_step_that_somebody_adds_runs_and_lands_in_the_table(project: Path, server: ModelServer) -> None:
    """distilabel's own UltraFeedback, asked of a stored model, and a step of five lines."""
    use(project, "generation", base_url=server.url)
    rating = "#### Output for Text {n}\nType: 1\nRationale: x\nRating: {n}\nRationale: fine {n}"
    answer = server.reply

    def reply(body: dict) -> object:
        asked = body["messages"][-1]["content"]
        return "\n\n".join(rating.format(n=n) for n in (1, 2)) if "#### Output" in asked else answer(body)

    server.reply = reply
    script = project / "generate.py"
    code = script.read_text(encoding="utf-8")
    assert code.count("        prompts >> models >> answers\n") == 1
    added = code.replace("        prompts >> models >> answers\n", f"        prompts >> models >> answers{ADDED}")
    script.write_text(added, encoding="utf-8")
    done = run(project, "generate.py", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = table(project)
    assert [row["longest"] for row in rows] == [max(map(len, row["generations"])) for row in rows]
    assert [row["ratings"] for row in rows] == [[1, 2]] * len(rows) and rows[0]["rationales-for-ratings"] == [
        "fine 1",
        "fine 2",
    ]
    asked = len(server.chats)
    assert run(project, "generate.py").returncode == 0 and table(project) == rows
    assert len(server.chats) == asked  # what the added step asked is stored, too


PRICES = {"providers": [{"provider": "acme", "status": "live", "pricing": {"input": 1.0, "output": 4.0}}]}


def add_step(project: Path, code: str) -> None:
    """Add a step to the pipeline in generate.py, as somebody would who edits it."""
    script = project / "generate.py"
    text = script.read_text(encoding="utf-8")
    assert text.count("        prompts >> models >> answers\n") == 1
    script.write_text(text.replace("        prompts >> models >> answers\n", code), encoding="utf-8")


def test_a_limit_leaves_the_columns_of_added_steps(project: Path, server: ModelServer) -> None:
    """Also where the step of now brings another column, or another type."""
    use(project, "generation", base_url=server.url)
    step = """
        from distilabel.steps import StepInput, step

        @step(inputs=["generations"], outputs=["parts", "size"])
        def measure(rows: StepInput):
            yield [row | {"parts": [row["generations"][0]], "size": {"n": 1}} for row in rows]

        prompts >> models >> answers >> measure(name="measure")
"""
    add_step(project, step)
    assert run(project, "generate.py").returncode == 0
    before = table(project)
    assert all(row["parts"] == row["generations"][:1] and row["size"] == {"n": 1} for row in before)

    use(project, "generation", temperature=0.1)  # so that the other prompts have no answer to what is asked now
    script = project / "generate.py"
    changed = script.read_text(encoding="utf-8").replace('"parts": [row["generations"][0]]', '"parts": None, "new": 2')
    script.write_text(changed.replace('"size": {"n": 1}', '"size": 1.5'), encoding="utf-8")
    assert run(project, "generate.py", "--limit", "2").returncode == 0
    after = table(project)
    assert [(row["parts"], row["size"], row["new"]) for row in after[:2]] == [(None, 1.5, 2)] * 2
    assert after[2:] == [row | {"size": None, "new": None} for row in before[2:]]  # a size of another type
    use(project, "generation", temperature=0.7)  # now they have
    assert run(project, "generate.py", "--limit", "1").returncode == 0
    assert [row["parts"] for row in table(project)] == [None, None, *(row["parts"] for row in before[2:])]


LOCAL_SERVER = """
import sys, time
sys.path.insert(0, {tests!r})
from model_server import ModelServer
server = ModelServer((sys.argv[1],), port=int(sys.argv[2]))
time.sleep(600)
"""


def test_an_added_step_runs_once_after_all_models_on_this_machine(project: Path) -> None:
    (project / "local_server.py").write_text(LOCAL_SERVER.format(tests=str(PARTS)), encoding="utf-8")
    use(project, "generation", inference="local")
    use(project, "local", command=[sys.executable, str(project / "local_server.py"), "{model}", "{port}"])
    step = f"""
        from distilabel.steps import StepInput, step

        @step(inputs=["generations"], outputs=["count"])
        def measure(rows: StepInput):
            with open({str(project / "runs.txt")!r}, "a") as file:
                print(len(rows), file=file)
            yield [row | {{"count": len(row["generations"])}} for row in rows]

        prompts >> models >> answers >> measure(name="measure")
"""
    add_step(project, step)
    done = run(project, "generate.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project / "runs.txt").read_text(encoding="utf-8") == "5\n"
    assert all(row["count"] == 2 and all(row["generations"]) for row in table(project))


JUDGE = """
        import dataclasses
        from distilabel.steps.tasks import TextGeneration
        from kto.ask.pipeline import StoredLLM
        from kto.ask.servers import Server

        target = targets[0]
        judge = StoredLLM(target=target, sink=writer)
        judged = {"instruction": "prompt_id"}  # not what the models were asked
        judgement = {"generation": "judgement", "model_name": "judge"}
        prompts >> models >> answers >> TextGeneration(
            name="judge", llm=judge, input_mappings=judged, output_mappings=judgement
        )
"""


def test_an_added_step_asks_a_model_on_this_machine(project: Path) -> None:
    """It is started once more, after the models have answered, and only while the store lacks something."""
    (project / "local_server.py").write_text(LOCAL_SERVER.format(tests=str(PARTS)), encoding="utf-8")
    use(project, "generation", inference="local")
    use(project, "local", command=[sys.executable, str(project / "local_server.py"), "{model}", "{port}"])
    add_step(project, JUDGE)
    done = run(project, "generate.py")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = table(project)
    assert len(rows) == 5 and all(row["judgement"] and all(row["generations"]) for row in rows)
    assert re.findall("Starting acme/(.*) on this", done.stdout) == ["one", "two", "one"]
    again = run(project, "generate.py")
    assert again.returncode == 0 and table(project) == rows and "Starting" not in again.stdout

    use(project, "local", command=["no-such-command", "{model}"])
    script = project / "generate.py"
    code = script.read_text(encoding="utf-8")
    other = 'dataclasses.replace(targets[0], arguments={"max_tokens": 9})'
    script.write_text(code.replace("target = targets[0]", f"target = {other}"), encoding="utf-8")
    done = run(project, "generate.py")
    assert done.returncode == 0 and "did not start" in done.stdout
    assert table(project) == [row | {"judgement": None} for row in rows]


def test_what_an_added_step_asks_is_confirmed(project: Path, server: ModelServer) -> None:
    use(project, "generation", inference="huggingface", router_url=server.url)
    (project / ".env").write_text("HF_TOKEN=hf_secret\n", encoding="utf-8")
    assert run(project, "generate.py", "--yes", "--limit", "3").returncode == 0
    add_step(project, JUDGE)
    asked = len(server.chats)
    done = run(project, "generate.py", "--limit", "3")
    assert done.returncode == 1 and "Asking for 3 answers (models: 1)" in done.stdout and "--yes" in done.stderr
    assert len(server.chats) == asked
    assert run(project, "generate.py", "--limit", "3", "--yes").returncode == 0 and len(server.chats) == asked + 3
    done = run(project, "generate.py", "--limit", "3")
    assert done.returncode == 0 and "Asking" not in done.stdout and len(server.chats) == asked + 3
    done = run(project, "generate.py", "--yes")
    assert done.returncode == 0 and len(server.chats) == asked + 3 + 2 * 3
    assert [line for line in done.stdout.splitlines() if "Asking for" in line] == [
        "Asking for 4 answers (models: 2) …",
        "Asking for 2 answers (models: 1) …",
    ]
    assert all(row["judgement"] for row in table(project))


def test_what_an_added_step_asks_counts_towards_the_limit(project: Path) -> None:
    """Models that lack no answer have a price, too; one whose price nobody knows is not asked."""
    with ModelServer(("acme/one", "acme/two")) as server, ModelServer(("acme/judge",)) as other:
        server.about = {name: PRICES for name in server.names}
        server.usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
        use(project, "generation", base_url=server.url, max_tokens=100)
        assert run(project, "generate.py", "--max-cost", "1").returncode == 0
        asked = len(server.chats)
        add_step(project, JUDGE)
        assert run(project, "generate.py", "--max-cost", "0.0001").returncode == 0
        assert len(server.chats) == asked  # not one of them may be sent
        assert [row["judgement"] for row in table(project)] == [None] * 5
        assert run(project, "generate.py", "--max-cost", "1").returncode == 0
        assert len(server.chats) == asked + 5 and all(row["judgement"] for row in table(project))

        script = project / "generate.py"
        target = f'dataclasses.replace(targets[0], model="acme/judge", server=Server({other.url!r}), prices=None)'
        text = script.read_text(encoding="utf-8")
        script.write_text(text.replace("target = targets[0]", f"target = {target}"), encoding="utf-8")
        done = run(project, "generate.py", "--max-cost", "1")
        assert done.returncode == 0 and not other.chats
        assert done.stdout.count("The price of these models is not known") == 1 and "acme/judge" in done.stdout
        assert run(project, "generate.py").returncode == 0 and len(other.chats) == 5

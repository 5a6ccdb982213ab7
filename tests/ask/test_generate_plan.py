"""What generate.py says before it asks, what it may cost, and that only one run is at work."""

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from generating import PROMPTS, figures, generate, run, start, use, write_prompts
from model_server import ModelServer

pytest_plugins = ["generating_fixtures"]

PRICE = {"providers": [{"provider": "acme", "status": "live", "pricing": {"input": 1.0, "output": 4.0}}]}  # per million


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(("acme/one", "acme/two"), key="hf_secret") as server:
        server.about = {name: PRICE for name in server.names}
        server.usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
        yield server


@pytest.fixture
def free() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def paid(project: Path, server: ModelServer) -> Path:
    """A project whose models cost money."""
    use(project, "generation", inference="huggingface", router_url=server.url, max_tokens=100)
    (project / ".env").write_text("HF_TOKEN=hf_secret\n", encoding="utf-8")
    return project


def test_a_dry_run_asks_for_nothing_and_writes_nothing(paid: Path, server: ModelServer) -> None:
    before = set(paid.rglob("*"))
    done = run(paid, "generate.py", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "") and not server.chats
    assert set(paid.rglob("*")) == before
    assert "10 answers" in done.stdout and "Requests" in done.stdout
    [dollars] = re.findall(r"Together about \$([\d.]+)", done.stdout)
    # 1,000 tokens written at $4 per million, and about a hundred read for each answer
    assert 0.004 < float(dollars) < 0.008


def test_a_dry_run_needs_no_token(paid: Path, server: ModelServer, english: None) -> None:
    """The router tells its prices to everybody, so nobody has to sign up to see them."""
    (paid / ".env").unlink()
    server.key = ""
    done = generate(paid, "--dry-run")
    assert (done.returncode, done.stderr) == (0, "") and re.search(r"Together about \$0\.00\d", done.stdout)
    assert "HF_TOKEN is missing" in done.stdout.splitlines()[-1] and not server.chats
    done = generate(paid, "--yes")
    assert done.returncode == 1 and "HF_TOKEN is missing" in done.stderr and not server.chats


def test_a_dry_run_says_what_it_could_not_ask(project: Path, free: ModelServer, english: None) -> None:
    with ModelServer() as dead:
        pass
    use(project, "generation", base_url=dead.url)
    done = generate(project, "--dry-run")
    assert done.returncode == 1 and "Asking for 10 answers (models: 2)" in done.stdout
    assert f"  - acme/one, acme/two: There is no server at {dead.url}" in done.stderr
    assert figures(done.stdout)["acme/two"]["Requests"] == "5" and not (project / "data").exists()

    # One of two: nothing of the other is lost.
    with (project / "settings.toml").open("a", encoding="utf-8") as file:
        file.write(f'\n[models."acme/two"]\nbase_url = "{free.url}"\n')
    done = generate(project, "--dry-run")
    assert done.returncode == 1 and "  - acme/one: There is no server" in done.stderr and "acme/two" not in done.stderr


def test_the_estimate_learns_how_long_answers_are(paid: Path, server: ModelServer) -> None:
    assert run(paid, "generate.py", "--limit", "2", "--yes").returncode == 0
    done = run(paid, "generate.py", "--dry-run")
    assert figures(done.stdout)["acme/one"]["Tokens written"] == "150"  # three answers of 50 tokens, not of 100


def test_where_nothing_has_a_price_nothing_is_asked(project: Path, free: ModelServer) -> None:
    done = run(project, "generate.py", "--base-url", free.url)
    assert done.returncode == 0 and "Press Enter" not in done.stdout and len(free.chats) == 10


def test_the_bill_at_the_end(paid: Path, server: ModelServer) -> None:
    done = run(paid, "generate.py", "--yes")
    shown = figures(done.stdout).values()
    assert [(row["Tokens read"], row["Tokens written"]) for row in shown] == [("500", "250")] * 2
    assert [row["Cost"] for row in shown] == ["$0.0015"] * 2  # 500 × $1 + 250 × $4 per million


@pytest.mark.parametrize(("limit", "fewest", "most"), [(0.0, 0, 0), (0.003, 5, 10), (1.0, 60, 60)])
def test_it_never_costs_more_than_it_may(paid: Path, server: ModelServer, limit: float, fewest: int, most: int) -> None:
    write_prompts(paid, [f"Prompt {number}" for number in range(30)])
    server.latency = 0.02
    done = run(paid, "generate.py", "--max-cost", str(limit))
    assert fewest <= len(server.chats) <= most
    assert len(server.chats) * (100 * 1e-6 + 50 * 4e-6) <= limit + 1e-12
    if most < 60:
        assert done.returncode == 1 and ("--max-cost allows" in done.stdout)
        assert run(paid, "generate.py", "--yes").returncode == 0
        assert len(server.chats) == 60  # the rest, and nothing twice
    else:
        assert done.returncode == 0


def test_a_limit_needs_prices(paid: Path, server: ModelServer) -> None:
    server.about = {"acme/one": PRICE}
    done = run(paid, "generate.py", "--max-cost", "5")
    assert done.returncode == 1 and "acme/two" in done.stderr and not server.chats


@pytest.mark.parametrize(
    ("name", "price"),
    [
        ("acme/one", (3e-6, 5e-6)),
        ("acme/one:cheap", (1e-6, 2e-6)),
        ("acme/one:cheapest", (3e-6, 5e-6)),  # the dearest that it might be
        ("acme/one:free", None),
        ("acme/two", None),
        ("acme/odd", None),
        ("acme/nobody", None),
    ],
)
def test_prices_in_the_list_of_the_router(name: str, price: tuple[float, float] | None) -> None:
    from kto.ask.servers import prices

    offers = [
        {"provider": "cheap", "pricing": {"input": 1, "output": 2}},
        {"provider": "dear", "pricing": {"input": 3, "output": 5}},
        {"provider": "free"},
    ]
    odd = [{"provider": "x", "pricing": "much"}, {"provider": "y", "pricing": {"input": "1", "output": -2}}, 7]
    listed = [{"id": "acme/one", "providers": offers}, {"id": "acme/two"}, {"id": "acme/odd", "providers": odd}]
    found = prices(listed, name)
    assert found == (None if price is None else pytest.approx(price))


def test_a_second_run_ends_at_once(project: Path, free: ModelServer) -> None:
    free.latency = 0.5
    write_prompts(project, [f"Prompt {number}" for number in range(16)])
    with start(project, "generate.py", "--base-url", free.url) as first:
        while not free.chats:
            assert first.poll() is None
        second = run(project, "generate.py", "--base-url", free.url)
        assert second.returncode == 1 and "Another command is asking models" in second.stderr
        first.communicate(timeout=60)
        assert first.returncode == 0 and len(free.chats) == 32
    assert run(project, "generate.py", "--base-url", free.url).returncode == 0
    assert len(free.chats) == 32


def test_each_model_has_its_own_settings(project: Path, free: ModelServer) -> None:
    free.key = "own"
    with (project / "settings.toml").open("a", encoding="utf-8") as file:
        file.write(
            f'\n[models."acme/two"]\nbase_url = "{free.url}"\nkey = "TWO_KEY"\nname = "two-on-server"\n'
            "temperature = 0.1\ntop_p = 0.5\nmax_tokens = 7\nconcurrency = 1\nextra = { seed = 5 }\n"
        )
    with ModelServer() as other:
        env = {"TWO_KEY": "own", "OPENAI_API_KEY": "for the other one"}
        done = run(project, "generate.py", "--base-url", other.url, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        assert {chat.headers["authorization"] for chat in other.chats} == {"Bearer for the other one"}
        assert {chat.headers["authorization"] for chat in free.chats} == {"Bearer own"}
        assert free.most_in_flight == 1 and {chat.model for chat in free.chats} == {"two-on-server"}
        body = free.chats[0].body
        assert (body["temperature"], body["top_p"], body["max_tokens"], body["seed"]) == (0.1, 0.5, 7, 5)
        first = pq.read_table(project / "data/generations/train.parquet").to_pylist()

        # Another setting is another request; the old answers are there when it comes back.
        text = (project / "settings.toml").read_text(encoding="utf-8")
        for number, (seed, asked) in enumerate([(6, 10), (5, 10), (6, 10)]):
            changed = text.replace("seed = 5", f"seed = {seed}")
            (project / "settings.toml").write_text(changed, encoding="utf-8")
            assert run(project, "generate.py", "--base-url", other.url, env=env).returncode == 0
            assert (len(free.chats), len(other.chats)) == (asked, 5), number
            if seed == 5:
                assert pq.read_table(project / "data/generations/train.parquet").to_pylist() == first


def test_extra_fields_that_would_cost_or_break(project: Path) -> None:
    with (project / "settings.toml").open("a", encoding="utf-8") as file:
        extra = "{ n = 5, stream = true, max_tokens = -1, day = 2024-01-01, odd = nan, seed = 1 }"
        file.write(f'\n[models."acme/one"]\nbase_url = "http://["\nextra = {extra}\n')
    done = run(project, "generate.py", "--base-url", "http://127.0.0.1:9/v1")
    assert done.returncode == 1 and "base_url = http://[ cannot be used" in done.stderr
    for field in ("n", "stream", "max_tokens", "day", "odd"):
        assert f'[models."acme/one".extra] {field} is unknown' in done.stderr
    assert "seed" not in done.stderr


def test_the_token_for_the_hub_goes_to_the_hub_alone(project: Path, free: ModelServer) -> None:
    use(project, "generation", inference="huggingface")
    done = run(project, "generate.py", "--base-url", free.url, "--yes", env={"HF_TOKEN": "hf_secret"})
    assert done.returncode == 0 and not any("authorization" in chat.headers for chat in free.chats)


def test_settings_of_a_model_that_is_not_there(project: Path) -> None:
    with (project / "settings.toml").open("a", encoding="utf-8") as file:
        file.write('\n[models."acme/tow"]\ntemperature = 7.5\nconcurency = 2\nextra = "seed"\n')
    done = run(project, "generate.py", "--base-url", "http://127.0.0.1:9/v1")
    assert done.returncode == 1
    for part in (
        "acme/tow” is not in the list of models. Did you mean “acme/two”?",
        "temperature = 7.5",
        "concurrency",
    ):
        assert part in done.stderr
    assert "extra must be names and values in braces" in done.stderr


def test_one_server_that_is_down_does_not_hold_back_the_other(project: Path, free: ModelServer) -> None:
    with (project / "settings.toml").open("a", encoding="utf-8") as file:
        file.write('\n[models."acme/two"]\nbase_url = "http://127.0.0.1:9/v1"\n')
    done = run(project, "generate.py", "--base-url", free.url)
    assert done.returncode == 1 and "acme/two: There is no server at http://127.0.0.1:9/v1" in done.stdout
    rows = pq.read_table(project / "data/generations/train.parquet").to_pylist()
    assert all(row["generations"][0] and row["generations"][1] is None for row in rows)
    gaps = (project / "data/generations/gaps.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(gaps) == 5 and all("There is no server at" in json.loads(gap)["reason"] for gap in gaps)


def test_a_wrong_language_is_asked_again_and_marked(project: Path, free: ModelServer) -> None:
    """The community speaks Dutch; one model answers in English until it is told firmly, the other one always does."""
    use(project, "language", tag="nl", autonym="Nederlands", script="Latn")
    use(project, "generation", language_retries=2)
    dutch = "Bewaar het brood in een papieren zak bij kamertemperatuur, dan blijft de korst lekker knapperig."
    english = (
        "Keep the bread in a paper bag at room temperature, so that the crust stays crisp and it does not get dry."
    )

    def reply(body: dict) -> str:
        firm = "Nederlands only" in body["messages"][-1]["content"]
        return dutch if firm and body["model"] == "acme/one" else english

    free.reply = reply
    done = run(project, "generate.py", "--base-url", free.url)
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(project / "data/generations/train.parquet").to_pylist()
    assert all(row["generations"] == [dutch, english] and row["asked_again"] == [1, 2] for row in rows)
    assert all(row["language_verdict"] == ["right", "wrong"] and row["language"] == ["nl", "en"] for row in rows)
    assert all(row["generation_prompt"][0][-1]["content"] == row["input"] for row in rows)
    assert len(free.chats) == len(PROMPTS) * (2 + 3)
    shown = figures(done.stdout)
    assert [row["Right language"] for row in shown.values()] == ["100.0 %", "0.0 %"]
    assert shown["acme/two"]["Wrong language"] == "5"

    # All three answers of the second model are kept, and nobody is asked again.
    with sqlite3.connect(project / "data" / "answers.sqlite") as database:
        assert database.execute("SELECT count(*) FROM answers").fetchone() == (25,)
    assert run(project, "generate.py", "--base-url", free.url).returncode == 0 and len(free.chats) == 25

    # Also not by a clone that has the table only.
    for file in (project / "data").glob("answers.sqlite*"):
        file.unlink()
    assert run(project, "generate.py", "--base-url", free.url).returncode == 0
    assert pq.read_table(project / "data/generations/train.parquet").column("generations").to_pylist() == [
        row["generations"] for row in rows
    ]
    assert len(free.chats) <= 25


def test_cut_empty_and_refused_answers_are_marked(project: Path, free: ModelServer) -> None:
    answers = ["I’m sorry, but I can't help with that.", "", "<think>hm", "Fine.", "Sorry to hear that. Do this."]
    free.reply = lambda body: answers[PROMPTS.index(body["messages"][-1]["content"])]
    done = run(project, "generate.py", "--base-url", free.url)
    rows = pq.read_table(project / "data/generations/train.parquet").to_pylist()
    assert [row["refused"][0] for row in rows] == [True, None, None, False, False]
    assert [row["generations"][0] is None for row in rows] == [False, True, True, False, False]
    one = figures(done.stdout)["acme/one"]
    assert (one["Empty"], one["Refused"]) == ("2", "1") and "Cut off" not in one

    # What only the server has said is still there in a clone, which has the table but not the store.
    free.usage = {"prompt_tokens": 7, "completion_tokens": 3}
    write_prompts(project, [*PROMPTS, "One more"])
    refusal = {
        "choices": [{"message": {"content": None, "refusal": "No."}, "finish_reason": "stop"}],
        "usage": free.usage,
    }
    free.reply = lambda body: (200, refusal)
    assert run(project, "generate.py", "--base-url", free.url).returncode == 0
    rows = pq.read_table(project / "data/generations/train.parquet").to_pylist()
    assert rows[-1]["refused"] == [True, True] and rows[-1]["completion_tokens"] == [3, 3]
    for file in (project / "data").glob("answers.sqlite*"):
        file.unlink()
    asked = len(free.chats)
    assert run(project, "generate.py", "--base-url", free.url).returncode == 0 and len(free.chats) == asked
    assert pq.read_table(project / "data/generations/train.parquet").to_pylist() == rows

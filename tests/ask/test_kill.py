"""generate.py is killed at any moment: no answer is lost, and only what was in flight is asked for again."""

import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from generating import run, start, use, write_prompts
from model_server import ModelServer
from test_generate import processes_of

pytest_plugins = ["generating_fixtures"]
pytestmark = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="the processes are looked up in /proc")

SEEDS = 20
PROMPTS = [f"Prompt {number}" for number in range(30)]
MODELS, CONCURRENCY = 2, 4
IN_FLIGHT = MODELS * CONCURRENCY


def stored(project: Path) -> int:
    with sqlite3.connect(f"file:{project / 'data' / 'answers.sqlite'}?mode=ro", uri=True) as database:
        return int(database.execute("SELECT count(*) FROM answers").fetchone()[0])


def kill_and_rerun(template: Path, folder: Path, seed: int) -> dict[str, int]:
    """Kill two runs at random moments and let a third one finish; return what was counted at the server."""
    chance = random.Random(seed)
    project = Path(shutil.copytree(template, folder / f"seed {seed}"))
    use(project, "generation", models=["acme/one", "acme/two"], prompts="prompts/mine.jsonl", concurrency=CONCURRENCY)
    write_prompts(project, PROMPTS)
    found = {"kills": 0, "left running": 0, "lost": 0}
    with ModelServer(latency=chance.choice([0.01, 0.05, 0.2])) as server:
        for how in (chance.choice([signal.SIGKILL, signal.SIGTERM]), signal.SIGKILL):
            # Before the first request, or after any number of them, at any time of an answer's way.
            wanted = chance.choice([0, len(server.chats) + chance.randint(1, len(PROMPTS) * MODELS)])
            pause = chance.uniform(0, server.latency + 0.01)
            with start(project, "generate.py", "--base-url", server.url) as process:
                while len(server.chats) < wanted and process.poll() is None:
                    time.sleep(0.001)
                try:
                    process.wait(pause)
                except subprocess.TimeoutExpired:
                    process.send_signal(how)
                    found["kills"] += 1
                process.communicate(timeout=60)
            deadline = time.monotonic() + 30
            while processes_of(project) and time.monotonic() < deadline:
                time.sleep(0.02)
            found["left running"] += len(processes_of(project))
            if (project / "data" / "answers.sqlite").exists() and wanted:
                found["lost"] = max(found["lost"], len(server.chats) - stored(project) - found["kills"] * IN_FLIGHT)
        done = run(project, "generate.py", "--base-url", server.url)
        assert done.returncode == 0, done.stdout + done.stderr
        rows = pq.read_table(project / "data" / "generations" / "train.parquet").to_pylist()
        assert len(rows) == len(PROMPTS) and all(None not in row["generations"] for row in rows)
        asked = Counter((chat.model, chat.prompt) for chat in server.chats)
        found["repeated"] = asked.total() - len(asked)
        assert len(asked) == len(PROMPTS) * MODELS
    return found


@pytest.mark.timeout(600)
def test_kill_matrix(rendered: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda seed: kill_and_rerun(rendered, tmp_path, seed), range(SEEDS)))
    for seed, found in enumerate(results):
        print(seed, found)
    assert all(found["lost"] <= 0 and found["left running"] == 0 for found in results)
    assert all(found["repeated"] <= found["kills"] * IN_FLIGHT for found in results)
    assert sum(found["kills"] for found in results) >= SEEDS  # most runs were still at work


def test_a_disk_that_is_full_stops_the_requests(project: Path) -> None:
    """A limit on the size of files stands for a full disk: SQLite gets an error when it writes."""
    write_prompts(project, [f"Prompt {number}" for number in range(200)])
    limited = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, -1)); sys.argv.pop(0)"
    (project / "limited.py").write_text(
        f"{limited}; import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "from os import path; sys.path.insert(0, path.dirname(sys.argv[0])); "
        "runpy.run_path(sys.argv[0], run_name='__main__')",
        encoding="utf-8",
    )
    with ModelServer() as server:
        server.reply = lambda body: "An answer. " * 100
        done = run(project, "limited.py", str(project / "generate.py"), "--base-url", server.url)
        assert done.returncode == 1 and "cannot be written" in done.stdout + done.stderr
        asked = len(server.chats)
        assert asked < 200
        kept = stored(project)
        assert asked - kept <= IN_FLIGHT
        assert run(project, "generate.py", "--base-url", server.url).returncode == 0
        assert len(server.chats) - asked == 400 - kept

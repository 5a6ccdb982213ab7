"""generate.py job: a machine whose disk is gone afterwards; a folder stands for the bucket that is mounted there."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from generating import environment, write_prompts
from model_server import ModelServer
from test_generate import until

pytest_plugins = ["generating_fixtures"]
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")


@pytest.fixture
def repository(project: Path) -> Path:
    """The project as people have it on GitHub."""
    write_prompts(project, [f"Prompt {number}" for number in range(40)])
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@y", "-C", str(project)]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "x"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    return project


def job(repository: Path, bucket: Path, server: ModelServer) -> subprocess.Popen[str]:
    file = shutil.copy(repository / "kto" / "ask" / "job.py", bucket.parent)  # it travels alone
    start = "import sys; sys.path.insert(0, sys.argv[1]); import job; job.EVERY = 0.2; sys.exit(job.main(sys.argv[2:]))"
    command = [sys.executable, "-c", start, str(Path(file).parent), repository.as_uri(), str(bucket)]
    programs = bucket.parent / "bin"  # git and no uv
    programs.mkdir(exist_ok=True)
    if not (programs / "git").exists():
        (programs / "git").symlink_to(str(shutil.which("git")))
    env = environment({"PATH": str(programs)})
    temporary = {"TMPDIR": str(bucket.parent)}
    return subprocess.Popen(
        [*command, "--base-url", server.url], env=env | temporary, stdout=subprocess.PIPE, text=True
    )


def test_a_job_goes_on_where_the_last_one_was_stopped(repository: Path, tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    with ModelServer(latency=0.2) as server:
        with job(repository, bucket, server) as first:
            until(lambda: len(server.chats) >= 30)
            first.send_signal(signal.SIGTERM)
            first.communicate(timeout=60)
        assert first.returncode != 0 and (bucket / "answers.sqlite").exists()
        asked = len(server.chats)
        with job(repository, bucket, server) as second:
            second.communicate(timeout=120)
        assert second.returncode == 0
        assert 80 <= len(server.chats) <= 80 + 8  # again: only what was in flight
        assert asked < 80
    rows = pq.read_table(bucket / "generations" / "train.parquet").to_pylist()
    assert len(rows) == 40 and all(None not in row["generations"] for row in rows)
    assert not [name for name in os.listdir(bucket) if name.endswith(".new")]


def test_a_job_that_is_killed_has_copied_what_was_there(repository: Path, tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    with ModelServer(latency=0.2) as server, job(repository, bucket, server) as first:
        until(lambda: (bucket / "answers.sqlite").exists() and len(server.chats) >= 30)
        first.kill()
        first.communicate(timeout=60)
    with ModelServer() as server, job(repository, bucket, server) as second:
        second.communicate(timeout=120)
        assert second.returncode == 0 and len(server.chats) < 80

"""`vote.py practice`: what people will see, on a Python without any package."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from argilla_server import free_port
from rendering import read_yaml, render

BARE = [sys.executable, "-E", "-s", "-S", "-B", "vote.py", "practice"]


@pytest.fixture(scope="module", params=["en", "am"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("project"), language=request.param)


class Practice:
    def __init__(self, project: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*BARE, *arguments],
            cwd=project,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            env={"PATH": os.environ["PATH"]},
        )
        assert self.process.stdout
        self.said = self.process.stdout.readline()

    def stop(self) -> str:
        self.process.send_signal(signal.SIGINT)
        assert self.process.stdout
        rest = self.process.stdout.read()
        return f"{self.process.wait(20)}: {self.said}{rest}"


@pytest.fixture
def running() -> Iterator[list[Practice]]:
    """Practices that end with the test."""
    all_: list[Practice] = []
    yield all_
    for practice in all_:
        practice.process.kill()
        practice.process.communicate()


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is another thing on Windows")
def test_on_a_bare_python(project: Path, running: list[Practice]) -> None:
    before = {path for path in project.rglob("*") if path.is_file()}
    begin = time.monotonic()
    practice = Practice(project, "--port", str(free_port()))
    running.append(practice)
    url = practice.said.split()[-1].removesuffix("።")
    page = httpx.get(url)
    assert time.monotonic() - begin < 5
    words = httpx.get(f"{url}words.json").json()
    texts = read_yaml(project / "kto" / "texts.yaml")
    assert practice.said.strip() == texts["page"]["practice_ready"].replace("{url}", url)
    assert page.status_code == 200 and f'lang="{words["language"]}"' in page.text
    assert words["practice_only"] is True and len(words["examples"]) >= 3
    for name in page.text.split('"'):
        if name.endswith((".js", ".css", ".svg")):
            assert httpx.get(url + name).status_code == 200, name
    # Nobody can vote here, and there is no Argilla.
    refused = httpx.post(f"{url}api/session", json={"secret": "x", "consent": "1"})
    assert (refused.status_code, refused.json()) == (404, {"kind": "practice"})
    root = url.removesuffix("vote/")
    assert httpx.get(root).headers["location"] == "vote/" and httpx.get(f"{root}api/v1/me").status_code == 404
    said = practice.stop()
    assert said.startswith("0: ") and "Traceback" not in said
    assert said.endswith(f"{texts['page']['practice_stop']}\n")
    assert {path for path in project.rglob("*") if path.is_file()} == before


def test_its_usual_port_may_be_taken(project: Path, running: list[Practice]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        practice = Practice(project, "--port", str(port))
        running.append(practice)
        url = practice.said.split()[-1].removesuffix("።")
        assert f":{port}/" not in url and httpx.get(url).status_code == 200


def test_without_the_words_it_says_what_to_do(project: Path) -> None:
    path = project / "publish" / "voting" / "page.json"
    before = path.read_bytes()
    try:
        for content in (None, b"{}", b"no JSON", b'{"format": 1}', b"\xff"):
            path.unlink() if content is None else path.write_bytes(content)
            done = subprocess.run(BARE, cwd=project, capture_output=True, encoding="utf-8", timeout=60)
            assert done.returncode == 1 and "Make it with: uv run check.py pages" in done.stderr
            assert done.stderr.count("\n") == 1
    finally:
        path.write_bytes(before)


def test_other_commands_say_what_is_missing(project: Path) -> None:
    for arguments in ([], ["--help"], ["invite", "amina"]):
        done = subprocess.run([*BARE[:-1], *arguments], cwd=project, capture_output=True, encoding="utf-8", timeout=60)
        assert done.returncode == 1 and done.stderr.startswith("PyYAML is not here. ") and done.stderr.count("\n") == 1

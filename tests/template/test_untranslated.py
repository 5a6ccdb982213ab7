"""A language without a catalogue: what models would be told in English is said first, and asked for."""

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
from generating import check, generate, use
from model_server import ModelServer
from rendering import render

pytest_plugins = ["generating_fixtures"]
pytestmark = pytest.mark.usefixtures("english")

PROMPTS, SYSTEM = "of the prompts are still those in English", "prompts/system_prompt.txt is still the one in English"
YORUBA = [f"Báwo ni mo ṣe lè se ìrẹsì {number}?" for number in range(3)]


@pytest.fixture(scope="module")
def yoruba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("yo")
    project = render(folder, language="yo", domain="oúnjẹ", inference="openai-compatible", models="one")
    use(project, "generation", base_url="")
    return project


@pytest.fixture
def project(yoruba: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(yoruba, tmp_path / "kto-yo"))


@pytest.fixture
def server():
    with ModelServer() as server:
        yield server


def write(project: Path, prompts: list[str]) -> None:
    lines = [json.dumps({"prompt": prompt}, ensure_ascii=False) + "\n" for prompt in prompts]
    (project / "prompts" / "starter.jsonl").write_text("".join(lines), encoding="utf-8")


def test_it_is_said_before_anybody_is_asked(project: Path, server: ModelServer) -> None:
    arguments = ["--base-url", server.url, "--limit", "2"]
    done = generate(project, *arguments, "--dry-run")
    assert done.returncode == 0 and f"Yoruba yet: 2 {PROMPTS}" in done.stdout and SYSTEM in done.stdout
    for more in ([], ["--max-cost", "1"]):
        done = generate(project, *arguments, *more)
        assert done.returncode == 1 and f"Yoruba yet: 2 {PROMPTS}" in done.stdout
    assert "The models would be asked in English, and there is no terminal" in generate(project, *arguments).stderr
    assert not server.chats
    done = generate(project, *arguments, "--yes")
    assert (done.returncode, len(server.chats)) == (0, 2) and PROMPTS in done.stdout.partition("Asking for")[0]
    again = generate(project, *arguments)  # nothing is missing, so nothing is agreed to
    assert again.returncode == 0 and "English" not in again.stdout


@pytest.mark.parametrize(("typed", "asked"), [("\n", 1), ("n\n", 0)])
def test_at_a_terminal_it_waits(
    project: Path, server: ModelServer, typed: str, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO(typed)
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdin", terminal)
    try:
        generate(project, "--base-url", server.url, "--limit", "1")
    except KeyboardInterrupt:
        assert not asked
    assert len(server.chats) == asked


def test_what_people_have_written_is_no_concern_of_ours(project: Path, server: ModelServer) -> None:
    english = [json.loads(line)["prompt"] for line in (project / "prompts" / "starter.jsonl").open(encoding="utf-8")]
    assert len(english) == 32  # with those about the subject
    write(project, [*YORUBA, "A question of our own, in English?", english[0], english[-1]])
    assert f"Yoruba yet: 2 {PROMPTS}" in check(project).stdout
    write(project, YORUBA)
    done = generate(project, "--base-url", server.url)
    assert done.returncode == 0 and len(server.chats) == 3  # the system prompt alone is said, and not asked about
    assert SYSTEM in done.stdout and PROMPTS not in done.stdout
    (project / "prompts" / "system_prompt.txt").write_text("Answer in Yoruba.\n", encoding="utf-8")
    assert "English" not in generate(project, "--base-url", server.url, "--dry-run").stdout


def test_check_says_it_first(project: Path, server: ModelServer) -> None:
    server.names = ("one",)
    use(project, "generation", base_url=server.url)
    done = check(project)
    assert done.returncode == 0, done.stderr
    first, second, *rest = done.stdout.splitlines()
    assert f"Yoruba yet: 32 {PROMPTS}" in first and SYSTEM in second and "Everything can be used." in rest


def test_a_language_with_a_catalogue_says_nothing(rendered: Path) -> None:
    assert not list((rendered / "kto").glob("english*"))
    assert "English" not in check(rendered).stdout

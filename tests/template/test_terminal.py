"""The questions at a real terminal: keys, long and pasted lines, and asking again for what cannot be used."""

import sys
import tomllib
from pathlib import Path

import pytest
from rendering import REPOSITORY, cookiecutter_environment

pexpect = pytest.importorskip("pexpect", reason="Windows has no such terminals")

READY = "\x1b[?2004h"
"""What the terminal is told when a line may be typed: to put marks around what is pasted."""
LINES = {
    "language": "nl",
    "domain": "koken",
    "project_name": "",
    "project_slug": "",
    "hub_owner": "",
    "inference": "",
    "models": "acme/one",
    "system_prompt": "",
    "prompts": "",
    "license": "",
}


class Terminal:
    """Cookiecutter at a terminal of 100 columns, question by question."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.out = folder / "out"
        self.out.mkdir(parents=True, exist_ok=True)
        env = cookiecutter_environment(folder / "home") | {"TERM": "xterm", "COLUMNS": "100"}
        command = ["-m", "cookiecutter", str(REPOSITORY), "-o", str(self.out), *arguments]
        self.child = pexpect.spawn(
            sys.executable, command, env=env, encoding="utf-8", timeout=60, dimensions=(40, 100), echo=False
        )

    def answer(self, **lines: str) -> "Terminal":
        """Answer each question in its turn, with these lines or the usual ones; a key is pressed at its own prompt."""
        for number, (question, usual) in enumerate(LINES.items(), 1):
            self.child.expect_exact(f"[{number}/10]")
            self.child.expect_exact(READY)
            self.child.send(lines.get(question, usual) + "\r")
        return self

    def end(self) -> str:
        said = self.child.read()
        self.child.close()
        return said

    @property
    def project(self) -> dict:
        (project,) = self.out.iterdir()
        return tomllib.loads((project / "settings.toml").read_text(encoding="utf-8"))


def test_arrow_keys_move_and_are_no_letters(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path).answer(domain="huki\x1b[D\x1b[D\x1b[Da")
    said = terminal.end()
    assert terminal.child.exitstatus == 0, said
    assert terminal.project["project"]["domain"] == "hauki"
    assert terminal.project["project"]["slug"] == "kto-nl-hauki"


def test_a_long_line_is_not_cut(tmp_path: Path) -> None:
    long = "नमस्ते " * 400  # 7,600 bytes
    terminal = Terminal(tmp_path).answer(system_prompt=long + "।")
    said = terminal.end()
    assert terminal.child.exitstatus == 0, said
    (project,) = terminal.out.iterdir()
    assert (project / "prompts" / "system_prompt.txt").read_text(encoding="utf-8") == long + "।\n"


def test_several_pasted_lines_are_one_answer(tmp_path: Path) -> None:
    """Terminals put marks around what is pasted."""
    terminal = Terminal(tmp_path).answer(system_prompt="\x1b[200~Eerste regel.\rTweede regel.\x1b[201~")
    said = terminal.end()
    assert terminal.child.exitstatus == 0, said
    (project,) = terminal.out.iterdir()
    text = (project / "prompts" / "system_prompt.txt").read_text(encoding="utf-8")
    assert text == "Eerste regel.\nTweede regel.\n"


def test_pasted_lines_do_not_answer_the_next_question(tmp_path: Path) -> None:
    """Also where the terminal puts no marks around them."""
    terminal = Terminal(tmp_path)
    for number, line in ((1, "nl\r"), (2, "bakken\rbraden\rkoken\r")):
        terminal.child.expect_exact(f"[{number}/10]")
        terminal.child.expect_exact(READY)
        terminal.child.send(line)
    terminal.child.expect_exact("more than one line")
    terminal.child.expect_exact(READY)
    terminal.child.send("koken\r")
    for number, line in enumerate(list(LINES.values())[2:], 3):
        terminal.child.expect_exact(f"[{number}/10]")
        terminal.child.expect_exact(READY)
        terminal.child.send(line + "\r")
    said = terminal.end()
    assert terminal.child.exitstatus == 0, said
    assert terminal.project["project"]["domain"] == "koken" and "koken" in terminal.project["project"]["name"]


@pytest.mark.parametrize(
    ("question", "bad", "said", "good"),
    [
        ("language", "Farsi", "fa (Persian)", "fa"),
        ("domain", "a\x16\x1bb", "control character in it (U+001B)", "vissen"),
        ("project_name", "\u200b", "is empty", "Duim"),
        ("project_slug", "A B", "cannot be the name of a folder", "kto-x"),
        ("hub_owner", "a/b", "not a name on the Hub", ""),
        ("models", "x", "not a model id", "acme/one"),
        ("prompts", "what?", "not a source of prompts", "starter"),
    ],
)
def test_a_bad_answer_is_asked_for_again_at_once(question: str, bad: str, said: str, good: str, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    for number, (name, usual) in enumerate(LINES.items(), 1):
        terminal.child.expect_exact(f"[{number}/10]")
        terminal.child.expect_exact(READY)
        terminal.child.send((bad if name == question else usual) + "\r")
        if name == question:
            terminal.child.expect_exact(said)
            terminal.child.expect_exact(READY)
            terminal.child.send(good + "\r")
    output = terminal.end()
    assert terminal.child.exitstatus == 0, output
    assert "Traceback" not in output


def test_a_folder_that_is_there_is_noticed_right_after_the_slug(tmp_path: Path) -> None:
    taken = tmp_path / "out" / "kto-nl-koken"
    taken.mkdir(parents=True)
    terminal = Terminal(tmp_path)
    for number, line in enumerate(("nl", "koken", "", ""), 1):
        terminal.child.expect_exact(f"[{number}/10]")
        terminal.child.expect_exact(READY)
        terminal.child.send(line + "\r")
    terminal.child.expect_exact("There is a folder")
    terminal.child.expect_exact(READY)
    terminal.child.send("kto-anders\r")
    for number, line in enumerate(list(LINES.values())[4:], 5):
        terminal.child.expect_exact(f"[{number}/10]")
        terminal.child.expect_exact(READY)
        terminal.child.send(line + "\r")
    said = terminal.end()
    assert terminal.child.exitstatus == 0, said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["kto-anders", "kto-nl-koken"]

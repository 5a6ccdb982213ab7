"""What commands say about themselves, and numbers, are in the community's language; and nobody waits for them."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cldr import cldr, comparable
from generating import COMMANDS, environment, run
from hypothesis import given, settings
from hypothesis import strategies as st
from rendering import LANGUAGES, TEMPLATE, read_yaml, render

from local_extensions.languages import catalogue

sys.path.insert(0, str(TEMPLATE))

from kto import texts

HEAVY = (
    *("argilla", "argilla_server", "distilabel", "datasets", "pandas", "pyarrow", "numpy", "torch", "transformers"),
    *("ray", "huggingface_hub", "httpx", "httpx2", "aiohttp", "requests", "openai", "jinja2", "nbformat"),
    *("sqlalchemy", "fastapi", "uvicorn", "py3langid"),
)
"""Packages of which each takes from a twentieth of a second to three."""
ASK = """
import contextlib, io, json, runpy, sys
[script, *words], ends = sys.argv[1:], []
for option in ("--help", "--wrong"):
    sys.argv[:] = [script, *words, option]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            ends.append((end.code, out.getvalue()))
print(json.dumps([*ends, sorted(sys.modules)]))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("nl"), language="nl")


@functools.cache
def asked(project: Path, command: str) -> tuple[tuple[object, str], tuple[object, str], list[str]]:
    """Return status and output of `--help` and of a wrong option, and the modules that both have imported."""
    script, *words = command.split()
    line = [sys.executable, "-c", ASK, str(project / script), *words]
    env = environment({"PYTHONPATH": str(project)})
    done = subprocess.run(line, env=env, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_all_commands_are_known() -> None:
    found = {path for path in TEMPLATE.rglob("*.py") if '__name__ == "__main__"' in path.read_text(encoding="utf-8")}
    of_ours = {
        "kto/processes.py",
        "kto/ask/language_worker.py",
    }  # nobody but the commands starts these
    scripts = {command.split()[0] for command in COMMANDS}
    assert {path.relative_to(TEMPLATE).as_posix() for path in found} == {*scripts, *of_ours, "kto/ask/serve.py"}


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "kto/ask/job.py"])  # that has no texts
def test_help_is_in_the_language(project: Path, command: str) -> None:
    (status, said), wrong, _ = asked(project, command)
    assert status == 0, said
    assert said.startswith("Gebruik: ") and "\nOpties:\n" in said and "deze hulp tonen" in said
    for english in ("usage", "options", "show this"):
        assert english not in said
    assert wrong == [2, "--wrong is hier geen optie. --help toont ze allemaal.\n"]


@pytest.mark.parametrize("command", COMMANDS)
def test_nobody_waits_for_packages_that_help_does_not_need(project: Path, command: str) -> None:
    modules = asked(project, command)[2]
    assert [name for name in HEAVY if name in modules] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pusht"], "--pusht is hier geen optie. --help toont ze allemaal.\n"),
        (["extra"], "extra is hier geen optie. --help toont ze allemaal.\n"),
        (["--output"], "Bij --output hoort een waarde. --help toont welke.\n"),
        (["--push="], '--push kan niet "" zijn. --help toont wat wel past.\n'),
        (["--push=it's"], "--push kan niet it's zijn. --help toont wat wel past.\n"),
        (["--push=3"], "--push kan niet 3 zijn. --help toont wat wel past.\n"),
    ],
)
def test_a_wrong_option_is_said_in_the_language(project: Path, arguments: list[str], said: str) -> None:
    done = run(project, "export.py", *arguments)
    assert (done.returncode, done.stderr) == (2, said)


def test_a_percent_sign_in_a_text_is_one(tmp_path: Path) -> None:
    project = render(tmp_path, language="nl")
    (project / "texts.yaml").write_text("export:\n  help_output: 100 % zeker, %s\n", encoding="utf-8")
    done = run(project, "export.py", "--help")
    assert done.returncode == 0 and "100 % zeker, %s" in done.stdout, done.stderr


def test_help_can_be_shown_on_a_console_with_an_old_code_page(tmp_path: Path) -> None:
    project = render(tmp_path, language="ar")
    done = run(project, "check.py", "--help", env={**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"})
    assert done.returncode == 0, done.stderr
    assert "الاستخدام" in done.stdout


def written(tag: str, value: float, decimals: int, monkeypatch: pytest.MonkeyPatch) -> str:
    numbers = (catalogue(tag) or {})["language"]["numbers"]
    monkeypatch.setattr(texts, "load", lambda: {"numbers": numbers})
    return texts.number(value, decimals)


@pytest.mark.parametrize("tag", LANGUAGES)
def test_numbers_of_any_size_are_written_as_cldr_has_it(tag: str) -> None:
    example = (catalogue(tag) or {})["language"]["numbers"][1]

    @settings(max_examples=30, deadline=None)
    @given(st.integers(10_000, 10**12))
    def check(value: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            ours = written(tag, value, 0, patch)
        assert comparable(ours) == comparable(cldr(value, tag, example))

    check()


@pytest.mark.parametrize(
    ("tag", "value", "decimals", "wanted"),
    [
        ("en", 0, 0, "0"),
        ("en", 999, 0, "999"),
        ("en", 1234, 0, "1,234"),
        ("es", 1234, 0, "1234"),
        ("es", 12345, 0, "12.345"),
        ("nl", -0.456, 2, "−0,46"),
        ("nl", -0.001, 2, "0,00"),
        ("hi", 123456789, 0, "12,34,56,789"),
        ("nl", 1234.5, 1, "1.234,5"),
    ],
)
def test_numbers(tag: str, value: float, decimals: int, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(tag, value, decimals, monkeypatch) == wanted


@pytest.mark.parametrize("numbers", [None, "1", ["x", "y"], ["1234", "1234567"], [1234, 1.5], ["1234", "1,234,567.8."]])
def test_a_spoilt_example_is_no_trouble(numbers: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "load", lambda: {"numbers": numbers})
    assert texts.number(12345.678, 1) == "12,345.7"


def test_counts_are_written_as_the_language_does_and_ports_are_not(project: Path) -> None:
    content = read_yaml(project / "kto" / "texts.yaml")
    assert content["numbers"] == ["1.234", "1.234.567,8"]
    (project / "say.py").write_text(
        "from kto.texts import t\nprint(t('notebook.uploaded', count=12345), t('errors.bad_port', port=65536))\n"
    )
    said = run(project, "say.py").stdout
    assert "12.345" in said and "65536" in said


@pytest.mark.parametrize(("said", "goes_on"), [("", True), (" ", True), ("n", False), ("nee", False), (None, False)])
def test_only_enter_goes_on(monkeypatch: pytest.MonkeyPatch, said: str | None, goes_on: bool) -> None:
    from kto.terminal import wait_for_enter

    def answer(_: str) -> str:
        if said is None:
            raise EOFError
        return said

    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    if goes_on:
        wait_for_enter("?", "needs_yes")
    else:
        with pytest.raises(KeyboardInterrupt):
            wait_for_enter("?", "needs_yes")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["-S"], "import runpy; runpy.run_path('check.py')", "PyYAML is not here. "),
        *(
            (
                [],
                f"sys.modules['pydantic'] = None; import runpy; runpy.run_path('{script}', run_name='__main__')",
                "The package pydantic is not",
            )
            for script in ("check.py", "generate.py", "vote.py", "export.py", "train.py")
        ),
        ([], "from kto.command_line import run; run(lambda: __import__('no_such'))", "The package no_such is not"),
    ],
)
def test_a_missing_package_is_a_sentence(project: Path, options: list[str], code: str, said: str) -> None:
    line = [sys.executable, *options, "-c", f"import sys; sys.path.insert(0, ''); {code}"]
    done = subprocess.run(line, cwd=project, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 1 and done.stderr.startswith(said) and "with uv" in done.stderr, done.stderr

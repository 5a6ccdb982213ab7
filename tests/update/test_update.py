"""A project that was rendered at an earlier version gets the code of this one and keeps all that is its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import earlier_project
import pytest
import yaml
from rendering import REPOSITORY, TEMPLATE, render

sys.path.insert(0, str(REPOSITORY / "tools"))
import update

SAYS = "An update of this project was interrupted. Run the same update command again to finish it.\n"


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file of a project by its path."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def run(project: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-B", script, "--help"], cwd=project, capture_output=True, text=True)


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8", newline="")


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of 48701f0 with answers and votes, in which people have edited a sentence and four files."""
    return earlier_project.edited(tmp_path_factory.mktemp("earlier") / "kto-test")


@pytest.fixture(scope="module")
def updated(earlier: Path) -> Path:
    project = earlier.parent / "updated" / earlier.name
    shutil.copytree(earlier, project)
    assert update.main([str(project)]) == 0
    return project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of 48701f0 as it was rendered."""
    return earlier_project.rendered(tmp_path / "kto-test")


def test_update_replaces_what_is_ours_and_keeps_what_is_theirs(earlier: Path, updated: Path) -> None:
    before, after = tree(earlier), tree(updated)
    for name in before:
        if name.split("/")[0] in update.PROJECT_FOLDERS or name in ("project.toml", "README.md", "export.py"):
            assert after[name] == before[name], name
            assert (updated / name).stat().st_mtime_ns == (earlier / name).stat().st_mtime_ns, "it was opened"
    assert after["vote.py"] == (TEMPLATE / "vote.py").read_bytes()
    assert after["export.new.py"] == (TEMPLATE / "export.py").read_bytes()
    assert after["texts.old.yaml"] == before["texts.yaml"]
    assert after["texts.yaml"].decode().endswith("task:\n  vote: Wat vind je?\n")
    assert "kto/config.py" not in after and "argilla_local/page.py" not in after
    assert after["kto/made_pages.json"] == before["kto/made_pages.json"]
    assert b"pydantic==" in after["pyproject.toml"] and b"# ours" in after["pyproject.toml"]
    assert {path for path in after if path.split("/")[0] in (".kto-update", "kto.py")} == set()
    assert update.main([str(updated)]) == 0
    assert tree(updated) == after


def test_pytest_does_not_collect_what_lies_beside(updated: Path) -> None:
    assert b"# ours" in (updated / "tests" / "test_project.py").read_bytes()
    assert [file.name for file in (updated / "tests").iterdir() if file.suffix == ".py"] == ["test_project.py"]
    new = (TEMPLATE / "tests" / "test_project.py").read_bytes()
    assert (updated / "tests" / "test_project.py.new").read_bytes() == new


def test_updated_scripts_and_forwarders_run(updated: Path) -> None:
    for script in ("generate.py", "make_prompts.py", "update_pages.py"):
        done = run(updated, script)
        assert done.returncode == 0, done.stderr


def test_pages_stay_where_an_earlier_version_had_them(updated: Path, tmp_path: Path) -> None:
    project = tmp_path / "kto-test"
    shutil.copytree(updated, project)
    done = subprocess.run([sys.executable, "-B", "update_pages.py"], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (project / "publish").iterdir()] == ["voting"]
    assert (project / "community" / "guidelines.md").exists()
    assert "vote.py" in (project / "README.md").read_text(encoding="utf-8")
    after = tree(project)
    assert update.main([str(project)]) == 0
    assert tree(project) == after


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C to a console, not to a process group")
def test_ctrl_c_is_for_the_command_that_an_old_name_calls(tmp_path: Path) -> None:
    (tmp_path / "kto").mkdir()
    (tmp_path / "kto" / "__init__.py").touch()
    (tmp_path / "make_prompts.py").write_text(update.forwarder("make_prompts.py"), encoding="utf-8")
    code = "import sys, time\ntry:\n    print(sys.argv[1:], flush=True)\n    time.sleep(60)\n"
    code += "except KeyboardInterrupt:\n    sys.exit(130)\n"
    (tmp_path / "generate.py").write_text(code, encoding="utf-8")
    command = [sys.executable, "-B", str(tmp_path / "make_prompts.py"), "--count", "5"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        assert process.stdout and process.stdout.readline() == "['prompts', '--count', '5']\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 130


def test_moved_scripts_have_a_successor() -> None:
    for script, *command in update.MOVED.values():
        assert (TEMPLATE / script).is_file()
        assert not command or list((TEMPLATE / "kto").glob(f"*/{command[0]}.py"))


def test_dry_run_says_what_would_change(earlier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(earlier)
    assert update.main([str(earlier), "--dry-run"]) == 0
    assert tree(earlier) == before and not (earlier / update.STAGING).exists()
    said = capsys.readouterr().out
    assert said.startswith("kto-test: 0.1.0 → ") and "\nNew:\n  LICENSE, publish/voting/page.json, vote.py\n" in said
    flat = " ".join(said.split())
    assert "export.py was edited, so it stays; the new one is export.new.py. Yours does not run any more" in flat
    assert "kto.config.load" in flat and "make_prompts.py → generate.py prompts" in flat
    shutil.copytree(earlier, tmp_path / "kto-test")
    assert update.main([str(tmp_path / "kto-test")]) == 0
    assert capsys.readouterr().out.removesuffix("\nUpdated.\n") == said[: said.index("\nThis is what")]


def test_kill_after_each_step(earlier: Path, updated: Path, tmp_path: Path) -> None:
    staged = tmp_path / "staged" / "kto-test"
    shutil.copytree(earlier, staged)

    class Killed(BaseException):
        pass

    def kill_at_once(project: Path) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(update, "apply", kill_at_once)
        update.main([str(staged)])
    steps = json.loads((staged / update.STAGING / update.JOURNAL).read_text(encoding="utf-8"))
    assert (steps[0], steps[-1]) == (["away", "kto"], ["in", "kto"])
    assert run(staged, "generate.py").returncode == 0, "the update has not begun"
    for last in range(len(steps)):
        project = tmp_path / f"killed-{last}" / "kto-test"
        shutil.copytree(staged, project)

        def kill(step: int, last: int = last) -> None:
            if step == last:
                raise Killed

        with pytest.raises(Killed):
            update.apply(project, kill)
        interrupted = last < len(steps) - 1
        scripts = [*project.glob("*.py"), *project.glob("*_*/ser*.py")] if last == len(steps) // 2 else []
        for script in [project / "generate.py", *scripts]:
            done = run(project, str(script))
            assert (done.stderr == SAYS) == interrupted == bool(done.returncode), (script, done.stderr)
        assert update.main([str(project)]) == 0
        assert tree(project) == tree(updated), last
        shutil.rmtree(project)
    assert update.main([str(staged)]) == 0, "what had not begun is planned anew"
    assert tree(staged) == tree(updated)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_killed_process(earlier: Path, updated: Path, tmp_path: Path) -> None:
    project = tmp_path / "killed" / "kto-test"
    shutil.copytree(earlier, project)
    code = (
        "import os, signal, sys, update; real = update.apply\n"
        "update.apply = lambda path: real(path, lambda step: os.kill(os.getpid(), signal.SIGKILL))\n"
        "update.main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, str(project)], cwd=REPOSITORY / "tools", capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (project / "kto").exists()
    for script in (*project.glob("*.py"), project / "argilla_local" / "server.py"):
        if script.name != "hub_job.py":  # the one that imports no kto
            done = run(project, str(script))
            assert (done.returncode, done.stderr) == (1, SAYS), script
    assert update.main([str(project), "--dry-run"]) == 1
    assert update.main([str(project)]) == 0
    assert tree(project) == tree(updated)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limits for a process")
def test_full_disk(earlier: Path, tmp_path: Path) -> None:
    project = tmp_path / "kto-test"
    shutil.copytree(earlier, project)
    code = "import resource, sys, update; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1))\n"
    code += "sys.exit(update.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, str(project)], cwd=REPOSITORY / "tools", capture_output=True, text=True
    )
    assert done.returncode == 1 and "File too large" in done.stderr and "Nothing was changed." in done.stderr
    assert "Traceback" not in done.stderr and tree(project) == tree(earlier)


def test_a_disk_that_refuses_a_step(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(project)
    replace = Path.replace

    def refuse(name: str) -> None:
        def refusing(self: Path, target: Path) -> Path:
            if self.name == name:
                raise PermissionError(13, "Permission denied", str(self))
            return replace(self, target)

        patch.setattr(Path, "replace", refusing)

    with pytest.MonkeyPatch.context() as patch:
        refuse("kto")  # on Windows, while a script runs
        assert update.main([str(project)]) == 1
        error = capsys.readouterr().err
        assert "Permission denied" in error and "Nothing was changed." in error and tree(project) == before
        refuse("vote.py")
        assert update.main([str(project)]) == 1
        assert "run the same command again" in capsys.readouterr().err
        assert run(project, "generate.py").stderr == SAYS
    assert update.main([str(project)]) == 0
    assert run(project, "vote.py").returncode == 0


def test_a_folder_that_cannot_be_written(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / update.STAGING).touch()  # for root, too, who may write into read-only folders
    before = tree(project)
    assert update.main([str(project)]) == 1
    assert "Nothing was changed." in capsys.readouterr().err
    assert tree(project) == before


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("rm kto", "it needs a folder kto/ and a settings.toml"),
        ("rm project.toml", "it needs a folder kto/ and a settings.toml"),
        ("rm", "it needs a folder kto/ and a settings.toml"),
        ("domain = \nproject.toml", "project.toml cannot be read"),
        ("[project]\nproject.toml", "project.toml has no "),
        ("a: [\ntexts.yaml", "texts.yaml cannot be read"),
        ("mine = 1\nkto.py", "Rename your kto.py."),
        ("9.0.0\nkto/VERSION", "The project has version 9.0.0"),
    ],
)
def test_what_cannot_be_updated(project: Path, damage: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    if damage.startswith("rm"):
        path = project / damage.removeprefix("rm").strip()
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    else:
        text, _, name = damage.partition("\n")
        (project / name).write_text(text, encoding="utf-8")
    before = tree(project)
    assert update.main([str(project)]) == 1
    assert says in capsys.readouterr().err
    assert tree(project) == before


@pytest.mark.parametrize("tag", ["ar", "ja", "sw", "wo"])
def test_languages(tag: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Texts and the notebook of another catalogue, or of none (wo), are known as they were rendered."""
    earlier_project.put_language(project, tag)
    whole = tree(project)["texts.yaml"]
    assert update.main([str(project)]) == 0
    assert yaml.safe_load((project / "texts.yaml").read_text(encoding="utf-8")) is None
    assert tree(project)["texts.old.yaml"] == whole
    texts = yaml.safe_load((project / "kto" / "texts.yaml").read_text(encoding="utf-8"))
    catalogue = yaml.safe_load((REPOSITORY / "languages" / f"{'en' if tag == 'wo' else tag}.yaml").read_text("utf-8"))
    assert texts["task"]["vote"] == catalogue["task"]["vote"]
    assert "setup_argilla.ipynb, tests" in " ".join(capsys.readouterr().out.split())
    assert not (project / "setup_argilla.new.ipynb").exists()


@pytest.mark.parametrize("answers", [{"language": "ar"}, {"language": "wo", "inference": "local", "models": "a/b"}])
def test_a_new_project_has_nothing_to_update(
    answers: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = render(tmp_path, domain='Brood & "koffie"\\n', **answers)
    for name in ("check.py", "texts.yaml", "settings.toml"):
        with (project / name).open("a", encoding="utf-8") as file:
            file.write("\n# ours\n")
    before = tree(project)
    assert update.main([str(project)]) == 0
    assert "has the code of this version" in capsys.readouterr().out
    assert tree(project) == before


def test_words_in_the_notebook_are_kept(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook = project / "setup_argilla.ipynb"
    change(notebook, "## 2. Verbinden", "## 2. Verbinden: vraag Fatma")
    before = notebook.read_bytes()
    assert update.main([str(project)]) == 0
    assert notebook.read_bytes() == before
    assert "setup_argilla.ipynb was edited, so it stays" in capsys.readouterr().out
    assert json.loads((project / "setup_argilla.new.ipynb").read_text(encoding="utf-8"))["cells"]


def test_new_files_that_somebody_edits_are_not_overwritten(earlier: Path, project: Path) -> None:
    change(project / "export.py", '"""', '"""Ours. ')
    (project / "export.new.py").write_text("mine = 1\n", encoding="utf-8")
    (project / "texts.old.yaml").write_text("mine: 1\n", encoding="utf-8")
    assert update.main([str(project)]) == 0
    after = tree(project)
    assert after["export.new.py"] == b"mine = 1\n" and after["texts.old.yaml"] == b"mine: 1\n"
    assert after["export.new2.py"] == (TEMPLATE / "export.py").read_bytes() and "texts.old2.yaml" in after


def test_edited_files_of_every_kind_stay(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edited = ("make_prompts.py", "argilla_local/home.py", ".env.example", ".github/workflows/test.yml", "train.py")
    for name in edited:
        with (project / name).open("a", encoding="utf-8") as file:
            file.write("# ours\n")
    before = tree(project)
    assert update.main([str(project)]) == 0
    after = tree(project)
    for name in edited:
        assert after[name] == before[name]
    assert {".env.example.new", ".github/workflows/test.yml.new", "train.new.py"} <= {*after}
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "make_prompts.py was edited, so it stays; `generate.py prompts` does its work now. Yours does not run" in said
    )
    assert "argilla_local/home.py was edited, so it stays; this version has none." in said


def test_an_edited_script_that_finds_all_that_it_imports(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "train.py").write_text("import kto\nfrom kto.texts import t\n", encoding="utf-8")
    assert update.main([str(project)]) == 0
    assert "train.new.py. Yours finds all that it imports." in " ".join(capsys.readouterr().out.split())


def test_an_edited_kto_is_kept(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "kto.old").mkdir()
    (project / "kto" / "ours.py").write_text("mine = 1\n", encoding="utf-8")
    change(project / "export.py", "import", "import kto.ours\nimport")
    assert update.main([str(project)]) == 0
    assert (project / "kto.old2" / "ours.py").exists() and (project / "kto.old2" / "config.py").exists()
    flat = " ".join(capsys.readouterr().out.split())
    assert "kto/ was edited (kto/ours.py)" in flat and "kept as kto.old2/" in flat and "it needs kto.ours, " in flat
    texts = project / "kto" / "texts.yaml"
    line = next(line for line in texts.read_text(encoding="utf-8").splitlines() if line.startswith("  vote:"))
    change(texts, line, "  vote: Wat vind je?")
    assert update.main([str(project)]) == 0
    assert "kto/ was edited (kto/texts.yaml)" in capsys.readouterr().out
    assert "Wat vind je?" in (project / "kto.old3" / "texts.yaml").read_text(encoding="utf-8")


def test_a_checkout_of_windows(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open(project / ".gitignore", "a", encoding="utf-8") as file:
        file.write("# ours\n")
    for name, content in tree(project).items():
        if not name.startswith("data/"):
            (project / name).write_bytes(content.replace(b"\n", b"\r\n"))
    assert update.main([str(project)]) == 0
    assert " was edited" not in capsys.readouterr().out.replace(".gitignore was edited", "")
    ignored = (project / ".gitignore").read_bytes()
    assert b"# ours\r\n" in ignored and ignored.count(b"\n") == ignored.count(b"\r\n")
    assert yaml.safe_load((project / "texts.yaml").read_text(encoding="utf-8")) is None


def test_changes_that_are_not_committed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "core.autocrlf=false")
        subprocess.run(["git", *who, *words], cwd=project, check=True, capture_output=True)

    assert update.main([str(project), "--dry-run"]) == 0
    assert "commit" not in capsys.readouterr().out
    git("init")
    git("add", "-A")
    git("commit", "-m", "First")
    assert update.main([str(project), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "not committed" not in " ".join(said.split()) and "`git diff`, then commit" in said
    change(project / "README.md", "#", "##")
    before = tree(project)
    assert update.main([str(project), "--dry-run"]) == 0
    assert "what you had not committed before" in " ".join(capsys.readouterr().out.split())
    assert tree(project) == before


def test_an_edited_pyproject(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where only other tables are edited, ours are replaced; else what is missing is added, and old pins are named."""
    elsewhere, dependency = tmp_path / "elsewhere", tmp_path / "dependency"
    for folder in (elsewhere, dependency):
        shutil.copytree(project, folder)
    change(elsewhere / "pyproject.toml", "line-length = 120", "line-length = 100")
    change(dependency / "pyproject.toml", '    "rich==15.0.0",', '    "rich==14.9.0",\n    "numpy>=2",')
    new = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))

    assert update.main([str(elsewhere)]) == 0
    now = tomllib.loads((elsewhere / "pyproject.toml").read_text(encoding="utf-8"))
    assert now["tool"]["ruff"]["line-length"] == 100
    assert (now["project"], now["tool"]["uv"]) == (new["project"], new["tool"]["uv"])
    assert "[project], [dependency-groups], [tool.uv]" in " ".join(capsys.readouterr().out.split())

    assert update.main([str(dependency)]) == 0
    now = tomllib.loads((dependency / "pyproject.toml").read_text(encoding="utf-8"))
    names = {re.split("[=>]", requirement)[0] for requirement in now["project"]["dependencies"]}
    assert names >= {re.split("[=>]", requirement)[0] for requirement in new["project"]["dependencies"]}
    assert {"rich==14.9.0", "numpy>=2"} <= {*now["project"]["dependencies"]}
    assert "constraint-dependencies" in now["tool"]["uv"]
    said = " ".join(capsys.readouterr().out.split())
    assert re.search("Added to its dependencies: .*aiohttp-socks==", said)
    assert "It asks for other versions than this template: rich 14.9.0 (now 15.0.0)." in said


def test_versions_know_the_files_of_now() -> None:
    known = json.loads((REPOSITORY / "tools" / "versions.json").read_text(encoding="utf-8"))["files"]
    for file in TEMPLATE.rglob("*"):
        path = file.relative_to(REPOSITORY).as_posix()
        if file.is_file() and update.is_ours(path) and "__pycache__" not in path:
            for name, fingerprint in update.prints_of(file.relative_to(TEMPLATE).as_posix(), file.read_bytes()):
                assert fingerprint in known[name], f"{name}: run python tools/make_versions.py"

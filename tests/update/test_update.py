"""A project that was rendered at an earlier version gets the code of this one and keeps all that is its own."""

import json
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import earlier_project
import pytest
from rendering import REPOSITORY, TEMPLATE

sys.path.insert(0, str(REPOSITORY / "tools"))
import update

EDITED = ("export.py", ".gitignore", "pyproject.toml")


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file of a project by its path."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("earlier") / "kto-test"
    with zipfile.ZipFile(Path(__file__).parent / "earlier" / "project-48701f0.zip") as archive:
        archive.extractall(project)
    earlier_project.put_into(project)
    for name in EDITED:
        with (project / name).open("a", encoding="utf-8") as file:
            file.write("\n# ours\n")
    text = (project / "texts.yaml").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("  vote:"))
    (project / "texts.yaml").write_text(text.replace(line, "  vote: Wat vind je?", 1), encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def updated(earlier: Path) -> Path:
    project = earlier.parent / "updated"
    shutil.copytree(earlier, project)
    assert update.main([str(project)]) == 0
    return project


def test_update_replaces_what_is_ours_and_keeps_what_is_theirs(earlier: Path, updated: Path) -> None:
    before, after = tree(earlier), tree(updated)
    for name in before:
        if name.split("/")[0] in update.THEIR_FOLDERS or name in ("project.toml", "README.md", "export.py"):
            assert after[name] == before[name], name
    assert after["vote.py"] == (TEMPLATE / "vote.py").read_bytes()
    assert after["export.new.py"] == (TEMPLATE / "export.py").read_bytes()
    assert after["texts.old.yaml"] == before["texts.yaml"]
    assert after["texts.yaml"].decode().endswith("task:\n  vote: Wat vind je?\n")
    assert "kto/config.py" not in after and "argilla_local/page.py" not in after
    assert after["kto/made_pages.json"] == before["kto/made_pages.json"]
    assert b"pydantic==" in after["pyproject.toml"] and b"# ours" in after["pyproject.toml"]
    assert ".kto-update" not in {path.split("/")[0] for path in after}
    assert update.main([str(updated)]) == 0
    assert tree(updated) == after


def test_updated_scripts_and_forwarders_run(updated: Path) -> None:
    for script in ("generate.py", "make_prompts.py", "update_pages.py"):
        done = subprocess.run([sys.executable, "-B", script, "--help"], cwd=updated, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_dry_run_says_what_would_change(earlier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(earlier)
    assert update.main([str(earlier), "--dry-run"]) == 0
    assert tree(earlier) == before
    said = capsys.readouterr().out
    assert "vote.py: new" in said and "export.new.py" in said and "kto.config.load" in said


def test_kill_after_each_step(earlier: Path, updated: Path, tmp_path: Path) -> None:
    staged = tmp_path / "staged"
    shutil.copytree(earlier, staged)
    (staged / update.STAGING).mkdir()
    steps, _ = update.plan(staged, staged / update.STAGING)
    (staged / update.STAGING / update.JOURNAL).write_text(json.dumps(steps), encoding="utf-8")

    class Killed(Exception):
        pass

    for last in range(len(steps)):
        project = tmp_path / f"killed-{last}"
        shutil.copytree(staged, project)

        def kill(step: int, last: int = last) -> None:
            if step == last:
                raise Killed

        with pytest.raises(Killed):
            update.apply(project, kill)
        if last == len(steps) - 1:
            done = subprocess.run([sys.executable, "-B", "generate.py"], cwd=project, capture_output=True, text=True)
            assert done.returncode == 1 and done.stderr.startswith("An update of this project was interrupted.")
        assert update.main([str(project)]) == 0
        assert tree(project) == tree(updated), last
        shutil.rmtree(project)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_killed_process(earlier: Path, updated: Path, tmp_path: Path) -> None:
    project = tmp_path / "killed"
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
    assert update.main([str(project)]) == 0
    assert tree(project) == tree(updated)


def test_versions_know_the_files_of_now() -> None:
    known = json.loads((REPOSITORY / "tools" / "versions.json").read_text(encoding="utf-8"))["files"]
    for file in TEMPLATE.rglob("*"):
        path = file.relative_to(REPOSITORY).as_posix()
        if file.is_file() and update.is_ours(path) and "__pycache__" not in path:
            assert update.print_of(path, file.read_bytes()) in known[file.relative_to(TEMPLATE).as_posix()], (
                f"{path}: run python tools/make_versions.py"
            )

"""The code as it stands: lint, types, pins, and what must be in no commit."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from rendering import REPOSITORY, TEMPLATE

SCRIPT = re.compile(r"^# /// script\n(?P<content>(?:^#(?: .*)?\n)+?)^# ///$", re.MULTILINE)


def run(*command: str, cwd: Path = REPOSITORY) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=cwd, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr


def tracked() -> list[Path]:
    """Return the files that are or would be committed; without git (a download of the files) there are none to ask."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True)
    return [path for name in listed.stdout.decode().split("\0") if name and (path := REPOSITORY / name).is_file()]


def test_lint() -> None:
    run("ruff", "check", "--no-cache", "--extend-exclude", "*.ipynb", ".")  # a template, linted where it is rendered


def test_layout() -> None:
    run("ruff", "format", "--check", "--no-cache", "--extend-exclude", "*.ipynb", ".")


@pytest.mark.parametrize(
    ("folder", "what"),
    [
        (REPOSITORY, ["start.py", "local_extensions", "tools", "hooks/pre_gen_project.py"]),
        (REPOSITORY, ["hooks/post_gen_project.py"]),
        (TEMPLATE, ["kto", *sorted(path.name for path in TEMPLATE.glob("*.py"))]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else value.name,
)
def test_types(folder: Path, what: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = str(tmp_path_factory.getbasetemp() / f"mypy-{folder.name}")
    run("mypy", "--config-file", str(REPOSITORY / "pyproject.toml"), "--cache-dir", cache, *what, cwd=folder)


def test_no_python_file_of_the_project_is_a_template() -> None:
    for path in TEMPLATE.rglob("*.py"):
        assert not re.search(r"\{\{ *cookiecutter|\{% ", path.read_text(encoding="utf-8")), path


def test_the_export_needs_no_package_of_argilla() -> None:
    """`kto/dataset` makes votes of what `kto/vote` has read, so other sources of votes can take its place."""
    for path in (TEMPLATE / "kto" / "dataset").glob("*.py"):
        assert not re.search(r"^\s*(import|from) argilla\b", path.read_text(encoding="utf-8"), re.MULTILINE), path


def test_every_environment_is_pinned_whole() -> None:
    """Each direct requirement is exact, and all that these need is as it was on one day, the same everywhere."""
    blocks = {path: SCRIPT.search(path.read_text(encoding="utf-8")) for path in TEMPLATE.rglob("*.py")}
    texts = {path: re.sub(r"^# ?", "", block["content"], flags=re.MULTILINE) for path, block in blocks.items() if block}
    assert len(texts) == 3
    environments = [tomllib.loads(text) for text in texts.values()]
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))
    groups = [item for group in project["dependency-groups"].values() for item in group]
    environments.append({"dependencies": [*project["project"]["dependencies"], *groups], "tool": project["tool"]})
    for environment in environments:
        assert len(environment["dependencies"]) > 2
        for requirement in environment["dependencies"]:
            assert re.fullmatch(r"[A-Za-z0-9._-]+(\[[a-z]+\])?==[\w.+!]+", requirement), requirement
    (day,) = {environment["tool"]["uv"]["exclude-newer"] for environment in environments}
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT00:00:00Z", day)


@pytest.mark.parametrize("path", tracked(), ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_no_host_of_a_registry_no_path_of_a_machine_no_secret(path: Path) -> None:
    dot = r"\."
    hosts = "|".join(["pypi" + dot + "org", "python" + "hosted", "registry" + dot + "npm", "deb" + dot + "debian"])
    text = path.read_bytes().decode("utf-8", errors="replace")
    assert not re.search(hosts, text)
    assert not re.search(r"(^|[^\w.-])/(home|root|work)/\w", text)
    assert not re.search(r"\bhf_[A-Za-z0-9]{20,}\b", text)

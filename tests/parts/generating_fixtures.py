"""Fixtures of the tests of generate.py and check.py; they name this file in `pytest_plugins`."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from generating import PROMPTS, use, write_prompts
from rendering import REPOSITORY, read_yaml, render


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("rendered"), inference="openai-compatible")


@pytest.fixture
def project(rendered: Path, tmp_path: Path) -> Path:
    """A project with two models and five prompts."""
    folder = Path(shutil.copytree(rendered, tmp_path / "project with space"))
    use(folder, "generation", models=["acme/one", "acme/two"], prompts="prompts/mine.jsonl", concurrency=4, base_url="")
    write_prompts(folder, PROMPTS)
    return folder


@pytest.fixture(scope="module")
def english() -> Iterator[None]:
    """Let modules of the template, imported as they stand, find the English texts."""
    texts = read_yaml(REPOSITORY / "languages" / "en.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kto.texts.load", lambda: texts)
        yield

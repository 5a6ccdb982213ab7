"""The project itself: are the settings, the texts and the prompts in order?"""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kto import pages, texts
from kto.ask import prompt_sources
from kto.settings import load as load_settings

ROOT = texts.ROOT


def modules() -> list[Path]:
    """Return the Python files of the project."""
    return [path for path in ROOT.rglob("*.py") if not {".venv", "tests"} & set(path.relative_to(ROOT).parts)]


def named_texts() -> Iterator[str]:
    """Yield every key that the code looks up by a plain string, as `t("…")` or `UserError("…")`."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    if node.func.id == "t":
                        yield first.value
                    elif node.func.id == "UserError":
                        yield first.value if "." in first.value else f"errors.{first.value}"


def test_settings_can_be_used() -> None:
    settings = load_settings()
    assert settings.system_prompt.strip()


def test_every_text_that_the_code_names_is_there() -> None:
    keys = sorted(set(named_texts()))
    assert keys
    for key in keys:
        assert texts.look_up(texts.load(), key)


@pytest.mark.parametrize(
    "page", [path.relative_to(ROOT / "kto" / "pages") for path in (ROOT / "kto" / "pages").rglob("*.md")]
)
def test_every_page_can_be_filled(page: Path) -> None:
    settings = load_settings()
    values = pages.values_of(settings)
    assert pages.fill_page(ROOT / "kto" / "pages" / page, texts.load(), values).strip()


def test_prompts_can_be_read() -> None:
    settings = load_settings()
    files = [origin for origin in prompt_sources.sources(settings) if isinstance(origin, Path)]
    if files:  # a dataset on the Hub is there when somebody asks for it
        assert prompt_sources.load(settings, origins=files).prompts


def test_notebook_has_no_outputs() -> None:
    notebook = json.loads((ROOT / "setup_argilla.ipynb").read_text(encoding="utf-8"))
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook["cells"])


def test_no_secret_is_shared() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {".env", ".argilla/", "data/private/"} <= set(ignored)

"""The project itself: are the settings, the texts and the prompts in order?"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kto import pages, texts
from kto.ask import prompt_sources
from kto.settings import load as load_settings

ROOT = texts.ROOT


def named_texts() -> Iterator[str]:
    """Yield the keys that the code looks up by a plain string, as `t("…")` or `UserError("…")`."""
    for path in [*ROOT.glob("*.py"), *(ROOT / "kto").rglob("*.py")]:
        for call, key in re.findall(r'\b(t|UserError)\(\s*"([\w.]+)"', path.read_text(encoding="utf-8")):
            yield key if call == "t" or "." in key else f"errors.{key}"


def test_settings_can_be_used() -> None:
    settings = load_settings()
    assert settings.system_prompt.strip()


def test_every_text_that_the_code_names_is_there() -> None:
    keys = sorted(set(named_texts()))
    assert keys
    for key in keys:
        assert texts.look_up(texts.load(), key)


@pytest.mark.parametrize("page", sorted((ROOT / "kto" / "pages").rglob("*.md")))
def test_every_page_can_be_filled(page: Path) -> None:
    assert pages.fill_page(page, texts.load(), pages.values_of(load_settings())).strip()


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

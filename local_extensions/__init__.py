"""The functions that the templates call: languages, answers and their checks, literals of each format, pages.

They import only the standard library and what cookiecutter brings.
"""

import contextlib
import importlib
import inspect
import re
import sys
from pathlib import Path

import cookiecutter
from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment
from jinja2.ext import Extension

HERE = Path(__file__).resolve().parent.parent
PROJECT = HERE / "{{cookiecutter.project_slug}}"


def _edit_lines() -> None:
    """Enable line editing at the questions; pasted text of several lines becomes one answer."""
    with contextlib.suppress(ImportError):  # Windows edits lines by itself
        import readline

        readline.parse_and_bind("set enable-bracketed-paste on")


def _check_versions() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - this is for older versions
        raise FailedHookException(
            f"This is Python {sys.version.split()[0]}. Run cookiecutter with Python 3.11 or newer, "
            "for example: uvx --python 3.12 cookiecutter …"
        )
    if tuple(map(int, re.findall(r"\d+", cookiecutter.__version__)[:2])) < (2, 3):
        # Older versions fail on a replay file without all choices, or do not load this extension with it.
        raise FailedHookException(
            f"This is cookiecutter {cookiecutter.__version__}. Use cookiecutter 2.3 or newer, "
            "for example: uvx cookiecutter …"
        )


class KtoExtension(Extension):
    """Gives the functions of these modules to cookiecutter's templates."""

    version: dict[Path, tuple[int, int]] | None = None
    """Modification time in ns and size of each Python file that was imported."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Check all answers before the first folder is made.

        Cookiecutter removes only the last folder of `a/b`, and nothing after an error of its own.
        """
        return "{{ project_folder(cookiecutter) }}" if source == PROJECT.name else source

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        _check_versions()
        self._forget_other_version()
        languages, answers, checks, rendering, literals = (
            importlib.import_module(f"local_extensions.{name}")
            for name in ("languages", "answers", "checks", "rendering", "literals")
        )
        for cached in (languages.subtags, languages.catalogue, languages.facts_of, languages.texts_of, checks.choices):
            cached.cache_clear()
        answers.remember_start()
        if sys.stdin and sys.stdin.isatty():
            _edit_lines()
        environment.filters |= {"toml": literals.toml, "json": literals.json_literal, "yaml": literals.to_yaml}
        for module in (languages, answers, checks, rendering):
            for name, function in inspect.getmembers(module, inspect.isfunction):
                if not name.startswith("_") and function.__module__ == module.__name__:
                    environment.globals[name] = function

    @classmethod
    def _forget_other_version(cls) -> None:
        """Reload code that has changed: `cruft update` renders two versions of this folder in one process."""
        files = [*(HERE / "local_extensions").glob("*.py"), *(PROJECT / "kto").rglob("*.py")]
        version = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}
        if cls.version not in (None, version):
            for name in list(sys.modules):
                if name.startswith("local_extensions.") or name == "kto" or name.startswith("kto."):
                    del sys.modules[name]
            importlib.invalidate_caches()
        cls.version = version

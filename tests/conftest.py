"""What all tests share."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, settings
from rendering import TEMPLATE

# A machine that is busy proves nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# A shell that runs us in the background lets us, and what we start, ignore Ctrl-C: then nothing could be stopped.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Whatever tools leave in the template folder would be rendered into every project.
sys.dont_write_bytecode = True  # in this process
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # in those that it starts
os.environ["HF_TOKEN_PATH"] = os.devnull  # whoever runs the tests may have logged in to the Hub
LEFTOVERS = ("__pycache__", ".ruff_cache", ".mypy_cache", ".pytest_cache", ".hypothesis", ".venv")


def pytest_sessionstart() -> None:
    """Begin with a template folder in which there are only its own files."""
    for name in LEFTOVERS:
        for folder in TEMPLATE.rglob(name):
            shutil.rmtree(folder)


LONG = [
    *("test_end_to_end", "test_voting_page", "test_training", "test_ray", "test_voting_server", "test_link_to_row"),
    *("test_page_offline", "test_page_votes", "test_page_looks", "test_voting_safety", "test_votes_in_argilla"),
    *("test_invite", "test_open_links"),
]
SLOW = (
    *("annotation", "answers_page", "argilla_local", "argilla_network", "blind", "connections", "earlier"),
    *("earlier_answers", "end_to_end", "export", "export_texts", "generate", "hook", "hostile_answers", "job"),
    *("invite", "kill", "left_out", "link_to_row", "local_server", "new_prompts", "open_links", "page_looks"),
    *("page_offline", "page_votes", "pages", "privacy", "prompt_sources", "publish"),
    *("publish_generations", "ray", "reading", "render", "runner", "search", "small_servers", "space", "splits"),
    *("standin_hub", "store_drive", "terminal", "thinking", "train", "training", "update", "vote", "voting_load"),
    *("voting_page", "voting_safety", "voting_server", "voting_service", "votes_in_argilla", "http", "practice"),
    *("deciding", "generate_plan", "missing_answers", "page_aspects", "third_votes", "ties", "unread_output"),
    "upgrade",
)
"""Subjects of the files that start servers, browsers or many commands."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only what takes no server and no browser")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the slow files where that is wanted."""
    slow = collection_path.stem.removeprefix("test_") in SLOW
    return True if slow and config.getoption("--quick") else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the long files first: when the way from end to end is broken, nothing else matters; and none ends alone."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(scope="module", autouse=True)
def connections() -> Iterator[None]:
    """Close the HTTP clients that the tests of a module have made, for argilla never closes its own.

    Else the garbage collector closes them, at any time; where hypothesis makes warnings errors just then, it is a test
    of another module that fails.
    """
    clients: list[httpx.Client] = []
    make = httpx.Client.__init__

    def remember(client: httpx.Client, *arguments: object, **keywords: object) -> None:
        make(client, *arguments, **keywords)
        clients.append(client)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx.Client, "__init__", remember)
        yield
    for client in clients:
        client.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Where everything must run (`KTO_REQUIRE_ALL=1`), a skipped test is a failed one."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("KTO_REQUIRE_ALL") == "1":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but everything must run here: {report.longrepr}"

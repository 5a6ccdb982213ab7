"""What all tests share."""

import os
import shutil
import signal

import pytest
from hypothesis import HealthCheck, settings
from rendering import TEMPLATE

# A machine that is busy proves nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# A shell that runs us in the background lets us, and what we start, ignore Ctrl-C: then nothing could be stopped.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Whatever tools leave in the template folder would be rendered into every project.
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
LEFTOVERS = ("__pycache__", ".ruff_cache", ".mypy_cache", ".pytest_cache", ".hypothesis", ".venv")


def pytest_sessionstart() -> None:
    """Begin with a template folder in which there are only its own files."""
    for name in LEFTOVERS:
        for folder in TEMPLATE.rglob(name):
            shutil.rmtree(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the long end-to-end test first: when it is broken, nothing else matters."""
    items.sort(key=lambda item: "test_end_to_end" not in item.nodeid)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Where everything must run (`KTO_REQUIRE_ALL=1`), a skipped test is a failed one."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("KTO_REQUIRE_ALL") == "1":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but everything must run here: {report.longrepr}"

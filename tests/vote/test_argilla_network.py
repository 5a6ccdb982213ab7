"""Networks and proxies between us and a real Argilla: what passes is tried again, all else is one sentence."""

import sys
from collections.abc import Iterator

import pytest
from faulty_proxy import FaultyProxy
from rendering import TEMPLATE
from voting import Task, argilla, english, make_generations, task

sys.path.insert(0, str(TEMPLATE))

from kto.errors import UserError
from kto.vote.client import connect
from kto.vote.records import upload_records
from kto.vote.task import make_task

__all__ = ["argilla", "english", "task"]

ROWS = make_generations({f"Question {n}?": [f"one {n}", f"two {n}"] for n in range(4)})
BULK = "/records/bulk"


@pytest.fixture
def proxy(task: Task, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """What the project takes for its Argilla."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("kto.vote.records.BATCH", 4)
    with FaultyProxy(task.url) as proxy:
        monkeypatch.setenv("ARGILLA_API_URL", proxy.url)
        yield proxy


def upload(task: Task) -> int:
    client = connect(task.config)
    return upload_records(make_task(client, task.config), ROWS, task.config)


def said(task: Task) -> str:
    """Return what a person reads when an upload fails; what nobody catches is no sentence."""
    try:
        upload(task)
    except UserError as error:
        return str(error)
    except Exception as error:
        return f"Traceback: {error!r}"
    return ""


@pytest.mark.parametrize("status", [412, 429, 500, 503])
def test_what_passes_is_tried_again(task: Task, proxy: FaultyProxy, status: int) -> None:
    proxy.answer = {BULK: [status, status]}
    assert (said(task), len(task.records())) == ("", 8)
    proxy.answer = {"/records": [status, status]}
    assert said(task) == ""


def test_a_proxy_that_takes_less_gets_less(task: Task, proxy: FaultyProxy) -> None:
    make_task(connect(task.config), task.config)
    proxy.largest = 600
    assert (said(task), len(task.records())) == ("", 8)
    assert sum(request.endswith(BULK) for request in proxy.requests) > 2  # four were too many


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (409, "Somebody else is changing this dataset in Argilla"),
        (412, "Somebody else is changing this dataset in Argilla"),
        (413, "does not accept records of this size"),
        (429, "has had too many requests"),
        (507, "could not do it"),
    ],
)
def test_what_does_not_pass_is_one_sentence(task: Task, proxy: FaultyProxy, status: int, sentence: str) -> None:
    proxy.answer = {BULK: [status] * 99}
    told = said(task)
    assert sentence in told and proxy.url in told and "\n" not in told and ". " in told


def test_the_network_goes_at_any_request(task: Task, proxy: FaultyProxy) -> None:
    """What has arrived stays, and the next run adds the rest."""
    number = 2
    while True:
        proxy.requests.clear()
        proxy.drop_from = number
        told = said(task)
        if not told:
            break
        assert told.startswith(f"Nothing answers at {proxy.url} (") and "\n" not in told, number
        number += 3
    assert number > 14  # the task, too, was made in pieces
    assert len(task.records()) == 8

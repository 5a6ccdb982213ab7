"""Whoever votes knows neither the model nor the votes of others, also not by Argilla's API."""

import json
import sys

import pytest
from rendering import TEMPLATE
from voting import SYSTEM_PROMPT, Task, argilla, english, task

sys.path.insert(0, str(TEMPLATE))

from kto.vote.client import connect
from kto.vote.task import make_task

__all__ = ["argilla", "english", "task"]


@pytest.fixture
def voted(task: Task) -> Task:
    """One answer each of two models; piet has voted on both, amina on one."""
    task.generate({"Question?": ["one", "two"]})
    task.setup()
    for record in task.records().values():
        task.vote("piet", record, "bad", comment="hm")
    task.vote("amina", task.records()["Question?", "one"], "good")
    return task


def test_a_record_and_the_votes_of_others_are_for_the_owner(voted: Task) -> None:
    record = voted.records()["Question?", "one"]
    seen = voted.person("amina").get(f"/api/v1/records/{record['id']}")
    assert not [secret for secret in ("acme/one", SYSTEM_PROMPT, "prompt_id", "hm", "bad") if secret in seen.text]
    everything = voted.person("owner").get(f"/api/v1/records/{record['id']}").json()
    assert everything["metadata"]["model"] == ["acme/one"] and len(everything["responses"]) == 2


METADATA = {"entity": "metadata", "metadata_property": "model"}


@pytest.mark.parametrize(
    "query",
    [
        {"filters": {"and": [{"type": "terms", "scope": METADATA, "values": ["acme/one"]}]}},
        {"sort": [{"scope": METADATA, "order": "asc"}]},
    ],
)
def test_nobody_finds_out_the_model_by_searching(voted: Task, query: dict) -> None:
    url = f"/api/v1/me/datasets/{voted.dataset_id}/records/search"
    refused = voted.person("amina").post(url, json=query)
    assert "items" not in refused.json() and refused.status_code == 403
    assert voted.person("owner").post(url, json=query).json()["items"]


def test_progress_names_nobody_else(voted: Task) -> None:
    for path in ("progress", "users/progress"):
        url = f"/api/v1/datasets/{voted.dataset_id}/{path}"
        own = voted.person("amina").get(url).json()
        assert [user["username"] for user in own["users"]] == ["amina"]
        everybody = voted.person("owner").get(url).json()
        assert {user["username"] for user in everybody["users"]} == {"amina", "piet"}
        assert [own.get(name) for name in ("total", "completed")] == [
            everybody.get(name) for name in ("total", "completed")
        ]


def test_nothing_else_tells(voted: Task) -> None:
    """Every address that an annotator may read, with what there is in this task."""
    owner, amina = voted.person("owner"), voted.person("amina")
    api, id = "/api/v1", voted.dataset_id
    (workspace,) = [each["id"] for each in amina.get(f"{api}/me/workspaces").json()["items"]]
    properties = owner.get(f"{api}/me/datasets/{id}/metadata-properties").json()["items"]
    record = voted.records()["Question?", "two"]
    search = f"{api}/me/datasets/{id}/records/search?include=responses&include=suggestions&limit=100"
    by_vote = {"type": "terms", "scope": {"entity": "response", "question": "vote"}, "values": ["bad"]}
    answers = [
        *(amina.get(f"{api}/metadata-properties/{each['id']}/metrics") for each in properties),
        amina.get(f"{api}/me/datasets/{id}/metadata-properties"),
        amina.get(f"{api}/me/datasets/{id}/metrics"),
        amina.get(f"{api}/datasets/{id}/records?include=responses"),
        amina.get(f"{api}/datasets/{id}/records/search/suggestions/options"),
        amina.get(f"{api}/datasets/{id}"),
        amina.get(f"{api}/records/{record['id']}/suggestions"),
        amina.get(f"{api}/workspaces/{workspace}/users"),
        amina.get(f"{api}/users"),
        amina.get(f"{api}/webhooks"),
        amina.post(f"{api}/datasets/{id}/records/search?include=responses", json={}),
        amina.post(search, json={}),
    ]
    assert properties and amina.post(search, json={"filters": {"and": [by_vote]}}).json()["total"] == 0
    told = "".join(answer.text for answer in answers)
    assert not [
        secret for secret in ("acme", "system_prompt", "piet", '"hm"', json.dumps(SYSTEM_PROMPT)) if secret in told
    ]


def test_an_argilla_that_is_not_ours_says_that_it_is_not_blind(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect(task.config)
    make_task(client, task.config)

    def guidelines() -> str:
        return task.person("owner").get(f"/api/v1/datasets/{task.dataset_id}").json()["guidelines"]

    before = guidelines()
    assert "which model wrote an answer" not in before
    request = client.sdk.http_client.request

    def of_a_space(method: str, url: str, **keywords: object) -> object:
        answer = request(method, url, **keywords)
        if url.endswith("/status"):
            answer._content = json.dumps(answer.json() | {"search_engine": {"name": "elasticsearch"}}).encode()
        return answer

    monkeypatch.setattr(client.sdk.http_client, "request", of_a_space)
    for _ in range(2):
        make_task(client, task.config)
        assert guidelines().count("can find out which model wrote an answer") == 1
        assert guidelines().startswith(before.rstrip())
    task.set(dataset=f'"{task.config.annotation.dataset}-new"')
    make_task(client, task.config)
    assert guidelines().count("can find out which model wrote an answer") == 1

"""The annotation task: two thumbs, reasons and a comment on each answer, as a dataset in Argilla."""

import sys
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from kto.errors import UserError
from kto.pages import values_of
from kto.settings import Settings
from kto.texts import t
from kto.vote.client import Argilla, ArgillaError

GOOD, BAD = "good", "bad"
REASONS = ("wrong_language", "not_true", "off_topic", "clumsy", "unsafe")


class Task(NamedTuple):
    """The dataset of this project in an Argilla; fields are as in its REST API, times in UTC without a time zone."""

    argilla: Argilla
    id: str
    guidelines: str
    fields: list[dict[str, Any]]
    min_submitted: int
    last_activity: str


def find_task(argilla: Argilla, config: Settings) -> Task | None:
    """Return the task of this project, None if there is none; raise `UserError` as `check_task` does."""
    for dataset in _datasets(argilla, config, workspace_id(argilla, config), status="ready"):
        id = dataset["id"]
        fields = argilla.items(f"/datasets/{id}/fields")
        questions = {question["name"]: question["settings"] for question in argilla.items(f"/datasets/{id}/questions")}
        check_task(config, questions.get("vote", {}), [field["name"] for field in fields])
        wanted, activity = dataset["distribution"]["min_submitted"], dataset["last_activity_at"] or ""
        return Task(argilla, id, dataset["guidelines"] or "", fields, wanted, activity)
    return None


def check_task(config: Settings, vote: Mapping[str, Any], fields: Collection[str]) -> None:
    """Raise `UserError` unless a dataset with these settings of the question `vote` asks what the export needs."""
    if {option["value"] for option in vote.get("options", ())} != {GOOD, BAD} or {*fields} != {"prompt", "answer"}:
        raise UserError("other_task", name=config.annotation.dataset)


def workspace_id(argilla: Argilla, config: Settings) -> str | None:
    """Return the id of the project's workspace, None if there is none."""
    workspaces = {item["name"]: item["id"] for item in argilla.items("/me/workspaces")}
    return workspaces.get(config.annotation.workspace)


def _datasets(argilla: Argilla, config: Settings, workspace: str | None, **query: str) -> list[dict[str, Any]]:
    name = config.annotation.dataset
    return argilla.items("/me/datasets", name=name, workspace_id=workspace, **query) if workspace else []


def make_task(argilla: Argilla, config: Settings) -> Task:
    """Return the task of this project; create it, and its workspace, if there is none.

    An existing task keeps its questions and guidelines even if texts have changed since, because people have voted on
    it. Only the number of votes per answer is updated, and guidelines say where Argilla is not blind. Raises
    `UserError` as `check_task` does.
    """
    blind = argilla.request("GET", "/status")["search_engine"].get("blind")  # see argilla_server/blind.py
    notice = "" if blind else f"\n\n{t('task.not_blind')}\n"
    task = find_task(argilla, config)
    if task is None:
        _create(argilla, config, notice)
        task = find_task(argilla, config)
        assert task
        return task
    if notice.strip() not in task.guidelines:
        guidelines = task.guidelines.rstrip() + notice
        argilla.request("PATCH", f"/datasets/{task.id}", json={"guidelines": guidelines})
    for field in task.fields:  # they may have been changed in Argilla
        if field["settings"] != (settings := _text(markdown=field["name"] == "answer")):
            argilla.request("PATCH", f"/fields/{field['id']}", json={"settings": settings})
    before, wanted = task.min_submitted, config.annotation.min_submitted
    if before == wanted:
        return task
    try:
        distribution = {"strategy": "overlap", "min_submitted": wanted}
        argilla.request("PATCH", f"/datasets/{task.id}", json={"distribution": distribution})
        print(t("technical.min_submitted_changed", before=before, wanted=wanted))
    except ArgillaError as error:
        if error.status not in (400, 409, 422):  # an Argilla that allows it only as long as nobody has voted
            raise
        print(t("technical.min_submitted_stays", before=before, wanted=wanted), file=sys.stderr)
    return task


def _create(argilla: Argilla, config: Settings, notice: str) -> None:
    workspace = workspace_id(argilla, config)
    if workspace is None:
        workspace = argilla.request("POST", "/workspaces", json={"name": config.annotation.workspace})["id"]
    for draft in _datasets(argilla, config, workspace):  # of a run that broke off; it has no records
        argilla.request("DELETE", f"/datasets/{draft['id']}")
    values = values_of(config)

    def text(key: str) -> str:
        return t(f"task.{key}", language=values["language"], domain=config.project.domain)

    def title(key: str) -> str:
        # Argilla sets titles from left to right, where the question mark of a Hebrew question ends up at its beginning.
        # Between U+2067 and U+2069 a text is one from right to left (UAX #9); guidelines find their direction.
        return f"\u2067{text(key)}\u2069" if values["direction"] == "rtl" else text(key)

    def part(name: str, settings: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        return {"name": name, "title": title(name), "settings": settings, **more}

    def question(name: str, settings: Mapping[str, Any], required: bool = False) -> dict[str, Any]:
        return part(name, settings, description=title(f"{name}_help"), required=required)

    thumbs = [{"value": value, "text": title(value)} for value in (GOOD, BAD)]
    reasons = [{"value": value, "text": title(f"reason_{value}")} for value in REASONS]
    multiple = {"type": "multi_label_selection", "visible_options": len(reasons), "options_order": "natural"}
    parts = {
        "fields": [
            part("prompt", _text(), required=True),
            part("answer", _text(markdown=True), required=True),  # models write it
        ],
        "questions": [  # without suggestions: Argilla preselects them, and that is no vote
            question("vote", {"type": "label_selection", "options": thumbs}, required=True),
            question("reasons", multiple | {"options": reasons}),
            question("comment", _text()),
        ],
        # People vote without knowing the model. Metadata that is not declared here is for owners only, too.
        "metadata-properties": [part("model", {"type": "terms"}, visible_for_annotators=False)],
    }
    dataset = {
        "name": config.annotation.dataset,
        "workspace_id": workspace,
        "guidelines": text("guidelines").rstrip() + notice,
        "distribution": {"strategy": "overlap", "min_submitted": config.annotation.min_submitted},
    }
    path = f"/datasets/{argilla.request('POST', '/datasets', json=dataset)['id']}"
    for kind, contents in parts.items():
        for content in contents:
            argilla.request("POST", f"{path}/{kind}", json=content)
    argilla.request("PUT", f"{path}/publish")


def _text(markdown: bool = False) -> dict[str, Any]:
    return {"type": "text", "use_markdown": markdown}

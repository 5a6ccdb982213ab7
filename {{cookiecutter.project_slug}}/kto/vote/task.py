"""The annotation task: a thumb, aspects, reasons and a comment on each answer, as a dataset in Argilla."""

import sys
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from kto import texts
from kto.errors import UserError
from kto.pages import fill_text, values_of
from kto.questions import BAD, GOOD, TASK, questions
from kto.settings import Settings
from kto.texts import t
from kto.vote.client import Argilla, ArgillaError

if TYPE_CHECKING:
    import argilla as rg


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
    workspace = find_workspace(argilla, config)
    if workspace is None:
        return None
    query = {"name": config.annotation.dataset, "workspace_id": str(workspace.id), "status": "ready"}
    for dataset in argilla.items("/me/datasets", **query):
        id = dataset["id"]
        fields = argilla.items(f"/datasets/{id}/fields")
        questions = {question["name"]: question["settings"] for question in argilla.items(f"/datasets/{id}/questions")}
        check_task(config, questions.get("vote", {}), [field["name"] for field in fields])
        wanted, activity = dataset["distribution"]["min_submitted"], dataset["last_activity_at"] or ""
        return Task(argilla, id, dataset["guidelines"] or "", fields, wanted, activity)
    return None


def check_task(config: Settings, vote: Mapping[str, Any], fields: Collection[str]) -> None:
    """Raise `UserError` unless a dataset with these settings of the question `vote` asks what the export needs.

    That is the same in all versions of the task.
    """
    if {option["value"] for option in vote.get("options", ())} != {GOOD, BAD} or {*fields} != {"prompt", "answer"}:
        raise UserError("other_task", name=config.annotation.dataset)


def find_workspace(argilla: Argilla, config: Settings) -> "rg.Workspace | None":
    """Return the project's workspace, None if there is none."""
    workspaces = {workspace.name: workspace for workspace in argilla.repeat(argilla.sdk.workspaces.list)}
    return workspaces.get(config.annotation.workspace)


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
        _create(argilla, config)
        task = find_task(argilla, config)
        assert task
    if notice.strip() not in task.guidelines:
        argilla.request("PATCH", f"/datasets/{task.id}", json={"guidelines": task.guidelines.rstrip() + notice})
    for field in task.fields:  # they may have been changed in Argilla
        settings = {"type": "text", "use_markdown": field["name"] == "answer"}
        if field["settings"] != settings:
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


class Asked(NamedTuple):
    """One question of the task, as Argilla's page shows it."""

    name: str
    type: str  # as in Argilla's API: label_selection, multi_label_selection, text
    title: str
    description: str
    labels: Mapping[str, str]  # value → text; {} for a text
    required: bool = False


def asked(config: Settings) -> list[Asked]:
    """Return the questions of the task, in the order in which people see them."""
    wanted, title = questions(config.annotation.model_dump(), texts.load()), _titles(config)

    def words(key: str) -> tuple[str, str]:
        return title(key), title(f"{key}_help")

    thumbs = {value: title(f"task.{value}") for value in (GOOD, BAD)}
    found = [Asked("vote", "label_selection", *words("task.vote"), thumbs, required=True)]
    for name, values in wanted.aspects.items():
        key = f"aspects.{name}"
        labels = {value: title(f"{key}.{value}") for value in values}
        found.append(Asked(name, "label_selection", title(f"{key}.question"), title(f"{key}.help"), labels))
    if wanted.all_reasons:
        why = words("task.why" if config.annotation.task >= TASK else "task.reasons")
        labels = {value: title(f"task.reason_{value}") for value in wanted.all_reasons}
        found.append(Asked("reasons", "multi_label_selection", *why, labels))
    return [*found, Asked("comment", "text", *words("task.comment"), {})]


def _titles(config: Settings) -> Callable[[str], str]:
    """Return a function from the key of a text to that text, as Argilla is to show it."""
    known, values = texts.load(), values_of(config)

    def title(key: str) -> str:
        text = fill_text(known, key, values)
        # Argilla sets titles from left to right, where the question mark of a Hebrew question ends up at its beginning.
        # Between U+2067 and U+2069 a text is one from right to left (UAX #9); guidelines find their direction.
        return f"\u2067{text}\u2069" if values["direction"] == "rtl" else text

    return title


def _create(argilla: Argilla, config: Settings) -> None:
    import argilla as rg

    def question(asked: Asked) -> Any:
        words = {"title": asked.title, "description": asked.description, "required": asked.required}
        if asked.type == "text":
            return rg.TextQuestion(asked.name, **words)
        kind = rg.LabelQuestion if asked.type == "label_selection" else rg.MultiLabelQuestion
        return kind(asked.name, dict(asked.labels), **words)

    title = _titles(config)
    settings = rg.Settings(
        guidelines=fill_text(texts.load(), "task.guidelines", values_of(config)),
        fields=[
            rg.TextField("prompt", title("task.prompt")),
            rg.TextField("answer", title("task.answer"), use_markdown=True),  # models write it
        ],
        # Without suggestions: Argilla preselects them, and that is no vote.
        questions=[question(one) for one in asked(config)],
        # People vote without knowing the model. Metadata that is not declared here is for owners only, too.
        metadata=[rg.TermsMetadataProperty("model", title=title("task.model"), visible_for_annotators=False)],
        allow_extra_metadata=True,
        distribution=rg.TaskDistribution(config.annotation.min_submitted),
    )
    name, workspace = config.annotation.dataset, find_workspace(argilla, config)
    with argilla.errors():
        if workspace is None:
            workspace = rg.Workspace(config.annotation.workspace, client=argilla.sdk).create()
        for draft in workspace.datasets:  # of a run that broke off; it has no records
            if draft.name == name:
                draft.delete()
        rg.Dataset(name, workspace, settings, argilla.sdk).create()

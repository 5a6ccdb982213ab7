"""The annotation task in Argilla: two thumbs, reasons and a comment on each answer."""

import sys
from typing import TYPE_CHECKING

from kto.errors import UserError
from kto.pages import values_of
from kto.settings import Settings
from kto.texts import t
from kto.vote.client import argilla_errors, request

if TYPE_CHECKING:
    import argilla as rg

GOOD, BAD = "good", "bad"
REASONS = ("wrong_language", "not_true", "off_topic", "clumsy", "unsafe")


def find_task(client: "rg.Argilla", config: Settings) -> "rg.Dataset | None":
    """Return the Argilla dataset of this project, None if there is none.

    Raises
    ------
    UserError
        There is one of that name, but it does not ask what the export needs.
    """
    with argilla_errors(client.api_url):
        workspaces = [item for item in client.workspaces.list() if item.name == config.annotation.workspace]
        datasets = [item for workspace in workspaces for item in workspace.datasets]
        dataset = next((item.get() for item in datasets if item.name == config.annotation.dataset), None)
        if dataset is None or not dataset._is_published():  # a draft that nobody can have voted on
            return None
        vote = dataset.settings.questions["vote"]
        fields = {field.name for field in dataset.settings.fields}
    if set(getattr(vote, "labels", ())) != {GOOD, BAD} or fields != {"prompt", "answer"}:
        raise UserError("other_task", name=config.annotation.dataset)
    return dataset


def make_task(client: "rg.Argilla", config: Settings) -> "rg.Dataset":
    """Return the Argilla dataset of this project; create it, and its workspace, if there is none.

    One that exists stays as it is, also where texts have changed since: people have voted on it. Only how many votes an
    answer gets follows the settings; and where Argilla is not blind, its guidelines say so.

    Raises
    ------
    UserError
        There is one of that name, but it does not ask what the export needs; or Argilla refuses.
    """
    import argilla as rg

    name, workspace = config.annotation.dataset, config.annotation.workspace
    notice = "" if _is_blind(client) else f"\n\n{t('task.not_blind')}\n"
    dataset = find_task(client, config)
    with argilla_errors(client.api_url):
        if dataset is not None:
            guidelines = dataset.settings.guidelines or ""
            if notice.strip() not in guidelines:
                changed = {"guidelines": guidelines.rstrip() + notice}
                request(client, "patch", f"/api/v1/datasets/{dataset.id}", json=changed)
            _set_min_submitted(dataset, config.annotation.min_submitted)
            return dataset
        if workspace not in [item.name for item in client.workspaces.list()]:
            rg.Workspace(workspace, client=client).create()
        for unfinished in client.workspaces(workspace).datasets:
            if unfinished.name == name:  # a draft, which has no records and takes none
                unfinished.delete()
        dataset = rg.Dataset(name, workspace=workspace, settings=_settings(client, config, notice), client=client)
        dataset.create()
    return dataset


def _settings(client: "rg.Argilla", config: Settings, notice: str) -> "rg.Settings":
    import argilla as rg

    values = values_of(config)

    def text(key: str) -> str:
        filled = t(key, language=values["language"], domain=config.project.domain)
        # Argilla sets titles from left to right, where the question mark of a Hebrew question ends up at its beginning.
        # Between U+2067 and U+2069 a text is one from right to left (UAX #9); guidelines find their direction.
        return f"\u2067{filled}\u2069" if values["direction"] == "rtl" and key != "task.guidelines" else filled

    vote = rg.LabelQuestion(
        "vote",
        labels={GOOD: text("task.good"), BAD: text("task.bad")},
        title=text("task.vote"),
        description=text("task.vote_help"),
        client=client,
    )
    reasons = rg.MultiLabelQuestion(
        "reasons",
        labels={reason: text(f"task.reason_{reason}") for reason in REASONS},
        title=text("task.reasons"),
        description=text("task.reasons_help"),
        required=False,
        client=client,
    )
    comment = rg.TextQuestion(
        "comment", title=text("task.comment"), description=text("task.comment_help"), required=False, client=client
    )
    model = rg.TermsMetadataProperty("model", title=text("task.model"), visible_for_annotators=False, client=client)
    guidelines = text("task.guidelines")
    return rg.Settings(
        guidelines=guidelines.rstrip() + notice if notice else guidelines,
        fields=[
            rg.TextField("prompt", title=text("task.prompt"), client=client),
            rg.TextField("answer", title=text("task.answer"), use_markdown=True, client=client),  # models write it
        ],
        questions=[vote, reasons, comment],  # no suggestions: Argilla preselects them, and that is no vote
        # People vote without knowing the model. Metadata that is not declared here is for owners only, too.
        metadata=[model],
        allow_extra_metadata=True,
        distribution=rg.TaskDistribution(min_submitted=config.annotation.min_submitted),
    )


def _is_blind(client: "rg.Argilla") -> bool:
    """Whether annotators get neither models nor others' votes from this Argilla; see `argilla_server/blind.py`."""
    with argilla_errors(client.api_url):
        return bool(request(client, "get", "/api/v1/status")["search_engine"].get("blind"))


def min_submitted(dataset: "rg.Dataset") -> int:
    """Return how many votes Argilla wants for each answer of this dataset."""
    return int(dataset.settings.distribution.min_submitted)


def _set_min_submitted(dataset: "rg.Dataset", wanted: int) -> None:
    """Change how many votes Argilla wants for each answer, and say so; or say that Argilla refuses."""
    before = min_submitted(dataset)
    if before == wanted:
        return
    change = {"distribution": {"strategy": "overlap", "min_submitted": wanted}}
    reply = dataset._client.api.http_client.patch(f"/api/v1/datasets/{dataset.id}", json=change)
    if reply.status_code in (400, 409, 422):  # an Argilla that allows it only as long as nobody has voted
        print(t("technical.min_submitted_stays", before=before, wanted=wanted), file=sys.stderr)
        return
    reply.raise_for_status()
    print(t("technical.min_submitted_changed", before=before, wanted=wanted))

"""The annotation task in Argilla: made from texts and settings, filled with answers, opened to people."""

import contextlib
import csv
import io
import json
import secrets
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kto import dotenv, left_out
from kto.ask.endpoint import secret
from kto.errors import UserError
from kto.left_out import LeftOut
from kto.pages import values_of
from kto.patience import PASSING, patiently
from kto.record_ids import record_ids, text_id
from kto.rendering import argilla_answer, as_written
from kto.settings import Settings
from kto.tables import Row, read_batches, read_csv, read_rows
from kto.texts import t
from kto.vote import deletions
from kto.vote.deletions import Seen
from kto.vote.taking_out import take_out_deleted

if TYPE_CHECKING:
    import argilla as rg

GOOD, BAD = "good", "bad"
REASONS = ("wrong_language", "not_true", "off_topic", "clumsy", "unsafe")
PAGE = 1000  # records per request; the most that Argilla gives
BATCH = 250  # records per request; Argilla takes 1000, but then a request lasts long
_SAID = {
    401: "argilla_key_refused",
    403: "argilla_not_owner",
    409: "technical.argilla_conflict",
    412: "technical.argilla_conflict",
    413: "technical.argilla_too_large",
    429: "technical.argilla_busy",
}
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # without those that look alike: people type passwords from paper


@contextlib.contextmanager
def told_plainly(url: str) -> Iterator[None]:
    """Turn what goes wrong between us and the Argilla at `url` into a `UserError`."""
    import httpx
    from argilla._exceptions import ArgillaCredentialsError, ForbiddenError, UnauthorizedError
    from argilla._exceptions._base import ArgillaError

    try:
        yield
    except (ArgillaCredentialsError, UnauthorizedError):
        raise UserError("argilla_key_refused", url=url) from None
    except ForbiddenError:
        raise UserError("argilla_not_owner", url=url) from None
    except json.JSONDecodeError:  # the page of a proxy
        raise UserError("no_argilla_there", url=url) from None
    except (httpx.TransportError, httpx.InvalidURL, UnicodeError) as error:
        raise UserError("argilla_not_there", url=url, reason=str(error) or type(error).__name__) from None
    except (ArgillaError, httpx.HTTPStatusError) as error:
        status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
        if status in _SAID:
            raise UserError(_SAID[status], url=url) from None
        reason = " ".join(str(error.__cause__ or error).split())
        if isinstance(error.__cause__, httpx.TransportError):
            raise UserError("argilla_not_there", url=url, reason=reason) from None
        raise UserError("argilla_failed", url=url, reason=reason[:500]) from None


def _passes(error: Exception) -> bool:
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in PASSING
    return isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError) and not isinstance(
        error, httpx.ConnectError
    )


def _ask(client: "rg.Argilla", method: str, url: str, **content: Any) -> Any:
    """Return Argilla's answer to a request that does no harm twice; what fails for a moment is sent again."""

    def request() -> Any:
        send = getattr(client.api.http_client, method)
        return send(url, **content).raise_for_status().json()

    return patiently(request, _passes)


def connect(config: Settings) -> "rg.Argilla":
    """Log in to the Argilla of `ARGILLA_API_URL` with `ARGILLA_API_KEY`, from the environment or else `.env`.

    Raises
    ------
    UserError
        One of them is not set, nothing answers there, or the key is refused or is not the owner's.
    """
    url, key = secret(config, "ARGILLA_API_URL").rstrip("/"), secret(config, "ARGILLA_API_KEY")
    if not url or not key:
        raise UserError("argilla_not_set")
    import argilla as rg  # with `datasets` and pandas, which takes a second
    from argilla._exceptions import NotFoundError

    with told_plainly(url):
        try:
            client = rg.Argilla(api_url=url, api_key=key, timeout=120, retries=1)
            role = client.me.role
        except (NotFoundError, ValueError, TypeError):  # a web server, but something else
            raise UserError("no_argilla_there", url=url) from None
    if role != "owner":
        raise UserError("argilla_not_owner", url=url)
    return client


# --- the task ---------------------------------------------------------------------------------------------------------


def find_task(client: "rg.Argilla", config: Settings) -> "rg.Dataset | None":
    """Return the Argilla dataset of this project, None if there is none.

    Raises
    ------
    UserError
        There is one of that name, but it does not ask what the export needs.
    """
    with told_plainly(client.api_url):
        workspaces = [each for each in client.workspaces.list() if each.name == config.annotation.workspace]
        found = [each for each in workspaces for each in each.datasets if each.name == config.annotation.dataset]
        if not found:
            return None
        dataset = found[0].get()
        if not dataset._is_published():  # its making broke off; nobody can have voted
            return None
        vote = dataset.settings.questions["vote"]
        fields = {field.name for field in dataset.settings.fields}
    if set(getattr(vote, "labels", ())) != {GOOD, BAD} or fields != {"prompt", "answer"}:
        raise UserError("other_task", name=config.annotation.dataset)
    return dataset


def _is_blind(client: "rg.Argilla") -> bool:
    """Tell whether this Argilla keeps from annotators what they should not know; see `argilla_server/blind.py`."""
    with told_plainly(client.api_url):
        status = client.api.http_client.get("/api/v1/status").raise_for_status().json()
    return bool(status["search_engine"].get("blind"))


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

    notice = "" if _is_blind(client) else f"\n\n{t('task.not_blind')}\n"
    dataset = find_task(client, config)
    if dataset is not None:
        guidelines = dataset.settings.guidelines or ""
        if notice.strip() not in guidelines:
            url = f"/api/v1/datasets/{dataset.id}"
            with told_plainly(client.api_url):
                changed = {"guidelines": guidelines.rstrip() + notice}
                client.api.http_client.patch(url, json=changed).raise_for_status()
        _set_min_submitted(dataset, config.annotation.min_submitted)
        return dataset

    values = values_of(config)

    def text(key: str) -> str:
        filled = t(key, language=values["language"], domain=config.project.domain)
        # Argilla sets titles from left to right, where the question mark of a Hebrew question ends up at its beginning.
        # Between U+2067 and U+2069 a text is one from right to left (UAX #9); guidelines find their direction.
        return f"\u2067{filled}\u2069" if values["direction"] == "rtl" and key != "task.guidelines" else filled

    settings = rg.Settings(
        guidelines=text("task.guidelines").rstrip() + notice if notice else text("task.guidelines"),
        fields=[
            rg.TextField("prompt", title=text("task.prompt"), client=client),
            rg.TextField(
                "answer", title=text("task.answer"), use_markdown=True, client=client
            ),  # models write Markdown
        ],
        # No suggestions: Argilla preselects them, and a preselected thumb is no vote.
        questions=[
            rg.LabelQuestion(
                "vote",
                labels={GOOD: text("task.good"), BAD: text("task.bad")},
                title=text("task.vote"),
                description=text("task.vote_help"),
                client=client,
            ),
            rg.MultiLabelQuestion(
                "reasons",
                labels={reason: text(f"task.reason_{reason}") for reason in REASONS},
                title=text("task.reasons"),
                description=text("task.reasons_help"),
                required=False,
                client=client,
            ),
            rg.TextQuestion(
                "comment",
                title=text("task.comment"),
                description=text("task.comment_help"),
                required=False,
                client=client,
            ),
        ],
        # People judge without knowing the model. Metadata that is not declared here is for owners only, too.
        metadata=[
            rg.TermsMetadataProperty("model", title=text("task.model"), visible_for_annotators=False, client=client)
        ],
        allow_extra_metadata=True,
        distribution=rg.TaskDistribution(min_submitted=config.annotation.min_submitted),
    )
    with told_plainly(client.api_url):
        workspaces = client.workspaces.list()
        if config.annotation.workspace not in [workspace.name for workspace in workspaces]:
            rg.Workspace(config.annotation.workspace, client=client).create()
        for unfinished in client.workspaces(config.annotation.workspace).datasets:
            if unfinished.name == config.annotation.dataset:  # a draft, which has no records and takes none
                unfinished.delete()
        dataset = rg.Dataset(
            config.annotation.dataset, workspace=config.annotation.workspace, settings=settings, client=client
        )
        dataset.create()
    return dataset


def min_submitted(dataset: "rg.Dataset") -> int:
    """Return how many votes Argilla wants for each answer of this dataset."""
    return int(dataset.settings.distribution.min_submitted)


def _set_min_submitted(dataset: "rg.Dataset", wanted: int) -> None:
    """Change how many votes Argilla wants for each answer, and say so; or say that it does not let us."""
    client, before = dataset._client, min_submitted(dataset)
    if before == wanted:
        return
    distribution = {"strategy": "overlap", "min_submitted": wanted}
    with told_plainly(client.api_url):
        url = f"/api/v1/datasets/{dataset.id}"
        answer = client.api.http_client.patch(url, json={"distribution": distribution})
        if answer.status_code in (400, 409, 422):  # an Argilla that allows it only as long as nobody has voted
            print(t("technical.min_submitted_stays", before=before, wanted=wanted), file=sys.stderr)
            return
        answer.raise_for_status()
    print(t("technical.min_submitted_changed", before=before, wanted=wanted))


# --- the records ------------------------------------------------------------------------------------------------------


def list_records(dataset: "rg.Dataset", include: str = "") -> list[dict[str, Any]]:
    """Return all records of a dataset as Argilla's REST API gives them, with `include="responses"` the votes, too.

    Records may be added while we read, which shifts nothing: they come in the order of their making. Should Argilla
    order those of one moment differently from page to page, the pages are read again until nothing is missing.

    Raises
    ------
    UserError
        Records are still missing after three times.
    """
    client = dataset._client
    records: dict[str, dict[str, Any]] = {}
    for _ in range(3):
        offset, total = 0, 1
        while offset < total:
            query = {"offset": offset, "limit": PAGE} | ({"include": include} if include else {})
            page = _ask(client, "get", f"/api/v1/datasets/{dataset.id}/records", params=query)
            records.update((record["id"], record) for record in page["items"])
            offset, total = offset + PAGE, page["total"]
        if len(records) >= total:
            return list(records.values())
    raise UserError("argilla_failed", url=client.api_url, reason=f"{len(records)}/{total}")


def read_generations(config: Settings) -> list[Row]:
    """Return the rows of `data/generations` that `make_records` needs.

    Answers in the wrong language are gaps, unless `[annotation] wrong_language` wants them. The raw answers, which are
    long where models think, become a column `record_ids`; `voted` has those of the ids that have votes already.

    Raises
    ------
    UserError
        There are none, or the file cannot be read.
    """
    path = config.root / "data" / "generations" / "train.parquet"
    columns = ("prompt_id", "generation_model", "generation_prompt", "generations", "language_verdict")
    votes = read_rows(config.root / "data" / "votes" / "train.parquet", ("record_id",))
    out = left_out.read(config.root)
    voted = {vote["record_id"] for vote in votes}
    rows: list[Row] = []
    for batch in read_batches(path, (*columns, "raw_generation_responses")) if path.exists() else ():
        for row in batch:
            if row["prompt_id"] in out.ids:
                continue
            texts = zip(row["generation_prompt"], row["generations"], row.pop("raw_generation_responses"), strict=True)
            row["record_ids"] = [answer and record_ids(sent[-1]["content"], answer, raw) for sent, answer, raw in texts]
            answers = zip(row["generations"], row["record_ids"], strict=True)
            row["generations"] = [answer if out.ids.isdisjoint(ids or ()) else None for answer, ids in answers]
            row["voted"] = voted.intersection(id for ids in row["record_ids"] for id in ids or ())
            rows.append(row)
    if not rows:
        raise UserError("no_generations", path=path)
    if not config.annotation.wrong_language:
        for row in rows:
            pairs = zip(row["generations"], row["language_verdict"], strict=True)
            row["generations"] = [None if verdict == "wrong" else answer for answer, verdict in pairs]
    return rows


def make_records(generations: Iterable[Mapping[str, Any]], there: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return the records for rows of `data/generations`, one per answer, in an order that mixes prompts and models.

    If several models gave the same answer to a prompt, people judge it once: the record names all of them. Gaps (None)
    and empty answers make no record. An answer that people have already, as an earlier version has cleaned it, keeps
    the id of that record.

    Parameters
    ----------
    there
        Ids of records that people have.
    """
    records: dict[str, dict[str, Any]] = {}
    for row in generations:
        columns = [row[name] for name in ("generation_model", "generation_prompt", "generations")]
        every = row.get("record_ids") or [[]] * len(columns[0])
        answers = [each for each in zip(*columns, every, strict=True) if (each[2] or "").strip()]
        known = {id for *_, ids in answers for id in ids if id in there or id in row.get("voted", ())}
        shared: dict[str, str] = {}  # id of a text → id of the record that has it
        for *_, ids in answers:
            if has := [id for id in ids if id in known]:
                shared.setdefault(ids[0], has[0])
        for model, messages, answer, ids in answers:
            prompt = messages[-1]["content"]
            own = text_id(prompt, answer)
            id = next((id for id in ids[1:] if id in known), shared.get(own, own))
            metadata = {"model": [], "prompt_id": row["prompt_id"]}
            if messages[0]["role"] == "system":
                metadata["system_prompt"] = messages[0]["content"]
            new = {"external_id": id, "fields": {"prompt": prompt, "answer": answer}, "metadata": metadata}
            models = records.setdefault(id, new)["metadata"]["model"]
            if model not in models:
                models.append(model)
    return [records[id] for id in sorted(records)]  # ids are hashes, so this order is a shuffle that never changes


def shown_fields(prompt: str, answer: str) -> dict[str, str]:
    """Return what the fields of a record hold, so that Argilla's page shows prompt and answer as people should read."""
    return {"prompt": as_written(prompt), "answer": argilla_answer(answer)}


def _set_markdown(dataset: "rg.Dataset") -> None:
    """See to it that Argilla's page takes the fields for what `shown_fields` makes, if somebody has changed that."""
    for field in dataset.settings.fields:
        if field.use_markdown != (field.name == "answer"):
            settings = {"type": "text", "use_markdown": field.name == "answer"}
            dataset._client.api.http_client.patch(
                f"/api/v1/fields/{field.id}", json={"settings": settings}
            ).raise_for_status()


def last_activity(dataset: "rg.Dataset") -> str:
    """Return when somebody has changed a dataset last, as Argilla says it; "" if it does not."""
    time = dataset._model.last_activity_at
    return time.isoformat() if time else ""


def upload_records(
    dataset: "rg.Dataset", generations: Iterable[Mapping[str, Any]], config: Settings | None = None
) -> int:
    """Add the answers that the Argilla dataset lacks, and return how many those were.

    Records that are there stay, with their ids and votes. If another model has given the very same answer since, its
    name is added to the record's metadata; and where the page would not show prompt and answer as the dataset has them
    (an earlier version sent them as they are), the fields are put right.

    Parameters
    ----------
    config
        With it, records that were deleted in Argilla since the last upload or export are left out for good.

    Raises
    ------
    UserError
        Argilla refuses, or is gone. What has been uploaded stays; the next run adds the rest.
    """
    import httpx
    from tqdm import tqdm

    client = dataset._client
    with told_plainly(client.api_url):
        _set_markdown(dataset)
        there = {record["external_id"]: record for record in list_records(dataset)}
        seen = Seen(str(dataset.id), last_activity(dataset), {id: {} for id in there if id})
        out = take_out_deleted(config, seen) if config else LeftOut()
        new, changed = [], []
        for record in make_records(generations, there):
            if out.has_record(record):
                continue
            record["fields"] = shown_fields(**record["fields"])
            known = there.get(record["external_id"])
            if known is None:
                new.append(record)
                continue
            change: dict[str, Any] = {}
            metadata = known["metadata"] or {}
            if more := [model for model in record["metadata"]["model"] if model not in metadata.get("model", [])]:
                change["metadata"] = {**metadata, "model": [*metadata.get("model", []), *more]}
            if known["fields"] != record["fields"]:
                change["fields"] = record["fields"]
            if change:
                changed.append({"external_id": record["external_id"], **change})
        with tqdm(total=len(new), desc=t("notebook.uploading"), disable=len(new) <= BATCH) as bar:
            for records in (changed, new):
                start, size = 0, BATCH
                while start < len(records):
                    batch = records[start : start + size]
                    # An upsert by `external_id`: sent twice, because an answer got lost, it adds nothing twice.
                    try:
                        _ask(client, "put", f"/api/v1/datasets/{dataset.id}/records/bulk", json={"items": batch})
                    except httpx.HTTPStatusError as error:
                        if error.response.status_code != 413 or len(batch) == 1:
                            raise
                        size = (len(batch) + 1) // 2  # a proxy before Argilla takes no more
                        continue
                    start += len(batch)
                    bar.update(len(batch) if records is new else 0)
    if config:
        deletions.remember_upload(config.root / "data" / "private", seen, [record["external_id"] for record in new])
    return len(new)


# --- the people -------------------------------------------------------------------------------------------------------


def read_passwords(path: Path) -> dict[str, str]:
    """Return name → password from the CSV file that `invite` writes; a file that does not exist holds none.

    Raises
    ------
    UserError
        The file cannot be read, or is another table.
    """
    rows = read_csv(path, ("name", "password"))
    return {row["name"]: row["password"] for row in rows if row["name"] and row["password"]}


def invite(client: "rg.Argilla", config: Settings) -> list[str]:
    """Open the task to the people in `[annotation] annotators` and return the names of those who are new.

    A new person gets an account with a random password, which is added to `data/private/annotators.csv`. The password
    of an account that exists stays as it is.

    Raises
    ------
    UserError
        Argilla refuses, or the file cannot be read or written.
    """
    import argilla as rg

    path = config.root / "data" / "private" / "annotators.csv"
    passwords = read_passwords(path)
    invited = []
    with told_plainly(client.api_url):
        workspace = next(each for each in client.workspaces.list() if each.name == config.annotation.workspace)
        users = {user.username: user for user in client.users.list()}
        members = {user.username for user in workspace.users}
        for name in config.annotation.annotators:
            user = users.get(name)
            if user is None:
                # First the file, then the account: a password that nobody knows opens nothing.
                password = passwords.setdefault(name, "-".join(_random_letters(4) for _ in range(3)))
                _write_passwords(path, passwords)
                user = rg.User(username=name, first_name=name, password=password, role="annotator", client=client)
                user.create()
                invited.append(name)
            if name not in members and user.role != "owner":
                user.add_to_workspace(workspace)
    return invited


def _random_letters(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))


def _write_passwords(path: Path, passwords: Mapping[str, str]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([("name", "password"), *passwords.items()])
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        dotenv.write_private(path, text.getvalue())
    except OSError as error:
        raise UserError("cannot_write", path=path, reason=error) from None

"""Votes: made of the responses in Argilla, under pseudonyms, and merged with those of earlier exports.

There is one row per submitted vote, as it counts now. A vote that Argilla has lost since the last export (a Space
without a disk, a deleted account) stays. A vote that its author has changed or withdrawn is kept apart, as it was.
Comments are never published: people reveal more about themselves there than they notice. Anybody can ask to be
forgotten: their votes and comments go, and `data/private/forgotten.txt` keeps the pseudonym, so that no export brings
them back. `kto/dataset/privacy.py` says which file holds what.
"""

import hashlib
import hmac
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kto.ask.prompt_sources import prompt_id
from kto.record_ids import record_ids, text_id
from kto.tables import Row, messages_type, read_batches
from kto.vote.responses import Response

if TYPE_CHECKING:
    import pyarrow as pa


LANGUAGE = "language"
"""The aspect that has a column of its own."""


def schema() -> "pa.Schema":
    """Return the columns of the private table of votes; see `kto/dataset/privacy.py` for the public ones."""
    import pyarrow as pa

    conversation = messages_type()
    return pa.schema(
        [
            ("vote_id", pa.string()),  # Argilla's id of the response
            ("record_id", pa.string()),  # the same for all votes on one answer
            ("prompt_id", pa.string()),
            ("prompt", conversation),
            ("completion", conversation),
            ("generation_model", pa.list_(pa.string())),  # several, if they gave the same answer
            ("annotator", pa.string()),  # a pseudonym
            ("vote", pa.bool_()),  # true is thumbs up
            ("reasons", pa.list_(pa.string())),
            ("inserted_at", pa.timestamp("us", tz="UTC")),
            ("updated_at", pa.timestamp("us", tz="UTC")),
            ("open_link", pa.bool_()),  # by somebody who came by an open link; false in tables of earlier versions
            ("language", pa.string()),  # what they said about the language; null if nothing
            ("aspects", pa.list_(pa.string())),  # what they said about a project's own aspects, as "name: value"
        ]
    )


class Text(NamedTuple):
    """Prompt and answer of a record, as conversations."""

    prompt: list[dict[str, str]]
    completion: list[dict[str, str]]


def pseudonym(key: bytes, name: str) -> str:
    """Return the invented name of a person: always the same for the same key, and of no use without it."""
    return f"annotator-{hmac.new(key, name.encode('utf-8'), hashlib.sha256).hexdigest()[:10]}"


def find_texts(table: Path, wanted: Collection[str]) -> dict[str, Text]:
    """Return prompt and answer of those wanted records that the table of generations has, by record id.

    A record keeps its id when a later version cleans its answer in another way; its text is then the newer one.
    """
    texts: dict[str, Text] = {}
    columns = ("generation_prompt", "generations", "raw_generation_responses")
    for batch in read_batches(table, columns) if wanted and table.exists() else ():
        for row in batch:
            for prompt, answer, raw in zip(*map(row.get, columns), strict=True):
                for id in record_ids(prompt[-1]["content"], answer, raw) if answer else ():
                    if id in wanted:
                        texts.setdefault(id, Text(prompt, [{"role": "assistant", "content": answer}]))
    return texts


def from_responses(
    responses: Iterable[Response], texts: Mapping[str, Text], key: bytes
) -> tuple[list[Row], dict[str, str]]:
    """Return rows of `schema` for the responses whose texts are known, and their comments by vote id.

    Argilla's fields hold what its page needs, so prompt and answer come from `texts`. A field counts only where it is
    the very text, which the id of the record, a hash, proves.
    """
    votes: list[Row] = []
    comments: dict[str, str] = {}
    for response in responses:
        text = texts.get(response.record_id) or _text_in_fields(response)
        if text is None:
            continue
        if response.comment:
            comments[response.id] = response.comment
        votes.append(
            {
                "vote_id": response.id,
                "record_id": response.record_id,
                "prompt_id": response.prompt_id or prompt_id(text.prompt[-1]["content"]),
                **text._asdict(),
                "generation_model": response.models,
                # By name, so that a person who votes again on a rebuilt Argilla stays the same person.
                "annotator": pseudonym(key, response.user),
                "vote": response.vote,
                "reasons": response.reasons,
                "inserted_at": response.inserted_at,
                "updated_at": response.updated_at,
                "open_link": response.open_link,
                "language": response.aspects.get(LANGUAGE),
                "aspects": [f"{name}: {value}" for name, value in response.aspects.items() if name != LANGUAGE],
            }
        )
    return votes, comments


def _text_in_fields(response: Response) -> Text | None:
    prompt, answer = response.fields
    if text_id(prompt, answer) != response.record_id:
        return None
    messages = [{"role": "user", "content": prompt}]
    if response.system_prompt:
        messages.insert(0, {"role": "system", "content": response.system_prompt})
    return Text(messages, [{"role": "assistant", "content": answer}])


def merge(earlier: Iterable[Row], now: Iterable[Row], withdrawn: Collection[str]) -> tuple[list[Row], list[Row]]:
    """Join the votes of earlier exports and those that Argilla holds now: one per person and answer, the newest.

    Returns the votes that count, in the order in which they were first cast, and those of `earlier` that no longer do.
    """
    counts: dict[str, Row] = {}  # by vote id
    vote_ids: dict[tuple[str, str], str] = {}  # by answer and person
    replaced: list[Row] = []
    earlier = list(earlier)
    # Sorting is stable: of two rows with the same time, Argilla's is the later one.
    for vote in sorted([*earlier, *now], key=lambda vote: vote["updated_at"]):
        same = vote_ids.get((vote["record_id"], vote["annotator"]))
        for vote_id in dict.fromkeys((vote["vote_id"], same)):
            old = counts.pop(vote_id, vote)
            if _said(old) != _said(vote):
                replaced.append(old)
        counts[vote["vote_id"]] = vote
        vote_ids[vote["record_id"], vote["annotator"]] = vote["vote_id"]
    replaced += [counts.pop(vote_id) for vote_id in [*counts] if vote_id in withdrawn]
    known = {(vote["vote_id"], vote["updated_at"]) for vote in earlier}
    replaced = [vote for vote in replaced if (vote["vote_id"], vote["updated_at"]) in known]
    return sorted(counts.values(), key=lambda vote: (vote["inserted_at"], vote["vote_id"])), replaced


def _said(vote: Row) -> tuple[object, ...]:
    """Return what a person says with a vote; earlier versions did not ask for all of it."""
    return vote["vote"], vote["reasons"], vote.get("language"), vote.get("aspects") or []


def join_comments(
    earlier: Iterable[Mapping[str, str]], now: Iterable[Row], comments: Mapping[str, str]
) -> list[Mapping[str, object]]:
    """Return the comments on the votes of `now`, and those on earlier votes that Argilla has lost since."""
    joined: dict[str, Mapping[str, object]] = {row["vote_id"]: row for row in earlier}
    for vote in now:
        joined.pop(vote["vote_id"], None)
        if vote["vote_id"] in comments:
            texts = {"prompt": vote["prompt"][-1]["content"], "answer": vote["completion"][0]["content"]}
            joined[vote["vote_id"]] = vote | texts | {"comment": comments[vote["vote_id"]]}
    return list(joined.values())

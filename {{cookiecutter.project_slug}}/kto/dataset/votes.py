"""Votes: read from Argilla, stripped of names, and merged with those of earlier exports.

There is one row per submitted vote, as it counts now. A vote that Argilla has lost since the last export (a Space
without a disk, a deleted account) stays. A vote that its author has changed or withdrawn is kept apart, as it was.
Comments are never published: people write more about themselves there than they notice. Whoever asks for it is
forgotten: their votes and comments go, and `data/private/forgotten.txt` keeps the pseudonym, so that no export brings
them back. `kto/dataset/privacy.py` says which file holds what.
"""

import csv
import hashlib
import hmac
import io
import secrets
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kto.ask.prompt_sources import prompt_id
from kto.dotenv import write_private
from kto.errors import UserError
from kto.record_ids import record_ids, text_id
from kto.tables import Row, messages_type, read_batches, read_csv
from kto.vote.responses import Response, Responses

if TYPE_CHECKING:
    import pyarrow as pa

_COMMENT_COLUMNS = ("vote_id", "annotator", "vote", "prompt", "answer", "comment", "updated_at")
_FORMULA = ("=", "+", "-", "@")  # a spreadsheet would compute what begins like this, instead of showing it


def schema() -> "pa.Schema":
    """Return the columns of the votes as we keep them; see `kto/dataset/privacy.py` for those that everybody sees."""
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
        ]
    )


class Text(NamedTuple):
    """Prompt and answer of a record, as conversations."""

    prompt: list[dict[str, str]]
    completion: list[dict[str, str]]


def read_key(path: Path) -> bytes:
    """Return the key that pseudonyms are made with; make one, from random bytes, if there is none."""
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(path, secrets.token_hex(32) + "\n")
        key = bytes.fromhex(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        key = b""
    if len(key) < 16:  # an empty key would let everybody compute the name behind a pseudonym
        raise UserError("pseudonym_key", path=path)
    return key


def pseudonym(key: bytes, name: str) -> str:
    """Return the invented name of a person: always the same for the same key, and of no use without it."""
    return f"annotator-{hmac.new(key, name.encode('utf-8'), hashlib.sha256).hexdigest()[:10]}"


def find_texts(table: Path, wanted: Collection[str]) -> dict[str, Text]:
    """Return prompt and answer of these records, as far as they are in the table of generations.

    A record keeps its id when a later version cleans its answer in another way; then the text is the one of now.
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


def with_texts(votes: Iterable[Row], texts: Mapping[str, Text]) -> list[Row]:
    """Return the votes with prompt and answer as the table of generations has them now."""
    return [vote | texts[vote["record_id"]]._asdict() if vote["record_id"] in texts else vote for vote in votes]


class VotesNow(NamedTuple):
    """The votes of Argilla: rows of `schema`, comments by vote id, what `find_texts` gave, votes on unknown answers."""

    votes: list[Row]
    comments: dict[str, str]
    texts: Mapping[str, Text]
    unknown: int


def from_responses(responses: Responses, key: bytes, table: Path, earlier: Iterable[Row]) -> VotesNow:
    """Make votes of the responses in Argilla.

    Argilla's fields hold what its page needs. Prompt and answer come from the table of generations, by record id; where
    they are no longer there, from a vote of an earlier export. A field counts only where it is the very text, which the
    id of the record, a hash, proves.
    """
    if not responses.seen.dataset:
        return VotesNow([], {}, {}, 0)
    before = {vote["record_id"]: Text(vote["prompt"], vote["completion"]) for vote in earlier}
    texts = find_texts(table, responses.answered | before.keys())
    votes, comments = [], {}
    for response in responses.submitted:
        text = texts.get(response.record_id) or before.get(response.record_id) or _proven(response)
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
            }
        )
    return VotesNow(votes, comments, texts, len(responses.submitted) - len(votes))


def _proven(response: Response) -> Text | None:
    """Return the texts in Argilla's fields if the id of the record is theirs."""
    prompt, answer = response.fields
    if text_id(prompt, answer) != response.record_id:
        return None
    messages = [{"role": "user", "content": prompt}]
    if response.system_prompt:
        messages.insert(0, {"role": "system", "content": response.system_prompt})
    return Text(messages, [{"role": "assistant", "content": answer}])


def merge(earlier: Iterable[Row], now: Iterable[Row], withdrawn: Collection[str]) -> tuple[list[Row], list[Row]]:
    """Join the votes of earlier exports and those that Argilla holds now.

    A person has one vote per answer, the newest. Votes that only `earlier` knows stay.

    Returns
    -------
    The votes that count, in the order in which they were first cast, and those of `earlier` that do not any more.
    """
    counts: dict[str, Row] = {}  # by vote id
    vote_ids: dict[tuple[str, str], str] = {}  # by answer and person
    replaced: list[Row] = []
    earlier = list(earlier)
    # Sorting is stable: of two rows with the same time, what Argilla holds now is the later one.
    for vote in sorted([*earlier, *now], key=lambda vote: vote["updated_at"]):
        same = vote_ids.get((vote["record_id"], vote["annotator"]))
        for vote_id in dict.fromkeys((vote["vote_id"], same)):
            old = counts.pop(vote_id, vote)
            if (old["vote"], old["reasons"]) != (vote["vote"], vote["reasons"]):
                replaced.append(old)
        counts[vote["vote_id"]] = vote
        vote_ids[vote["record_id"], vote["annotator"]] = vote["vote_id"]
    replaced += [counts.pop(vote_id) for vote_id in [*counts] if vote_id in withdrawn]
    known = {(vote["vote_id"], vote["updated_at"]) for vote in earlier}
    replaced = [vote for vote in replaced if (vote["vote_id"], vote["updated_at"]) in known]
    return sorted(counts.values(), key=lambda vote: (vote["inserted_at"], vote["vote_id"])), replaced


def read_comments(path: Path) -> list[dict[str, str]]:
    """Return the comments of earlier exports; raise `UserError` if the file cannot be read or is another table."""
    return [
        {name: text[1:] if text[:1] == "'" and text[1:].startswith(_FORMULA) else text for name, text in row.items()}
        for row in read_csv(path, _COMMENT_COLUMNS)
    ]


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


def write_comments(path: Path, comments: Iterable[Mapping[str, object]]) -> None:
    """Write comments to a CSV file; no file is made for none. Raise `UserError` if it cannot be written."""
    rows = [[str(comment[name]) for name in _COMMENT_COLUMNS] for comment in comments]
    if not rows and not path.exists():
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COMMENT_COLUMNS)
    for row in rows:
        writer.writerow("'" + cell if cell.startswith(_FORMULA) else cell for cell in row)
    try:
        write_private(path, text.getvalue())
    except OSError as error:
        raise UserError("cannot_write", path=path, reason=error) from None


def read_forgotten(path: Path) -> set[str]:
    """Return the pseudonyms of the people whose votes must not come back; raise `UserError` if that cannot be read."""
    try:
        return set(path.read_text(encoding="utf-8-sig").split()) if path.exists() else set()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("cannot_read_table", path=path, reason=error) from None


def remember_forgotten(path: Path, names: Iterable[str]) -> None:
    """Write the pseudonyms of the people whose votes must not come back; raise `UserError` if that is impossible."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, "".join(f"{name}\n" for name in sorted(names)))
    except OSError as error:
        raise UserError("cannot_write", path=path, reason=error) from None


def without(rows: Iterable[Row], names: Collection[str]) -> list[Row]:
    """Return the rows that are not by these pseudonyms."""
    return [row for row in rows if row["annotator"] not in names]

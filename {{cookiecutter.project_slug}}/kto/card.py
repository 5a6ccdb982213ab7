"""Cards: Markdown that begins with its facts in YAML, read and checked before anything is sent to the Hub."""

import difflib
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import yaml

from kto.errors import UserError
from kto.texts import t

NEEDS = ("license", "language")
"""Facts that a dataset must have."""
_FRONT_MATTER = re.compile(r"\s*---[ \t]*\n(.*?\n|)---[ \t]*(?:\n|\Z)", re.DOTALL)
_CC = ("by", "by-sa", "by-nc", "by-nc-sa", "by-nd", "by-nc-nd")
_LICENSES = (
    *(f"cc-{kind}-{version}" for version in ("4.0", "3.0") for kind in _CC if (kind, version) != ("by-nd", "3.0")),
    *("cc0-1.0", "odc-by", "odbl", "pddl", "cdla-permissive-2.0", "cdla-sharing-1.0", "apache-2.0", "mit", "other"),
)
"""The Hub's names of licences for data, to suggest one of them; `validate` asks which ones it takes."""
_FORMS: Sequence[tuple[str, str, Collection[str]]] = (
    ("license", r"[a-z0-9][a-z0-9.+_-]*", _LICENSES),
    ("language", r"[a-z]{2,16}", ()),
    ("pretty_name", ".*", ()),
)
"""Facts, the form of each value, and values to suggest."""


def read(path: Path) -> str:
    """Return a page, without the byte order mark that some editors write; lines end with `\\n`.

    Raises `UserError` if the file is not UTF-8, `OSError` if it cannot be read.
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16, which without its mark may pass for UTF-8
        raise UserError("technical.card_encoding", path=path)
    return re.sub(r"\r\n?", "\n", text)


def split(page: str) -> tuple[str | None, str]:
    """Return the YAML that a page begins with, None if it begins with something else, and the rest of the page."""
    page = re.sub(r"\r\n?", "\n", page.removeprefix("\ufeff"))
    match = _FRONT_MATTER.match(page)
    return (match[1], page[match.end() :]) if match else (None, page)


def check(page: str, path: Path, needs: Collection[str]) -> None:
    """Raise `UserError` if the facts that a page begins with are no YAML, or lack one of `needs`, or are wrong.

    It names `path`, the file in which people correct them.
    """
    front_matter, _ = split(page)
    try:
        facts = None if front_matter is None else yaml.safe_load(front_matter) or {}
    except yaml.YAMLError as error:
        raise _bad_yaml(front_matter or "", path, error) from None
    if not isinstance(facts, dict):
        raise UserError("technical.card_start", path=path, fields=", ".join(needs))
    if missing := [name for name in needs if facts.get(name) in (None, "", [])]:
        raise UserError("technical.card_missing", path=path, fields=", ".join(missing))
    for name, form, known in _FORMS:
        values = facts.get(name, [])
        for value in values if isinstance(values, list) else [values]:
            if not (isinstance(value, str) and re.fullmatch(form, value, re.DOTALL)):
                raise _bad_field(path, name, value, known)


def validate(page: str, repo_type: str, path: Path, token: str) -> None:
    """Raise `UserError` if the Hub, which stores nothing, does not take this page; its other errors are not caught."""
    from huggingface_hub import constants
    from huggingface_hub.errors import BadRequestError
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]

    response = get_session().post(
        f"{constants.ENDPOINT}/api/validate-yaml",
        json={"content": page, "repoType": repo_type},
        headers=build_hf_headers(token=token),
    )
    try:
        hf_raise_for_status(response)
    except BadRequestError as error:
        reason = error.server_message.replace("\n", "; ") if error.server_message else str(error)
        reason = " ".join(reason.split())
        match = re.search(r'"([\w.\[\]-]+)" must be one of \[(.*?)\]', reason)
        facts = yaml.safe_load(split(page)[0] or "")
        if match and isinstance(facts, dict) and (field := re.split(r"[.\[]", match[1])[0]) in facts:
            raise _bad_field(path, field, facts[field], match[2].split(", ")) from None
        raise UserError("technical.card_refused", path=path, reason=reason[:500]) from None


def _bad_field(path: Path, field: str, value: object, known: Collection[str]) -> UserError:
    """Name the field with a wrong value, and the `known` values that are like it."""
    name = re.sub(r"[^a-z0-9.+]+", "-", str(value).lower())
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.7)
    hint = ""
    if isinstance(value, bool):  # what YAML makes of no, yes, on and off
        hint = f" {t('technical.card_quotes')}"
    elif near:
        hint = f" {t('technical.card_near', names=', '.join(near))}"
    shown = f"{field}: {value}" if isinstance(value, str | int | float) else field
    return UserError("technical.card_field", path=path, field=shown, hint=hint)


def _bad_yaml(front_matter: str, path: Path, error: yaml.YAMLError) -> UserError:
    """Name the field in whose line, or in the lines below it, the YAML ends."""
    mark = getattr(error, "problem_mark", None)
    if re.search("flow|quoted", getattr(error, "context", None) or ""):  # an open bracket is noticed further down
        mark = error.context_mark  # type: ignore[attr-defined]
    lines = front_matter.splitlines()[: mark.line + 1 if mark else None]
    field = next((line.partition(":")[0] for line in reversed(lines) if re.match(r"\w+:", line)), "---")
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    line = mark.line + 2 if mark else 1  # the first line is ---
    return UserError("technical.card_yaml", path=path, line=line, field=field, reason=problem)

"""The files of the voting page, ready to be sent; the words come from `publish/voting/page.json`."""

import gzip
import hashlib
import html
import json
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

PAGE = Path(__file__).resolve().parents[1] / "page"
WORDS = "voting/page.json"  # in publish/
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".webmanifest": "application/manifest+json; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
}
"""Media types; the system's own list is wrong on some Windows."""


class File(NamedTuple):
    """A file as it is sent, also compressed; `tag` changes with the content."""

    content: bytes
    compressed: bytes
    kind: str
    tag: str


def read_words(path: Path) -> dict[str, Any]:
    """Return the page's words as rendering and `check.py pages` write them.

    Raises `OSError` or `ValueError` if there is no such file, or it is none of ours.
    """
    words = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(words, dict) or words.get("format") != 1:
        raise ValueError(path)
    return words


def load(words: Mapping[str, Any], **more: Any) -> tuple[dict[str, File], str]:
    """Return the files by name, and the version of the page; words.json also gets `more`."""
    title, noscript = str(words["title"]), str(words["words"]["noscript"])
    values = {"lang": str(words["language"]), "dir": str(words["direction"])}
    as_html = {name: html.escape(value) for name, value in {**values, "title": title, "noscript": noscript}.items()}
    as_json = {name: json.dumps(value)[1:-1] for name, value in {**values, "title": title}.items()}
    contents: dict[str, bytes] = {}
    for path in sorted(PAGE.iterdir()):
        content = path.read_bytes()
        if path.name in ("index.html", "manifest.json"):
            filled = as_html if path.suffix == ".html" else as_json
            content = string.Template(content.decode()).substitute(filled).encode()
        if path.suffix in _KINDS:
            contents[path.name] = content
    version = hashlib.sha256(repr((sorted(contents.items()), json.dumps(words))).encode()).hexdigest()[:12]
    contents["words.json"] = json.dumps({**words, "version": version, **more}, ensure_ascii=False).encode()
    return {name: _file(name, content) for name, content in contents.items()}, version


def _file(name: str, content: bytes) -> File:
    tag = hashlib.sha256(content).hexdigest()[:16]
    return File(content, gzip.compress(content, mtime=0), _KINDS[Path(name).suffix], f'"{tag}"')

"""Bring changed texts and settings into the pages: README, cards, community pages, the voting page.

    uv run check.py pages

An edited page stays as it is and is named. `kto/made_pages.json` has the fingerprint of each page as it was made.
`publish/voting/page.json` is no page that people write in: it is always made anew, also where it is missing.
"""

import json
from pathlib import Path

from kto import texts
from kto.command_line import Parser
from kto.errors import UserError
from kto.pages import MARKED, fill_marked, fill_page, fingerprint, values_of
from kto.questions import questions
from kto.settings import Settings, load
from kto.tables import reading, write_text, writing
from kto.texts import published, t
from kto.vote import page_json


def read(path: Path) -> str | None:
    """Return the text of a page, None if there is none."""
    if not path.exists():
        return None
    with reading(path):
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").rstrip("\n")


def read_made(path: Path) -> dict[str, str]:
    """Return page → fingerprint; without the file every page counts as edited."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def new_page(name: str, old: str, config: Settings) -> str:
    """Return a page with the current texts and settings, and the parts that `export.py` has filled in."""
    page = fill_page(config.root / "kto" / "pages" / name, texts.load(), values_of(config)).rstrip("\n")
    parts = {mark: (f"<!-- {mark} -->\n", f"<!-- end {mark} -->") for mark in MARKED}
    if not all(mark in page and mark in old for both in parts.values() for mark in both):
        return page
    filled = {mark: old.split(begin, 1)[1].split(end, 1)[0] for mark, (begin, end) in parts.items()}
    if filled["numbers"].strip():  # before the first export the models are those of the settings
        for mark in MARKED:
            page = fill_marked(page, mark, filled[mark])
    return page


def voting_page(config: Settings) -> dict[Path, str]:
    """Return, by its path, what the voting page shows, if a text or a setting has changed since it was made."""
    path = published(config.root, page_json.NAME)
    asked = questions(config.annotation.model_dump(), texts.load())
    new = page_json.page_json(texts.load(), values_of(config), asked) + "\n"
    there = path.is_file() and path.read_bytes().replace(b"\r\n", b"\n") == new.encode()
    return {} if there else {path: new}


def bring_voting_page(config: Settings) -> None:
    """Write what the voting page shows, if a text or a setting has changed since it was made."""
    for path, content in voting_page(config).items():
        write_text(path, content)


def main(argv: list[str] | None = None) -> int:
    """Make every page anew and name those that have changed. Nothing is written before all are made."""
    parser = Parser(t("pages.help"))
    parser.add_argument("--replace", metavar="PAGE", help=t("technical.help_replace"))
    replace = parser.parse_args(argv).replace
    config = load()
    made_file, skeletons = config.root / "kto" / "made_pages.json", config.root / "kto" / "pages"
    made = read_made(made_file)
    names = sorted(path.relative_to(skeletons).as_posix() for path in skeletons.rglob("*.md"))
    pages = {name: published(config.root, name) for name in names if name != "README.md"}
    pages["README.md"] = config.root / "README.md"
    wanted = {(folder / replace).resolve() for folder in (Path.cwd(), config.root)} if replace else set()
    if replace and not wanted & {path.resolve() for path in pages.values()}:
        known = ", ".join(path.relative_to(config.root).as_posix() for path in pages.values())
        raise UserError("technical.no_page", name=replace, pages=known)
    messages: list[str] = []
    written: dict[Path, str] = {}
    kept: dict[Path, bytes] = {}
    for name, path in pages.items():
        shown, old = path.relative_to(config.root).as_posix(), read(path)
        chosen = path.resolve() in wanted
        if old is None and not chosen:  # somebody has removed it
            continue
        new = new_page(name, old or "", config)
        edited = old is not None and new != old and fingerprint(old) != made.get(name)
        if edited and not chosen:
            messages.append(t("technical.page_edited", path=shown))
            continue
        made[name] = fingerprint(new)
        if edited:
            candidates = (path.with_suffix(f".old{number or ''}{path.suffix}") for number in range(1000))
            copy = next(candidate for candidate in candidates if not candidate.exists())
            kept[copy] = path.read_bytes()
            messages.append(t("technical.page_kept", path=copy.relative_to(config.root).as_posix()))
        if new != old:
            written[path] = new + "\n"
            messages.append(t("export.written", path=shown))
    for path, content in voting_page(config).items():
        written[path] = content
        messages.append(t("export.written", path=path.relative_to(config.root).as_posix()))
    for copy, old_content in kept.items():
        with writing(copy):
            copy.write_bytes(old_content)
    for path, page in written.items():
        write_text(path, page)
    write_text(made_file, json.dumps(made, indent=1, sort_keys=True) + "\n")
    print("\n".join(messages) or t("pages.unchanged"))
    return 0

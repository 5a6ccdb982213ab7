"""Bring changed texts and settings into the pages: README, cards, community pages, notebook.

    uv run update_pages.py

A page that somebody has changed by hand stays; its new version is written beside it. `kto/made_pages.json` keeps what
each page was like when it was made.
"""

import json
from pathlib import Path

from kto import texts
from kto.command_line import Parser, run
from kto.errors import UserError
from kto.pages import CELLS, MARKED, NOTEBOOK, fill_cell, fill_marked, fill_page, fingerprint, values_of
from kto.settings import Settings, load
from kto.tables import write_text
from kto.texts import t

MADE = Path("kto") / "made_pages.json"


def read(path: Path) -> str | None:
    """Return the text of a page, None if there is none."""
    try:
        return path.read_bytes().decode("utf-8-sig")  # its line ends are its own
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("cannot_read_table", path=path, reason=error) from None


def read_made(path: Path) -> dict[str, str]:
    """Return page → fingerprint of what was made; without the file every page counts as changed by hand."""
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: str(value) for name, value in made.items()} if isinstance(made, dict) else {}


def plain(page: str) -> str:
    return page.replace("\r\n", "\n").rstrip("\n")


def new_page(name: str, old: str, config: Settings) -> str:
    """Return a page with the texts and settings of now, and what `export.py` has filled in."""
    page = fill_page(config.root / "kto" / "pages" / name, texts.load(), values_of(config)).rstrip("\n") + "\n"
    parts = {mark: (f"<!-- {mark} -->\n", f"<!-- end {mark} -->") for mark in MARKED}
    if not all(mark in page and mark in plain(old) for both in parts.values() for mark in both):
        return page
    filled = {mark: plain(old).split(begin, 1)[1].split(end, 1)[0] for mark, (begin, end) in parts.items()}
    if filled["numbers"].strip():  # before the first export the models are those of settings.toml
        for mark in MARKED:
            page = fill_marked(page, mark, filled[mark])
    return page


def new_notebook(source: str, path: Path, config: Settings) -> str | None:
    """Return the notebook with new texts in its cells, None if there are none; what people have changed stays."""
    try:
        notebook = json.loads(source)
        cells = [cell for cell in notebook["cells"] if cell.get("cell_type") == "markdown" and cell.get("id") in CELLS]
        changed = False
        for cell in cells:
            made, old = (cell.get("metadata") or {}).get("made"), "".join(cell.get("source") or "")
            new = fill_cell(cell["id"], texts.load(), values_of(config))
            if old != new and fingerprint(old) == made:
                cell["source"] = new.splitlines(keepends=True)
                cell["metadata"]["made"] = fingerprint(new)
                changed = True
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError("cannot_read_table", path=path, reason=error) from None
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n" if changed else None


def main(argv: list[str] | None = None) -> int:
    """Fill every page anew and say which have changed. Nothing is written before everything is made."""
    Parser(t("pages.help")).parse_args(argv)
    config = load()
    made = read_made(config.root / MADE)
    skeletons = config.root / "kto" / "pages"
    said: list[str] = []
    written: dict[Path, str] = {}
    for skeleton in sorted(skeletons.rglob("*.md")):
        name = skeleton.relative_to(skeletons).as_posix()
        path = config.root / name
        old = read(path)
        if old is None:  # somebody has no use for it
            continue
        new = new_page(name, old, config)
        if plain(new) == plain(old):
            made[name] = fingerprint(new)
        elif fingerprint(old) == made.get(name):
            written[path] = new
            made[name] = fingerprint(new)
            said.append(t("export.written", path=name))
        else:
            beside, offered = path.with_suffix(f".new{path.suffix}"), f"{name} (offered)"
            there = read(beside)
            # Whoever has removed this very page has taken over from it what they wanted.
            if there is not None or made.get(offered) != fingerprint(new):
                if there is None or fingerprint(there) == made.get(offered):  # not one that somebody works on
                    written[beside] = new
                    made[offered] = fingerprint(new)
                said.append(t("pages.by_hand", path=name, new=beside.relative_to(config.root).as_posix()))
    path = config.root / NOTEBOOK
    source = read(path)
    notebook = None if source is None else new_notebook(source, path, config)
    if notebook is not None:
        written[path] = notebook
        said.append(t("export.written", path=NOTEBOOK))
    for path, content in written.items():
        write_text(path, content)
    write_text(config.root / MADE, json.dumps(made, indent=1, sort_keys=True) + "\n")
    print("\n".join(said) or t("pages.unchanged"))
    return 0


if __name__ == "__main__":
    run(main)

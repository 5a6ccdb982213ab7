"""Bring changed texts and settings into the pages: README, cards, community pages, notebook.

    uv run update_pages.py

A page that somebody has changed by hand stays; its new version is written beside it. `kto/made_pages.json` keeps what
each page was like when it was made.
"""

import json
from pathlib import Path

from kto import texts
from kto.command_line import Parser
from kto.config import Config, load
from kto.errors import UserError, run
from kto.pages import CELLS, MARKED, NOTEBOOK, fill_cell, fill_page, fingerprint, values_of
from kto.tables import write_text
from kto.texts import t

MADE = Path("kto") / "made_pages.json"


def read(path: Path) -> str | None:
    """Return the text of a page, None if there is none."""
    try:
        return path.read_bytes().decode("utf-8")  # its line ends are its own
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


def new_page(name: str, old: str, config: Config) -> str:
    """Return a page with the texts and settings of now, and what `export.py` has filled in."""
    page = fill_page(config.root / "kto" / "pages" / name, texts.load(), values_of(config)).rstrip("\n") + "\n"
    for mark in MARKED:
        begin, end = f"<!-- {mark} -->\n", f"<!-- end {mark} -->"
        if all(each in page and each in old.replace("\r\n", "\n") for each in (begin, end)):
            filled = old.replace("\r\n", "\n").split(begin, 1)[1].split(end, 1)[0]
            page = page.split(begin, 1)[0] + begin + filled + end + page.split(end, 1)[1]
    return page


def update_notebook(path: Path, config: Config) -> bool:
    """Give the notebook's cells of text their new texts; cells that people have added or changed stay."""
    source = read(path)
    if source is None:
        return False
    try:
        notebook = json.loads(source)
        cells = {cell["id"]: cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError("cannot_read_table", path=path, reason=error) from None
    changed = False
    for name, cell in cells.items():
        made = cell["metadata"].get("made") if name in CELLS else None
        old = "".join(cell["source"])
        new = fill_cell(name, texts.load(), values_of(config)) if made else old
        if made and old != new and fingerprint(old) == made:
            cell["source"] = new.splitlines(keepends=True)
            cell["metadata"]["made"] = fingerprint(new)
            changed = True
    if changed:
        write_text(path, json.dumps(notebook, ensure_ascii=False, indent=1) + "\n")
    return changed


def main(argv: list[str] | None = None) -> int:
    """Fill every page anew and say which have changed."""
    Parser(t("pages.help")).parse_args(argv)
    config = load()
    made = read_made(config.root / MADE)
    skeletons = config.root / "kto" / "pages"
    said = []
    for skeleton in sorted(skeletons.rglob("*.md")):
        name = skeleton.relative_to(skeletons).as_posix()
        path = config.root / name
        old = read(path)
        if old is None:  # somebody has no use for it
            continue
        new = new_page(name, old, config)
        if fingerprint(new) == fingerprint(old):
            made[name] = fingerprint(new)
        elif fingerprint(old) == made.get(name):
            write_text(path, new)
            made[name] = fingerprint(new)
            said.append(t("export.written", path=name))
        else:
            beside, offered = path.with_suffix(f".new{path.suffix}"), f"{name} (offered)"
            # Whoever has removed this very page has taken over from it what they wanted.
            if beside.exists() or made.get(offered) != fingerprint(new):
                write_text(beside, new)
                made[offered] = fingerprint(new)
                said.append(t("pages.by_hand", path=name, new=beside.relative_to(config.root).as_posix()))
    write_text(config.root / MADE, json.dumps(made, indent=1, sort_keys=True) + "\n")
    if update_notebook(config.root / NOTEBOOK, config):
        said.append(t("export.written", path=NOTEBOOK))
    print("\n".join(said) or t("pages.unchanged"))
    return 0


if __name__ == "__main__":
    run(main)

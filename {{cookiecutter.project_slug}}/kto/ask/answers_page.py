"""`data/generations/answers.html`: the first answers, for a person to read before others vote on them.

One file without scripts that loads nothing from anywhere. An answer looks as it does on the voting page.
"""

import itertools
import string
from collections.abc import Iterator
from pathlib import Path

from kto.ask import targets
from kto.pages import values_of
from kto.rendering import TABLE, answer_html, as_written
from kto.settings import Settings
from kto.tables import Row, read_batches, write_text
from kto.texts import number, t

NAME = "answers.html"
SHOWN = 200
"""Prompts on the page, at most."""
_PAGE = Path(__file__).parent / "cards" / "answers.html"
_LISTS = (
    *("generation_model", "raw_generation_responses", "generations", "finish_reason", "refused", "language"),
    "language_verdict",
)


def write(config: Settings, table: Path, prompts: int) -> Path:
    """Write the page beside a table of generations with this number of prompts, and return its path."""
    values = values_of(config)
    checked = targets.gate_for(config).supported
    shown = number(prompts) if prompts <= SHOWN else f"{number(SHOWN)} / {number(prompts)}"
    about = [
        t("generations_card.what", language=values["language"], domain=values["domain"]),
        f"{t('generate.column_asked')}: {shown}",
        *([] if checked else [t("generate.not_judged", language=config.language.autonym)]),
    ]
    rows = (row for batch in read_batches(table, ("input", *_LISTS)) for row in batch)
    page = string.Template(_PAGE.read_text(encoding="utf-8")).substitute(
        lang="en" if values["untranslated"] else values["tag"],
        tag=values["tag"],
        direction=values["direction"],
        title=as_written(str(values["project_name"])),
        about="".join(f'<p class="about" dir="auto">{as_written(line)}</p>\n' for line in about),
        articles="".join(_article(*row, checked) for row in enumerate(itertools.islice(rows, SHOWN), 1)),
    )
    path = table.with_name(NAME)
    write_text(path, page)
    return path


def _article(position: int, row: Row, checked: bool) -> str:
    """Return a prompt with its answers."""
    items = [dict(zip(_LISTS, item, strict=True)) for item in zip(*map(row.get, _LISTS), strict=True)]
    return (
        f'<article>\n<p class="number">{number(position)}</p>\n'
        f'<h2 dir="auto">{as_written(row["input"])}</h2>\n<div class="answers">\n'
        f"{''.join(_answer(item, checked) for item in items)}</div>\n</article>\n"
    )


def _answer(item: Row, checked: bool) -> str:
    marks = " ".join(f'<span class="{name}">{as_written(text)}</span>' for name, text in _marks(item, checked))
    answer = answer_html(item["generations"]).replace(TABLE, "<table>") if item["generations"] else ""
    return (
        f"<section>\n<h3><bdi>{as_written(item['generation_model'])}</bdi></h3>\n"
        + (f'<p class="marks">{marks}</p>\n' if marks else "")
        + (f'<div class="text">{answer}</div>\n' if answer else "")
        + "</section>\n"
    )


def _marks(item: Row, checked: bool) -> Iterator[tuple[str, str]]:
    """Yield what is remarkable about an answer: a class, and words."""
    if item["generations"]:
        verdict = item["language_verdict"]
        if checked and verdict:
            code = f" ({item['language']})" if verdict == "wrong" and item["language"] else ""
            yield verdict, t(f"generate.column_{verdict}") + code
    elif not item["refused"]:
        name = "missing" if item["raw_generation_responses"] is None else "empty"
        yield name, t(f"generate.column_{name}")
    if item["finish_reason"] == "length":
        yield "cut", t("generate.column_cut")
    if item["refused"]:
        yield "refused", t("generate.column_refused")

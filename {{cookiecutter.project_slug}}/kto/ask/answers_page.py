"""`data/generations/answers.html`: the first answers, for a person to read before others vote on them.

One file without scripts that loads nothing from anywhere. An answer looks as it does on the voting page.
"""

import itertools
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
_STYLE = Path(__file__).parent / "cards" / "answers.css"
_LISTS = (
    *("generation_model", "raw_generation_responses", "generations", "finish_reason", "refused", "language"),
    "language_verdict",
)


def write(config: Settings, table: Path, prompts: int) -> Path:
    """Write the page beside a table of generations with this number of prompts, and return its path."""
    path = table.with_name(NAME)
    write_text(path, "".join(_page(config, table, prompts)))
    return path


def _page(config: Settings, table: Path, prompts: int) -> Iterator[str]:
    values = values_of(config)
    title = as_written(str(values["project_name"]))
    checked = targets.gate_for(config).supported
    shown = number(prompts) if prompts <= SHOWN else f"{number(SHOWN)} / {number(prompts)}"
    about = [
        t("generations_card.what", language=values["language"], domain=values["domain"]),
        f"{t('generate.column_asked')}: {shown}",
        *([] if checked else [t("generate.not_judged", language=config.language.autonym)]),
    ]
    lang = "en" if values["untranslated"] else values["tag"]
    yield (
        f'<!DOCTYPE html>\n<html lang="{lang}" dir="{values["direction"]}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n"
        f'<header>\n<h1 dir="auto">{title}</h1>\n'
    )
    yield from (f'<p class="about" dir="auto">{as_written(line)}</p>\n' for line in about)
    yield f'</header>\n<main lang="{values["tag"]}">\n'
    rows = (row for batch in read_batches(table, ("input", *_LISTS)) for row in batch)
    for position, row in enumerate(itertools.islice(rows, SHOWN), 1):
        yield f'<article>\n<p class="number">{number(position)}</p>\n'
        yield f'<h2 dir="auto">{as_written(row["input"])}</h2>\n<div class="answers">\n'
        for item in zip(*(row[name] for name in _LISTS), strict=True):
            yield from _answer(dict(zip(_LISTS, item, strict=True)), checked)
        yield "</div>\n</article>\n"
    yield "</main>\n</body>\n</html>\n"


def _answer(item: Row, checked: bool) -> Iterator[str]:
    marks = " ".join(f'<span class="{name}">{as_written(text)}</span>' for name, text in _marks(item, checked))
    yield f"<section>\n<h3><bdi>{as_written(item['generation_model'])}</bdi></h3>\n"
    yield f'<p class="marks">{marks}</p>\n' if marks else ""
    if item["generations"]:
        yield f'<div class="text">{answer_html(item["generations"]).replace(TABLE, "<table>")}</div>\n'
    yield "</section>\n"


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

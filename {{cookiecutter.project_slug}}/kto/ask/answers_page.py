"""`data/generations/answers.html`: the first answers, for a person to read before others vote on them.

One file without scripts that loads nothing from anywhere. An answer looks as it does on the voting page.
"""

import itertools
import string
from collections.abc import Iterable, Iterator
from pathlib import Path

from kto.ask import targets
from kto.pages import values_of
from kto.rendering import TABLE, answer_html, as_written
from kto.settings import Settings
from kto.tables import Row, read_batches, write_text
from kto.texts import number, t

NAME = "answers.html"
SHOWN = 200  # prompts on the page, at most
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
    articles = []
    for position, row in enumerate(itertools.islice(rows, SHOWN), 1):
        items = [dict(zip(_LISTS, item, strict=True)) for item in zip(*map(row.get, _LISTS), strict=True)]
        sections = [
            section(item["generation_model"], list(_marks(item, checked)), item["generations"]) for item in items
        ]
        articles.append(article(number(position), row["input"], sections))
    path = table.with_name(NAME)
    write_text(path, page(config, about, articles))
    return path


def page(config: Settings, about: Iterable[str], articles: Iterable[str]) -> str:
    """Return a page of `articles`, HTML of `article`, below lines of text `about` it."""
    values = values_of(config)
    return string.Template(_PAGE.read_text(encoding="utf-8")).substitute(
        lang="en" if values["untranslated"] else values["tag"],
        tag=values["tag"],
        direction=values["direction"],
        title=as_written(str(values["project_name"])),
        about="".join(f'<p class="about" dir="auto">{as_written(line)}</p>\n' for line in about),
        articles="".join(articles),
    )


def article(position: str, prompt: str, sections: Iterable[str]) -> str:
    """Return a prompt with its answers, HTML of `section`."""
    return (
        f'<article>\n<p class="number"><bdi>{as_written(position)}</bdi></p>\n'
        f'<h2 dir="auto">{as_written(prompt)}</h2>\n<div class="answers">\n{"".join(sections)}</div>\n</article>\n'
    )


def section(head: str, marks: Iterable[tuple[str, str]], answer: str | None, commands: Iterable[str] = ()) -> str:
    """Return an answer below a heading and what is remarkable (a class, and words), with commands to copy below it."""
    spans = " ".join(f'<span class="{name}" dir="auto">{as_written(text)}</span>' for name, text in marks)
    shown = answer_html(answer).replace(TABLE, "<table>") if answer else ""
    return (
        "<section>\n"
        + (f"<h3><bdi>{as_written(head)}</bdi></h3>\n" if head else "")
        + (f'<p class="marks">{spans}</p>\n' if spans else "")
        + (f'<div class="text">{shown}</div>\n' if shown else "")
        + "".join(f'<pre class="command" dir="ltr">{as_written(command)}</pre>\n' for command in commands)
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

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
_LISTS = (
    *("generation_model", "raw_generation_responses", "generations", "finish_reason", "refused", "language"),
    "language_verdict",
)

_STYLE = """
:root {
  color-scheme: light dark;
  --page: #f4f5f7; --card: #fff; --ink: #1d2125; --quiet: #59636e; --line: #d5dae0;
  --asked: #e6eefb; --good: #1a7f37; --bad: #b3261e; --note: #8a5a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --card: #1d2125; --ink: #e6e9ec; --quiet: #9aa4af; --line: #373e47;
    --asked: #1f2c40; --good: #5fc977; --bad: #ff8a80; --note: #e3b341;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 100rem; padding: 1.5rem clamp(.75rem, 3vw, 2.5rem) 4rem;
  background: var(--page); color: var(--ink); font: 1rem/1.6 system-ui, sans-serif; overflow-wrap: anywhere;
}
h1 { margin: 0 0 .25rem; font-size: 1.5rem; line-height: 1.3; }
.about { margin: 0; max-width: 48rem; color: var(--quiet); }
article { margin-block-start: 2.25rem; }
.number { margin: 0 0 .25rem; color: var(--quiet); font-size: .875rem; }
h2 {
  margin: 0 0 .75rem; padding: .75rem 1rem; max-height: 20rem; overflow: auto; border-radius: .5rem;
  background: var(--asked); font-size: 1.0625rem; font-weight: 600; white-space: pre-wrap;
}
.answers { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: .75rem; }
section {
  min-width: 0; padding: .75rem 1rem;
  border: 1px solid var(--line); border-radius: .5rem; background: var(--card);
}
h3 { margin: 0; font-size: .875rem; font-weight: 600; }
.marks { margin: 0 0 .5rem; color: var(--quiet); font-size: .8125rem; }
.marks span + span::before { content: "· "; color: var(--quiet); }
.right { color: var(--good); }
.wrong, .missing { color: var(--bad); }
.cut, .empty, .refused { color: var(--note); }
.text > * > :first-child { margin-block-start: 0; }
.text > * > :last-child { margin-block-end: 0; }
.text :is(h1, h2, h3, h4, h5, h6) {
  margin: 1em 0 .5em; padding: 0; max-height: none; background: none; font-size: 1.0625rem; white-space: normal;
}
.text :is(ul, ol) { padding-inline-start: 1.75em; }
.text :is(pre, table) { display: block; max-width: 100%; overflow-x: auto; }
.text pre { padding: .5rem .75rem; border-radius: .25rem; background: var(--page); overflow-wrap: normal; }
.text :is(code, pre) { font: .875rem/1.5 ui-monospace, monospace; }
.text table { border-collapse: collapse; overflow-wrap: normal; }
.text :is(th, td) { padding: .25rem .6rem; border: 1px solid var(--line); text-align: start; }
"""


def write(config: Settings, table: Path, prompts: int) -> Path:
    """Write the page beside a table of generations that has so many prompts, and return its path.

    Raises
    ------
    UserError
        The table cannot be read, or the page cannot be written.
    """
    path = table.with_name(NAME)
    write_text(path, "".join(_page(config, table, prompts)))
    return path


def _page(config: Settings, table: Path, prompts: int) -> Iterator[str]:
    values = values_of(config)
    title = as_written(str(values["project_name"]))
    judged = targets.gate_for(config).supported
    shown = number(prompts) if prompts <= SHOWN else f"{number(SHOWN)} / {number(prompts)}"
    about = [
        t("generations_card.what", language=values["language"], domain=values["domain"]),
        f"{t('generate.column_asked')}: {shown}",
        *([] if judged else [t("generate.not_judged", language=config.language.autonym)]),
    ]
    lang = "en" if values["untranslated"] else values["tag"]
    yield (
        f'<!DOCTYPE html>\n<html lang="{lang}" dir="{values["direction"]}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<header>\n<h1 dir="auto">{title}</h1>\n'
    )
    yield from (f'<p class="about" dir="auto">{as_written(line)}</p>\n' for line in about)
    yield f'</header>\n<main lang="{values["tag"]}">\n'
    rows = (row for batch in read_batches(table, ("input", *_LISTS)) for row in batch)
    for position, row in enumerate(itertools.islice(rows, SHOWN), 1):
        yield f'<article>\n<p class="number">{number(position)}</p>\n'
        yield f'<h2 dir="auto">{as_written(row["input"])}</h2>\n<div class="answers">\n'
        for item in zip(*(row[name] for name in _LISTS), strict=True):
            yield from _answer(dict(zip(_LISTS, item, strict=True)), judged)
        yield "</div>\n</article>\n"
    yield "</main>\n</body>\n</html>\n"


def _answer(item: Row, judged: bool) -> Iterator[str]:
    marks = "".join(f' <span class="{name}">{as_written(text)}</span>' for name, text in _marks(item, judged))
    yield f"<section>\n<h3><bdi>{as_written(item['generation_model'])}</bdi></h3>\n"
    yield f'<p class="marks">{marks.lstrip()}</p>\n' if marks else ""
    if item["generations"]:
        yield f'<div class="text">{answer_html(item["generations"]).replace(TABLE, "<table>")}</div>\n'
    yield "</section>\n"


def _marks(item: Row, judged: bool) -> Iterator[tuple[str, str]]:
    """Yield what there is to say about an answer: a class, and words."""
    if item["generations"]:
        verdict = item["language_verdict"]
        if judged and verdict:
            code = f" ({item['language']})" if verdict == "wrong" and item["language"] else ""
            yield verdict, t(f"generate.column_{verdict}") + code
    elif not item["refused"]:
        name = "missing" if item["raw_generation_responses"] is None else "empty"
        yield name, t(f"generate.column_{name}")
    if item["finish_reason"] == "length":
        yield "cut", t("generate.column_cut")
    if item["refused"]:
        yield "refused", t("generate.column_refused")

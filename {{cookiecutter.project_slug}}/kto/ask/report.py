"""What the models did, as a table for people."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kto.ask.plan import Estimate
from kto.ask.table import TableCounts
from kto.ask.targets import ModelTarget
from kto.ask.writer import RunCounts
from kto.texts import number, t

WIDTH = 80
"""Columns of a terminal."""
_BETWEEN = 3  # columns between two cells
_LONGEST_LABEL = 32
_SHORTEST_NAME = 16  # of a model, on lines of at least so many columns
_NONE = "–"
_SHOWN = 3  # reasons per model
_ALWAYS = ("model", "requests", "asked", "answered", "stored", "missing")


def _money(dollars: float | None) -> str:
    if dollars is None:
        return _NONE
    return f"${number(dollars, 2 if dollars >= 1 or not dollars else 4)}"


def _text(table: Table) -> str:
    """Return a table as lines; as wide as it takes, because a log has no width."""
    file = io.StringIO()
    Console(file=file, width=1000, color_system=None, legacy_windows=False).print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().rstrip("\n").split("\n"))


def _table(columns: Mapping[str, Sequence[str]]) -> str:
    """Return `columns`, which are named by the end of a text's key; those that say nothing are left out.

    The first has names of models. A terminal has 80 columns: what is wider gets a row per figure and a column per
    model, as many models beside each other as there is room for.
    """
    kept = {name: cells for name, cells in columns.items() if name in _ALWAYS or set(cells) - {_NONE, number(0)}}
    heads = [t(f"generate.column_{name}") for name in kept]
    rows = [*zip(*kept.values(), strict=True)]
    widths = [max(map(cell_len, (head, *cells))) for head, cells in zip(heads, kept.values(), strict=True)]
    if sum(widths) + _BETWEEN * (len(widths) - 1) <= WIDTH:
        return _lines(heads, rows, widths)
    labels = min(max(map(cell_len, heads)), _LONGEST_LABEL)
    figures = max((cell_len(cell) for _, *cells in rows for cell in cells), default=0)
    narrowest = max(figures, min(max((cell_len(name) for name, *_ in rows), default=0), _SHORTEST_NAME))
    most = max((WIDTH - labels) // (narrowest + _BETWEEN), 1)
    tables = []
    for start in range(0, len(rows), most):
        names, *cells = zip(*rows[start : start + most], strict=True)
        width = (WIDTH - labels) // len(names) - _BETWEEN
        broken = [_broken(name, width) for name in names]
        widths = [labels, *(max(figures, *map(cell_len, name.split("\n"))) for name in broken)]
        tables.append(_lines([heads[0], *broken], [*zip(heads[1:], *zip(*cells, strict=True), strict=True)], widths))
    return "\n\n".join(tables)


def _lines(heads: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[int]) -> str:
    """Return a table with these widths; words that are too long are broken."""
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False)
    for position, (head, width) in enumerate(zip(heads, widths, strict=True)):
        table.add_column(escape(head), justify="right" if position else "left", width=width, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return _text(table)


def _broken(name: str, width: int) -> str:
    """Return a model's name on lines of this width, broken behind a sign where there is one."""
    lines = [""]
    for part in re.findall(r"[^/:.-]+[/:.-]*|[/:.-]+", name):
        if lines[-1] and cell_len(lines[-1] + part) > width:
            lines.append("")
        for letter in part:
            if cell_len(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return "\n".join(lines)


def pairs(cells: Mapping[str, str]) -> str:
    """Return a table of names and figures."""
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for name, cell in cells.items():
        table.add_row(escape(name), escape(cell))
    return _text(table)


def before(estimates: Mapping[str, Estimate]) -> str:
    """Return what the missing answers will take."""
    rows = {model: each for model, each in estimates.items() if each.requests}
    columns = {
        "model": list(rows),
        "requests": [number(each.requests) for each in rows.values()],
        "read": [number(each.read) for each in rows.values()],
        "written": [number(each.expected) for each in rows.values()],
        "cost": [_money(each.cost) for each in rows.values()],
    }
    return _table(columns)


def after(targets: Sequence[ModelTarget], counts: Mapping[str, TableCounts], runs: Mapping[str, RunCounts]) -> str:
    """Return how the models did.

    Parameters
    ----------
    counts
        What the table holds, by model.
    runs
        What this run did, by model.
    """
    models = [target.model for target in targets]
    did = [runs.get(model, RunCounts()) for model in models]
    has = [counts[model] for model in models]
    costs = [run.cost if target.prices else None for target, run in zip(targets, did, strict=True)]
    columns = {
        "model": models,
        "asked": [number(each.prompts) for each in has],
        "answered": [number(each.answers) for each in has],
        "stored": [number(max(each.answers - run.answered, 0)) for each, run in zip(has, did, strict=True)],
        "missing": [number(each.missing) for each in has],
        "cut": [number(each.cut) for each in has],
        "empty": [number(each.empty) for each in has],
        "refused": [number(each.refused) for each in has],
        "right": [_share(each, "right") for each in has],
        "wrong": [number(each.verdicts["wrong"]) for each in has],
        "unchecked": [number(each.verdicts["unchecked"]) for each in has],
        "read": [number(run.prompt_tokens) for run in did],
        "written": [number(run.completion_tokens) for run in did],
        "seconds": [number(run.seconds / run.answers, 1) if run.answers else _NONE for run in did],
        "cost": [_money(cost) for cost in costs],
    }
    lines = [_table(columns)]
    for model, run in zip(models, did, strict=True):
        reasons = run.failures.most_common(_SHOWN)
        lines += [t("generate.gap", model=model, number=count, reason=reason) for reason, count in reasons]
    return "\n".join(lines)


def _share(count: TableCounts, verdict: str) -> str:
    """Return the share of a verdict among the answers that were checked, in percent."""
    checked = count.verdicts["right"] + count.verdicts["wrong"]
    return f"{number(100 * count.verdicts[verdict] / checked, 1)} %" if checked else _NONE

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

_WIDTH = 80  # columns of a terminal
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


def _table(columns: Mapping[str, Sequence[str]]) -> str:
    """Return `columns`, named by the end of a text's key, without those that say nothing.

    The first has names of models. A terminal has 80 columns: a wider table gets a row per figure and a column per
    model, as many models beside each other as there is room for.
    """
    kept = {name: cells for name, cells in columns.items() if name in _ALWAYS or set(cells) - {_NONE, number(0)}}
    heads = [t(f"generate.column_{name}") for name in kept]
    rows = [*zip(*kept.values(), strict=True)]
    widths = [max(map(cell_len, (head, *cells))) for head, cells in zip(heads, kept.values(), strict=True)]
    if sum(widths) + _BETWEEN * (len(widths) - 1) <= _WIDTH:
        return aligned(rows, heads, widths)
    labels = min(max(map(cell_len, heads)), _LONGEST_LABEL)
    figures = max((cell_len(cell) for _, *cells in rows for cell in cells), default=0)
    narrowest = max(figures, min(max(map(cell_len, kept["model"]), default=0), _SHORTEST_NAME))
    most = max((_WIDTH - labels) // (narrowest + _BETWEEN), 1)
    tables = []
    for start in range(0, len(rows), most):
        names, *cells = zip(*rows[start : start + most], strict=True)
        width = (_WIDTH - labels) // len(names) - _BETWEEN
        broken = [_broken(name, width) for name in names]
        widths = [max(figures, *(min(cell_len(line), width) for line in name.split("\n"))) for name in broken]
        transposed = [*zip(heads[1:], *zip(*cells, strict=True), strict=True)]
        tables.append(aligned(transposed, [heads[0], *broken], [labels, *widths]))
    return "\n\n".join(tables)


def aligned(rows: Iterable[Sequence[str]], heads: Sequence[str], widths: Sequence[int | None]) -> str:
    """Return a table with these widths, None for as wide as it takes; words that are too long are broken."""
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False, show_header=any(heads))
    for position, (head, width) in enumerate(zip(heads, widths, strict=True)):
        table.add_column(escape(head), justify="right" if position else "left", width=width, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    file = io.StringIO()
    Console(file=file, width=1000, color_system=None, legacy_windows=False).print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().rstrip("\n").split("\n"))


def _broken(name: str, width: int) -> str:
    """Return a model's name on lines of this width, broken behind a sign; longer parts are left to `aligned`."""
    lines = [""]
    for part in re.findall(r"[^/:.-]+[/:.-]*|[/:.-]+", name):
        if lines[-1] and cell_len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def before(estimates: Mapping[str, Estimate]) -> str:
    """Return what the missing answers will take."""
    columns = {
        "model": [*estimates],
        "requests": [number(estimate.requests) for estimate in estimates.values()],
        "read": [number(estimate.read) for estimate in estimates.values()],
        "written": [number(estimate.written) for estimate in estimates.values()],
        "cost": [_money(estimate.cost) for estimate in estimates.values()],
    }
    return _table(columns)


def after(targets: Sequence[ModelTarget], counts: Mapping[str, TableCounts], runs: Mapping[str, RunCounts]) -> str:
    """Return how the models did: what the table holds (`counts`), and what this run did (`runs`), by model."""
    models = [target.model for target in targets]
    in_run = [runs.get(model, RunCounts()) for model in models]
    in_table = [counts[model] for model in models]
    costs = [run.cost if target.prices else None for target, run in zip(targets, in_run, strict=True)]
    columns = {
        "model": models,
        "asked": [number(count.prompts) for count in in_table],
        "answered": [number(count.answers) for count in in_table],
        "stored": [number(max(count.answers - run.answered, 0)) for count, run in zip(in_table, in_run, strict=True)],
        "missing": [number(count.missing) for count in in_table],
        "cut": [number(count.cut) for count in in_table],
        "empty": [number(count.empty) for count in in_table],
        "refused": [number(count.refused) for count in in_table],
        "names_itself": [number(count.names_itself) for count in in_table],
        "right": [share_right(count.verdicts["right"], count.verdicts["wrong"]) for count in in_table],
        "wrong": [number(count.verdicts["wrong"]) for count in in_table],
        "unchecked": [number(count.verdicts["unchecked"]) for count in in_table],
        "read": [number(run.prompt_tokens) for run in in_run],
        "written": [number(run.completion_tokens) for run in in_run],
        "seconds": [number(run.seconds / run.answers, 1) if run.answers else _NONE for run in in_run],
        "cost": [_money(cost) for cost in costs],
    }
    lines = [_table(columns)]
    for model, count in zip(models, in_table, strict=True):
        reasons = count.reasons.most_common(_SHOWN)
        lines += [t("generate.gap", model=model, number=prompts, reason=reason) for reason, prompts in reasons]
    return "\n".join(lines)


def share_right(right: int, wrong: int) -> str:
    """Return the share of the right language among the answers that were checked, in percent."""
    return f"{number(100 * right / (right + wrong), 1)} %" if right + wrong else _NONE

"""How far the requests are, while they go on: a bar per model on a terminal, a line now and then elsewhere."""

import contextlib
import datetime
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from kto.texts import number

_EVERY = 0.25  # seconds between two looks
_LINE_EVERY = 15.0  # seconds between two lines where there is no terminal


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.1f}/s")


@contextlib.contextmanager
def shown(what: str, totals: Mapping[str, int], settled: Callable[[], Mapping[str, int]]) -> Iterator[None]:
    """Show how far each model is while the block runs.

    Parameters
    ----------
    what
        What is counted, in the language.
    totals
        How many each model has to bring.
    settled
        How many of these need nothing more.
    """
    end = threading.Event()
    if sys.stdout.isatty():
        thread = threading.Thread(target=_bars, args=(totals, settled, end), daemon=True)
    else:
        thread = threading.Thread(target=_lines, args=(what, totals, settled, end), daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _bars(totals: Mapping[str, int], settled: Callable[[], Mapping[str, int]], end: threading.Event) -> None:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(), refresh_per_second=1 / _EVERY, speed_estimate_period=20) as progress:
        tasks = {model: progress.add_task(model, total=total) for model, total in totals.items() if total}
        last = False
        while not last:
            last = end.wait(_EVERY)
            now = settled()
            for model, task in tasks.items():
                progress.update(task, completed=min(now.get(model, 0), totals[model]))


def _lines(
    what: str, totals: Mapping[str, int], settled: Callable[[], Mapping[str, int]], end: threading.Event
) -> None:
    began = time.monotonic()
    total = sum(totals.values())
    while not end.wait(_LINE_EVERY):
        done = sum(settled().values())
        seconds = round((total - done) * (time.monotonic() - began) / done) if done else 0
        left = f", −{datetime.timedelta(seconds=seconds)}" if done else ""
        print(f"{what}: {number(done)}/{number(total)}{left}", flush=True)

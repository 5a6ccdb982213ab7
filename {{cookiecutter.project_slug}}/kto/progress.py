"""Progress of the requests: one bar per model on a terminal, a line every 15 seconds elsewhere."""

import contextlib
import datetime
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from kto.texts import number

_EVERY = 0.25  # seconds between two looks
_LINE_EVERY = 15.0  # seconds between two lines where there is no terminal

Settled = Callable[[], Mapping[str, int]]


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.1f}/s")


@contextlib.contextmanager
def show_progress(what: str, totals: Mapping[str, int], settled: Settled) -> Iterator[None]:
    """Show how many of its `totals` each model has `settled` while the block runs; `what` names what is counted."""
    end = threading.Event()
    show = _bars if sys.stdout.isatty() else _lines
    thread = threading.Thread(target=show, args=(what, totals, settled, end), daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _bars(_what: str, totals: Mapping[str, int], settled: Settled, end: threading.Event) -> None:
    description = TextColumn("{task.description}", markup=False)
    columns = (description, BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, refresh_per_second=1 / _EVERY, speed_estimate_period=20) as progress:
        tasks = {model: progress.add_task(model, total=total) for model, total in totals.items() if total}
        last = False
        while not last:
            last = end.wait(_EVERY)
            now = settled()
            for model, task in tasks.items():
                progress.update(task, completed=min(now.get(model, 0), totals[model]))


def _lines(what: str, totals: Mapping[str, int], settled: Settled, end: threading.Event) -> None:
    began = time.monotonic()
    total = sum(totals.values())
    while not end.wait(_LINE_EVERY):
        done = sum(settled().values())
        seconds = round((total - done) * (time.monotonic() - began) / done) if done else 0
        left = f", −{datetime.timedelta(seconds=seconds)}" if done else ""
        print(f"{what}: {number(done)}/{number(total)}{left}", flush=True)

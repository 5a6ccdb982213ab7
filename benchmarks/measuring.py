"""Run a command to its end and measure it: wall time, processor time, on Linux the memory of all its processes."""

import dataclasses
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

INTERVAL = 0.25  # seconds between two looks at the memory
_PROC = Path("/proc")


@dataclasses.dataclass(frozen=True)
class Run:
    """One command from its start to its exit."""

    status: int
    output: str  # what it printed, errors included
    began: float  # time.time()
    seconds: float
    cpu: float  # seconds of processor time of all its processes, 0 on Windows
    peak: float | None  # MB (10⁶ bytes), None where the system does not tell
    processes: int | None  # most at the same time


class _Watch(threading.Thread):
    """Looks at a process and all that it started, also at those whose parent is gone, until it is told to stop.

    Memory is PSS: what several processes share counts once.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pids = {pid}
        self.peak = self.processes = 0
        self.stop = threading.Event()

    def run(self) -> None:
        """Look every `INTERVAL` seconds."""
        while not self.stop.wait(INTERVAL):
            self._find_children()
            sizes = [size for pid in self.pids if (size := _pss(pid))]
            self.peak, self.processes = max(self.peak, sum(sizes)), max(self.processes, len(sizes))

    def _find_children(self) -> None:
        parents = {}
        for folder in _PROC.iterdir():
            if folder.name.isdigit():
                try:  # the name of the command comes first, in brackets, and may hold anything
                    parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                except OSError:  # it has just ended
                    continue
        more = self.pids
        while more:
            more = {pid for pid, parent in parents.items() if parent in self.pids} - self.pids
            self.pids |= more


def _pss(pid: int) -> int:
    """Return the bytes that are this process's own, shared ones in proportion; 0 if it has ended."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def measure(command: Sequence[str], env: Mapping[str, str], cwd: Path) -> Run:
    """Run the command; whatever its exit status is, that is part of the result."""
    with tempfile.TemporaryFile() as output:
        began, clock, before = time.time(), time.perf_counter(), os.times()
        process = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        watch = _Watch(process.pid)
        if sys.platform == "linux":
            watch.start()
        try:
            status = process.wait()
        finally:
            seconds, after = time.perf_counter() - clock, os.times()
            watch.stop.set()
            process.kill()  # nothing happens if it has ended
        output.seek(0)
        said = output.read().decode("utf-8", "replace")
    peak, processes = (watch.peak / 1e6, watch.processes) if watch.peak else (None, None)
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(status, said, began, seconds, cpu, peak, processes)

"""The pipeline on a Ray cluster that is there already: each model's step on one of its machines.

The cluster must have the same Python and packages on all machines, this one must be part of it (`ray start`), and the
model servers must be reachable from all; models on a server of this machine's loopback are asked from here. Nothing is
installed there: `kto/` and `texts.yaml` are sent along, `.env` and the answers are not.

The answers stay here. One process of the cluster, on this machine, has the store open, and an answer counts when it is
on the disk here. So no more answers can get lost, with whatever dies, than requests may be in flight; if a part of the
cluster dies, what is missing is begun again with the rest.

distilabel and Ray are in a process of their own (`kto.ask.ray_job`): Ray ends processes that lose their cluster, and
distilabel waits forever for steps that are gone. This module starts that process and looks after it.
"""

import dataclasses
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kto import processes
from kto.ask import tries
from kto.ask.keeper import Keeper, Tally
from kto.ask.language_gate import Gate
from kto.ask.pipeline import Work
from kto.ask.prompts import messages
from kto.ask.store import Kept, Store
from kto.ask.tries import Try
from kto.cleaning import clean
from kto.errors import UserError
from kto.files import replacing
from kto.texts import ROOT, t

JOB, REPORT = "job.json", "report.json"
"""Files in the folder that this process and the other one share."""

_CONNECT = 10  # seconds that a cluster may take to let us in
_LOOK = 0.25  # seconds between two looks at the report
_ROUNDS = 6  # times that we begin, at most

_Missing = dict[str, dict[int, Sequence[Try]]]


def run(work: Work, keeper: Keeper, address: str) -> None:
    """Ask on the cluster at `address` ("auto": the one that runs on this machine).

    The answers go to the store of `keeper`, what they took to its tallies.

    Raises
    ------
    UserError
        Ray is not installed (`no_ray`), the cluster cannot be used (`ray_address`, `ray_store`), or the run has ended
        although answers are missing (`ray_ended`).
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError("no_ray")
    address = _reachable(address)
    missing = {route.model: dict(work.wanted[route.model]) for route in work.routes}
    before = {model: keeper.tally(model) for model in missing}
    left = keeper.left
    for number in range(1, _ROUNDS + 1):
        log = keeper.path.parent / "logs" / ("ray.log" if number == 1 else f"ray-{number}.log")
        report = _round(work, keeper, missing, left, address, log)
        tallies = [keeper.tally(model) for model in missing]
        if report.get("ended") and sum(each.settled for each in tallies) >= _count(work.wanted, before):
            keeper.failures.update(report["failures"])
            return
        rest = _still_missing(work, keeper.path, missing)
        # What a keeper that is gone has spent in its last second is not known: then a person has to decide.
        unknown = left is not None and not report.get("complete")
        if number == _ROUNDS or unknown or _count(rest) == _count(missing):
            raise UserError("ray_ended", log=log)
        missing, left = rest, report.get("left")
        for model in missing:  # what had failed is asked once more
            settled = before[model].settled + len(work.wanted[model]) - len(missing[model])
            keeper.tallies[model] = dataclasses.replace(
                keeper.tally(model), settled=settled, failures=Counter(before[model].failures)
            )
        print(t("generate.ray_again", number=_count(missing)), flush=True)


def _count(missing: Mapping[str, Mapping[int, object]], before: Mapping[str, Tally] | None = None) -> int:
    return sum(map(len, missing.values())) + sum(each.settled for each in (before or {}).values())


def _reachable(address: str) -> str:
    """Return the address, HOST:PORT or "auto"; raise `UserError` if nothing is there."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    if address == "auto":
        return address
    host, _, port = address.rpartition(":")
    try:
        if not host or "/" in host:  # ray:// is for programs that are not on a machine of the cluster
            raise ValueError
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT).close()
    except (OSError, ValueError, OverflowError):
        raise UserError("ray_address", address=address) from None
    return address


def _round(
    work: Work, keeper: Keeper, missing: _Missing, left: float | None, address: str, log: Path
) -> Mapping[str, Any]:
    """Run the other process once, keep the tallies up to date meanwhile, and return its last report."""
    base = {model: keeper.tally(model) for model in missing}
    routes = [route for route in work.routes if missing[route.model]]
    numbers = sorted({number for numbers in missing.values() for number in numbers})
    job = {
        "address": address,
        "store": str(keeper.path.resolve()),
        "inode": keeper.path.stat().st_ino,
        "left": left,
        "rows": [dict(work.rows[number]) for number in numbers],
        "routes": [
            {**vars(route), "tries": vars(route.tries), "endpoint": route.endpoint and route.endpoint.base_url}
            for route in routes
        ],
        "attempts": work.attempts,
        "language": work.language,
        "script": work.script,
    }
    keys = {f"KTO_KEY_{number}": route.endpoint.key for number, route in enumerate(routes) if route.endpoint}
    env = {**os.environ, **keys, "PYTHONUTF8": "1", "PYTHONWARNINGS": "ignore", "DISTILABEL_LOG_LEVEL": "WARNING"}
    # Ray is not to tell its makers about us, nor to start a cluster of its own when this one has gone.
    env |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_AUTO_CONNECT": "0"}
    # Models that need fewer answers than others find the rest in the store; these do not count.
    there = {model: len(numbers) - len(missing[model]) for model in missing}
    report: Mapping[str, Any] = {}
    with _folder(keeper.path.parent / "ray") as folder:
        (folder / JOB).write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, "-m", "kto.ask.ray_job", str(folder)]
        with processes.running(command, log=log, cwd=ROOT, env=env) as process:
            ended = False
            while not ended:
                try:
                    process.wait(_LOOK)
                    ended = True
                except subprocess.TimeoutExpired:
                    pass
                report = read(folder / REPORT)
                for model, figures in report.get("tallies", {}).items():
                    for text in figures["said"]:
                        keeper.print_once(model, text)
                    keeper.tallies[model] = _sum(base[model], Tally(**figures), there[model])
    if report.get("trouble") == "ray_address":
        raise UserError("ray_address", address=address)
    if report.get("trouble") == "ray_store":
        raise UserError("ray_store", path=keeper.path)
    return report


def _sum(base: Tally, more: Tally, there: int) -> Tally:
    return Tally(
        base.answers + more.answers,
        base.settled + max(more.settled - there, 0),
        base.prompt_tokens + more.prompt_tokens,
        base.completion_tokens + more.completion_tokens,
        base.seconds + more.seconds,
        base.cost + more.cost,
        base.failures + Counter(more.failures),
        list(dict.fromkeys([*base.said, *more.said])),
    )


def _still_missing(work: Work, path: Path, missing: _Missing) -> _Missing:
    """Return what of `missing` is not in the store; answers that nobody has judged yet are judged."""
    gate = Gate(work.language, work.script) if work.language else None
    name = gate.name if gate else ""
    rest: _Missing = {}
    with Store(path) as store:
        for route in work.routes:
            rest[route.model] = {}
            for number in missing[route.model]:
                prompt = work.rows[number]["input"]
                conversation = messages(work.rows[number]["system_prompt"], prompt)

                def judge(key: str, kept: Kept, prompt: str = prompt) -> Kept:
                    if gate is None or kept.judgement:
                        return kept
                    judgement = gate.judge(clean(kept.answer.text) or "", prompt)
                    store.put([], [(name, key, judgement)])
                    return Kept(kept.answer, judgement)

                asked = range(1 + route.tries.again)
                found = [route.tries.find(store, name, conversation, each, judge) for each in asked]
                if tries.is_missing(found):
                    rest[route.model][number] = found
    return rest


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """Give an empty folder that nobody else can read; what a run that was killed has left there goes, too."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def write(path: Path, content: object) -> None:
    """Write a file that the other process reads."""
    with replacing(path, 0o600) as file:
        file.write(json.dumps(content).encode())


def read(path: Path) -> Mapping[str, Any]:
    """Return what `write` wrote; nothing if that has not happened yet."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}

"""`generate.py --ray`: the steps that ask models run on the machines of a Ray cluster, all others here.

The cluster must have the same Python and packages on all machines, this one must be part of it (`ray start`), and the
model servers must be reachable from all; servers on this machine's loopback are asked from here. Nothing is installed
there: `kto/` and `texts.yaml` are sent along, `.env` and the answers are not.

distilabel's own run on Ray waits forever when a step dies, and takes a process for every queue; so distilabel's steps
run in Ray's actors, and hand each answer to the one process that writes, here. A kill, here or there, costs the
requests in flight and the answers on their way; the batches that a dead machine had are given to the others.
"""

import asyncio
import contextlib
import importlib.util
import itertools
import logging
import os
import pickle
import shutil
import socket
import tempfile
import threading
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kto.ask import lookups
from kto.ask.language_worker import LanguageWorker
from kto.ask.lookups import Lookup
from kto.ask.pipeline import StoredLLM, ask, process_rows
from kto.ask.prompt_sources import messages
from kto.ask.writer import AnswerSink
from kto.errors import UserError
from kto.tables import Row
from kto.texts import ROOT, t

_CONNECT = 10.0  # seconds that a cluster, or a machine of it, may take to answer
_JOIN = 60.0  # seconds that it may take to become part of the cluster
_MOST = 3  # machines that a batch is given to
_EVERY = 0.1  # seconds between two hand-overs of answers

Event = tuple[str, tuple[Any, ...]]


class _Outbox:
    """The `AnswerSink` of a step on another machine: keeps what happens until it is handed over."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __getattr__(self, name: str) -> Any:
        async def note(*arguments: Any) -> None:
            self.events.append((name, arguments))

        return note

    async def look_up(self, *_: Any) -> Lookup:
        """Return nothing: what the store has comes with each batch."""
        return Lookup()

    async def reserve(self, model: str, dollars: float) -> None:
        """Set nothing aside: with Ray there is no limit."""


class _Actor:
    """Asks one model, on some machine of the cluster."""

    async def start(self, name: str, pickled: bytes) -> None:
        """Get ready; key and address travel in a call, because Ray logs what constructors get."""
        target, language = pickle.loads(pickled)
        self._outbox = _Outbox()
        worker = LanguageWorker(*language) if language else None
        self._step = ask(name, target, self._outbox, worker, {})
        self._step.load()
        self._step.llm.start(asyncio.get_running_loop())

    async def ask(self, wanted: Mapping[str, Sequence[Lookup]], rows: Sequence[Row]) -> AsyncIterator[list[Event]]:
        """Yield what happens while the model answers these rows, for the `AnswerSink` of `generate.py`."""
        self._step.llm.wanted = self._step.llm.wanted | wanted
        running = asyncio.create_task(asyncio.to_thread(process_rows, self._step, [rows]))
        while not running.done() or self._outbox.events:
            await asyncio.wait([running], timeout=_EVERY)
            events, self._outbox.events = self._outbox.events, []
            yield events
        await running


class Cluster:
    """A Ray cluster that this process belongs to.

    Parameters
    ----------
    log
        Gets what Ray says when a machine dies.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._actors: dict[str, Any] = {}
        self._started = itertools.count()

    def process(self, step: Any, inputs: Sequence[Sequence[Row]]) -> list[Row]:
        """Return what a step makes of rows; its answers are asked for on a machine of the cluster.

        Raises
        ------
        UserError
            Machines that had the rows have died, one after the other (`ray_ended`).
        """
        import ray

        llm: StoredLLM = step.llm
        [rows] = inputs
        wanted = {row["input"]: llm.wanted[row["input"]] for row in rows if row["input"] in llm.wanted}
        for attempt in range(_MOST if wanted else 0):
            missing = [row for row in rows if row["input"] in wanted]
            actor = self._actor(step)
            try:
                for reference in actor.ask.options(num_returns="streaming").remote(wanted, missing):
                    llm.await_here(_hand_over(llm.sink, ray.get(reference)))
                break
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError:
                with self._lock:
                    if self._actors.get(step.name) is actor:
                        del self._actors[step.name]
                    self._log.parent.mkdir(parents=True, exist_ok=True)
                    with self._log.open("a", encoding="utf-8") as log:
                        traceback.print_exc(file=log)
                if attempt == _MOST - 1:
                    raise UserError("ray_ended", log=self._log) from None
                wanted = llm.await_here(_still_missing(llm, missing))
                print(t("generate.ray_again", number=len(wanted)), flush=True)
        return process_rows(step.model_copy(update={"llm": llm.only_stored()}), inputs)

    def _actor(self, step: Any) -> Any:
        """Return the actor that asks the model of a step; start one, if there is none or it has died."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        llm: StoredLLM = step.llm
        with self._lock:
            if step.name not in self._actors:
                here = ray.get_runtime_context().get_node_id()
                nodes = sorted(_nodes(), key=here.__eq__) or [here]  # this machine last: it writes the answers
                local = llm.target.server is None or llm.target.server.is_local
                node = here if local else nodes[next(self._started) % len(nodes)]
                # A step waits nearly all the time, so it takes no CPU from others.
                options = {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}
                actor = ray.remote(_Actor).options(**options).remote()
                language = llm.language and (llm.language.gate.tag, llm.language.gate.script)
                ray.get(actor.start.remote(step.name, ray.cloudpickle.dumps((llm.target, language))))
                self._actors[step.name] = actor
            return self._actors[step.name]


async def _hand_over(sink: AnswerSink, events: Sequence[Event]) -> None:
    await asyncio.gather(*(getattr(sink, name)(*arguments) for name, arguments in events))


async def _still_missing(llm: StoredLLM, rows: Sequence[Row]) -> dict[str, Sequence[Lookup]]:
    found = {row["input"]: await llm.runner.look_up(messages(row["system_prompt"], row["input"])) for row in rows}
    return {text: each for text, each in found.items() if lookups.is_missing(each)}


def _nodes() -> list[str]:
    """Return the nodes that answer; Ray itself notices only after a while that one is gone."""
    import ray

    def answers(node: Mapping[str, Any]) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), _CONNECT).close()
            return True
        return False

    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU") and answers(node)]


def _reachable(address: str) -> str:
    """Return the address, HOST:PORT or "auto"; raise `UserError` if nothing is there."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    host, _, port = address.rpartition(":")
    try:
        if address != "auto":
            if not host or "/" in host:  # ray:// is for programs that are not on a machine of the cluster
                raise ValueError
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT).close()
    except (OSError, ValueError, OverflowError):
        raise UserError("ray_address", address=address) from None
    return address


@contextlib.contextmanager
def joined(address: str, log: Path) -> Iterator[Cluster]:
    """Belong to the cluster at `address` ("auto": the one that runs on this machine) while the block runs.

    Raises
    ------
    UserError
        Ray is not installed (`no_ray`), or the cluster does not answer, or not to us (`ray_address`).
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError("no_ray")
    address = _reachable(address)
    import ray

    ended: list[BaseException | None] = []
    with tempfile.TemporaryDirectory() as sent:
        # Its machines get our modules, but not the project's secrets and answers.
        ignore = shutil.ignore_patterns("__pycache__", "pages", "argilla_server")
        shutil.copytree(ROOT / "kto", Path(sent, "kto"), ignore=ignore)
        if (ROOT / "texts.yaml").exists():
            shutil.copyfile(ROOT / "texts.yaml", Path(sent, "texts.yaml"))
        environment = {"working_dir": sent, "env_vars": {"PYTHONUTF8": "1", "PYTHONWARNINGS": "ignore"}}

        def join() -> None:
            try:
                ray.init(address, runtime_env=environment, logging_level=logging.WARNING, log_to_driver=False)
                ended.append(None)
            except (Exception, SystemExit) as error:
                ended.append(error)

        joining = threading.Thread(target=join, daemon=True)
        joining.start()
        joining.join(_JOIN)
        if ended != [None]:
            reason = f"{address} ({' '.join(str(ended[0]).split())[:200]})" if ended and ended[0] else address
            raise UserError("ray_address", address=reason)
        try:
            yield Cluster(log)
        finally:
            ray.shutdown()

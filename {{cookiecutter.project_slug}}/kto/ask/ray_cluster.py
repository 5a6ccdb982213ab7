"""`generate.py --ray`: the steps that ask models run on the machines of a Ray cluster, all others here.

The cluster needs the same Python and packages on all machines, this one must be part of it (`ray start`), and the model
servers must be reachable from all; servers on this machine's loopback are asked from here. `kto/` and `texts.yaml` are
sent along, `.env` and the answers are not.

distilabel's own run on Ray waits forever when a step dies, so its steps run in actors of ours, which hand their answers
to the one process that writes, here. A kill costs the requests in flight and the answers on their way here.
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
from kto.errors import UserError
from kto.tables import Row
from kto.texts import ROOT, t

_CONNECT, _JOIN = 10.0, 60.0  # seconds that a machine may take to answer, and a cluster to let us in
_MOST = 3  # machines that a batch is given to
_EVERY = 0.1  # seconds between two hand-overs of answers

Event = tuple[str, tuple[Any, ...]]


class _Outbox:
    """The `AnswerSink` of a step on another machine: keeps the calls until they are handed over."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __getattr__(self, name: str) -> Any:
        async def note(*arguments: Any) -> None:
            self.events.append((name, arguments))

        return note

    async def look_up(self, *_: Any) -> list[Lookup]:
        return [Lookup()]  # what the store has comes with each batch

    async def reserve(self, *_: Any) -> None:
        """Set nothing aside: with Ray there is no limit."""


class _Actor:
    """Asks one model, on some machine of the cluster."""

    async def start(self, name: str, pickled: bytes) -> None:
        """Get ready; the key of the server travels in a call, because Ray logs what constructors get."""
        target, language = pickle.loads(pickled)
        self._outbox = _Outbox()
        worker = LanguageWorker(*language) if language else None
        self._step = ask(name, target, self._outbox, worker, {})
        self._step.load()
        self._step.llm.start(asyncio.get_running_loop())

    async def ask(self, wanted: Mapping[str, Sequence[Lookup]], rows: Sequence[Row]) -> AsyncIterator[list[Event]]:
        """Yield the calls for the `AnswerSink` of `generate.py` while the model answers these rows."""
        self._step.llm.wanted = self._step.llm.wanted | wanted
        running = asyncio.create_task(asyncio.to_thread(process_rows, self._step, [rows]))
        while not running.done() or self._outbox.events:
            await asyncio.wait([running], timeout=_EVERY)
            events, self._outbox.events = self._outbox.events, []
            yield events
        await running


class Cluster:
    """A Ray cluster that this process belongs to; `log` gets what Ray says when a machine dies."""

    def __init__(self, log: Path) -> None:
        self._log, self._lock = log, threading.Lock()
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
            with self._lock:
                actor = self._actors[step.name] = self._actors.get(step.name) or self._start(step.name, llm)
            missing = [row for row in rows if row["input"] in wanted]
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

    def _start(self, name: str, llm: StoredLLM) -> Any:
        """Start an actor that asks a model, on the next machine."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = ray.get_runtime_context().get_node_id()
        alive = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        nodes = sorted((node["NodeID"] for node in alive if _answers(node)), key=here.__eq__)  # this one last
        local = not nodes or llm.target.server is None or llm.target.server.is_local
        node = here if local else nodes[next(self._started) % len(nodes)]
        # A step waits nearly all the time, so it takes no CPU from others.
        strategy = NodeAffinitySchedulingStrategy(node, soft=False)
        actor = ray.remote(_Actor).options(num_cpus=0, scheduling_strategy=strategy).remote()
        language = llm.language and (llm.language.gate.tag, llm.language.gate.script)
        ray.get(actor.start.remote(name, ray.cloudpickle.dumps((llm.target, language))))
        return actor


def _answers(node: Mapping[str, Any]) -> bool:
    """Tell whether a machine takes connections; Ray itself notices only after a while that one is gone."""
    with contextlib.suppress(OSError):
        socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), _CONNECT).close()
        return True
    return False


async def _hand_over(sink: Any, events: Sequence[Event]) -> None:
    await asyncio.gather(*(getattr(sink, name)(*arguments) for name, arguments in events))


async def _still_missing(llm: StoredLLM, rows: Sequence[Row]) -> dict[str, Sequence[Lookup]]:
    found = {row["input"]: await llm.runner.look_up(messages(row["system_prompt"], row["input"])) for row in rows}
    return {text: requests for text, requests in found.items() if lookups.is_missing(requests)}


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
    address = os.environ.get("RAY_ADDRESS") or address if address == "auto" else address
    host, _, port = address.rpartition(":")
    try:
        if address != "auto":
            if not host or "/" in host:  # ray:// is for programs that are not on a machine of the cluster
                raise ValueError
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT).close()
    except (OSError, ValueError, OverflowError):
        raise UserError("ray_address", address=address) from None
    import ray

    ended: list[str] = []

    def join() -> None:
        try:
            ray.init(address, runtime_env=environment, logging_level=logging.ERROR, log_to_driver=False)
            ended.append("")
        except (Exception, SystemExit) as error:
            ended.append(f" ({' '.join(str(error).split())[:200]})")

    with tempfile.TemporaryDirectory() as sent:
        ignore = shutil.ignore_patterns("__pycache__", "pages", "argilla_server")
        shutil.copytree(ROOT / "kto", Path(sent, "kto"), ignore=ignore)
        if (ROOT / "texts.yaml").exists():
            shutil.copyfile(ROOT / "texts.yaml", Path(sent, "texts.yaml"))
        environment = {"working_dir": sent, "env_vars": {"PYTHONUTF8": "1", "PYTHONWARNINGS": "ignore"}}
        joining = threading.Thread(target=join, daemon=True)
        joining.start()
        joining.join(_JOIN)
        if ended != [""]:
            raise UserError("ray_address", address=address + "".join(ended))
        try:
            yield Cluster(log)
        finally:
            ray.shutdown()

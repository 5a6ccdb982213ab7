"""`generate.py --ray`: the machines of a Ray cluster send the requests; the pipeline and the store stay here.

All machines, this one among them (`ray start`), need the same Python and packages. distilabel's own run on Ray waits
forever when a step dies, so each `StoredLLM` has an actor of ours, which hands its answers over to be written here.
A kill costs the requests in flight and the answers on their way.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import pickle
import socket
import threading
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kto.ask.language_worker import LanguageWorker
from kto.ask.lookups import Lookup, is_missing
from kto.ask.runner import ModelRunner
from kto.ask.store import Message
from kto.errors import UserError
from kto.texts import ROOT, t

if TYPE_CHECKING:
    from kto.ask.pipeline import StoredLLM

_CONNECT, _JOIN = 10.0, 60.0  # seconds that a machine may take to answer, and a cluster to let us in
_MOST, _EVERY = 3, 0.1  # machines that a batch is given to, and seconds between two hand-overs of answers
_SENT = {"working_dir": str(ROOT), "excludes": ["/*", "!/.", "!/kto", "!/texts.yaml"], "env_vars": {"PYTHONUTF8": "1"}}

Calls = list[tuple[str, tuple[Any, ...]]]  # methods of `AnswerWriter` and their arguments
Missing = Sequence[tuple[list[Message], Sequence[Lookup]]]  # conversations, and what the store has for their requests
_calls: ContextVar[Calls] = ContextVar("calls")  # of the batch that a task belongs to


class _Outbox:  # in the place of `AnswerWriter` on another machine: keeps the calls until they are handed over
    def __getattr__(self, name: str) -> Any:
        async def note(*arguments: Any) -> None:
            _calls.get().append((name, arguments))

        return note


class _Actor:
    async def start(self, pickled: bytes) -> None:  # no constructor: Ray logs what these get, so the server's key
        target, language = pickle.loads(pickled)
        self._runner = ModelRunner(target, _Outbox(), language and LanguageWorker(*language))  # type: ignore[arg-type]

    async def ask(self, missing: Missing) -> AsyncIterator[Calls]:
        calls: Calls = []
        _calls.set(calls)
        running = asyncio.create_task(self._answer(missing))
        while calls or not running.done():
            await asyncio.wait([running], timeout=_EVERY)
            handed_over = calls.copy()
            calls.clear()
            yield handed_over

    async def _answer(self, missing: Missing) -> None:
        await asyncio.gather(*[await self._runner.start(self._runner.answer, *request) for request in missing])


class Cluster:
    """A Ray cluster that this process belongs to; `log` gets what Ray says when a machine dies."""

    def __init__(self, log: Path) -> None:
        self._log, self._started = log, itertools.count()
        self._actors: dict[ModelRunner, asyncio.Task[Any]] = {}

    async def ask(self, llm: "StoredLLM", missing: Missing) -> None:
        """Ask on a machine of the cluster and store here; `UserError` when one machine after the other has died."""
        import ray

        for attempt in range(_MOST):
            if attempt:
                print(t("generate.ray_again", number=len(missing)), flush=True)
            actor = self._actors[llm.runner] = self._actors.get(llm.runner) or asyncio.create_task(self._start(llm))
            try:
                async for calls in (await actor).ask.options(num_returns="streaming").remote(missing):
                    await asyncio.gather(*(getattr(llm.sink, name)(*arguments) for name, arguments in await calls))
                return
            except ray.exceptions.RayError:
                if self._actors.get(llm.runner) is actor:
                    del self._actors[llm.runner]
                self._log.parent.mkdir(parents=True, exist_ok=True)
                with self._log.open("a", encoding="utf-8") as log:
                    traceback.print_exc(file=log)
            missing = [(asked, found) for asked, _ in missing if is_missing(found := llm.runner.look_up(asked))]
            if not missing:
                return
        raise UserError("ray_ended", log=self._log)

    async def _start(self, llm: "StoredLLM") -> Any:
        """Start an actor for a model on the next machine that answers (Ray notices late which do); this comes last."""
        import ray
        from ray.util import scheduling_strategies as strategies

        nodes = [here := ray.get_runtime_context().get_node_id()]
        if llm.target.server and not llm.target.server.is_loopback:
            alive = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
            others = [node["NodeID"] for node in alive if await asyncio.to_thread(_answers, node)]
            nodes = sorted(others, key=here.__eq__) or nodes
        strategy = strategies.NodeAffinitySchedulingStrategy(nodes[next(self._started) % len(nodes)], soft=False)
        actor = ray.remote(_Actor).options(num_cpus=0, scheduling_strategy=strategy).remote()  # it mostly waits
        language = llm.language and (llm.language.gate.tag, llm.language.gate.script)
        await actor.start.remote(ray.cloudpickle.dumps((llm.target, language)))
        return actor


def _answers(node: Mapping[str, Any]) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), _CONNECT).close()
        return True
    return False


@contextlib.contextmanager
def joined(address: str, log: Path) -> Iterator[Cluster]:
    """Belong to the cluster at `address` ("auto": on this machine) in the block; `UserError` if it does not let us."""
    try:
        import ray
    except ImportError:
        raise UserError("no_ray") from None
    address = os.environ.get("RAY_ADDRESS") or address if address == "auto" else address
    failures: list[str] = []

    def join() -> None:
        try:
            if address != "auto":  # ray.init waits for minutes where nobody answers
                host, _, port = address.rpartition(":")
                socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT).close()
            ray.init(address, runtime_env=_SENT, logging_level=logging.ERROR, log_to_driver=False)
        except (Exception, SystemExit) as error:
            failures.append(f" ({' '.join(str(error).split())[:200]})")

    joining = threading.Thread(target=join, daemon=True)
    joining.start()
    joining.join(_JOIN)
    if joining.is_alive() or failures:
        raise UserError("ray_address", address=address + "".join(failures))
    try:
        yield Cluster(log)
    finally:
        ray.shutdown()

"""distilabel's pipeline on Ray, in a process of its own: see `kto.ask.ray_cluster`, which starts it.

    python -m kto.ask.ray_job FOLDER

distilabel's own way to run on Ray waits forever when a step dies, takes a CPU and a process for every queue, and asks
the cluster to install packages. So `_Cluster` places the steps itself and keeps an eye on them.
"""

import asyncio
import itertools
import logging
import os
import pickle
import shutil
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray
from distilabel.pipeline.base import set_pipeline_running_env_variables
from distilabel.pipeline.ray import RayPipeline
from distilabel.pipeline.step_wrapper import _StepWrapper
from distilabel.utils.logging import setup_logging
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kto.ask import llm
from kto.ask.batches import fulfil
from kto.ask.endpoint import Endpoint
from kto.ask.keeper import CannotKeep, Keeper
from kto.ask.language_gate import Judgement
from kto.ask.pipeline import Work, describe
from kto.ask.ray_cluster import JOB, REPORT, read, write
from kto.ask.routes import Route
from kto.ask.store import Entry, Message
from kto.ask.tries import Tries, Try
from kto.texts import ROOT, t

_KEEPER = "ray"
_JOIN = 60.0  # seconds that it may take to become part of the cluster
_CONNECT = 5.0  # seconds that another machine may take to answer
_PROBES = 50  # machines that are tried at the same time
_LOOK = 1.0  # seconds between two looks at the steps
_PATIENCE = 60.0  # seconds that keeper and queues may take to answer
_LAST = 5.0  # the same when something has died already
_BATCH = 1000  # calls to the keeper that go together
_CALLS = 100_000  # that the keeper and the queues answer at the same time: requests that wait for money, steps for rows


class _Trouble(Exception):
    """The cluster cannot be used; the text is what `kto.ask.ray_cluster` calls this."""


@ray.remote
class _Keeper:
    """Owns the store, on the machine where it is. If it dies, the run ends: it knows what has been spent."""

    def __init__(self, path: str, inode: int, left: float | None) -> None:
        self._path, self._inode, self._left = Path(path), inode, left
        self._keeper: Keeper
        self._ended = False

    async def open(self) -> bool:
        """Open the store; False if this process does not see the file. (Not in the constructor: another thread.)"""
        try:
            seen = self._path.stat().st_ino == self._inode and os.access(self._path, os.W_OK)
        except OSError:  # Ray is in a container, or belongs to somebody else
            return False
        if seen:
            self._keeper = Keeper(self._path, self._left)
        return seen

    async def call(self, calls: list[tuple[str, tuple[Any, ...]]]) -> list[Any]:
        """Call methods of the keeper; return what they return or raise."""
        found = (getattr(self._keeper, name)(*arguments) for name, arguments in calls)
        return await asyncio.gather(*found, return_exceptions=True)

    async def reserve(self, model: str, dollars: float) -> None:
        await self._keeper.reserve(model, dollars)
        if self._ended:  # what the run has cost is reported already
            await asyncio.Future()

    async def report(self, complete: bool) -> dict[str, Any]:
        """Return how far the run is; with `complete` nothing more may be spent."""
        self._ended = complete
        tallies = {
            model: {**vars(tally), "failures": dict(tally.failures)} for model, tally in self._keeper.tallies.items()
        }
        return {"tallies": tallies, "left": self._keeper.left, "complete": complete}

    async def close(self) -> dict[str, str]:
        """Close the store, and return why answers are missing, by key."""
        self._keeper.close()
        return self._keeper.failures


class RemoteKeeper:
    """A `kto.ask.keeper.Keeping` for steps: what waits while a call is under way goes together into the next one.

    Parameters
    ----------
    actor
        The keeper.
    path
        Its store, for messages.
    limited
        Whether there is a limit to what requests may cost.
    """

    def __init__(self, actor: Any, path: str, limited: bool) -> None:
        self._actor, self._path, self._limited = actor, path, limited
        self._waiting: list[tuple[str, tuple[Any, ...], asyncio.Future[Any]]] = []
        self._sender: asyncio.Task[None] | None = None

    async def find(self, tries: Tries, gate: str, conversation: Sequence[Message], number: int) -> Try:
        """Return what the store has for a try."""
        return await self._call("find", tries, gate, conversation, number)

    async def put(self, entry: Entry) -> None:
        """Return when the entry is on the disk; raise `CannotKeep` if it cannot get there."""
        await self._call("put", entry)

    async def judge(self, gate: str, key: str, judgement: Judgement) -> None:
        """Note what a gate says of an answer."""
        await self._call("judge", gate, key, judgement)

    async def settle(self, model: str, key: str, failure: str) -> None:
        """Note that a prompt needs nothing more in this run, and why its answer, with this key, is missing."""
        await self._call("settle", model, key, failure)

    async def say(self, model: str, text: str) -> None:
        """Say something about a model, once in this run."""
        await self._call("say", model, text)

    async def reserve(self, model: str, dollars: float) -> None:
        """Return when a request that costs so much at most may be sent; raise `Spent` if none may any more."""
        if self._limited:  # not together with others: it may have to wait for them
            try:
                await self._actor.reserve.remote(model, dollars)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None

    async def pay(self, model: str, reserved: float, dollars: float) -> None:
        """Note what a request has cost, for which so much had been reserved."""
        await self._call("pay", model, reserved, dollars)

    async def _call(self, name: str, *arguments: Any) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((name, arguments, future))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        return await future

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            try:
                results = await self._actor.call.remote([(name, arguments) for name, arguments, _ in batch])
            except Exception as error:  # the keeper is gone, so no further request makes sense
                gone = t("technical.store_writer_gone", path=self._path, reason=type(error).__name__)
                results = [CannotKeep(gone)] * len(batch)
            fulfil(zip((future for _, _, future in batch), results, strict=True))
        self._sender = None


@ray.remote
class _Queues:
    """All queues between the steps, in one process."""

    def __init__(self) -> None:
        self._queues: dict[str, asyncio.Queue[bytes]] = {}

    def _queue(self, name: str) -> "asyncio.Queue[bytes]":
        return self._queues.setdefault(name, asyncio.Queue())

    async def put(self, name: str, item: bytes) -> None:
        self._queue(name).put_nowait(item)

    async def get(self, name: str) -> bytes:
        return await self._queue(name).get()

    async def empty(self, name: str) -> bool:
        return self._queue(name).empty()


class Queue:
    """What distilabel uses of a queue; items are pickled here, so that `_Queues` need not know what they are."""

    def __init__(self, actor: Any, name: str) -> None:
        self._actor, self._name = actor, name

    def put(self, item: Any) -> None:
        """Add an item at the end."""
        ray.get(self._actor.put.remote(self._name, ray.cloudpickle.dumps(item)))

    put_nowait = put

    def get(self, block: bool = True) -> Any:
        """Wait for an item, and take it."""
        return pickle.loads(ray.get(self._actor.get.remote(self._name)))

    def empty(self) -> bool:
        """Tell whether there is no item."""
        return bool(ray.get(self._actor.empty.remote(self._name)))


@ray.remote
class _Step:
    def run(
        self, wrapper: bytes, keeper: RemoteKeeper, keys: Mapping[str, str], queue: Queue, name: str, signature: str
    ) -> None:
        os.environ.update(keys)
        llm.KEEPERS[_KEEPER] = keeper
        setup_logging(log_queue=queue)
        set_pipeline_running_env_variables(name, signature)
        pickle.loads(wrapper).run()


class _Cluster(RayPipeline):
    """A pipeline that is described already, on a cluster that we belong to already.

    Parameters
    ----------
    work
        What is asked.
    job
        As `kto.ask.ray_cluster` writes it.
    folder
        Where distilabel may write.
    """

    def __init__(self, work: Work, job: Mapping[str, Any], folder: Path) -> None:
        super().__init__(name="answers", cache_dir=folder)
        self.dag = describe(work, _KEEPER, work.rows).dag
        self._work, self._job, self._report = work, job, folder / REPORT
        self._here = ray.get_runtime_context().get_node_id()
        nodes = sorted(_nodes(), key=self._here.__eq__)  # this one last: it keeps the answers
        self._nodes = itertools.cycle(nodes or [self._here])
        self._actors: list[Any] = []
        self._runs: list[Any] = []
        options = {"num_cpus": 0, "max_concurrency": _CALLS, "scheduling_strategy": _on(self._here)}
        self._keeper: Any = _Keeper.options(**options).remote(job["store"], job["inode"], job["left"])  # type: ignore[attr-defined]
        self._queues: Any = _Queues.options(**options).remote()  # type: ignore[attr-defined]
        if not ray.get(self._keeper.open.remote()):
            raise _Trouble("ray_store")

    @property
    def QueueClass(self) -> Callable[..., Queue]:
        """Return what makes a queue; distilabel calls it with the name that the actor of its own queue would have."""
        return lambda actor_options: Queue(self._queues, actor_options["name"])

    def _run_step(self, step: Any, input_queue: Any, replica: int) -> None:
        node, keys = self._here, {}
        if hasattr(step, "llm"):
            if not Endpoint(step.llm.base_url).is_local:
                node = next(self._nodes)
            keys = {step.llm.key_variable: os.environ[step.llm.key_variable]}  # not where Ray writes them into logs
        # A step waits nearly all the time, so it takes no CPU from others.
        actor = _Step.options(num_cpus=0, scheduling_strategy=_on(node)).remote()  # type: ignore[attr-defined]
        wrapper = _StepWrapper(step, replica, input_queue, self._output_queue, self._load_queue, ray_pipeline=True)
        keeper = RemoteKeeper(self._keeper, self._job["store"], self._job["left"] is not None)
        pickled = ray.cloudpickle.dumps(wrapper)
        self._actors.append(actor)
        self._runs.append(actor.run.remote(pickled, keeper, keys, self._log_queue, self.name, self.signature))

    def ask(self) -> None:
        """Run; as soon as a step, the queues or the keeper are gone, this process ends with status 3."""
        end = threading.Event()
        watch = threading.Thread(target=self._watch, args=(end,), daemon=True)
        watch.start()
        try:
            self.run(use_cache=False)
        except BaseException:
            self._give_up()
        end.set()
        watch.join()
        report = ray.get(self._keeper.report.remote(True), timeout=_PATIENCE)
        failures = ray.get(self._keeper.close.remote(), timeout=_PATIENCE)
        write(self._report, {**report, "ended": True, "failures": failures})

    def _watch(self, end: threading.Event) -> None:
        try:
            while not end.wait(0 if self._runs else _LOOK):
                done = ray.wait([*self._runs], num_returns=1, timeout=_LOOK)[0] if self._runs else []
                for run in done:
                    ray.get(run)
                    self._runs.remove(run)
                ray.get(self._queues.empty.remote(""), timeout=_PATIENCE)
                write(self._report, ray.get(self._keeper.report.remote(False), timeout=_PATIENCE))
        except BaseException:
            self._give_up()

    def _give_up(self) -> None:
        traceback.print_exc()
        try:
            write(self._report, ray.get(self._keeper.report.remote(True), timeout=_LAST))
        except BaseException:
            traceback.print_exc()
        _exit(3)


def _nodes() -> list[str]:
    """Return the nodes that are there. Ray itself notices only after a while that one is gone."""

    def is_there(node: Mapping[str, Any]) -> bool:
        try:
            socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), _CONNECT).close()
        except OSError:
            return False
        return True

    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    with ThreadPoolExecutor(_PROBES) as pool:
        return [node["NodeID"] for node, there in zip(nodes, pool.map(is_there, nodes), strict=True) if there]


def _on(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)


def _exit(status: int) -> None:
    """End at once: Ray would start a new cluster when it tidies up after one that is gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _join(address: str, folder: Path) -> None:
    """Become part of the cluster; its machines get our modules, but not the project's secrets and answers."""

    def too_late() -> None:
        write(folder / REPORT, {"trouble": "ray_address"})
        _exit(3)

    timer = threading.Timer(_JOIN, too_late)
    timer.start()
    with tempfile.TemporaryDirectory(dir=folder) as sent:
        modules = shutil.ignore_patterns("__pycache__", "pages")
        shutil.copytree(ROOT / "kto", Path(sent, "kto"), ignore=modules)
        shutil.copyfile(ROOT / "texts.yaml", Path(sent, "texts.yaml"))
        environment = {name: os.environ[name] for name in ("PYTHONUTF8", "PYTHONWARNINGS", "DISTILABEL_LOG_LEVEL")}
        sending = {"working_dir": sent, "env_vars": environment}
        try:
            ray.init(address, runtime_env=sending, logging_level=logging.WARNING, log_to_driver=False)
        except (Exception, SystemExit) as error:
            if "mismatch" in str(error):  # other versions of Python or Ray: what it says is clear enough
                raise
            traceback.print_exc()
            raise _Trouble("ray_address") from None
    timer.cancel()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(1))  # Ray's own handler takes its time


def main(folder: Path) -> None:
    """Do the job in `folder`, and report there."""
    job = read(folder / JOB)
    routes = [
        Route(
            **{
                **each,
                "tries": Tries(**each["tries"]),
                "endpoint": Endpoint(each["endpoint"], os.environ[f"KTO_KEY_{number}"]),
                "prices": each["prices"] and tuple(each["prices"]),
            }
        )
        for number, each in enumerate(job["routes"])
    ]
    try:
        _join(job["address"], folder)
        _Cluster(Work(routes, job["rows"], {}, job["attempts"], job["language"], job["script"]), job, folder).ask()
    except _Trouble as trouble:
        write(folder / REPORT, {"trouble": str(trouble)})
        _exit(3)
    except BaseException:
        traceback.print_exc()
        _exit(3)
    _exit(0)


if __name__ == "__main__":
    from kto.ask import ray_job

    ray_job.main(Path(sys.argv[1]))

"""Runs a distilabel pipeline in this process, batch by batch; `generate.py` shows the pipeline.

distilabel 1.5.3 itself starts a process per step, passes every row through queues, keeps all rows in each and cannot
resume after an interruption. So the pipeline is walked: each batch goes through the steps in their order, and the
requests of all models share one event loop.
"""

import asyncio
import contextlib
import gc
import itertools
import sys
import warnings
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import networkx

from kto.ask.cleaning import clean
from kto.ask.lookups import Lookup, best, is_missing
from kto.ask.prompt_sources import messages
from kto.ask.runner import ModelRunner
from kto.ask.store import Message
from kto.ask.table import schema
from kto.ask.targets import ModelTarget
from kto.tables import Row

# Two thousand modules: collection during the import frees nothing and costs 20 % of it.
_first = "distilabel" not in sys.modules
gc.disable()
try:
    with warnings.catch_warnings(action="ignore"):  # newer packages than it knows warn many times
        from distilabel.models.llms.base import LLM
        from distilabel.pipeline import Pipeline as Pipeline
        from distilabel.steps import GroupColumns as GroupColumns
        from distilabel.steps import LoadDataFromDicts as LoadDataFromDicts
        from distilabel.steps.base import _Step
        from distilabel.steps.tasks import SelfInstruct as SelfInstruct
        from distilabel.steps.tasks import TextGeneration
        from pydantic import InstanceOf, PrivateAttr
    # Every subclass of distilabel's classes makes newer versions of pydantic say this.
    warnings.filterwarnings("ignore", "The 'default' attribute with value None")
finally:
    if _first:
        gc.freeze()
    gc.enable()

if TYPE_CHECKING:
    from kto.ask.language_worker import LanguageWorker
    from kto.ask.plan import Plan
    from kto.ask.ray_cluster import Cluster
    from kto.ask.writer import AnswerWriter

BATCH = 250  # rows
_AHEAD = 8  # batches in progress: a prompt that takes long holds up no more than its own


class StoredLLM(LLM):
    """A model whose answers are stored as they come, and that is asked only for those that the store lacks.

    `wanted` has, by prompt, what the store has for the requests of an answer that is missing; other prompts are not
    asked. None: ask whatever the store lacks.
    """

    target: InstanceOf[ModelTarget]
    sink: Any  # where its answers go: an `AnswerWriter`
    language: Any = None  # the `LanguageWorker` that checks their language; None: nothing is checked
    wanted: Any = None
    lacking: int = 0  # how many answers the store lacked while nothing was sent

    _runner: ModelRunner = PrivateAttr()
    _sends: bool = PrivateAttr(default=True)
    _loop: asyncio.AbstractEventLoop = PrivateAttr()
    _turn: asyncio.Lock = PrivateAttr()
    _cluster: "Cluster | None" = PrivateAttr()

    @property
    def model_name(self) -> str:
        """The model's name in the project."""
        return self.target.model

    @property
    def runner(self) -> ModelRunner:
        """Sends the requests; set by `start`."""
        return self._runner

    def start(self, cluster: "Cluster | None" = None, sends: bool = True) -> None:
        """Get ready to send requests from the event loop that runs now, or from machines of a cluster.

        Nothing is sent to a model that is not started, or without `sends`.
        """
        self._runner = ModelRunner(self.target, self.sink, self.language)
        self._loop, self._turn, self._cluster = asyncio.get_running_loop(), asyncio.Lock(), cluster
        self._sends = sends and self.target.server is not None

    def generate(self, inputs: list[list[Message]], num_generations: int = 1) -> list[dict[str, Any]]:  # type: ignore[override]
        """Return for each conversation one text as people read it, None without an answer; called in a thread."""
        texts = asyncio.run_coroutine_threadsafe(self._answers(inputs), self._loop).result()
        return [{"generations": [text], "statistics": {}} for text in texts]

    async def _answers(self, inputs: list[list[Message]]) -> list[str | None]:
        found = [self._missing(conversation) for conversation in inputs]
        if not self._sends:
            self.lacking += sum(map(bool, found))
            found = [()] * len(inputs)
        elif self._cluster:
            missing = [(conversation, stored) for conversation, stored in zip(inputs, found, strict=True) if stored]
            if missing:
                await self._cluster.ask(self, missing)
            found = [()] * len(inputs)
        async with self._turn:  # batches in their order
            tasks = [await self._runner.start(self._answer, *request) for request in zip(inputs, found, strict=True)]
        return await asyncio.gather(*tasks)

    def _missing(self, conversation: list[Message]) -> Sequence[Lookup]:
        """Return what the store has for the requests of an answer that is wanted and missing, else ()."""
        if self.wanted is not None:
            return self.wanted.get(conversation[-1]["content"], ())
        found = self._runner.look_up(conversation)
        return found if is_missing(found) else ()

    async def _answer(self, conversation: list[Message], found: Sequence[Lookup]) -> str | None:
        if found:
            stored, _ = await self._runner.answer(conversation, found)
        else:
            stored = best(self._runner.look_up(conversation))
        return clean(stored.answer.text) if stored else None


class AskModel(TextGeneration):
    """distilabel's text generation, with the conversation that the store knows an answer by."""

    input_mappings: dict[str, str] = {"instruction": "input"}  # noqa: RUF012 (pydantic copies it)
    input_batch_size: int = BATCH
    add_raw_input: bool = False
    add_raw_output: bool = False

    def format_input(self, input: Row) -> list[Message]:
        """Return the conversation for a row."""
        return messages(input["system_prompt"], input["instruction"])


_OURS = LoadDataFromDicts, AskModel, GroupColumns


def ask_model(plan: "Plan", target: ModelTarget, writer: "AnswerWriter", language: "LanguageWorker | None") -> None:
    """Ask one model for the answers that it lacks, without the steps behind it."""
    with Pipeline(name="one-model") as pipeline:
        prompts = LoadDataFromDicts(name="prompts", data=plan.rows(), batch_size=BATCH)
        llm = StoredLLM(target=target, sink=writer, language=language, wanted=plan.to_ask(target))
        prompts >> AskModel(name="ask", llm=llm)
    run(pipeline)


def added_models(pipeline: Pipeline, unanswered: Collection[str]) -> list[tuple[StoredLLM, int]]:
    """Return the models that added steps ask, and how many answers the store lacks of each.

    The steps before them are run for the prompts that have all answers, without a request; a prompt that is
    `unanswered` yet counts as one answer.
    """
    dag = pipeline.dag
    steps = {name: dag.get_step(name)["step"] for name in dag}
    llms = {name: step.llm for name, step in steps.items() if getattr(step, "llm", None)}
    added = {name: llm for name, llm in llms.items() if isinstance(llm, StoredLLM) and llm.wanted is None}
    if not added:
        return []
    needed = {*added}.union(*(networkx.ancestors(dag.G, name) for name in added))
    [root] = dag.root_steps
    rows = steps[root].data
    if not all(isinstance(llm, StoredLLM) for name, llm in llms.items() if name in needed):
        unanswered = {row["input"] for row in rows}  # a model that does not use the store would be asked now
    asyncio.run(_run(pipeline, None, needed, unanswered))
    steps[root].data = rows  # these are gone once they are read
    return [(llm, llm.lacking + sum(row["input"] in unanswered for row in rows)) for llm in added.values()]


def run(pipeline: Pipeline, cluster: "Cluster | None" = None) -> dict[str, Row]:
    """Run a pipeline; return by prompt id the columns that further steps have added. A `cluster` asks the models."""
    return asyncio.run(_run(pipeline, cluster))


async def _run(
    pipeline: Pipeline,
    cluster: "Cluster | None",
    only: Collection[str] = (),
    skipped: Collection[str] = (),
) -> dict[str, Row]:
    """Do what `run` says; or run `only` these steps for the prompts that are not `skipped`, and send nothing."""
    dag = pipeline.dag
    generations = networkx.topological_generations(dag.G)
    [[root], *levels] = ([name for name in level if not only or name in only] for level in generations)
    steps: dict[str, _Step] = {name: dag.get_step(name)["step"] for name in (root, *itertools.chain(*levels))}
    llms = {name: step.llm for name, step in steps.items() if isinstance(getattr(step, "llm", None), StoredLLM)}
    wanted = [llm.wanted for llm in llms.values()]
    if not all(isinstance(step, _OURS) for step in steps.values()):
        dag.validate()  # takes 12 MB, because it imports scipy
    elif None not in wanted:  # no step needs the answers that are stored
        skipped = {row["input"] for row in steps[root].data}.difference(*wanted)
    # The other steps may not be made for several threads.
    locks = {name: contextlib.nullcontext() if name in llms else asyncio.Lock() for name in steps}
    in_progress = asyncio.Semaphore(_AHEAD)
    known = {"distilabel_metadata", "model_name", *schema().names}
    added: dict[str, Row] = {}
    by_batch = [*itertools.takewhile(lambda level: not any(steps[name].is_global for name in level), levels)]
    at_end = levels[len(by_batch) :]  # from the first global step on, which gets the rows of all batches

    async def process(name: str, rows: dict[str, list[Row]]) -> None:
        inputs = [[dict(row) for row in rows[before]] for before in dag.get_step_predecessors(name)]
        async with locks[name]:
            rows[name] = await asyncio.to_thread(_process_rows, steps[name], inputs)

    async def process_levels(levels: Sequence[Sequence[str]], rows: dict[str, list[Row]]) -> None:
        async with in_progress:
            for level in levels:
                await asyncio.gather(*(process(name, rows) for name in level))
        for row in itertools.chain.from_iterable(rows.get(leaf, ()) for leaf in dag.leaf_steps):
            if columns := {name: value for name, value in row.items() if name not in known}:
                added.setdefault(row["prompt_id"], {}).update(columns)
        if levels is at_end or not at_end:
            rows.clear()

    # Threads enough for all steps of the batches in progress: those that ask models only wait.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_AHEAD * len(steps)))
    for step in steps.values():
        step.load()
    for llm in llms.values():
        llm.start(cluster, sends=not only)
    try:
        read = steps[root].process_applying_mappings()
        batches = [{root: [row for row in rows if row["input"] not in skipped]} for rows, _ in read]
        await asyncio.gather(*(process_levels(by_batch, rows) for rows in batches))
        if batches and at_end:
            all_rows = {name: [row for rows in batches for row in rows[name]] for name in batches[0]}
            await process_levels(at_end, all_rows)
    finally:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:  # after an error: threads wait for these
            task.cancel()
        for llm in llms.values():
            await llm.runner.close()
        for step in steps.values():
            step.unload()
    return added


def _process_rows(step: _Step, inputs: Sequence[Sequence[Row]]) -> list[Row]:
    size = len(inputs[0]) if step.is_global or not step.input_batch_size else step.input_batch_size
    rows: list[Row] = []
    for start in range(0, len(inputs[0]), max(size, 1)):
        for output in step.process_applying_mappings(*([*part[start : start + size]] for part in inputs)):
            rows += output
    return rows

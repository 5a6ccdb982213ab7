"""Runs a distilabel pipeline in this process, batch by batch; `generate.py` shows the pipeline.

distilabel 1.5.3 itself starts a process per step, passes every row through queues, keeps all rows in each and cannot go
on after an interruption. So the pipeline is walked: each batch goes through the steps in their order, and the requests
of all models share one event loop.
"""

import asyncio
import collections
import contextlib
import gc
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from kto.ask.language_worker import LanguageWorker
from kto.ask.lookups import Lookup
from kto.ask.prompt_sources import messages
from kto.ask.runner import ModelRunner
from kto.ask.store import Message
from kto.ask.table import schema
from kto.ask.targets import ModelTarget
from kto.ask.writer import AnswerSink
from kto.cleaning import clean
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
        from distilabel.steps.base import GeneratorStep, _Step
        from distilabel.steps.tasks import SelfInstruct as SelfInstruct
        from distilabel.steps.tasks import TextGeneration
        from pydantic import InstanceOf, PrivateAttr
    # Every subclass of distilabel's classes makes newer versions of pydantic say this.
    warnings.filterwarnings("ignore", "The 'default' attribute with value None")
finally:
    if _first:
        gc.freeze()
    gc.enable()

BATCH = 250
"""Rows in a batch."""
_AHEAD = 8  # batches in progress: a prompt that takes long holds up no more than its own

_OWN = ("distilabel_metadata", "model_name")

T = TypeVar("T")
Process = Callable[[_Step, Sequence[Sequence[Row]]], list[Row]]


class StoredLLM(LLM):
    """A model whose answers are stored as they come, and that is asked only for those that the store lacks.

    Attributes
    ----------
    target
        How it is asked.
    sink
        Where its answers go.
    language
        Checks their language; None: nothing is checked.
    wanted
        By prompt: what the store has for the requests of an answer that is missing; other prompts are not asked. None:
        ask whatever the store lacks.
    """

    target: InstanceOf[ModelTarget]
    sink: Any
    language: Any = None
    wanted: Any = None

    _runner: ModelRunner = PrivateAttr()
    _loop: asyncio.AbstractEventLoop = PrivateAttr()

    @property
    def model_name(self) -> str:
        """The model's name in the project."""
        return self.target.model

    @property
    def runner(self) -> ModelRunner:
        """What sends the requests; there after `start`."""
        return self._runner

    def await_here(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the event loop of the requests, from another thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def only_stored(self) -> "StoredLLM":
        """Return the same model, which is asked for nothing."""
        llm = StoredLLM(target=self.target, sink=self.sink, language=self.language, wanted={})
        llm.load()
        llm._runner, llm._loop = self._runner, self._loop
        return llm

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Get ready to send requests from an event loop that runs in another thread."""
        self._runner = ModelRunner(self.target, self.sink, self.language)
        self._loop = loop

    def unload(self) -> None:
        """Close the connections."""
        super().unload()
        self.await_here(self._runner.close())

    def generate(self, inputs: list[list[Message]], num_generations: int = 1) -> list[dict[str, Any]]:  # type: ignore[override]
        """Return an answer per conversation, from the store or from the server.

        Args:
            inputs: the conversations.
            num_generations: always 1.

        Returns:
            For each conversation a list with one text as people read it, None where there is no answer.
        """
        texts = self.await_here(self._answers(inputs))
        return [{"generations": [text], "statistics": {}} for text in texts]

    async def _answers(self, inputs: list[list[Message]]) -> list[str | None]:
        return await asyncio.gather(*map(self._answer, inputs))

    async def _answer(self, conversation: list[Message]) -> str | None:
        wanted: Mapping[str, Sequence[Lookup]] | None = self.wanted
        found = None if wanted is None else wanted.get(conversation[-1]["content"])
        if found is not None or wanted is None:
            stored, _ = await self._runner.answer(conversation, found or await self._runner.look_up(conversation))
        else:
            stored = await self._runner.stored(conversation)
        return clean(stored.answer.text) if stored else None


class AskModel(TextGeneration):
    """distilabel's text generation, with the conversation that the store knows an answer by."""

    def format_input(self, input: Row) -> list[Message]:
        """Return the conversation for a row."""
        return messages(input["system_prompt"], input["instruction"])


def ask(name: str, target: ModelTarget, sink: AnswerSink, language: LanguageWorker | None, wanted: Any) -> AskModel:
    """Return the step that asks one model; see `StoredLLM`."""
    return AskModel(
        name=name,
        llm=StoredLLM(target=target, sink=sink, language=language, wanted=wanted),
        input_mappings={"instruction": "input"},
        input_batch_size=BATCH,
        add_raw_input=False,
        add_raw_output=False,
    )


def run(pipeline: Pipeline, process: Process | None = None) -> Iterator[list[Row]]:
    """Run a pipeline and yield the rows of its last step, batch by batch, in the order of the prompts.

    Parameters
    ----------
    process
        Runs a step that asks a model on rows of each step before it. Default: here.
    """
    dag = pipeline.dag
    dag.validate()
    order = [name for level in dag.iter_based_on_trophic_levels() for name in level]
    steps = {name: dag.get_step(name)["step"] for name in order}
    before = {name: list(dag.get_step_predecessors(name)) for name in order}
    [leaf] = dag.leaf_steps
    models = {name for name in order if isinstance(getattr(steps[name], "llm", None), StoredLLM)}
    # The others may not be made for several threads.
    locks = {name: threading.Lock() for name in order if name not in models}
    later = next((place for place, name in enumerate(order) if steps[name].is_global), len(order))

    def one(name: str, rows: Mapping[str, list[Row]]) -> list[Row]:
        inputs = [[dict(row) for row in rows[earlier]] for earlier in before[name]]
        if name in models:
            return (process or process_rows)(steps[name], inputs)
        with locks[name]:
            return process_rows(steps[name], inputs)

    def through(names: Sequence[str], rows: dict[str, list[Row]]) -> dict[str, list[Row]]:
        asked: dict[str, Future[list[Row]]] = {}
        for name in names:
            for earlier in before[name]:
                if earlier in asked:
                    rows[earlier] = asked.pop(earlier).result()
            if name in models:
                asked[name] = threads.submit(one, name, rows)
            elif name not in rows:
                rows[name] = one(name, rows)
        return rows | {name: rows.result() for name, rows in asked.items()}

    with event_loop() as loop, contextlib.ExitStack() as stack:
        batches = stack.enter_context(ThreadPoolExecutor(_AHEAD))
        threads = stack.enter_context(ThreadPoolExecutor(max(1, _AHEAD * len(models))))
        for name in order:
            steps[name].load()
            if name in models:
                steps[name].llm.start(loop)
            stack.callback(steps[name].unload)
        waiting: collections.deque[Future[dict[str, list[Row]]]] = collections.deque()
        stack.callback(_cancel, loop, waiting)
        all_rows: dict[str, list[Row]] = {name: [] for name in order}

        def finished(most: int) -> Iterator[list[Row]]:
            while len(waiting) > most or (waiting and waiting[0].done()):
                rows = waiting[0].result()
                waiting.popleft()
                if later == len(order):
                    yield rows[leaf]
                else:
                    for name in order[:later]:
                        all_rows[name] += rows[name]

        [root] = dag.root_steps
        loader: GeneratorStep = steps[root]
        for batch, _ in loader.process_applying_mappings():
            waiting.append(batches.submit(through, order[:later], {root: batch}))
            yield from finished(_AHEAD - 1)
        yield from finished(0)
        if later < len(order):
            yield through(order[later:], {name: all_rows[name] for name in order[:later]})[leaf]


def added_columns(batches: Iterable[list[Row]]) -> dict[str, Row]:
    """Return the columns that further steps have added to the rows, by prompt id."""
    return {row["prompt_id"]: added for rows in batches for row in rows if (added := _added(row))}


def _added(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in _OWN and name not in schema().names}


def process_rows(step: _Step, inputs: Sequence[Sequence[Row]]) -> list[Row]:
    """Return what a step makes of rows of each step before it."""
    size = len(inputs[0]) if step.is_global or not step.input_batch_size else step.input_batch_size
    rows: list[Row] = []
    for start in range(0, len(inputs[0]), max(size, 1)):
        for output in step.process_applying_mappings(*([*part[start : start + size]] for part in inputs)):
            rows += output
    return rows


@contextlib.contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            yield loop
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


def _cancel(loop: asyncio.AbstractEventLoop, waiting: Sequence[Future[Any]]) -> None:
    """End what is in progress, if the rows are not wanted any more: threads wait for tasks of the event loop."""
    for future in waiting:
        future.cancel()

    async def cancel() -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    if waiting:
        asyncio.run_coroutine_threadsafe(cancel(), loop).result()

"""The distilabel pipeline that describes the work: prompts → one step per model → one row per prompt.

distilabel itself runs it on a Ray cluster (`kto.ask.ray_cluster`). On one machine we run its steps: distilabel
1.5.3 starts a process per step, passes every row through queues and keeps all rows in each, which takes time and
memory.
"""

import asyncio
import contextlib
import dataclasses
import gc
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from kto.ask import open_files
from kto.ask.judging import Judge
from kto.ask.keeper import Keeper
from kto.ask.routes import Route
from kto.ask.tries import Try
from kto.texts import t

if TYPE_CHECKING:
    from distilabel.pipeline import Pipeline
    from distilabel.steps.tasks import TextGeneration

    from kto.ask.asker import Asker

_HERE = "here"
_WINDOW = 2  # prompts under way per request in flight: those that wait for another attempt take no place


@dataclasses.dataclass(frozen=True)
class Work:
    """What is asked.

    Attributes
    ----------
    routes
        The models.
    rows
        With `input` and `system_prompt`.
    wanted
        By model: the numbers of the rows that it has to answer, and what the store has for the tries of the answer.
    language, script
        Of the language gate, "" if nothing is judged.
    attempts
        How often one answer is asked for.
    """

    routes: Sequence[Route]
    rows: Sequence[Mapping[str, str]]
    wanted: Mapping[str, Mapping[int, Sequence[Try]]]
    attempts: int
    language: str = ""
    script: str = ""


def describe(work: Work, keeper: str, rows: Iterable[Mapping[str, str]]) -> "Pipeline":
    """Return the pipeline; `keeper` says who keeps the answers, see `kto.ask.llm.StoredLLM`.

    Keys for the servers are put into the environment of this process, under names of their own.
    """
    with _importing():
        from distilabel.pipeline import Pipeline
        from distilabel.steps import GroupColumns, LoadDataFromDicts
        from distilabel.steps.tasks import TextGeneration

        from kto.ask.llm import StoredLLM

    data = [dict(row) for row in rows]
    size = max(len(data), 1)  # one batch: a failed batch would take others along
    with Pipeline(name="answers") as pipeline:
        load = LoadDataFromDicts(name="prompts", data=data, batch_size=size)
        ask = []
        for number, route in enumerate(work.routes):
            assert route.endpoint is not None
            variable = f"KTO_KEY_{number}"
            os.environ[variable] = route.endpoint.key
            llm = StoredLLM(
                model=route.model,
                keeper=keeper,
                base_url=route.endpoint.base_url,
                key_variable=variable,
                body=dict(route.body),
                arguments=dict(route.tries.arguments),
                firmly=route.tries.firmly,
                again=route.tries.again,
                weights=route.tries.weights,
                language=work.language,
                script=work.script,
                concurrency=route.concurrency,
                attempts=work.attempts,
                timeout=route.timeout,
                prices=route.prices,
                unsupported=tuple(route.unsupported),
                loading_timeout=route.loading_timeout,
            )
            ask.append(
                TextGeneration(
                    name=f"ask_{number}",
                    llm=llm,
                    input_mappings={"instruction": "input"},
                    input_batch_size=size,
                    add_raw_input=False,
                    add_raw_output=False,
                )
            )
        group = GroupColumns(
            name="answers",
            columns=["generation", "model_name"],
            output_columns=["raw_generation_responses", "generation_model"],
            input_batch_size=size,
        )
        load >> ask >> group
    return pipeline


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """Import distilabel in the block: two thousand modules, a second of work."""
    first = "distilabel" not in sys.modules
    gc.disable()  # modules stay: looking for garbage among them takes a fifth of the time
    try:
        with warnings.catch_warnings(action="ignore"):  # it meets newer packages than it knows; these say so many times
            yield
    finally:
        if first:
            gc.freeze()  # nor is there any among them later
        gc.enable()


def run_here(work: Work, keeper: Keeper) -> None:
    """Run the pipeline's steps in this process, all models at the same time."""
    work = _fitting(work)
    judge = Judge(work.language, work.script) if work.language else None  # gets ready while distilabel is imported
    pipeline = describe(work, _HERE, [])
    from kto.ask import llm

    llm.KEEPERS[_HERE] = keeper
    if judge:
        llm.JUDGES[work.language, work.script] = judge
    steps = [pipeline.dag.get_step(f"ask_{number}")["step"] for number in range(len(work.routes))]
    try:
        asyncio.run(_ask_all(work, steps))
    finally:
        llm.JUDGES.clear()
        if judge:
            judge.close()


def _fitting(work: Work) -> Work:
    """Return the work with no more requests in flight than this process may have connections."""
    wanted = [route.concurrency for route in work.routes]
    fitting = open_files.room_for(wanted)
    if fitting == wanted:
        return work
    print(t("technical.fewer_connections", number=sum(fitting), wanted=sum(wanted)), flush=True)
    pairs = zip(work.routes, fitting, strict=True)
    return dataclasses.replace(work, routes=[dataclasses.replace(route, concurrency=each) for route, each in pairs])


async def _ask_all(work: Work, steps: "Sequence[TextGeneration]") -> None:
    async with asyncio.TaskGroup() as group:
        for route, step in zip(work.routes, steps, strict=True):
            group.create_task(_ask_one(work, route, step))


async def _ask_one(work: Work, route: Route, step: "TextGeneration") -> None:
    """Give a model its prompts, as many at a time as do it good."""
    step.load()
    asker: Asker = step.llm.asker  # type: ignore[attr-defined]
    window = asyncio.Semaphore(_WINDOW * route.concurrency)

    async def ask(row: Mapping[str, str], found: Sequence[Try]) -> None:
        try:
            await asker.answer(step.format_input({"instruction": row["input"], **row}), found)
        finally:
            window.release()

    try:
        async with asyncio.TaskGroup() as group:
            for number, found in work.wanted[route.model].items():
                await window.acquire()
                group.create_task(ask(work.rows[number], found))
    finally:
        await asker.close()
        step.unload()

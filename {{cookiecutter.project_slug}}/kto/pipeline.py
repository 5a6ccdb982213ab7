"""The distilabel pipeline that asks the models, one step per model, all at the same time.

It runs in a process of its own, `python -m kto.pipeline FOLDER`: distilabel starts several processes, writes many log
lines and does not stop while a step works, and so all of that can be logged and stopped from outside.
"""

import dataclasses
import hashlib
import json
import multiprocessing.process
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

KEY = "KTO_API_KEY"
"""Name of the environment variable through which the API key reaches the pipeline."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """A model and how to reach it; see `kto.llm.StoredLLM` for the fields."""

    model: str
    request_model: str
    base_url: str
    weights: str = ""
    extra_body: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Job:
    """What a run asks: every model gets every row (`input` and `system_prompt`)."""

    models: Sequence[Asked]
    rows: Sequence[Mapping[str, str]]
    store: str
    concurrency: int
    attempts: int
    timeout: float
    temperature: float
    max_tokens: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one request: the text as it came, None for a gap, and then the sentence that says why."""

    text: str | None
    finish_reason: str
    answer_id: str
    failure: str = ""


def run(job: Job, cache: Path) -> dict[str, list[Outcome]]:
    """Run the pipeline; return the outcomes of each model, in the order of the rows. `cache` is an empty folder."""
    from distilabel.pipeline import Pipeline
    from distilabel.steps import GroupColumns, LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    from kto.llm import StoredLLM

    # One batch: distilabel writes its cache after every batch, and one failed batch would take others along. The cache
    # itself is of no use beside the answer store; a folder and a name of this run's own keep it out of the way.
    size = len(job.rows)
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(job), sort_keys=True).encode()).hexdigest()[:16]
    with Pipeline(name=f"answers-{digest}", cache_dir=cache) as pipeline:
        load = LoadDataFromDicts(data=[dict(row) for row in job.rows], batch_size=size)
        ask = [
            TextGeneration(
                name=f"ask_{number}",
                llm=StoredLLM(
                    model=asked.model,
                    request_model=asked.request_model,
                    base_url=asked.base_url,
                    api_key=os.environ.get(KEY) or "none",  # the client insists on one
                    weights=asked.weights,
                    extra_body=None if asked.extra_body is None else dict(asked.extra_body),
                    store=job.store,
                    concurrency=job.concurrency,
                    attempts=job.attempts,
                    timeout=max(round(job.timeout), 1),
                    max_retries=0,
                    generation_kwargs={"max_new_tokens": job.max_tokens, "temperature": job.temperature},
                ),
                input_mappings={"instruction": "input"},
                input_batch_size=size,
                add_raw_input=False,
                add_raw_output=False,
            )
            for number, asked in enumerate(job.models)
        ]
        group = GroupColumns(
            columns=["generation", "model_name"],
            output_columns=["raw_generation_responses", "generation_model"],
            input_batch_size=size,
        )
        load >> ask >> group
        table = pipeline.run(use_cache=False)["default"]["train"].to_list()
    return {
        asked.model: [
            Outcome(
                text=row["raw_generation_responses"][row["generation_model"].index(asked.model)],
                finish_reason=row[f"llm_ask_{number}_finish_reason"],
                answer_id=row[f"llm_ask_{number}_answer_id"],
                failure=row[f"llm_ask_{number}_failure"],
            )
            for row in table
        ]
        for number, asked in enumerate(job.models)
    }


def _end_if_a_step_is_killed() -> None:
    """End this process if one of its steps was killed, for example because memory is short: distilabel would wait."""
    steps: set[multiprocessing.process.BaseProcess] = set()
    while True:
        steps |= {child for child in multiprocessing.active_children() if "Manager" not in child.name}
        if any(step.exitcode not in (None, 0, -signal.SIGTERM) for step in steps):
            for child in multiprocessing.active_children():  # on Windows nothing else would end them
                child.kill()
            os._exit(1)
        time.sleep(1)


def main(folder: Path) -> None:
    """Run the job in `folder`/job.json and write what came of it to `folder`/outcome.json."""
    threading.Thread(target=_end_if_a_step_is_killed, daemon=True).start()
    fields = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    job = Job(**{**fields, "models": [Asked(**each) for each in fields["models"]]})
    outcome = {
        model: [dataclasses.asdict(each) for each in found] for model, found in run(job, folder / "cache").items()
    }
    (folder / "outcome.json").write_text(json.dumps(outcome, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

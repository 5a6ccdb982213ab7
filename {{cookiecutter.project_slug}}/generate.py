"""Step 1: ask the models. prompts × models → data/generations/train.parquet.

    uv run generate.py [--limit N] [--base-url URL] [--output DIR]

Every answer is kept in data/answers.sqlite as soon as it arrives, so a second run asks only for what is missing.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from kto import endpoint, generations, processes, serving
from kto.command_line import Parser
from kto.config import Config, load
from kto.endpoint import Endpoint
from kto.errors import UserError, run
from kto.pipeline import KEY, Asked, Job, Outcome
from kto.prompts import Prompt, messages
from kto.prompts import load as load_prompts
from kto.store import Store, answer_key
from kto.tables import write_rows
from kto.texts import ROOT, t

PROGRESS = 15  # seconds between two lines that say how far it is


@dataclasses.dataclass
class Plan:
    """What is to be asked: for each model the key of its answer to each prompt, and what the run found out."""

    config: Config
    prompts: Sequence[Prompt]
    system_prompt: str
    store: Store
    keys: Mapping[str, list[str]]
    weights: Mapping[str, str]
    outcomes: dict[str, Outcome] = dataclasses.field(default_factory=dict)  # by key: what came of this run's requests

    def missing(self, model: str) -> list[int]:
        """Return the positions of the prompts that this model has not answered."""
        absent = set(self.store.missing(self.keys[model]))
        return [number for number, key in enumerate(self.keys[model]) if key in absent]


def parse(argv: list[str] | None) -> tuple[int | None, str | None, Path]:
    """Read the command line: how many prompts (None: all), the server's address if it is given, the output folder."""
    parser = Parser(t("generate.help"))
    parser.add_argument("--limit", metavar="N", help=t("generate.help_limit"))
    parser.add_argument("--base-url", metavar="URL", help=t("generate.help_base_url"))
    default = ROOT / "data" / "generations"
    parser.add_argument("--output", type=Path, default=default, metavar="DIR", help=t("generate.help_output"))
    options = parser.parse_args(argv)
    if options.limit is not None and not (options.limit.isascii() and options.limit.isdigit() and int(options.limit)):
        raise UserError("bad_limit", limit=options.limit)
    return options.limit and int(options.limit), options.base_url, options.output.resolve()


def prepare(config: Config, limit: int | None, store: Store) -> Plan:
    """Read the prompts and name every answer that is wanted."""
    found = load_prompts(config, limit, endpoint.secret(config, "HF_TOKEN"))
    if found.duplicates:
        print(t("generate.duplicates", number=found.duplicates))
    if found.empty:
        print(t("generate.empty_rows", number=found.empty))
    generation = config.generation
    arguments = {"max_tokens": generation.max_tokens, "temperature": generation.temperature}
    system_prompt = config.system_prompt
    conversations = [messages(system_prompt, prompt.text) for prompt in found.prompts]
    weights = {model: "" for model in generation.models}
    if generation.inference == "local":
        folders = {model: serving.folder(config, model) for model in generation.models}
        weights |= {model: serving.weights_digest(path) for model, path in folders.items() if path}
    keys = {
        model: [answer_key(model, each, arguments, weights[model]) for each in conversations]
        for model in generation.models
    }
    return Plan(config, found.prompts, system_prompt, store, keys, weights)


def ask(plan: Plan, models: Sequence[Asked], server: Endpoint, concurrency: int, timeout: float) -> None:
    """Run the pipeline over everything that these models have not answered; answers go to the store as they come.

    Raises
    ------
    UserError
        The pipeline broke down. What was answered until then is in the store.
    """
    wanted = sorted({number for asked in models for number in plan.missing(asked.model)})
    rows = [{"input": plan.prompts[number].text, "system_prompt": plan.system_prompt} for number in wanted]
    config, generation = plan.config, plan.config.generation
    job = Job(
        models=models,
        rows=rows,
        store=str(plan.store.path),
        concurrency=concurrency,
        attempts=generation.attempts,
        timeout=timeout,
        temperature=generation.temperature,
        max_tokens=generation.max_tokens,
    )
    log = config.root / "data" / "logs" / "generate.log"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(dataclasses.asdict(job)), encoding="utf-8")
        # Settings of OpenAI's own service are not for other servers, and nothing here has to be asked of the Hub.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
        environment |= {
            KEY: server.key,
            "PYTHONUTF8": "1",
            "PYTHONWARNINGS": "ignore",
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": str(folder / "datasets"),
            "DISTILABEL_LOG_LEVEL": "WARNING",
        }
        if server.is_local:
            environment["NO_PROXY"] = environment["no_proxy"] = "*"
        command = [sys.executable, "-m", "kto.pipeline", str(folder)]
        with processes.running(command, log=log, cwd=ROOT, env=environment) as pipeline:
            begin, shown = len(plan.store), time.monotonic()
            while (status := pipeline.poll()) is None:
                if time.monotonic() - shown > PROGRESS:
                    print(t("generate.progress", number=len(plan.store) - begin), flush=True)
                    shown = time.monotonic()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    pipeline.wait(0.2)
        if status:
            raise UserError("pipeline_ended", log=log)
        outcome = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
    plan.outcomes |= {each["answer_id"]: Outcome(**each) for found in outcome.values() for each in found}


def ask_everywhere(plan: Plan, base_url: str | None) -> None:
    """Ask all models for what is missing: together on a server, or one after the other on this machine."""
    config, generation = plan.config, plan.config.generation
    incomplete = [model for model in generation.models if plan.missing(model)]
    if generation.inference != "local" or base_url is not None:
        if not incomplete:
            return
        server = endpoint.find(config, base_url)
        try:
            endpoint.listed_models(server)  # is it there at all?
        except UserError as error:
            if error.key != "no_api":  # a server need not tell what it has
                raise
        number = sum(len(plan.missing(model)) for model in incomplete)
        print(t("generate.asking", number=number, models=len(incomplete)), flush=True)
        models = [Asked(model, model, server.base_url, plan.weights[model]) for model in incomplete]
        ask(plan, models, server, generation.concurrency, generation.timeout)
        return
    # One model at a time, because memory is short. Without this setting `transformers serve` passes over the
    # temperature for models that do not sample by themselves.
    sample = {"generation_config": json.dumps({"do_sample": True})}
    extra = sample if generation.temperature > 0 and serving.is_transformers(config) else None
    for position, model in enumerate(incomplete):
        log = config.root / "data" / "logs" / f"model-{position + 1}.log"
        print(t("generate.starting", model=model, log=log.relative_to(config.root)), flush=True)
        with serving.serving(config, model, log) as url:
            print(t("generate.asking", number=len(plan.missing(model)), models=1), flush=True)
            asked = Asked(model, serving.served_name(config, model), url, plan.weights[model], extra)
            # Requests wait for each other there, so an answer may take as long as all that are in flight.
            timeout = generation.timeout * config.local.concurrency
            ask(plan, [asked], Endpoint(url), config.local.concurrency, timeout)


def outcomes(plan: Plan) -> dict[str, list[Outcome]]:
    """Return what every model answered to every prompt: from this run, or from the store where nothing was asked."""

    def outcome(key: str) -> Outcome:
        if key in plan.outcomes:
            return plan.outcomes[key]
        answer = plan.store.get(key)
        return Outcome(answer.text, answer.finish_reason, key) if answer else Outcome(None, "", key)

    return {model: [outcome(key) for key in keys] for model, keys in plan.keys.items()}


def summary(model: str, found: Sequence[Outcome], before: int) -> str:
    """Say in one line how a model did; `before` is the number of its answers that were in the store already."""
    answered = sum(each.text is not None for each in found)
    gaps = len(found) - answered
    empty = sum(each.text is not None and generations.clean(each.text) is None for each in found)
    parts = [t("generate.model", model=model, number=answered, new=answered - before, kept=before)]
    if empty:
        parts.append(t("generate.model_empty", number=empty))
    if gaps:
        [(reason, _)] = Counter(each.failure for each in found if each.text is None).most_common(1)
        parts.append(t("generate.model_gaps", number=gaps, reason=reason))
    return " ".join(parts)


def main(argv: list[str] | None = None) -> int:
    """Ask for what is missing, write the table, say how it went. 1 if there are gaps."""
    limit, base_url, output = parse(argv)
    config = load()
    with Store(config.root / "data" / "answers.sqlite") as store:
        path = output / "train.parquet"
        generations.restore(store, path)
        plan = prepare(config, limit, store)
        before = {model: len(plan.prompts) - len(plan.missing(model)) for model in config.generation.models}
        try:
            ask_everywhere(plan, base_url)
        except KeyboardInterrupt:
            print(t("generate.interrupted"), file=sys.stderr)
            raise
        found = outcomes(plan)
    for model in config.generation.models:
        print(summary(model, found[model], before[model]))
    gaps = sum(each.text is None for answers in found.values() for each in answers)
    if gaps == len(plan.prompts) * len(found):
        raise UserError("no_answers")
    write_rows(path, generations.rows(plan.prompts, plan.system_prompt, found), generations.SCHEMA)
    print(t("generate.written", path=path, prompts=len(plan.prompts), models=len(found)))
    if gaps:
        raise UserError("gaps", number=gaps)
    return 0


if __name__ == "__main__":
    run(main)

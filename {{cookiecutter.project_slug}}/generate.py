"""Ask the models: prompts × models → data/generations/train.parquet, and answers.html to read.

    uv run generate.py [--limit N] [--dry-run] [--max-cost DOLLARS] [--yes] [--base-url URL] [--output DIR]
                       [--ray [ADDRESS]] [--push]

Every answer is kept in data/answers.sqlite as soon as it arrives, so a second run asks only for what is missing.
--limit asks the first N prompts; the rest of the table stays.
"""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kto import left_out
from kto.ask import costs, local_server, report
from kto.ask import plan as plans
from kto.ask.plan import Plan
from kto.ask.store import copied_store, locked_store
from kto.ask.table import GenerationsTable
from kto.ask.targets import ModelTarget
from kto.ask.writer import AnswerWriter
from kto.command_line import Parser, dollars, positive, run
from kto.errors import UserError
from kto.progress import show_progress
from kto.settings import load
from kto.tables import Row
from kto.texts import ROOT, t

if TYPE_CHECKING:
    from distilabel.pipeline import Pipeline

    from kto.ask.language_worker import LanguageWorker


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(t("generate.help"), "ask")
    parser.add_argument("--limit", metavar="N", help=t("generate.help_limit"))
    parser.add_argument("--dry-run", action="store_true", help=t("generate.help_dry_run"))
    parser.add_argument("--max-cost", metavar="DOLLARS", help=t("generate.help_max_cost"))
    parser.add_argument("--yes", action="store_true", help=t("generate.help_yes"))
    parser.add_argument("--base-url", metavar="URL", help=t("generate.help_base_url"))
    default = ROOT / "data" / "generations"
    parser.add_argument("--output", type=Path, default=default, metavar="DIR", help=t("generate.help_output"))
    parser.add_argument("--ray", nargs="?", const="auto", metavar="ADDRESS", help=t("generate.help_ray"))
    parser.add_argument("--push", action="store_true", help=t("generate.help_push"))
    options = parser.parse_args(argv)
    options.limit = positive(options.limit, "bad_limit")
    options.max_cost = dollars(options.max_cost)
    options.output = options.output.resolve()
    if options.ray and options.max_cost is not None:
        raise UserError("technical.ray_max_cost")
    return options


def describe(
    plan: Plan, targets: Sequence[ModelTarget], writer: AnswerWriter, language: "LanguageWorker | None"
) -> "Pipeline":
    """Return the distilabel pipeline: prompts >> one text generation per model >> one row per prompt.

    A step that you add behind the last one runs, too, and its columns stand in the table.
    """
    from kto.ask.pipeline import BATCH, AskModel, GroupColumns, LoadDataFromDicts, Pipeline, StoredLLM

    with Pipeline(name="answers") as pipeline:
        prompts = LoadDataFromDicts(name="prompts", data=plan.rows(), batch_size=BATCH)
        models = [
            AskModel(
                name=f"ask_{number}",
                llm=StoredLLM(target=target, sink=writer, language=language, wanted=plan.to_ask(target)),
            )
            for number, target in enumerate(targets)
        ]
        answers = GroupColumns(
            name="answers",
            columns=["generation", "model_name"],
            output_columns=["generations", "generation_model"],
        )
        prompts >> models >> answers
    return pipeline


def run_pipeline(plan: Plan, writer: AnswerWriter, options: argparse.Namespace) -> dict[str, Row]:
    """Ask for everything that is missing; answers go to the store as they come.

    Models on this machine are asked first, one after the other, because memory is short; added steps run once, at the
    end. Returns the columns of these by prompt id.
    """
    from kto.ask import ray_cluster

    log = plan.config.root / "data" / "logs" / "ray.log"
    joined = ray_cluster.joined(options.ray, log) if options.ray else contextlib.nullcontext()
    with joined as cluster, plan.language_worker() as language, contextlib.ExitStack() as servers:
        from kto.ask import pipeline  # the language worker gets ready meanwhile

        def progress(targets: Sequence[ModelTarget]) -> contextlib.AbstractContextManager[None]:
            totals = {target.model: len(plan.to_ask(target)) for target in targets}
            return show_progress(t("generate.column_answered"), totals, writer.settled)

        answers = describe(plan, plan.targets, writer, language)
        added = pipeline.added_models(answers, {text for wanted in plan.wanted.values() for text in wanted})
        costs.confirm_added(plan.config, added, options)
        for target in (target for target in plan.incomplete if not target.server):
            try:
                with local_server.running(plan.config, target) as served, progress([served]):
                    pipeline.ask_model(plan, served, writer, language)
            except UserError as error:
                plan.unusable[target.model] = error
        for llm, missing in added:
            try:
                if missing and not llm.target.server:
                    llm.target = servers.enter_context(local_server.running(plan.config, llm.target))
            except UserError as error:  # its answers stay missing
                print(error, flush=True)
        with progress(plan.targets):
            return pipeline.run(answers, cluster)


def write(plan: Plan, writer: AnswerWriter, added: Mapping[str, Row], folder: Path) -> int:
    """Write the table, say how it went, and return how many answers are missing."""
    from kto.ask import answers_page  # with what reads Markdown, which only this needs

    plan = dataclasses.replace(plan, left_out=left_out.read(plan.config.root))  # more may have been taken out meanwhile
    table = GenerationsTable(plan, writer.failures, added)
    prompts = table.write(folder)
    print(report.after(plan.targets, table.counts, writer.counts))
    if not prompts:
        raise UserError("no_answers")  # an earlier table stays
    path = folder / "train.parquet"
    print(t("generate.written", path=path, prompts=prompts, models=len(plan.targets)))
    if not plan.gate.supported:
        print(t("generate.not_judged", language=plan.config.language.autonym))
    print(t("generate.page", path=answers_page.write(plan.config, path, prompts)))
    return len(table.gaps)


def main(argv: list[str] | None = None) -> int:
    """Plan, confirm, ask for what is missing, write the table."""
    options = parse(argv)
    config = load()
    if options.push:  # what is missing for it is said before anything is done
        from kto.ask import publish_generations

        publish_generations.target(config)
    path = config.root / "data" / "answers.sqlite"
    with copied_store(path) if options.dry_run else locked_store(path) as store:  # a dry run writes nothing
        plan = plans.make(config, store, options.output / "train.parquet", options)
        has_limit = options.max_cost is not None
        if plan.requests or has_limit:
            plan.ask_servers(tolerant=options.dry_run, complete=has_limit)
        if plan.requests:
            costs.confirm(plan, options)
        if options.dry_run:
            costs.end_dry_run(plan, options)
            return 0
        with contextlib.closing(AnswerWriter(path, options.max_cost)) as writer:
            try:
                added = run_pipeline(plan, writer, options)
            except KeyboardInterrupt:
                print(t("generate.interrupted"), file=sys.stderr)
                raise
        gaps = write(plan, writer, added, options.output)
    if options.push:
        print(t("generate.pushed", url=publish_generations.push(config, options.output / "train.parquet")))
    if gaps:
        raise UserError("gaps", number=gaps, path=options.output / "gaps.jsonl")
    return 0


if __name__ == "__main__":
    run(main, "ask")

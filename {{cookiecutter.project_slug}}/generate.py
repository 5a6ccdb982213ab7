"""Step 1: ask the models. prompts × models → data/generations/train.parquet, and answers.html to read.

    uv run generate.py [--limit N] [--dry-run] [--max-cost DOLLARS] [--yes] [--base-url URL] [--output DIR]
                       [--ray [ADDRESS]] [--push]

Every answer is kept in data/answers.sqlite as soon as it arrives, so a second run asks only for what is missing.
--limit asks the first N prompts; the rest of the table stays.
"""

import argparse
import contextlib
import dataclasses
import math
import shutil
import sqlite3
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from kto import left_out, progress, sqlite_files
from kto.ask import endpoint, generations, pipeline, report, routes, serving, untranslated
from kto.ask.endpoint import Endpoint
from kto.ask.generations import Found
from kto.ask.keeper import Keeper
from kto.ask.pipeline import Work
from kto.ask.plan import Plan
from kto.ask.prompts import load as load_prompts
from kto.ask.routes import Route
from kto.ask.store import Store
from kto.command_line import Parser, run, wait_for_enter
from kto.errors import UserError
from kto.lock import alone
from kto.settings import Settings, load
from kto.tables import Row, write_lines, write_rows
from kto.texts import ROOT, number, t

_BYTES_PER_ANSWER = 8192  # that the store takes, generously
_ROOM = 50_000_000  # bytes for everything else


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(t("generate.help"))
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
    if options.limit is not None:
        if not (options.limit.isascii() and options.limit.isdigit() and int(options.limit)):
            raise UserError("bad_limit", limit=options.limit)
        options.limit = int(options.limit)
    if options.max_cost is not None:
        options.max_cost = _dollars(options.max_cost)
    options.output = options.output.resolve()
    return options


def _dollars(text: str) -> float:
    try:
        dollars = float(text.removeprefix("$"))
    except ValueError:
        dollars = math.nan
    if not (math.isfinite(dollars) and dollars >= 0):
        raise UserError("bad_max_cost", value=text)
    return dollars


def prepare(config: Settings, options: argparse.Namespace, store: Store) -> Plan:
    """Read the prompts, and find out which answers are missing."""
    found = load_prompts(config, options.limit, endpoint.secret(config, "HF_TOKEN"))
    if found.duplicates:
        print(t("generate.duplicates", number=found.duplicates))
    if found.empty:
        print(t("generate.empty_rows", number=found.empty))
    for origin in found.unfiltered:
        print(t("technical.unfiltered", source=origin))
    gate = routes.gate_for(config)
    asked = routes.find(config, gate, options.base_url, needs_key=not options.dry_run)
    table = options.output / "train.parquet"
    later = generations.restore(store, table, asked)
    out = left_out.read(config.root)
    prompts = found.prompts
    others = [prompt for prompt in generations.others(table, prompts) if prompt.id not in out.ids]
    if options.limit is not None:
        prompts = [*prompts, *others]  # what is not asked stays in the table
    elif others:
        print(t("generate.gone", number=len(others), path=table), file=sys.stderr)
    plan = Plan(config, prompts, config.system_prompt, asked, gate, store, later=later, left_out=out)
    plan.asked = options.limit and len(found.prompts)
    plan.look()
    return plan


def look_at_servers(plan: Plan, tolerant: bool) -> dict[str, str]:
    """Ask the servers what they have, and note their prices; return why models cannot be asked, by model.

    Raises
    ------
    UserError
        None of the servers can be used, and that is not tolerated.
    """
    incomplete = [route for route in plan.routes if plan.wanted[route.model]]
    servers = {route.endpoint for route in incomplete if route.endpoint}
    offers, problems = {}, {}
    for server in servers:
        try:
            offers[server] = endpoint.offers(server)
        except UserError as error:
            problems[server] = error
    if problems and not tolerant and len(problems) == len({route.endpoint for route in incomplete}):
        raise next(iter(problems.values()))
    plan.routes = [route.priced(offers.get(route.endpoint, ())) if route.endpoint else route for route in plan.routes]
    return {route.model: str(problems[route.endpoint]) for route in incomplete if route.endpoint in problems}


def agree(plan: Plan, options: argparse.Namespace, unusable: Collection[str]) -> None:
    """Say what the missing answers will take; where they may cost money, or be English, go on only if that is wanted.

    Raises
    ------
    UserError
        Nobody is there to be asked, the limit cannot be kept, or the disk is too small.
    """
    estimates = {model: each for model, each in plan.estimate().items() if options.dry_run or model not in unusable}
    asked_for = {number for model in estimates for number in plan.wanted[model]}
    english = untranslated.english_prompts(plan.config, (plan.prompts[number] for number in asked_for))
    for sentence in untranslated.sentences(plan.config, english):
        print(sentence)
    asked = [each for each in estimates.values() if each.requests]
    costs = [each.cost for each in asked]
    requests = sum(each.requests for each in asked)
    print(t("generate.asking", number=requests, models=len(asked)), flush=True)
    bills = any(each.sends_bill for each in plan.routes if each.model in estimates and estimates[each.model].requests)
    paid = plan.config.generation.inference == "huggingface" or bills or any(costs)
    if paid or options.dry_run:
        print(report.before(estimates))
        known = sum(cost for cost in costs if cost is not None)
        if any(cost is not None for cost in costs):
            print(t("generate.cost", dollars=number(known, 2 if known >= 1 else 4)))
        if paid and None in costs:
            print(t("generate.cost_unknown"))
    if options.dry_run:
        return
    if options.max_cost is not None and None in costs:
        unknown = [model for model, each in estimates.items() if each.requests and each.cost is None]
        raise UserError("no_price", models=", ".join(unknown))
    if shutil.disk_usage(plan.store.path.parent).free < requests * _BYTES_PER_ANSWER + _ROOM:
        raise UserError("no_room", path=plan.store.path)
    if (english or (paid and options.max_cost is None)) and not options.yes:
        if not (sys.stdin and sys.stdin.isatty()):
            raise UserError("technical.english_needs_yes" if english else "needs_yes")
        wait_for_enter(t("generate.go_on"))


def end_dry_run(config: Settings, options: argparse.Namespace, unusable: Mapping[str, str]) -> int:
    """Say what would have to be put right before the models can be asked.

    Raises
    ------
    UserError
        Servers cannot be used, so the numbers are not all that there is to say.
    """
    if config.generation.inference == "huggingface" and not (options.base_url or endpoint.secret(config, "HF_TOKEN")):
        print(t("check.no_token"))
    if unusable:
        models: dict[str, list[str]] = {}
        for model, reason in unusable.items():
            models.setdefault(reason, []).append(model)
        raise UserError("unusable", problems="\n".join(f"  - {', '.join(models[each])}: {each}" for each in models))
    return 0


def ask(plan: Plan, models: Sequence[Route], keeper: Keeper, ray: str | None) -> None:
    """Ask these models for everything that they have not answered; answers go to the store as they come."""
    config = plan.config
    prompts = plan.prompts[: plan.asked]
    rows = [{"input": prompt.text, "system_prompt": plan.system_prompt} for prompt in prompts]
    wanted = {route.model: plan.wanted[route.model] for route in models}
    language = config.language.tag if plan.gate.supported else ""
    work = Work(models, rows, wanted, config.generation.max_attempts, language, config.language.script)

    def settled() -> dict[str, int]:
        return {route.model: keeper.tally(route.model).settled for route in models}

    totals = {model: len(numbers) for model, numbers in wanted.items()}
    with progress.shown(t("generate.column_answered"), totals, settled):
        if ray is None:
            pipeline.run_here(work, keeper)
        else:
            from kto.ask import ray_cluster

            ray_cluster.run(work, keeper, ray)


def ask_everywhere(plan: Plan, keeper: Keeper, unusable: dict[str, str], ray: str | None) -> None:
    """Ask all models for what is missing: those on servers together, those on this machine one after the other."""
    config = plan.config
    incomplete = [route for route in plan.routes if plan.wanted[route.model]]
    there = [route for route in incomplete if route.endpoint and route.model not in unusable]
    if there:
        ask(plan, there, keeper, ray)
    for position, route in enumerate(each for each in incomplete if not each.endpoint):
        log = config.root / "data" / "logs" / f"model-{position + 1}.log"
        print(t("generate.starting", model=route.model, log=log.relative_to(config.root)), flush=True)
        try:
            with serving.serving(config, route.model, log) as url:  # one at a time, because memory is short
                ask(plan, [dataclasses.replace(route, endpoint=Endpoint(url))], keeper, None)
        except UserError as error:
            unusable[route.model] = str(error)
    for model, reason in unusable.items():
        keeper.tally(model).failures[reason] += len(plan.wanted[model])


def write(plan: Plan, keeper: Keeper | None, unusable: Mapping[str, str], output: Path) -> int:
    """Write the table, say how it went, and return how many answers are missing.

    Raises
    ------
    UserError
        There is no answer at all; then an earlier table stays.
    """
    plan.left_out = left_out.read(plan.config.root)  # perhaps somebody has taken out more since the beginning
    found = {route.model: Found() for route in plan.routes}
    gaps: list[Row] = []
    failures = keeper.failures if keeper else {}
    tallies = keeper.tallies if keeper else {}

    def rows() -> Iterator[Row]:
        without = yield from generations.rows(plan, found, gaps, failures, unusable)
        yield from generations.earlier_rows(path, without, plan.left_out)
        print(report.after(models, found, tallies, priced))
        if not any(each.answers for each in found.values()):
            raise UserError("no_answers")

    path = output / "train.parquet"
    models = [route.model for route in plan.routes]
    priced = {route.model for route in plan.routes if route.prices}
    prompts = write_rows(path, rows(), generations.schema())
    print(t("generate.written", path=path, prompts=prompts, models=len(models)))
    if not plan.gate.supported:
        print(t("generate.not_judged", language=plan.config.language.autonym))
    if gaps:
        write_lines(output / "gaps.jsonl", gaps)
    else:
        (output / "gaps.jsonl").unlink(missing_ok=True)
    from kto.ask import answers_page

    print(t("generate.page", path=answers_page.write(plan.config, path, prompts)))
    return len(gaps)


def main(argv: list[str] | None = None) -> int:
    """Ask for what is missing, write the table, say how it went. 1 if there are gaps."""
    options = parse(argv)
    config = load()
    try:
        return generate(config, options)
    except sqlite3.Error as error:
        raise sqlite_files.trouble(config.root / "data" / "answers.sqlite", error) from None


def generate(config: Settings, options: argparse.Namespace) -> int:
    """Do what `main` says."""
    if options.push:  # what is missing is said before anything is done
        from kto.ask import publish_generations

        publish_generations.target(config)
    data = config.root / "data"
    path = data / "answers.sqlite"
    if options.dry_run and not path.exists():
        path = Path(":memory:")  # it writes nothing, not even an empty store
    with contextlib.nullcontext() if options.dry_run else alone(data / "answers.lock"), Store(path) as store:
        plan = prepare(config, options, store)
        keeper: Keeper | None = None
        unusable: dict[str, str] = {}
        if plan.requests:
            unusable = look_at_servers(plan, tolerant=options.dry_run)
            agree(plan, options, unusable)
            if options.dry_run:
                return end_dry_run(config, options, unusable)
            with contextlib.closing(Keeper(store.path, options.max_cost)) as keeper:
                try:
                    ask_everywhere(plan, keeper, unusable, options.ray)
                except KeyboardInterrupt:
                    print(t("generate.interrupted"), file=sys.stderr)
                    raise
        elif options.dry_run:
            print(t("generate.asking", number=0, models=0))
            return 0
        gaps = write(plan, keeper, unusable, options.output)
    if gaps:
        raise UserError("gaps", number=gaps, path=options.output / "gaps.jsonl")
    if options.push:
        print(t("generate.pushed", url=publish_generations.push(config, options.output / "train.parquet")))
    return 0


if __name__ == "__main__":
    run(main)

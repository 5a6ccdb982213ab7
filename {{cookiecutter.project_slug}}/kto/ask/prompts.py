"""Too few prompts? Let a model write new ones → prompts/new.jsonl, for people to read before the models are asked.

    uv run generate.py prompts [--count N] [--base-url URL] [--yes] [--output FILE]

Every answer is kept in data/answers.sqlite as soon as it arrives, so a second run asks only for what is missing.
"""

import argparse
import asyncio
import contextlib
import json
import sys
from pathlib import Path

from kto.ask import costs, local_server, report, servers, targets
from kto.ask.language_worker import LanguageWorker
from kto.ask.new_prompts import COUNTS, PromptMaker, PromptPool
from kto.ask.plan import Estimate
from kto.ask.prompt_sources import sources
from kto.ask.store import locked_store
from kto.ask.targets import ModelTarget
from kto.ask.writer import AnswerWriter
from kto.command_line import Parser, positive
from kto.errors import UserError
from kto.keys import secret
from kto.progress import show_progress
from kto.settings import Settings, load
from kto.terminal import wait_for_enter
from kto.texts import ROOT, number, t

_READ = 600  # tokens of a request, about
_WRITTEN = 60  # tokens of a prompt in an answer, about; more in scripts that tokenizers know less well
_ALWAYS = ("asked", "instructions", "new")  # counts that are shown even if they are 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(t("new_prompts.help"))
    parser.add_argument("--count", metavar="N", help=t("new_prompts.help_count"))
    parser.add_argument("--base-url", metavar="URL", help=t("generate.help_base_url"))
    parser.add_argument("--yes", action="store_true", help=t("generate.help_yes"))
    default = ROOT / "prompts" / "new.jsonl"
    parser.add_argument("--output", type=Path, default=default, metavar="FILE", help=t("new_prompts.help_output"))
    options = parser.parse_args(argv)
    options.count = positive(options.count, "bad_count", most=1_000_000)
    options.output = options.output.resolve()
    if options.output.suffix.lower() != ".jsonl":
        raise UserError("no_jsonl_name", path=options.output)
    return options


def main(argv: list[str] | None = None) -> int:
    """Make the missing prompts, and say how it went and how to go on. 1 if there are fewer than wanted."""
    options = parse(argv)
    config = load()
    models = config.generation.models
    model = config.new_prompts.model or models[0]
    if model not in models:
        raise UserError("no_such_writer", model=model, models=", ".join(models))
    path = config.root / "data" / "answers.sqlite"
    with locked_store(path):
        pool = PromptPool(config, options.output, secret(config, "HF_TOKEN"))
        total = options.count or config.new_prompts.count
        if pool.size >= total:
            print(t("new_prompts.enough", path=options.output, number=pool.size))
            return 0
        maker = make(config, model, options, path, pool, total - pool.size)
    shown = [name for name in COUNTS if maker.counts[name] or name in _ALWAYS]
    rows = [(t(f"new_prompts.count_{name}"), number(maker.counts[name])) for name in shown]
    print(report.aligned(rows, ["", ""], [None, None]))
    made = maker.counts["new"]
    if made or pool.size:
        print(t("new_prompts.next", path=options.output, setting=_setting(config, options.output)))
    if not targets.gate_for(config).supported:
        print(t("generate.not_judged", language=config.language.autonym))
    if maker.missing > 0:
        if maker.reason:
            raise UserError("prompts_failed", number=made, total=maker.wanted, reason=maker.reason)
        raise UserError("prompts_exhausted", number=made, total=maker.wanted)
    return 0


def make(
    config: Settings, model: str, options: argparse.Namespace, store: Path, pool: PromptPool, wanted: int
) -> PromptMaker:
    """Let a model make new prompts, on its server or on this machine: first from the answers in the store."""
    gate = targets.gate_for(config)
    target = targets.find_one(config, gate, model, options.base_url)
    with contextlib.ExitStack() as stack:
        language = LanguageWorker(gate.tag, gate.script) if gate.supported else None
        if language:
            stack.callback(language.close)
        writer = stack.enter_context(contextlib.closing(AnswerWriter(store)))
        maker = PromptMaker(config, pool, wanted, language)
        try:
            asyncio.run(maker.run(target, writer, only_stored=True))
            if maker.missing <= 0:
                return maker
            if target.server:  # a server that cannot be used says so here
                target = target.priced(servers.model_list(target.server))
            confirm(config, maker, target, options.yes)
            if not target.server:
                target = stack.enter_context(local_server.running(config, target))
            before, totals = maker.counts["new"], {model: maker.missing}
            label = t("new_prompts.count_new")
            with show_progress(label, totals, lambda: {model: maker.counts["new"] - before}):
                asyncio.run(maker.run(target, writer))
        except KeyboardInterrupt:
            print(t("generate.interrupted"), file=sys.stderr)
            raise
    return maker


def confirm(config: Settings, maker: PromptMaker, target: ModelTarget, yes: bool) -> None:
    """Say what the requests will take; where they may cost money, go on only if it is wanted.

    Raises `UserError` if there is no terminal to confirm in.
    """
    print(t("new_prompts.asking", number=maker.missing, model=target.model), flush=True)
    if not costs.may_cost(config, [target]):
        return
    requests = maker.requests()
    read, longest = _READ * requests, int(target.arguments["max_tokens"])
    written = min(_WRITTEN * config.new_prompts.per_request, longest) * requests
    estimate = Estimate(requests, read, written, target.cost(read, written))
    print(report.before({target.model: estimate}))
    if estimate.cost is None:
        print(t("generate.cost_unknown"))
    if not yes:
        wait_for_enter(t("generate.go_on"), "prompts_need_yes")


def _setting(config: Settings, output: Path) -> str:
    """Return the line of settings.toml with the sources, and with the file of new prompts among them."""
    files = {origin.resolve() for origin in sources(config) if isinstance(origin, Path)}
    path = output.relative_to(config.root) if output.is_relative_to(config.root) else output
    names = [*config.generation.prompts, *([] if output in files else [path.as_posix()])]
    return f"prompts = {json.dumps(names, ensure_ascii=False)}"  # a string of TOML is one of JSON

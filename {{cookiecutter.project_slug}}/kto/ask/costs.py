"""Says what the missing answers will take, before anything is asked, and asks for a yes."""

import argparse
import shutil
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from kto.ask import prompt_sources, report
from kto.ask.plan import Plan
from kto.ask.targets import ModelTarget
from kto.errors import UserError
from kto.keys import secret
from kto.settings import Settings
from kto.terminal import wait_for_enter
from kto.texts import number, t

if TYPE_CHECKING:
    from kto.ask.pipeline import StoredLLM

_BYTES_PER_ANSWER = 8192  # in the store, generously
_ROOM = 50_000_000  # bytes for everything else


def may_cost(config: Settings, targets: Iterable[ModelTarget]) -> bool:
    """Tell whether the requests to these models may cost money."""
    return config.generation.inference == "huggingface" or any(target.may_cost for target in targets)


def confirm(plan: Plan, options: argparse.Namespace) -> None:
    """Say what the missing answers will take; where they may cost money, or be English, go on only if it is wanted.

    Raises `UserError` if there is no terminal to confirm in, the limit cannot be kept, or the disk is too small.
    `options` are those of generate.py.
    """
    config = plan.config
    estimates = {
        model: estimate
        for model, estimate in plan.estimate().items()
        if estimate.requests and (options.dry_run or model not in plan.unusable)
    }
    english = prompt_sources.english_prompts(config, {text for model in estimates for text in plan.wanted[model]})
    for sentence in prompt_sources.english_notes(config, english):
        print(sentence)
    requests = sum(estimate.requests for estimate in estimates.values())
    print(t("generate.asking", number=requests, models=len(estimates)), flush=True)
    known = [estimate.cost for estimate in estimates.values() if estimate.cost is not None]
    unknown = [model for model, estimate in estimates.items() if estimate.cost is None]
    paid = may_cost(config, (target for target in plan.targets if target.model in estimates))
    if paid or options.dry_run:
        print(report.before(estimates))
        if known:
            print(t("generate.cost", dollars=number(sum(known), 2 if sum(known) >= 1 else 4)))
        if paid and unknown:
            print(t("generate.cost_unknown"))
    if options.dry_run:
        return
    if options.max_cost is not None and unknown:
        raise UserError("no_price", models=", ".join(unknown))
    if shutil.disk_usage(plan.store.path.parent).free < requests * _BYTES_PER_ANSWER + _ROOM:
        raise UserError("no_room", path=plan.store.path)
    if (english or (paid and options.max_cost is None)) and not options.yes:
        wait_for_enter(t("generate.go_on"), "technical.english_needs_yes" if english else "needs_yes")


def confirm_added(config: Settings, added: Sequence[tuple["StoredLLM", int]], options: argparse.Namespace) -> None:
    """Say how many answers added steps will ask for; where they may cost money, go on only if it is wanted.

    `added` is from `kto.ask.pipeline.added_models`. How long these answers are, nobody knows. Raises `UserError` if
    there is no terminal to confirm in.
    """
    asking = [(llm.target, requests) for llm, requests in added if requests]
    if not asking:
        return
    print(t("generate.asking", number=sum(requests for _, requests in asking), models=len(asking)), flush=True)
    if options.max_cost is None and may_cost(config, (target for target, _ in asking)):
        print(t("generate.cost_unknown"))
        if not options.yes:
            wait_for_enter(t("generate.go_on"), "needs_yes")


def end_dry_run(plan: Plan, options: argparse.Namespace) -> None:
    """Say what has to be put right before the models can be asked; raise `UserError` if servers cannot be used."""
    if not plan.requests:
        print(t("generate.asking", number=0, models=0))
        return
    if plan.config.generation.inference == "huggingface" and not (options.base_url or secret(plan.config, "HF_TOKEN")):
        print(t("check.no_token"))
    if plan.unusable:
        models: dict[str, list[str]] = {}
        for model, reason in plan.unusable.items():
            models.setdefault(str(reason), []).append(model)
        problems = [f"  - {', '.join(names)}: {reason}" for reason, names in models.items()]
        raise UserError("unusable", problems="\n".join(problems))

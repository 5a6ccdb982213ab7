"""Says what the missing answers will take, before anything is asked, and asks for a yes."""

import argparse
import shutil
import sys

from kto.ask import prompt_sources, report
from kto.ask.plan import Plan
from kto.errors import UserError
from kto.keys import secret
from kto.terminal import wait_for_enter
from kto.texts import number, t

_BYTES_PER_ANSWER = 8192  # in the store, generously
_ROOM = 50_000_000  # bytes for everything else


def confirm(plan: Plan, options: argparse.Namespace) -> None:
    """Say what the missing answers will take; where they may cost money, or be English, go on only if it is wanted.

    Raises `UserError` if there is no terminal to confirm in, the limit cannot be kept, or the disk is too small.
    `options` are those of generate.py.
    """
    config = plan.config
    usable = {
        model: estimate for model, estimate in plan.estimate().items() if options.dry_run or model not in plan.unusable
    }
    english = prompt_sources.english_prompts(config, {text for model in usable for text in plan.wanted[model]})
    for sentence in prompt_sources.english_notes(config, english):
        print(sentence)
    estimates = {model: estimate for model, estimate in usable.items() if estimate.requests}
    requests = sum(estimate.requests for estimate in estimates.values())
    print(t("generate.asking", number=requests, models=len(estimates)), flush=True)
    known = [estimate.cost for estimate in estimates.values() if estimate.cost is not None]
    unknown = [model for model, estimate in estimates.items() if estimate.cost is None]
    bills = any(target.sends_bill for target in plan.targets if target.model in estimates)
    paid = config.generation.inference == "huggingface" or bills or any(known)
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
        if not (sys.stdin and sys.stdin.isatty()):
            raise UserError("technical.english_needs_yes" if english else "needs_yes")
        wait_for_enter(t("generate.go_on"))


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

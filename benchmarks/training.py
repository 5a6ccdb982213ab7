"""Which learning rate teaches: train.py on toys whose truth is known; see README.md.

    python benchmarks/training.py [--methods full LoRA] [--rates R …] [--steps N …] [--accumulation N …] [--json FILE]

Prints a table in Markdown; the exit status is 1 if the default of a method does not teach.
"""

import argparse
import contextlib
import io
import itertools
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "parts"))

from rendering import render
from toy_votes import KNOWN, UNKNOWN, make_rows, make_toy
from transformers import AutoModelForCausalLM, AutoTokenizer

WRONG_VOTES = 0.15  # share of the rows for training that have the other label than the truth
COLUMNS = ("method", "learning rate", "accumulation", "steps", "before", "after", "margin", "nats", "seconds")


@torch.no_grad()
def nats(folder: Path, rows: Sequence[dict[str, Any]]) -> float:
    """Return what a token of the good answers costs the model: a model that is spoilt finds them unlikely."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    total, count = 0.0, 0
    for row in (row for row in rows if row["label"]):
        asked = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
        ids = tokenizer.apply_chat_template([*row["prompt"], *row["completion"]], return_dict=True)["input_ids"]
        logs = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        total -= sum(logs[place - 1, ids[place]].item() for place in range(len(asked), len(ids)))
        count += len(ids) - len(asked)
    return total / count


def main() -> int:
    """Train once with each combination."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=("full", "LoRA"), default=["full", "LoRA"])
    parser.add_argument("--rates", type=float, nargs="+", help="0: the default (rates around it)")
    parser.add_argument("--steps", type=int, nargs="+", default=[100])
    parser.add_argument("--accumulation", type=int, nargs="+", default=[1])
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--pretraining", type=int, default=120, help="steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    chance = random.Random(options.seed)  # noqa: S311
    table = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        project = render(folder)
        toy = make_toy(folder / "toy", options.seed, steps=options.pretraining, hidden=options.hidden)
        sys.path.insert(0, str(project))
        for name in [name for name in sys.modules if name.partition(".")[0] == "kto"]:  # the template's, for its hook
            del sys.modules[name]
        import train
        from kto import tables
        from kto.dataset import rows

        held_out = make_rows(chance, 100, UNKNOWN)
        known = make_rows(chance, 800, KNOWN, WRONG_VOTES)
        tables.write_rows(folder / "rows" / "train.parquet", known, rows.schema())
        tables.write_rows(folder / "rows" / "test.parquet", held_out, rows.schema())
        settings = (project / "settings.toml").read_text(encoding="utf-8").partition("[training]")[0]
        print(f"A token of the good answers costs {nats(toy, held_out):.2f} nats before.\n", flush=True)
        print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS), flush=True)
        for method, accumulation, steps in itertools.product(options.methods, options.accumulation, options.steps):
            default = train.LEARNING_RATES[method]
            for rate in options.rates or [default / 20, default / 4, default, default * 4]:
                text = f"[training]\nlora = {str(method == 'LoRA').lower()}\nbatch_size = {options.batch_size}\n"
                text += f"learning_rate = {rate or default}\naccumulation = {accumulation}\n"
                (project / "settings.toml").write_text(settings + text, encoding="utf-8")
                command = ["--model", str(toy), "--data", str(folder / "rows"), "--output", str(folder / "model")]
                said, begun = io.StringIO(), time.monotonic()
                with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
                    train.main([*command, "--max-steps", str(steps)])
                took = round(time.monotonic() - begun, 1)
                result = re.search(r"in (\d+) % of .* in (\d+) % now.*: (.*)", said.getvalue())
                assert result, said.getvalue()
                row = [method, rate or default, accumulation, steps, int(result[1]), int(result[2]), result[3]]
                table.append([*row, round(nats(folder / "model", held_out), 2), took])
                print("| " + " | ".join(map(str, table[-1])) + " |", flush=True)
    if options.json:
        options.json.write_text(json.dumps([dict(zip(COLUMNS, row, strict=True)) for row in table], indent=1), "utf-8")
    defaults = [row for row in table if row[1] == train.LEARNING_RATES[row[0]]]
    return int(any(float(row[6].replace("−", "-")) < train.NOTHING for row in defaults))


if __name__ == "__main__":
    sys.exit(main())

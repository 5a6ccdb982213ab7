"""Training as it is met: keys, Ctrl-C, full disks, long answers, odd templates, small machines; and did it help?"""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rendering import TEMPLATE, render
from standin_hub import StandinHub
from standin_parts import Repo
from tiny_models import END, make_tiny_model
from toy_votes import KNOWN, UNKNOWN, make_rows, make_toy
from voting import english

sys.path.insert(0, str(TEMPLATE))

import train
from kto import tables
from kto.dataset import rows
from kto.errors import UserError
from kto.settings import load as load_settings
from kto.train import inputs, preference
from kto.train.chat_tokens import ChatTokens, trainer_rows

__all__ = ["english"]

pytestmark = pytest.mark.usefixtures("english")

EARLIER = """[training]
model = "Qwen/Qwen2.5-0.5B-Instruct"   # id on the Hub or a folder; any instruct model
learning_rate = 1e-6        # 5e-7 … 5e-6 suits KTO
beta = 0.1                  # how closely the model stays to where it started; larger is closer
epochs = 1
batch_size = 4              # rows per step on one device; at least 2
max_length = 1024           # tokens of prompt + completion
"""
"""As a project of an earlier version has it."""


def make_row(number: int, label: bool, *, system: str = "", answer: str = "") -> tables.Row:
    prompt = [{"role": "user", "content": f"Question {number}?"}]
    if system:
        prompt.insert(0, {"role": "system", "content": system})
    completion = [{"role": "assistant", "content": answer or f"Answer {number}."}]
    about = {"generation_model": ["acme/one"], "n_votes": 2, "agreement": 1.0, "prompt_id": str(number)}
    return {"prompt": prompt, "completion": completion, "label": label, **about}


def make_table(count: int = 16, **values: Any) -> list[tables.Row]:
    return [make_row(number, number % 2 == 0, **values) for number in range(count)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", steps=0)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "model"


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], Any]]:
    """Every row that the trainer is given, in tokens, and the batch that the model sees then."""
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference as Collator

    seen: list[tuple[dict[str, Any], Any]] = []
    collate = Collator.torch_call

    def watch(self: Any, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = collate(self, examples)
        for example, ids, mask in zip(examples, batch["input_ids"], batch["attention_mask"], strict=True):
            seen.append((example, ids[mask.bool()].tolist()))
        return batch

    monkeypatch.setattr(Collator, "torch_call", watch)
    return seen


Training = Callable[..., tuple[int, str]]


@pytest.fixture
def training(
    project: Path, model: Path, tmp_path: Path, output: Path, capsys: pytest.CaptureFixture, monkeypatch: Any
) -> Iterator[Training]:
    """Run train.py in this process, where torch is loaded already; return its exit status and what it says."""
    path = project / "settings.toml"
    before = path.read_text(encoding="utf-8")
    monkeypatch.setattr(train, "load", lambda: load_settings(project))

    def run(
        *arguments: str,
        table: list[tables.Row] | None = None,
        test: list[tables.Row] | None = None,
        model: Path = model,
        settings: str = "",
        steps: int = 2,
    ) -> tuple[int, str]:
        data = tmp_path / "rows"
        tables.write_rows(data / "train.parquet", make_table() if table is None else table, rows.schema())
        if test:
            tables.write_rows(data / "test.parquet", test, rows.schema())
        if settings:
            path.write_text(before.partition("[training]")[0] + settings, encoding="utf-8")
        command = ["--model", str(model), "--data", str(data), "--output", str(output), *arguments]
        command += ["--max-steps", str(steps)] if steps else []
        capsys.readouterr()
        try:
            status = train.main(command)
        except UserError as error:
            return 1, capsys.readouterr().out + str(error)
        except KeyboardInterrupt:
            status = 130
        return status, capsys.readouterr().out

    yield run
    path.write_text(before, encoding="utf-8")


def template_of(folder: Path, model: Path, text: str) -> Path:
    """Return a copy of a model with another chat template."""
    shutil.copytree(model, folder)
    (folder / "chat_template.jinja").write_text(text, encoding="utf-8")
    return folder


def tokenizer_of(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def weights_of(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


# --- the key for the Hub --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [False, True])
def test_the_token_of_dotenv_goes_with_every_request(lora: bool, model: Path, tmp_path: Path) -> None:
    project = render(tmp_path)
    table = tmp_path / "rows" / "train.parquet"
    tables.write_rows(table, make_table(), rows.schema())
    with StandinHub() as hub:
        files = {path.name: path.read_bytes() for path in model.iterdir()}
        hub.repos["models/acme/tiny"] = Repo("models", "acme/tiny", {"private": False, "gated": False}, files)
        env = os.environ | hub.env(tmp_path / "home", token="") | {"OMP_NUM_THREADS": "1"}
        (project / ".env").write_text("HF_TOKEN=hf_standin\n", encoding="utf-8")
        if lora:
            toml = project / "settings.toml"
            toml.write_text(toml.read_text(encoding="utf-8").replace('lora = "auto"', "lora = true"), encoding="utf-8")
        command = [sys.executable, "train.py", "--model", "acme/tiny", "--data", str(table.parent), "--max-steps", "2"]
        done = subprocess.run(command, cwd=project, env=env, capture_output=True, encoding="utf-8", timeout=300)
        assert done.returncode == 0, done.stderr
        asked = [(call.path, call.user is not None) for call in hub.requests]
        assert len(asked) > 2
        assert [path for path, known in asked if not known] == []
    written = [path for path in (project / "data").rglob("*") if path.is_file()]
    assert written and not any(b"hf_standin" in path.read_bytes() for path in written)


# --- a training that ends before its end ----------------------------------------------------------------------------


def test_after_ctrl_c_it_goes_on(
    training: Training, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from trl import KTOTrainer

    status, _ = training(steps=6)
    assert status == 0
    expected = weights_of(output)
    shutil.move(output, tmp_path / "in one go")
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference as Collator

    collate = Collator.torch_call
    left = [3]

    def interrupt(self: Any, examples: list) -> Any:
        left[0] -= 1
        if not left[0]:
            signal.raise_signal(signal.SIGINT)
        return collate(self, examples)

    with monkeypatch.context() as patch:
        patch.setattr(Collator, "torch_call", interrupt)
        status, said = training(steps=6)
    assert status == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert list(output.rglob("*.safetensors")), "what was learned until then is on the disk"
    match = re.search(r"Stopped at step ([1-5]) of 6\.", said)
    assert match and "--resume" in said

    status, said = training(steps=6)  # nobody has said that an hour of work may go
    assert status == 1 and str(output / "checkpoints") in said and "--resume" in said
    status, said = training("--resume", steps=6, settings="[training]\nbeta = 0.2\n")
    assert status == 1 and "(beta)" in said
    (output / "checkpoints" / "checkpoint-9").mkdir()  # killed while it was written
    steps = []
    step = KTOTrainer.training_step
    monkeypatch.setattr(KTOTrainer, "training_step", lambda *arguments: steps.append(1) or step(*arguments))
    status, said = training("--resume", steps=6, settings="[training]\n")
    assert status == 0, said
    assert len(steps) == 6 - int(match[1]), "only what was left"
    for a, b in zip(expected.parameters(), weights_of(output).parameters(), strict=True):
        assert torch.equal(a, b), "as if nothing had happened"
    assert not (output / "checkpoints").exists()
    status, said = training("--resume", steps=6)
    assert status == 1 and "Start without --resume" in said


def test_a_full_disk_is_said_before(training: Training, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=10**6, used=9 * 10**5, free=10**5))
    status, said = training()
    assert status == 1
    assert "0.0 GB are free" in said and str(output) in said
    assert "train_runtime" not in said and not list(output.rglob("*.safetensors"))


@pytest.mark.skipif(sys.platform == "win32", reason="files cannot be limited there")
@pytest.mark.parametrize("limit", [100_000, 600_000])
def test_a_disk_that_fills_up_leaves_no_traceback(
    training: Training, output: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first limit stops the weights (written by safetensors), the second the optimizer's state (by torch)."""
    import resource

    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference as Collator

    collate = Collator.torch_call

    signals = [signal.SIGINT] if limit > 500_000 else []

    def stop(self: Any, examples: list) -> Any:
        if signals:
            signal.raise_signal(signals.pop())
        return collate(self, examples)

    monkeypatch.setattr(Collator, "torch_call", stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        status, said = training(steps=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 1
    assert f"{output} cannot be written (" in said and "Make room" in said
    assert not list(output.glob("checkpoints/checkpoint-*"))


# --- answers and prompts as they are ---------------------------------------------------------------------------------


def test_a_long_answer_keeps_its_end_or_is_left_out(training: Training, fed: list, model: Path) -> None:
    end = tokenizer_of(model).convert_tokens_to_ids(END)
    table = make_table(8) + make_table(8, answer="so " * 100)
    status, said = training(table=table, settings="[training]\nmax_length = 64\n")
    assert fed and all(end in ids[-3:] for _, ids in fed), "each answer ends"
    assert status == 0
    match = re.search(r"left out: 8\. With max_length = (\d+) ", said)
    assert match and "max_length = 64," in said
    fed.clear()
    status, said = training(table=table, settings=f"[training]\nmax_length = {match[1]}\n", steps=4)
    assert status == 0 and "left out" not in said
    assert max(len(ids) for _, ids in fed) == int(match[1])
    status, said = training(table=make_table(8, answer="so " * 100), settings="[training]\nmax_length = 64\n")
    assert status == 1 and "left out: 8" in said and "There are 0 rows" in said


CHATML = "<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n"
NO_SYSTEM = {
    "refused": "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + CHATML + "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "left out": "{% for m in messages if m.role != 'system' %}" + CHATML + "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
}


@pytest.mark.parametrize("kind", NO_SYSTEM)
def test_a_template_without_a_system_role(
    kind: str, training: Training, fed: list, model: Path, tmp_path: Path
) -> None:
    odd = template_of(tmp_path / "odd", model, NO_SYSTEM[kind])
    status, said = training(table=make_table(system="Be kind."), model=odd)
    texts = [tokenizer_of(odd).decode(ids) for _, ids in fed]
    assert texts and all("<|im_start|>user\nBe kind.\n\nQuestion " in text for text in texts)
    assert status == 0 and said.count("has no place for a system prompt") == 1
    status, said = training(table=make_table(system="Be kind."))
    assert status == 0 and "has no place" not in said


OPENED = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant\n"
    "{{ m.content.split('</think>')[-1] | trim }}<|im_end|>\n{% else %}" + CHATML + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
EMPTY = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant\n<think>\n\n</think>\n\n"
    "{{ m.content | trim }}<|im_end|>\n{% else %}" + CHATML + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PREFILLED = OPENED.replace("<think>\n{% endif %}", "<think>\n\n</think>\n\n{% endif %}")


@pytest.mark.parametrize("template", [OPENED, EMPTY, PREFILLED], ids=["opened", "empty", "prefilled"])
def test_a_template_with_a_thought(template: str, training: Training, fed: list, model: Path, tmp_path: Path) -> None:
    odd = template_of(tmp_path / "odd", model, template)
    status, said = training(model=odd)
    assert status == 0
    tokenizer = tokenizer_of(odd)
    assert fed
    for example, _ in fed:
        prompt, completion = (tokenizer.decode(example[key]) for key in ("prompt_ids", "completion_ids"))
        question = re.search(r"Question \d+\?", prompt)
        assert question
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": question[0]}], tokenize=False, add_generation_prompt=True
        )
        assert prompt.startswith(asked), "it begins as every server asks"
        assert prompt.removeprefix(asked).strip() == prompt.removeprefix(asked).strip()
        assert prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n"), "the thought is over"
        assert completion.rstrip() == f"Answer {question[0][9:-1]}.{END}", "nothing but the answer is learned"
    assert ("begins each answer with a thought" in said) is (template == OPENED)


def test_a_tokenizer_that_is_only_a_sentencepiece_file(
    training: Training, fed: list, model: Path, tmp_path: Path
) -> None:
    head = re.search(r"(?m)^# /// script\n((?:#.*\n)+)# ///", (TEMPLATE / "train.py").read_text(encoding="utf-8"))
    assert head
    needs = tomllib.loads(re.sub(r"(?m)^# ?", "", head[1]))["dependencies"]
    assert any(re.fullmatch(r"sentencepiece==[\d.]+", need) for need in needs)

    import sentencepiece

    old = tmp_path / "old"
    shutil.copytree(model, old)
    (old / "tokenizer.json").unlink()
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(f"Question {n}? Answer {n}. What is this?" for n in range(200)), encoding="utf-8")
    with contextlib.chdir(tmp_path):
        sentencepiece.SentencePieceTrainer.train(
            input=lines.name, model_prefix="tokenizer", vocab_size=60, model_type="bpe", byte_fallback=False,
            user_defined_symbols="<|im_start|>,<|im_end|>", pad_id=3, minloglevel=2,
        )  # fmt: skip
    shutil.copy(tmp_path / "tokenizer.model", old)
    settings = '{"tokenizer_class": "LlamaTokenizer", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}'
    (old / "tokenizer_config.json").write_text(settings, encoding="utf-8")
    status, said = training(model=old)
    assert status == 0, said
    assert "Question" in tokenizer_of(old).decode(fed[0][1])


def test_ordinary_templates_give_the_tokens_that_trl_makes(model: Path) -> None:
    from datasets import Dataset
    from trl import KTOTrainer

    tokenizer = tokenizer_of(model)
    table = make_table(10, system="Be kind.") + make_table(3, answer="<b>1</b>\n\n- a\n- b")
    to_tokens = ChatTokens(tokenizer, "acme/one", table)
    own = trainer_rows([to_tokens(row) for row in table], 4)
    trainer = SimpleNamespace(calculate_KL=True, desirable_weight=1, undesirable_weight=1, _tokenizer=tokenizer)
    arguments = SimpleNamespace(dataset_num_proc=None, max_length=2048, per_device_train_batch_size=4)
    theirs = KTOTrainer._prepare_dataset(trainer, Dataset.from_list(table), tokenizer, arguments, "eval")
    assert own == [{key: row[key] for key in own[0]} for row in theirs]


# --- is it better? ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It begins with random weights, and is as wide as real models are, which the learning rate is for."""
    return make_toy(tmp_path_factory.mktemp("toys") / "toy", steps=0, hidden=768, layers=1)


def likelihoods(folder: Path, table: list[tables.Row]) -> list[float]:
    """Return how likely a token of each answer is."""
    import torch

    model, tokenizer = weights_of(folder), tokenizer_of(folder)
    found = []
    for row in table:
        asked = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
        ids = tokenizer.apply_chat_template([*row["prompt"], *row["completion"]], return_dict=True)["input_ids"]
        with torch.no_grad():
            logs = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        chosen = [logs[place - 1, ids[place]].item() for place in range(len(asked), len(ids))]
        found.append(sum(chosen) / len(chosen))
    return found


def preferred(folder: Path, table: list[tables.Row]) -> float:
    """Return the share of pairs in which the good answer is likelier, counted one by one."""
    pairs = list(zip(likelihoods(folder, table), table, strict=True))
    good, bad = ([value for value, row in pairs if row["label"] is label] for label in (True, False))
    return sum(a > b for a in good for b in bad) / (len(good) * len(bad))


@pytest.mark.parametrize("lora", [False, True])
def test_as_rendered_it_teaches(lora: bool, training: Training, toy: Path, output: Path, monkeypatch: Any) -> None:
    import psutil

    chance = random.Random(1)
    table, test = make_rows(chance, 240, KNOWN, 0.1), make_rows(chance, 40, UNKNOWN)
    if lora:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10**6))
    status, said = training(table=table, test=test, model=toy, steps=0)
    assert status == 0
    before, after = preferred(toy, test), preferred(output, test)
    assert after > before + 0.2
    assert ("LoRA" in said) is lora
    match = re.search(r"test\.parquet \((\d+) rows\): .* in (\d+) % .* in (\d+) % now.*: (\d+\.\d+)", said)
    assert match and "Nothing was learned" not in said
    assert match[1] == "40" and abs(int(match[2]) - 100 * before) < 1.5 and abs(int(match[3]) - 100 * after) < 1.5
    assert float(match[4]) > 0.05
    assert not list(output.glob("adapter*"))
    code = "import sys; sys.modules['peft'] = None; from transformers import AutoModelForCausalLM as M; "
    code += "m = M.from_pretrained(sys.argv[1]); print(m.dtype, type(m).__name__)"
    if lora:  # the model stands for itself
        done = subprocess.run([sys.executable, "-c", code, str(output)], capture_output=True, text=True, timeout=120)
        assert done.stdout == "torch.float32 LlamaForCausalLM\n", done.stderr


def test_an_earlier_project_hears_that_it_learns_nothing(training: Training, toy: Path, project: Path) -> None:
    """Its setting is somebody's, so it stays; but it is said."""
    chance = random.Random(2)
    status, said = training(table=make_rows(chance, 40, KNOWN), model=toy, settings=EARLIER, steps=0)
    assert status == 0
    assert "learning_rate = 1e-06 in settings.toml" in said and "Remove that line" in said
    assert "Nothing was learned" in said and "train.parquet (40 rows)" in said
    assert (project / "settings.toml").read_text(encoding="utf-8").endswith(EARLIER)


@pytest.mark.parametrize(("value", "right"), [("true", True), ("false", True), ('"auto"', True), ('"no"', False)])
def test_lora_can_be_set(value: str, right: bool, training: Training, model: Path) -> None:
    status, said = training(settings=f"[training]\nlora = {value}\n", table=[])
    assert status == 1
    assert ("There are no rows" in said) is right
    assert ("[training] lora" in said and '"auto"' in said) is not right


@given(st.lists(st.tuples(st.integers(-3, 0), st.integers(1, 2), st.booleans()), min_size=2, max_size=30))
def test_preference_is_the_share_of_pairs(answers: list[tuple[int, int, bool]]) -> None:
    totals, counts, labels = (np.array(column) for column in zip(*answers, strict=True))
    assume(len(set(labels)) == 2)
    scores = preference.Scores(totals, counts)
    good, bad = ([total / tokens for total, tokens, label in answers if label is kind] for kind in (True, False))
    share = sum((a > b) + (a == b) / 2 for a in good for b in bad) / (len(good) * len(bad))
    assert preference.preference(scores, labels) == pytest.approx(share)
    assert preference.margin(scores, scores, labels, 0.1) == 0


# --- where ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="there it is a file of the system")
def test_a_gpu_that_torch_cannot_use(training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "nvidia-smi").write_text("#!/bin/sh\n")
    (tools / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    status, said = training()
    assert status == 0
    assert "Trained on: CPU\n" in said
    assert f"torch {torch.__version__} cannot use it" in said and "pytorch.org" in said
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # somebody wants it so
    status, said = training()
    assert status == 0 and "cannot use it" not in said


def test_a_gpu_on_windows_is_told_by_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("SYSTEMROOT", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert not inputs.has_gpu()
    (tmp_path / "System32").mkdir()
    (tmp_path / "System32" / "nvcuda.dll").touch()
    assert inputs.has_gpu()

"""Training: the weights for any votes, and two real steps on a tiny model."""

import math
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendering import TEMPLATE, render
from tiny_models import make_tiny_model
from voting import english

sys.path.insert(0, str(TEMPLATE))

import train
from kto import tables
from kto.dataset import rows
from kto.errors import UserError
from kto.settings import load as load_settings
from kto.train import inputs

__all__ = ["english"]

COUNTS = st.integers(1, 100_000)


@given(COUNTS, COUNTS)
def test_one_weight_is_raised_into_the_limits(desirable: int, undesirable: int) -> None:
    """KTO paper, equation 8."""
    weights = train.balance(desirable, undesirable)
    ratio = weights[0] * desirable / (weights[1] * undesirable)
    assert 1 - 1e-9 <= ratio <= 4 / 3 + 1e-9
    assert min(weights) == 1
    if 1 <= desirable / undesirable <= 4 / 3:
        assert weights == (1, 1)
    elif desirable < undesirable:
        assert weights[0] > 1
    else:
        assert weights[1] > 1
    # Within the limits as TRL checks them, rounded to two digits: otherwise it warns.
    lower, upper = (round(undesirable * weights[1] / desirable * bound, 2) for bound in (1, 1.33))
    below, above = (round(desirable * weights[0] / undesirable / bound, 2) for bound in (1.33, 1))
    balanced = desirable == undesirable or math.isclose(ratio, 4 / 3, rel_tol=0.01)
    assert balanced or lower <= weights[0] <= upper or below <= weights[1] <= above


def make_row(number: int, label: bool, words: int = 5, system: bool = True) -> tables.Row:
    prompt = [{"role": "user", "content": f"Question {number}? " + "word " * words}]
    if system:
        prompt.insert(0, {"role": "system", "content": "Be kind."})
    return {
        "prompt": prompt,
        "completion": [{"role": "assistant", "content": f"Answer {number}."}],
        "label": label,
        "generation_model": ["acme/one"],
        "n_votes": 2,
        "agreement": 1.0,
        "prompt_id": str(number),
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("train"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", steps=0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "rows"


def write(data: Path, table: list[tables.Row]) -> None:
    tables.write_rows(data / "train.parquet", table, rows.schema())


def run(project: Path, model: Path, data: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "train.py", "--model", str(model), "--data", str(data), *arguments]
    return subprocess.run(
        command,
        cwd=project,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


def test_two_steps(project: Path, model: Path, data: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # 13 rows: two are too long, one is left over; 7 up and 3 down remain.
    write(data, [make_row(n, n % 4 != 0, words=2000 if n in (1, 2) else 5) for n in range(13)])
    output = tmp_path / "a model"
    path = project / "settings.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("batch_size = 4 ", "batch_size = 5 "), encoding="utf-8")
    try:
        done = run(project, model, data, "--max-steps", "2", "--output", str(output))
    finally:
        path.write_text(text, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert "Rows whose prompt is too long for max_length = 2048, left out: 2" in said
    assert "Rows: 10 (thumbs up: 7, thumbs down: 3)" in said
    assert "Weights: thumbs up 1.00, thumbs down 2.02" in said
    assert said[-1] == f"The model is in {output}"
    assert "recommend" not in done.stderr + done.stdout, "TRL finds our weights right"
    assert "Warning" not in done.stderr and "Traceback" not in done.stderr

    before, after = (AutoModelForCausalLM.from_pretrained(folder) for folder in (model, output))
    assert after.dtype == torch.float32
    moved = [not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert any(moved)
    tokenizer = AutoTokenizer.from_pretrained(output)
    assert tokenizer.chat_template
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], return_tensors="pt", return_dict=True)
    assert after.generate(**ids, max_new_tokens=2).shape[1] > 0


def test_what_cannot_be_trained_on(project: Path, model: Path, data: Path) -> None:
    """Each of these is said before torch is imported, so they are quick."""
    expected = {
        "no_rows": [],
        "too_few_rows": [make_row(n, n % 2 == 0) for n in range(3)],
        "one_class": [make_row(n, True) for n in range(8)],
    }
    sentences = {
        "no_rows": "There are no rows in ",
        "too_few_rows": "There are 3 rows, fewer than one batch of 4.",
        "one_class": "Every row has the same label.",
    }
    for key, table in expected.items():
        if table:
            write(data, table)
        done = run(project, model, data)
        assert (done.returncode, done.stdout) == (1, ""), key
        assert done.stderr.startswith(sentences[key]) and done.stderr.count("\n") == 1
    (data / "train.parquet").write_text("no table")
    done = run(project, model, data)
    assert done.returncode == 1 and "cannot be read" in done.stderr and done.stderr.count("\n") == 1
    done = run(project, model, data, "--max-steps", "none")
    assert done.returncode == 1 and done.stderr.startswith("none is not a number of steps.")
    done = run(project, model, data, "--help")
    assert done.returncode == 0 and "--max-steps" in done.stdout


def test_models_that_do_not_do(project: Path, model: Path, data: Path, tmp_path: Path, english: None) -> None:
    write(data, [make_row(n, n % 2 == 0) for n in range(8)])
    without = make_tiny_model(tmp_path / "without", steps=0)
    (without / "chat_template.jinja").unlink()
    done = run(project, without, data)
    assert (done.returncode, done.stderr) == (1, f"The model {without} has no chat template. Use an instruct model.\n")
    (without / "chat_template.jinja").write_text("{{ raise_exception('System role not supported') }}")
    with pytest.raises(UserError, match="System role not supported"):
        train.ChatTokens(inputs.load_tokenizer(str(without), "acme/one"), "acme/one", [make_row(0, True)])
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nowhere", tmp_path / "empty", data):
        with pytest.raises(UserError, match="cannot be loaded"):
            inputs.load_tokenizer(str(folder), "acme/one")


def test_every_prompt_is_too_long(model: Path, data: Path, project: Path, english: None, capsys: Any) -> None:
    write(data, [make_row(n, n % 2 == 0, words=2000) for n in range(8)])
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match="There are 0 rows"):
        patch.setattr(train, "load", lambda: load_settings(project))
        train.main(["--model", str(model), "--data", str(data)])
    assert "left out: 8" in capsys.readouterr().out


def test_the_environment_is_described_at_the_end() -> None:
    text = (TEMPLATE / "train.py").read_text(encoding="utf-8")
    block = re.search(r"(?m)^# /// script\n((?:#.*\n)+)# ///\n\Z", text)
    assert block, "the block is the last thing in the file"
    content = tomllib.loads(re.sub(r"(?m)^# ?", "", block[1]))
    names = {requirement.split("==")[0] for requirement in content["dependencies"]}
    trainer = {"torch", "transformers", "trl", "datasets", "accelerate", "peft", "psutil", "sentencepiece"}
    trainer |= {"pydantic", "python-dotenv"}  # settings and .env
    assert names == trainer | {"pyyaml"}
    assert all(re.fullmatch(r"[a-z0-9.-]+==[\w.]+", pin) for pin in content["dependencies"])
    assert content["tool"]["uv"] == {"exclude-newer": content["tool"]["uv"]["exclude-newer"]}, "the pins are elsewhere"

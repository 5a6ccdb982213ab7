"""Those that are measured: generate.py in a project of its own, and other ways to ask the same of the same server."""

import argparse
import contextlib
import dataclasses
import http.client
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import workload
from measuring import Run, measure

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "parts"))
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # whatever is left in the template folder would be rendered
sys.dont_write_bytecode = True

from generating import environment, use, write_prompts  # noqa: E402
from rendering import render  # noqa: E402

Answers = dict[str, list[str | None]]  # by prompt, in the order of the models; None is a gap


@dataclasses.dataclass(frozen=True)
class Result:
    """A command from start to exit, what the server counted meanwhile, and how many answers are what they must be."""

    run: Run
    stats: Mapping[str, Any]
    right: int  # answers that are word by word what the server said to that prompt, and gaps where it said nothing

    @property
    def start(self) -> float | None:
        """Seconds from the start of the process to its first request."""
        first = self.stats["first_request"]
        return None if first is None else first - self.run.began

    @property
    def account(self) -> str:
        """What must hold before the time of a run means anything."""
        return account(self.run.status, self.right, self.stats["statuses"])


def account(status: int, right: int, replies: Mapping[str, int]) -> str:
    """Say what came of a run: exit status, right answers, and the server's replies by status."""
    counts = ", ".join(f"{number:,} × {code}" for code, number in sorted(replies.items()) if number)
    return f"exit {status}; {right:,} right; replies: {counts or 'none'}"


class Contestants:
    """Runs them, each against a fresh server, all with the same models and as many requests in flight."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder, self.project = options, folder, folder / "project"
        self.models = [f"bench/model-{chr(ord('a') + number)}" for number in range(options.models)]
        self._rendered = render(folder, language="nl", inference="openai-compatible", models=", ".join(self.models))
        use(self._rendered, "generation", concurrency=options.in_flight, prompts="prompts/mine.jsonl")
        said = measure([sys.executable, str(self._rendered / "generate.py"), "--help"], environment(), folder)
        self._arguments = ["--yes"] if "--yes" in said.output else []  # nobody is there to agree
        settings = tomllib.loads((self._rendered / "settings.toml").read_text(encoding="utf-8"))
        self.attempts: int = settings["generation"]["max_attempts"]

    def ours(self, prompts: Sequence[str], again: bool = False, **server: float) -> Result:
        """Run generate.py in a project without answers, or `again` in the project as the latest run left it."""
        if not again:
            shutil.rmtree(self.project, ignore_errors=True)
            shutil.copytree(self._rendered, self.project)
            write_prompts(self.project, list(prompts))
        command = [sys.executable, str(self.project / "generate.py"), *self._arguments, "--base-url"]
        return self._measure("generate.py", command, [], prompts, self.table, **server)

    def other(self, script: str, prompts: Sequence[str]) -> Result:
        """Run another way to ask, a script of this folder."""
        given, output = self.folder / "prompts.jsonl", self.folder / "answers.jsonl"
        output.unlink(missing_ok=True)
        rows = (json.dumps({"prompt": prompt}, ensure_ascii=False) + "\n" for prompt in prompts)
        given.write_text("".join(rows), encoding="utf-8")
        after = [str(given), str(output), *self.models, "--in-flight", str(self.options.in_flight)]
        command = [sys.executable, str(HERE / script)]
        return self._measure(script, command, after, prompts, lambda: _jsonl(output, self.models))

    def table(self) -> Answers:
        """Return the answers in the project's table; one whose cleaned text is another than the raw one is none."""
        columns = ["input", "raw_generation_responses", "generations"]
        read = pq.read_table(self.project / "data" / "generations" / "train.parquet", columns=columns)
        rows = zip(*(read.column(name).to_pylist() for name in columns), strict=True)
        return {
            prompt: [one if one == other else "" for one, other in zip(raw, cleaned, strict=True)]
            for prompt, raw, cleaned in rows
        }

    def _measure(
        self,
        name: str,
        before: Sequence[str],
        after: Sequence[str],
        prompts: Sequence[str],
        answers: Callable[[], Answers],
        **server: float,
    ) -> Result:
        """Run a command with the server's address between `before` and `after`, then look at its answers."""
        with _serving(self.models, **({"latency": self.options.latency} | server)) as address:
            command = [*before, f"http://{address}/v1", *after]
            run = measure(command, environment({"NO_PROXY": "*", "no_proxy": "*"}), self.folder)
            stats = _stats(address)
        try:
            found = answers()
        except OSError:  # there are none
            found = {}
        failing = server.get("failing", 0.0)
        right = sum(
            said == (None if workload.fails(prompt, failing) else workload.answer(model, prompt))
            for prompt in prompts
            for model, said in zip(self.models, found.get(prompt, ()), strict=False)
        )
        result = Result(run, stats, right)
        print(f"{name}, {len(prompts):,} prompts: {run.seconds:.1f} s; {result.account}", file=sys.stderr)
        if run.status or right < len(prompts) * len(self.models):
            print(run.output[-2000:], file=sys.stderr)
        return result


def _jsonl(path: Path, models: Sequence[str]) -> Answers:
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return {row["prompt"]: [row["answers"].get(model) for model in models] for row in rows}


@contextlib.contextmanager
def _serving(models: Sequence[str], **settings: float) -> Iterator[str]:
    """Run a model server while the block runs; yield its host and port."""
    options = [f"--{name}={value}" for name, value in settings.items()]
    command = [sys.executable, str(HERE / "model_server.py"), *models, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip().removeprefix("http://")
        finally:
            server.kill()


def _stats(address: str) -> dict[str, Any]:
    """Return what the server has counted."""
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", "/stats")
    found: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return found

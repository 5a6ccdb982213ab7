"""The language gate in a process of its own, so that requests do not wait while languages are identified."""

import asyncio
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence

from kto.ask.batches import batches, deliver
from kto.ask.language_gate import UNCHECKED, Gate, Judgement
from kto.texts import ROOT

_BATCH = 100  # answers that are sent over at a time

_Waiting = tuple[str, str, "asyncio.Future[Judgement]"]


class Judge:
    """Judges answers for one language; the process starts at once, and ends with this one.

    Parameters
    ----------
    tag, script
        As `kto.ask.language_gate.Gate` takes them; the gate must support them.
    """

    def __init__(self, tag: str, script: str) -> None:
        self.gate = Gate(tag, script)
        environment = {**os.environ, "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        # It reads until its input ends, which happens also if we are killed.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kto.ask.judging", tag, script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env=environment,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for us alone
        )
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    async def judge(self, answer: str, prompt: str) -> Judgement:
        """Judge an answer to a prompt."""
        future: asyncio.Future[Judgement] = asyncio.get_running_loop().create_future()
        self._queue.put((answer, prompt, future))
        return await future

    def close(self) -> None:
        """End the process."""
        self._queue.put(None)
        self._thread.join()
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _work(self) -> None:
        for waiting in batches(self._queue, _BATCH):
            if not waiting:
                continue
            judgements = self._ask([(answer, prompt) for answer, prompt, _ in waiting])
            deliver(zip((future for _, _, future in waiting), judgements, strict=True))

    def _ask(self, answers: Sequence[tuple[str, str]]) -> list[Judgement]:
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(answers) + "\n")
            self._process.stdin.flush()
            judgements = [Judgement(*each) for each in json.loads(self._process.stdout.readline())]
            if len(judgements) == len(answers):
                return judgements
        except (OSError, ValueError, TypeError):  # somebody killed it
            pass
        self._process.kill()  # whatever it says from now on may belong to something else
        return [_judge(self.gate, answer, prompt) for answer, prompt in answers]


def _judge(gate: Gate, answer: str, prompt: str) -> Judgement:
    try:
        return gate.judge(answer, prompt)
    except Exception:  # a text that breaks the gate must not keep the others waiting
        return UNCHECKED


def main(tag: str, script: str) -> None:
    """Judge lines of JSON, each a list of answers with their prompts, until there are no more."""
    gate = Gate(tag, script)
    gate.judge("x " * 40)  # loads what it needs
    for line in sys.stdin:
        print(json.dumps([_judge(gate, answer, prompt) for answer, prompt in json.loads(line)]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

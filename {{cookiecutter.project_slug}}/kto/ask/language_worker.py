"""The language gate in a process of its own, so that requests do not wait while languages are identified."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence

from kto.ask.batches import Batched
from kto.ask.language import UNCHECKED, Gate, LanguageCheck
from kto.texts import ROOT

_BATCH = 100  # answers per message to the process


class LanguageWorker:
    """Checks answers for one language that the gate supports; the process starts at once, and ends with this one."""

    def __init__(self, tag: str, script: str) -> None:
        self.gate = Gate(tag, script)
        # It reads until its input ends, which happens also if this process is killed.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kto.ask.language_worker", tag, script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C does not reach it
        )
        self._batched = Batched(self._ask, _BATCH)

    async def check(self, answer: str, prompt: str) -> LanguageCheck:
        """Check the language of an answer to a prompt."""
        return await self._batched((answer, prompt))

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._process.communicate()

    def _ask(self, answers: Sequence[tuple[str, str]]) -> list[LanguageCheck]:
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(OSError, ValueError, TypeError):  # somebody killed it
            self._process.stdin.write(json.dumps(answers) + "\n")
            self._process.stdin.flush()
            checks = [LanguageCheck(*values) for values in json.loads(self._process.stdout.readline())]
            if len(checks) == len(answers):
                return checks
        self._process.kill()  # its next output may belong to other answers
        return [_check(self.gate, answer, prompt) for answer, prompt in answers]


def _check(gate: Gate, answer: str, prompt: str) -> LanguageCheck:
    try:
        return gate.check(answer, prompt)
    except Exception:  # a text that breaks the gate must not hold up the others
        return UNCHECKED


def main(tag: str, script: str) -> None:
    """Check lines of JSON, each a list of answers with their prompts, until the input ends."""
    gate = Gate(tag, script)
    gate.check("x " * 40)  # loads the identifier
    for line in sys.stdin:
        print(json.dumps([_check(gate, answer, prompt) for answer, prompt in json.loads(line)]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

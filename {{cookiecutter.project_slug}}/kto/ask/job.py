"""Run generate.py on a machine of the Hub, for those without one that can stay on. This file travels there alone.

    hf jobs uv run --secrets HF_TOKEN --timeout 6h -v hf://buckets/OWNER/NAME:/answers \
        kto/ask/job.py GIT_URL /answers [options of generate.py]

The disk of that machine is gone when the job ends, so the answers are kept in a bucket that is mounted there (make one
with `hf buckets create NAME`). SQLite needs a real disk: a copy of the store goes to the bucket every minute, and at
the end. The next job goes on from that copy; a job that is killed loses the answers of one minute at most.
"""

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EVERY = 60.0  # seconds between two copies


def save(project: Path, bucket: Path) -> bool:
    """Copy store and table to the bucket, each whole or not at all; False if the bucket is away for a while."""
    store, copy, table = (project / "data" / name for name in ("answers.sqlite", "copy.sqlite", "generations"))
    try:
        if store.exists():
            copy.unlink(missing_ok=True)
            # A backup is one moment of the store, also while answers arrive (SQLite's online backup).
            with contextlib.closing(sqlite3.connect(store)) as source, contextlib.closing(sqlite3.connect(copy)) as to:
                source.backup(to)
            _replace(copy, bucket / store.name)
        for file in (table / "train.parquet", table / "gaps.jsonl"):
            if file.exists():
                _replace(file, bucket / "generations" / file.name)
            elif table.exists():
                (bucket / "generations" / file.name).unlink(missing_ok=True)  # no answer is missing any more
    except (OSError, sqlite3.Error) as error:
        print(f"Not copied to {bucket} this time: {error}", file=sys.stderr, flush=True)
        return False
    return True


def _replace(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, place.with_name(f"{place.name}.new")).replace(place)


def main(argv: list[str]) -> int:
    """Clone the project, take over the answers in the bucket, ask for the rest; return generate.py's exit status."""
    if len(argv) < 2 or argv[0].startswith("-"):
        sys.exit(__doc__)
    url, bucket, options = argv[0], Path(argv[1]), argv[2:]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        project = Path(folder) / "project"
        status = subprocess.call(["git", "clone", "--quiet", "--depth", "1", url, str(project)])
        if status:  # git has said why; a traceback would repeat the address, perhaps with a token in it
            return status
        if (bucket / "answers.sqlite").exists():
            (project / "data").mkdir(exist_ok=True)
            shutil.copyfile(bucket / "answers.sqlite", project / "data" / "answers.sqlite")
        python = ["uv", "run"] if shutil.which("uv") else [sys.executable]
        with subprocess.Popen([*python, "generate.py", "--yes", *options], cwd=project) as run:
            signal.signal(signal.SIGTERM, lambda *_: run.terminate())  # the job is stopped, or its time is over
            while True:
                try:
                    status = run.wait(EVERY)
                    break
                except subprocess.TimeoutExpired:
                    save(project, bucket)
        for _ in range(10):
            if save(project, bucket):
                return status
            time.sleep(EVERY / 10)
    return status or 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

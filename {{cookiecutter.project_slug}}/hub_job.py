"""Run generate.py on a machine of the Hub, for those without one that can stay on.

    hf jobs uv run --secrets HF_TOKEN --timeout 6h -v hf://buckets/OWNER/NAME:/answers \
        hub_job.py GIT_URL /answers [options of generate.py]

The machine's disk is gone when the job ends, so the answers are kept in a bucket that is mounted there (make one with
`hf buckets create NAME`). SQLite needs a real disk: it works on the machine's own, and a copy of it goes to the bucket
every minute, and at the end. The next job goes on from that copy; what a job that is killed has not copied yet, the
answers of one minute at most, is asked for again.
"""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

EVERY = float(os.environ.get("KTO_COPY_EVERY", "60"))
"""Seconds between two copies."""
_LAST_TRIES = 10


def save(project: Path, bucket: Path) -> None:
    """Copy the answer store and the table to the bucket; a copy takes its place there only when it is whole."""
    store = project / "data" / "answers.sqlite"
    if store.exists():
        whole = project / "data" / "copy.sqlite"
        whole.unlink(missing_ok=True)
        # A backup is one moment of the store, also while answers arrive (SQLite's online backup).
        with contextlib.closing(sqlite3.connect(store)) as source, contextlib.closing(sqlite3.connect(whole)) as copy:
            source.backup(copy)
        _replace(whole, bucket / "answers.sqlite")
    for name in ("train.parquet", "gaps.jsonl"):
        file, place = project / "data" / "generations" / name, bucket / "generations" / name
        if file.exists():
            _replace(file, place)
        elif (project / "data" / "generations").exists():
            place.unlink(missing_ok=True)  # no gaps any more


def _try_to_save(project: Path, bucket: Path) -> bool:
    try:
        save(project, bucket)
    except (OSError, sqlite3.Error) as error:  # a mounted bucket may be away for a while
        print(f"Not copied to {bucket} this time: {error}", file=sys.stderr, flush=True)
        return False
    return True


def _replace(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_name(place.name + ".new")
    shutil.copyfile(file, new)
    new.replace(place)


def main(url: str, bucket: Path, options: list[str]) -> int:
    """Clone the project, take over the answers in the bucket, ask for the rest; return generate.py's exit status."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        project = Path(name) / "project"
        cloned = subprocess.run(["git", "clone", "--quiet", "--depth", "1", url, str(project)], check=False)
        if cloned.returncode:  # git has said why; a traceback would repeat the address, perhaps with a token in it
            return cloned.returncode
        if (bucket / "answers.sqlite").exists():
            (project / "data").mkdir(exist_ok=True)
            shutil.copyfile(bucket / "answers.sqlite", project / "data" / "answers.sqlite")
        command = [*os.environ.get("KTO_RUN", "uv run").split(), "generate.py", "--yes", *options]
        ended = threading.Event()
        with subprocess.Popen(command, cwd=project) as run:
            signal.signal(signal.SIGTERM, lambda *_: run.terminate())  # the job is stopped, or its time is over

            def copy_now_and_then() -> None:
                while not ended.wait(EVERY):
                    _try_to_save(project, bucket)

            copying = threading.Thread(target=copy_now_and_then, daemon=True)
            copying.start()
            status = run.wait()
        ended.set()
        copying.join()
        for _ in range(_LAST_TRIES):
            if _try_to_save(project, bucket):
                break
            time.sleep(EVERY / 10)
        else:
            status = status or 1
    return status


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))

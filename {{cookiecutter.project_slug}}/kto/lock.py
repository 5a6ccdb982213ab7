"""One run at a time: two at once would ask, and pay, for the same answers."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from kto.errors import UserError


class AlreadyRunning(UserError):
    """Another run holds the lock."""


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a lock while the block runs; the system gives it back also if this process is killed.

    Raises
    ------
    AlreadyRunning
        Another run holds it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=0)
        lock.acquire()
    except Timeout:
        raise AlreadyRunning("already_running") from None
    except (OSError, NotImplementedError) as error:  # some network drives know no locks
        raise UserError("cannot_write", path=path, reason=error) from None
    try:
        yield
    finally:
        lock.release()

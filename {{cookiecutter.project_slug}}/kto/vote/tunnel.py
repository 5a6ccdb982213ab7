"""A tunnel: a program that is installed here gives the voting page a public https address.

Found, never fetched. It connects to a listener of its own, behind which there is no Argilla.
"""

import contextlib
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from kto import processes
from kto.errors import UserError


class _Program(NamedTuple):
    arguments: tuple[str, ...]
    address: re.Pattern[str]  # in what it prints


PROGRAMS = {
    # Cloudflare's quick tunnels, without an account; another address at each start. "api." is in its error messages.
    "cloudflared": _Program(
        ("tunnel", "--no-autoupdate", "--url", "http://127.0.0.1:{port}"),
        re.compile(r"https://(?!api\.)[a-z0-9-]+\.trycloudflare\.com\b"),
    ),
    # With an account, always the same address.
    "tailscale": _Program(("funnel", "{port}"), re.compile(r"https://[a-z0-9.-]+\.ts\.net\b")),
    "ngrok": _Program(
        ("http", "127.0.0.1:{port}", "--log=stdout", "--log-format=logfmt"), re.compile(r"\burl=(https://[^\s\"]+)")
    ),
}
_POLL = 0.2  # seconds between two looks at what the program printed


def find() -> str:
    """Return the path of an installed tunnel program; raise `UserError` if there is none."""
    for name in PROGRAMS:
        if path := shutil.which(name):
            return path
    raise UserError("no_tunnel")


@contextlib.contextmanager
def running(
    program: str, port: int, log: Path, opened: Callable[[str], None], ended: Callable[[str], None]
) -> Iterator[None]:
    """Run a tunnel to a port of this machine while the block runs; it ends with this process, however that ends.

    In a thread, `opened` is called with the address once it is known, and `ended` with the last line that the program
    printed if it ends by itself.
    """
    tunnel = PROGRAMS[Path(program).stem]
    command = [program, *(argument.format(port=port) for argument in tunnel.arguments)]
    is_over = threading.Event()

    def watch() -> None:
        address = None
        while not is_over.wait(_POLL):
            status = watcher.poll()
            if address is None:
                address = tunnel.address.search(log.read_text(encoding="utf-8", errors="replace"))
                if address:
                    opened(address[address.lastindex or 0].rstrip("/"))
            if status is not None:
                return None if is_over.is_set() else ended(processes.last_line(log))
        return None

    with processes.running(command, log=log, cwd=log.parent) as watcher:
        thread = threading.Thread(target=watch, name="tunnel", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

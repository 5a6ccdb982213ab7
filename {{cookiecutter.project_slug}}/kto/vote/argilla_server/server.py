"""Argilla on this machine: the real server and its web page, with nothing but SQLite underneath.

`vote.py` starts it. Alone: `uv run kto/vote/argilla_server/server.py`, with the environment at the end of this file.
"""

import argparse
import asyncio
import contextlib
import functools
import importlib.util
import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
# ruff: noqa: E402 - started alone, this file says first where the project is

from kto import dotenv
from kto.command_line import Parser, run
from kto.errors import UserError
from kto.settings import load
from kto.texts import t
from kto.vote.addresses import addresses, is_loopback, listen, read_port
from kto.vote.argilla_server import home as homes
from kto.vote.argilla_server import page
from kto.vote.overlap import Overlap, overlap_of

PAGE = Path(".argilla-page")  # Argilla's copy of its web page, in the home


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line.

    With `--attached` the server belongs to the command that started it, and ends with it; `--address` is then what
    `.env` gets in place of the server's own address.
    """
    parser = Parser(t("server.help"))
    parser.add_argument("--home", type=Path, default=ROOT / ".argilla", metavar="DIR", help=t("server.help_home"))
    parser.add_argument("--port", default="6900", help=t("server.help_port"))
    parser.add_argument("--host", default="127.0.0.1", help=t("server.help_host"))
    parser.add_argument("--attached", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.home, options.port = options.home.resolve(), read_port(options.port)
    return options


def configure(home: Path, credentials: dict[str, str]) -> None:
    """Set the environment that `argilla_server` reads when it is imported."""
    for name in [name for name in os.environ if name.upper().startswith("ARGILLA_")]:
        del os.environ[name]
    os.environ |= {
        "ARGILLA_HOME_PATH": str(home),
        # Relative to the home, so that no letter in the name of a folder can break the address.
        "ARGILLA_DATABASE_URL": "sqlite+aiosqlite:///argilla.db?check_same_thread=False",
        "ARGILLA_DATABASE_SQLITE_TIMEOUT": "30",  # seconds that a vote waits for others to be written
        "ARGILLA_SEARCH_ENGINE": "embedded",
        "ARGILLA_AUTH_SECRET_KEY": credentials["auth_secret"],
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    os.chdir(home)
    # Argilla copies its web page at every start and leaves the copy behind.
    shutil.rmtree(PAGE, ignore_errors=True)
    PAGE.mkdir(exist_ok=True)
    tempfile.tempdir = str(home / PAGE)
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")


def import_argilla(overlap: Overlap) -> Any:
    """Import `argilla_server` with our jobs, search and overlap, closed where it is not blind; return its app."""
    from kto.vote.argilla_server import jobs

    jobs.install()
    from argilla_server import app
    from argilla_server.database import AsyncSessionLocal
    from argilla_server.settings import settings
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    from kto.vote.argilla_server import blind, search, third_vote  # noqa: F401  search registers itself

    blind.close(app)
    third_vote.install(overlap)

    # A connection per session: a request that searches holds two, and jobs use theirs in an event loop of their own.
    engine = create_async_engine(settings.database_url, poolclass=NullPool, **settings.database_engine_args)
    AsyncSessionLocal.configure(bind=engine)
    return app


def fill_dotenv(url: str, api_key: str, say: Callable[[str], None]) -> None:
    """Write address and key into `.env`, unless those of an Argilla elsewhere are there."""
    path = ROOT / ".env"
    try:
        before = dotenv.read(path)
        old_url, old_key = before.get("ARGILLA_API_URL", ""), before.get("ARGILLA_API_KEY", "")
        if old_key not in ("", api_key) and urlsplit(old_url).hostname not in (None, "127.0.0.1", "localhost", "::1"):
            say(t("server.dotenv_kept", url=old_url))
        elif (old_url, old_key) != (url, api_key):
            dotenv.update(path, {"ARGILLA_API_URL": url, "ARGILLA_API_KEY": api_key})
    except OSError as error:
        raise UserError("dotenv", path=path, reason=error) from None


class Parent:
    """The command that started an attached server: when it ends, in whatever way, this process does, too."""

    def __init__(self) -> None:
        self.server: Any = None  # uvicorn's, once there is one to shut down
        self.working = threading.Lock()  # held while the database is changed, which is not broken off

    def watch(self) -> None:
        """Wait, in a thread, until standard input closes."""

        def wait() -> None:
            while os.read(0, 1024):
                pass
            with self.working:
                if self.server is None:
                    os._exit(1)
                self.server.should_exit = True

        threading.Thread(target=wait, daemon=True).start()


def serve(app: Any, listener: socket.socket, announce: Callable[[], None], parent: Parent) -> int:
    """Answer requests until Ctrl-C or until the parent is gone; `announce` is called when the first one can come."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                announce()

        def handle_exit(self, *_: Any) -> None:
            # `uv run` passes Ctrl-C on that has reached us already; uvicorn would break off at the second one.
            self.should_exit = True

    server = Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=3))
    with parent.working:
        parent.server = server
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what uvicorn puts back when it ends: nothing disturbs tidying up
    server.run(sockets=[listener])
    return 0 if server.started else 1


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    home = options.home
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a server that nobody sees any more would keep its port
    parent = Parent()
    if options.attached:
        parent.watch()
    if importlib.util.find_spec("argilla_server") is None:
        raise UserError("no_argilla_server")
    # An attached server's standard output is for its parent, which reads one line of JSON there and says the rest.
    say = functools.partial(print, file=sys.stderr if options.attached else sys.stdout, flush=True)
    wait = 20 if options.attached else 0  # the one of a killed parent may still be ending
    with homes.only_server_of(home, wait=wait), listen(options.host, options.port) as listener:
        if not options.attached:
            say(t("server.starting"))
        homes.keep_private(home, ROOT)
        credentials, fresh = homes.load_credentials(home)
        if not is_loopback(listener.getsockname()[0]):
            homes.refuse_weak(credentials, home)
        configure(home, credentials)
        language, overlap = "", Overlap(flags=())
        with contextlib.suppress(UserError):  # without settings people can vote all the same
            config = load(ROOT)
            language, overlap = config.language.tag, overlap_of(config.annotation)
        app = import_argilla(overlap)
        page.clean(home / PAGE, language)
        page.add_headers(app, page.policy(home / PAGE))
        with parent.working:
            homes.prepare_database(home, overlap)
            asyncio.run(homes.ensure_owner(credentials))
        url, others = addresses(options.host, listener)
        fill_dotenv(options.address or url, credentials["api_key"], say)

        def announce() -> None:
            if options.attached:
                print(json.dumps({"url": url, "key": credentials["api_key"]}), flush=True)
                return
            say(t("server.ready", url=url))
            for address in others:
                say(t("server.others", url=address))
            if others:
                say(t("server.unencrypted"))
            if fresh:
                say(t("server.login", username=credentials["username"], password=credentials["password"]))
            say(t("server.credentials", path=home / "credentials.json"))
            say(t("server.stop"))

        from argilla_server.jobs.queues import DEFAULT_QUEUE, HIGH_QUEUE

        try:
            return serve(app, listener, announce, parent)
        finally:
            for queue in (DEFAULT_QUEUE, HIGH_QUEUE):
                queue.finish(seconds=5)
            shutil.rmtree(PAGE, ignore_errors=True)


if __name__ == "__main__":
    run(main)

# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = [
#     "argilla-server==2.8.0",
#     "click==8.1.8", # the last one that its typer can use
#     "fakeredis==2.40.0",
#     "pydantic==2.9.2", # the one that argilla-server pins
#     "python-dotenv==1.2.4",
#     "pyyaml==6.0.3",
# ]
#
# [tool.uv]
# exclude-newer = "2026-11-19T00:00:00Z"
# ///

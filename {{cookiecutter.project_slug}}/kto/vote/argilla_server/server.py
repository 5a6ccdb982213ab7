"""Argilla on this machine: the real server and its web page, with nothing but SQLite underneath.

Start it with `uv run kto/vote/argilla_server/server.py`; the environment that this needs is at the end of the file.
"""

import asyncio
import importlib.util
import ipaddress
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

try:
    from kto import dotenv
    from kto.command_line import Parser, run
    from kto.errors import UserError
    from kto.settings import load
    from kto.texts import t
    from kto.vote.argilla_server.home import (
        ensure_owner,
        keep_private,
        load_credentials,
        only_server_of,
        prepare_database,
        repair_statuses,
    )
    from kto.vote.argilla_server.page import SafeHeaders, clean, policy
except ModuleNotFoundError as missing:  # without PyYAML there are no texts, so this sentence alone is English
    sys.exit(f"The package {missing.name} is not installed here. Start with: uv run kto/vote/argilla_server/server.py")


PAGE = Path(".argilla-page")  # Argilla's copy of its web page, in the home


def parse(argv: list[str] | None) -> tuple[Path, int, str]:
    """Read the command line: home, port, host."""
    parser = Parser(t("server.help"))
    parser.add_argument("--home", type=Path, default=ROOT / ".argilla", metavar="DIR", help=t("server.help_home"))
    parser.add_argument("--port", default="6900", help=t("server.help_port"))
    parser.add_argument("--host", default="127.0.0.1", help=t("server.help_host"))
    options = parser.parse_args(argv)
    if not options.port.isascii() or not options.port.isdigit() or int(options.port) > 65535:
        raise UserError("bad_port", port=options.port)
    return options.home.resolve(), int(options.port), options.host


def language_tag() -> str:
    """Return the tag of the community's language, "" if the settings cannot be read: people can vote all the same."""
    try:
        return load(ROOT).language.tag
    except UserError:
        return ""


def listen(host: str, port: int) -> socket.socket:
    """Open the port before anything slow happens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # With both families :: is every interface, as 0.0.0.0 and nothing are.
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=both)
    except (OSError, UnicodeError) as error:
        raise UserError("port_taken", host=host, port=port, reason=error) from None


def configure(home: Path, credentials: dict[str, str]) -> None:
    """Set everything that `argilla_server` reads from the environment when it is imported."""
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


def import_argilla() -> Any:
    """Import `argilla_server` with our jobs and search, closed where it is not blind, and return its application."""
    from kto.vote.argilla_server import jobs

    jobs.install()
    app = importlib.import_module("argilla_server").app
    from argilla_server.database import AsyncSessionLocal
    from argilla_server.settings import settings
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    import kto.vote.argilla_server.search  # noqa: F401  registers itself
    from kto.vote.argilla_server import blind

    blind.close(app)

    # A connection per session: a request that searches holds two, and jobs use theirs in an event loop of their own.
    engine = create_async_engine(settings.database_url, poolclass=NullPool, **settings.database_engine_args)
    AsyncSessionLocal.configure(bind=engine)
    return app


def addresses(host: str, listener: socket.socket) -> tuple[str, list[str]]:
    """Return the address for this machine and those for others in the network."""
    bound, port = listener.getsockname()[:2]
    if not ipaddress.ip_address(bound).is_unspecified:
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        return url, [] if ipaddress.ip_address(bound).is_loopback else [url]
    import psutil

    up = [name for name, state in psutil.net_if_stats().items() if state.isup]
    found = [each for name in up for each in psutil.net_if_addrs().get(name, []) if each.family == socket.AF_INET]
    others = [each.address for each in found if not each.address.startswith("127.")]
    return f"http://127.0.0.1:{port}", [f"http://{each}:{port}" for each in others]


def fill_dotenv(url: str, api_key: str) -> None:
    """Write where Argilla is into `.env`, unless an Argilla elsewhere stands there."""
    path = ROOT / ".env"
    try:
        before = dotenv.read(path)
        old_url, old_key = before.get("ARGILLA_API_URL", ""), before.get("ARGILLA_API_KEY", "")
        if old_key in ("", api_key) or urlsplit(old_url).hostname in (None, "127.0.0.1", "localhost", "::1"):
            if (old_url, old_key) != (url, api_key):
                dotenv.update(path, {"ARGILLA_API_URL": url, "ARGILLA_API_KEY": api_key})
        else:
            print(t("server.dotenv_kept", url=old_url))
    except OSError as error:
        raise UserError("dotenv", path=path, reason=error) from None


def serve(app: Any, listener: socket.socket, announce: Callable[[], None]) -> int:
    """Answer requests until Ctrl-C; call `announce` when the first one can come."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                announce()

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            # `uv run` passes Ctrl-C on that has reached us already; uvicorn would break off at the second one.
            self.should_exit = True

    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=3)
    server = Server(config)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what uvicorn puts back when it ends: nothing disturbs tidying up
    server.run(sockets=[listener])
    return 0 if server.started else 1


def main(argv: list[str] | None = None) -> int:
    home, port, host = parse(argv)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a server that nobody sees any more would keep its port
    if importlib.util.find_spec("argilla_server") is None:
        raise UserError("no_argilla_server")
    with only_server_of(home), listen(host, port) as listener:
        print(t("server.starting"), flush=True)
        keep_private(home, ROOT)
        credentials, fresh = load_credentials(home)
        configure(home, credentials)
        app = import_argilla()
        clean(home / PAGE, language_tag())
        prepare_database(home)
        repair_statuses(home)
        asyncio.run(ensure_owner(credentials))
        url, others = addresses(host, listener)
        fill_dotenv(url, credentials["api_key"])

        def announce() -> None:
            print(t("server.ready", url=url))
            for each in others:
                print(t("server.others", url=each))
            if others:
                print(t("server.unencrypted"))
            if fresh:
                print(t("server.login", username=credentials["username"], password=credentials["password"]))
            print(t("server.credentials", path=home / "credentials.json"))
            print(t("server.stop"), flush=True)

        from kto.vote.argilla_server import jobs

        try:
            return serve(SafeHeaders(app, policy(home / PAGE)), listener, announce)
        finally:
            jobs.finish(seconds=5)
            shutil.rmtree(PAGE, ignore_errors=True)


if __name__ == "__main__":
    run(main)


# The environment that `uv run` makes for this script: what it needs, and the exact version of all that comes with it.
#
# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["argilla-server==2.8.0", "click<8.2", "fakeredis", "pydantic", "python-dotenv", "pyyaml"]
#
# [tool.uv]
# constraint-dependencies = [
#     "aiofiles==24.1.0",
#     "aiohappyeyeballs==2.7.1",
#     "aiohttp==3.14.5",
#     "aiosignal==1.4.0",
#     "aiosqlite==0.20.0",
#     "alembic==1.13.3",
#     "annotated-types==0.8.0",
#     "anyio==4.16.0",
#     "argilla-server==2.8.0",
#     "async-timeout==5.0.1 ; python_full_version < '3.11.3'",
#     "attrs==26.1.0",
#     "backoff==2.2.1",
#     "bcrypt==4.2.1",
#     "brotli==1.2.1",
#     "brotli-asgi==1.4.0",
#     "certifi==2026.10.18",
#     "cffi==2.1.1 ; platform_python_implementation != 'PyPy'",
#     "charset-normalizer==3.5.2",
#     "click==8.1.8",
#     "colorama==0.4.6 ; sys_platform == 'win32'",
#     "cryptography==50.0.2",
#     "datasets==5.0.1",
#     "defusedxml==0.7.1",
#     "dill==0.4.1",
#     "ecdsa==0.19.2",
#     "elastic-transport==8.19.0",
#     "elasticsearch8==8.7.0",
#     "fakeredis==2.40.0",
#     "fastapi==0.115.14",
#     "filelock==4.2.11",
#     "frozenlist==1.8.0",
#     "fsspec==2026.6.0",
#     "greenlet==3.1.1",
#     "h11==0.16.0",
#     "hf-xet==1.8.0 ; platform_machine == 'AMD64' or platform_machine == 'aarch64' or platform_machine == 'amd64' or platform_machine == 'arm64' or platform_machine == 'x86_64'",
#     "httpcore==1.0.9",
#     "httptools==0.9.0",
#     "httpx==0.27.2",
#     "huggingface-hub==1.13.0",
#     "idna==3.20",
#     "jinja2==3.1.6",
#     "mako==1.4.3",
#     "markdown-it-py==4.3.0",
#     "markupsafe==3.0.4",
#     "mdurl==0.1.2",
#     "multidict==7.2.1",
#     "multiprocess==0.70.19",
#     "numpy==2.4.6 ; python_full_version < '3.12'",
#     "numpy==2.5.5 ; python_full_version >= '3.12'",
#     "oauthlib==3.2.2",
#     "opensearch-py==2.0.1",
#     "packaging==26.3",
#     "pandas==3.1.1",
#     "pillow==13.0.0",
#     "propcache==0.5.4",
#     "psutil==5.9.8",
#     "pyarrow==26.0.1",
#     "pyasn1==0.6.5",
#     "pycparser==3.12 ; implementation_name != 'PyPy' and platform_python_implementation != 'PyPy'",
#     "pydantic==2.9.2",
#     "pydantic-core==2.23.4",
#     "pydantic-settings==2.6.1",
#     "pygments==2.21.0",
#     "pyjwt==2.15.1",
#     "python-dateutil==4.0.0",
#     "python-dotenv==1.2.4",
#     "python-jose==3.3.0",
#     "python-multipart==0.0.34",
#     "python3-openid==3.2.0",
#     "pyyaml==6.0.3",
#     "redis==8.1.0",
#     "requests==2.34.2",
#     "requests-oauthlib==2.0.0",
#     "rich==15.0.0",
#     "rq==1.16.2",
#     "rsa==4.9.1",
#     "six==1.17.0",
#     "sniffio==1.3.1",
#     "social-auth-core==4.5.6",
#     "sortedcontainers==2.4.0",
#     "sqlalchemy==2.0.58",
#     "standardwebhooks==1.1.0",
#     "starlette==0.46.2",
#     "tqdm==4.70.1",
#     "typer==0.9.4",
#     "typing-extensions==4.16.0",
#     "tzdata==2026.6",
#     "urllib3==1.26.20",
#     "uvicorn==0.32.1",
#     "uvloop==0.23.0 ; platform_python_implementation != 'PyPy' and sys_platform != 'cygwin' and sys_platform != 'win32'",
#     "watchfiles==1.3.0",
#     "websockets==17.4",
#     "xxhash==4.1.0",
#     "yarl==1.25.1",
# ]
# ///

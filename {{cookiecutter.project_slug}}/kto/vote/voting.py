"""People vote on this machine: the page owns the port, and Argilla runs behind it, until Ctrl-C."""

import argparse
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kto import open_files
from kto.errors import UserError
from kto.settings import Settings
from kto.texts import ROOT, published, t
from kto.vote import addresses, links_file, local, tunnel
from kto.vote.argilla_server import home as homes
from kto.vote.voting_server import page_files
from kto.vote.voting_server.argilla_proxy import Argilla
from kto.vote.voting_server.database import connect, make_tables
from kto.vote.voting_server.http_server import MAX_CONNECTIONS, VotingServer
from kto.vote.voting_server.service import Service

_POLL = 0.3  # seconds between two looks at Argilla's process; Windows hears no Ctrl-C during a longer wait


def run(options: argparse.Namespace, config: Settings) -> int:
    """Open the page until Ctrl-C and return the exit status; raise `UserError` if it cannot be opened."""
    port, home = addresses.read_port(options.port), (options.home or config.root / local.HOME).resolve()
    uv, url = local.find_uv(), _public(options.url)
    program = tunnel.find() if options.tunnel else ""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a page that nobody sees any more would keep its port
    open_files.allow(MAX_CONNECTIONS * 4)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(addresses.listen(options.host, port))
        stack.enter_context(homes.only_server_of(home, "page-lock"))
        homes.keep_private(home, config.root)
        credentials, is_fresh = homes.load_credentials(home)
        if options.tunnel or url or not addresses.is_loopback(listener):
            homes.refuse_weak(credentials, home)
        page = Page(stack, listener, home, config, options.argilla, url)
        here, others = addresses.addresses(options.host, listener)
        print(t("server.starting"), flush=True)
        ...
        return 0


def _public(url: str) -> str:
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
        raise UserError("technical.bad_url", url=url)
    return url.rstrip("/").removesuffix("/vote")

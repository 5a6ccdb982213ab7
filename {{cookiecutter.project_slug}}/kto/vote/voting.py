"""People vote on this machine: the page owns the port, and Argilla runs behind it, until Ctrl-C."""

import argparse
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from kto.ask.pace import fitting
from kto.check.pages import bring_voting_page
from kto.processes import OWN_GROUP
from kto.settings import Settings
from kto.texts import ROOT, published, t
from kto.vote import addresses, local, tunnel
from kto.vote.announcement import Announcement
from kto.vote.argilla_server import home as homes
from kto.vote.overlap import overlap_of
from kto.vote.voting_server import page_files
from kto.vote.voting_server.argilla_proxy import Argilla
from kto.vote.voting_server.http_server import MAX_CONNECTIONS, VotingServer
from kto.vote.voting_server.service import Service

_POLL = 0.3  # seconds between two looks at Argilla's process; Windows hears no Ctrl-C during a longer wait
_FILES = 2  # open files per connection: itself, and one to Argilla or the database


class Voting:
    """The voting page of a project, which is open from now on until `stack` closes.

    Raises `UserError` if it cannot be opened.
    """

    def __init__(self, options: argparse.Namespace, config: Settings, stack: contextlib.ExitStack) -> None:
        self._home = home = (options.home or config.root / local.HOME).resolve()
        port, url = addresses.read_port(options.port), addresses.read_url(options.url)
        program = tunnel.find() if options.tunnel else ""
        listener = stack.enter_context(addresses.listen(options.host, port))
        stack.enter_context(homes.only_server_of(home, "page-lock"))
        homes.keep_private(home, config.root)
        credentials, is_fresh = homes.load_credentials(home)
        if program or url or not addresses.is_loopback(listener.getsockname()[0]):
            homes.refuse_weak(credentials, home)
        bring_voting_page(config)
        files, version = page_files.load(page_files.read_words(published(config.root, page_files.WORDS)))
        names = config.annotation.dataset, config.annotation.workspace
        self._service = Service(home / "argilla.db", *names, version, overlap_of(config.annotation))
        stack.callback(self._service.close)
        self._votes_are_open = self._open_votes()
        self._argilla = Argilla(options.argilla, t("server.starting"))
        # A web server of one's own connects from this machine, for strangers; so Argilla is not behind it.
        self._is_before_argilla = options.argilla or not url
        behind = self._argilla if self._is_before_argilla else None
        room = fitting([_FILES * MAX_CONNECTIONS])[0] // _FILES
        server = VotingServer(listener, files, self._service.api, behind, room)
        if url:
            server.set_address(url)
        stack.enter_context(server.running())
        login = {name: credentials[name] for name in ("username", "password")} if is_fresh else {}
        here, in_network = addresses.addresses(options.host, listener)
        self._said = Announcement(config, home, here, in_network, url, program, login)
        if program:
            self._open_tunnel(program, files, stack)

    def _open_tunnel(self, program: str, files: Mapping[str, page_files.File], stack: contextlib.ExitStack) -> None:
        # A tunnel connects from this machine, for strangers: it gets a listener of its own, which leads to no Argilla.
        listener = stack.enter_context(addresses.listen("127.0.0.1", 0))
        server = VotingServer(listener, files, self._service.api)
        stack.enter_context(server.running())

        def opened(address: str) -> None:
            server.set_address(address)
            self._said.tunnel_opened(address)

        port, log = listener.getsockname()[1], self._home / "tunnel.log"
        stack.enter_context(tunnel.running(program, port, log, opened, self._said.tunnel_ended))

    def _open_votes(self) -> bool:
        """Begin to take votes, if there is something to vote on and Argilla need not change its database first."""
        if local.is_current(self._home) and local.first_row(self._home, "SELECT 1 FROM kto_cards"):
            with contextlib.suppress(sqlite3.Error):
                self._service.open()
                return True
        return False

    def run_argilla(self, uv: str) -> int:
        """Run Argilla behind the page and bring it what is new, until Ctrl-C; return the exit status.

        If Argilla does not start, or ends, people go on voting, and the lead is told.
        """
        print(t("server.starting"), flush=True)
        if self._votes_are_open:
            self._said.links_exist()
        address = [f"--address={self._said.here}"] if self._is_before_argilla else []
        try:
            with local.argilla_child(uv, [f"--home={self._home}", "--port=0", *address]) as child:
                self._argilla.started(urlsplit(child.url).port or 0)
                self._said.argilla_is_there(self._said.here if self._is_before_argilla else child.url)
                status = _set_up(child, self._home)
                if not (self._votes_are_open or self._open_votes()):
                    return status or 1
                self._votes_are_open = True
                self._said.links_exist()
                while child.process.poll() is None:
                    time.sleep(_POLL)
        except local.ArgillaEnded as end:
            if not self._votes_are_open:
                return end.status
        self._argilla.ended(t("technical.argilla_ended"))
        print(t("technical.argilla_ended"), file=sys.stderr, flush=True)
        while True:
            time.sleep(_POLL)


def run(options: argparse.Namespace, config: Settings) -> int:
    """Open the page until Ctrl-C and return the exit status; raise `UserError` if it cannot be opened."""
    uv = local.find_uv()
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a page that nobody sees any more would keep its port
    with contextlib.ExitStack() as stack:
        voting = Voting(options, config, stack)
        try:
            return voting.run_argilla(uv)
        except KeyboardInterrupt:
            return 0


def _set_up(child: local.Child, home: Path) -> int:
    """Bring Argilla what is new; return the exit status, after a sentence if that is not 0.

    In a process of its own, for what that imports would slow down the page.
    """
    env = {**os.environ, "ARGILLA_API_URL": child.url, "ARGILLA_API_KEY": child.key}
    command = [sys.executable, str(ROOT / "vote.py"), "--attached", f"--home={home}"]
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, **OWN_GROUP).returncode

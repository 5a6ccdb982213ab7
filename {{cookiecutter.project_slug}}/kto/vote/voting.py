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
from kto.vote.voting_server.page_files import File
from kto.vote.voting_server.service import Service

_POLL = 0.3  # seconds between two looks at Argilla's process; Windows hears no Ctrl-C during a longer wait
_FILES = 2  # open files per connection: itself, and one to Argilla or the database


class Voting:
    """The voting page of a project, while the block runs; it answers as soon as the block begins.

    Parameters
    ----------
    options
        The command line of `vote.py`.
    config
        The settings.

    Raises
    ------
    UserError
        The page cannot be opened.
    """

    def __init__(self, options: argparse.Namespace, config: Settings) -> None:
        self.config, self.home = config, (options.home or config.root / local.HOME).resolve()
        self._host, self._port = options.host, addresses.read_port(options.port)
        self._url, self._everybody = addresses.read_url(options.url), options.argilla
        self._program = tunnel.find() if options.tunnel else ""
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Voting":
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(addresses.listen(self._host, self._port))
            stack.enter_context(homes.only_server_of(self.home, "page-lock"))
            homes.keep_private(self.home, self.config.root)
            credentials, is_fresh = homes.load_credentials(self.home)
            if self._program or self._url or not addresses.is_loopback(listener):
                homes.refuse_weak(credentials, self.home)
            files, version = _page(self.config)
            names = self.config.annotation.dataset, self.config.annotation.workspace
            overlap = overlap_of(self.config.annotation)
            self.service = Service(self.home / "argilla.db", *names, version, overlap)
            stack.callback(self.service.close)
            self._votes_are_open = self._open_votes()
            self.argilla = Argilla(self._everybody, t("server.starting"))
            # A web server of one's own connects from this machine, for strangers; so Argilla is not behind it.
            self.is_before_argilla = self._everybody or not self._url
            behind = self.argilla if self.is_before_argilla else None
            room = fitting([_FILES * MAX_CONNECTIONS])[0] // _FILES
            server = VotingServer(listener, files, self.service.api, behind, room)
            if self._url:
                server.set_address(self._url)
            stack.enter_context(server.running())
            self.said = Announcement(
                self.config, self.home, listener, self._host, self._url, self._program, credentials, is_fresh
            )
            if self._program:
                self._open_tunnel(stack, files)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open_tunnel(self, stack: contextlib.ExitStack, files: Mapping[str, File]) -> None:
        # A tunnel connects from this machine, for strangers: it gets a listener of its own, which leads to no Argilla.
        listener = stack.enter_context(addresses.listen("127.0.0.1", 0))
        server = VotingServer(listener, files, self.service.api)
        stack.enter_context(server.running())

        def opened(address: str) -> None:
            server.set_address(address)
            self.said.tunnel_opened(address)

        port, log = listener.getsockname()[1], self.home / "tunnel.log"
        stack.enter_context(tunnel.running(self._program, port, log, opened, self.said.tunnel_ended))

    def _open_votes(self) -> bool:
        """Begin to take votes, if there is something to vote on and Argilla need not change its database first."""
        if local.is_current(self.home) and local.has_cards(self.home):
            with contextlib.suppress(sqlite3.Error):
                self.service.open()
                return True
        return False

    def run_argilla(self, uv: str) -> int:
        """Run Argilla behind the page and bring it what is new, until Ctrl-C; return the exit status.

        If Argilla does not start, or ends, people go on voting, and the lead is told.
        """
        print(t("server.starting"), flush=True)
        if self._votes_are_open:
            self.said.links_exist()
        address = [f"--address={self.said.here}"] if self.is_before_argilla else []
        try:
            with local.argilla_child(uv, [f"--home={self.home}", "--port=0", *address]) as child:
                self.argilla.started(urlsplit(child.url).port or 0)
                self.said.argilla_is_there(self.said.here if self.is_before_argilla else child.url)
                status = _set_up(child, self.home)
                if not (self._votes_are_open or self._open_votes()):
                    return status or 1
                self._votes_are_open = True
                self.said.links_exist()
                while child.process.poll() is None:
                    time.sleep(_POLL)
        except local.ArgillaEnded as end:
            if not self._votes_are_open:
                return end.status
        self.argilla.ended(t("technical.argilla_ended"))
        print(t("technical.argilla_ended"), file=sys.stderr, flush=True)
        while True:
            time.sleep(_POLL)


def run(options: argparse.Namespace, config: Settings) -> int:
    """Open the page until Ctrl-C and return the exit status; raise `UserError` if it cannot be opened."""
    uv = local.find_uv()
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a page that nobody sees any more would keep its port
    with Voting(options, config) as voting:
        try:
            return voting.run_argilla(uv)
        except KeyboardInterrupt:
            return 0


def _page(config: Settings) -> tuple[Mapping[str, File], str]:
    bring_voting_page(config)
    return page_files.load(page_files.read_words(published(config.root, page_files.WORDS)))


def _set_up(child: local.Child, home: Path) -> int:
    """Bring Argilla what is new; return the exit status, after a sentence if that is not 0.

    In a process of its own, for what that imports would slow down the page.
    """
    env = {**os.environ, "ARGILLA_API_URL": child.url, "ARGILLA_API_KEY": child.key}
    command = [sys.executable, str(ROOT / "vote.py"), "--attached", f"--home={home}"]
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, **OWN_GROUP).returncode

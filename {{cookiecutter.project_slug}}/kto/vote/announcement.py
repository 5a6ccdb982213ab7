"""What the lead reads while the voting page runs: links and addresses, each as soon as it is known."""

import contextlib
import socket
import sqlite3
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from kto.errors import UserError
from kto.settings import Settings
from kto.texts import t
from kto.vote import addresses, links_file
from kto.vote.voting_server.database import connect, make_tables


class Announcement:
    """Prints what is known, once. A tunnel tells its address from a thread of its own.

    Parameters
    ----------
    config, home
        The project, and where its Argilla keeps the votes.
    listener, host
        What the page listens on, and how the command line calls that.
    url, program
        Address on a web server in front of the page; program that makes a tunnel. "" for none.
    credentials, is_fresh
        Those of Argilla's owner, and whether they were made just now.
    """

    def __init__(
        self,
        config: Settings,
        home: Path,
        listener: socket.socket,
        host: str,
        url: str,
        program: str,
        credentials: Mapping[str, str],
        is_fresh: bool,
    ) -> None:
        self._config, self._home, self._program = config, home, program
        self._credentials, self._is_fresh = credentials, is_fresh
        self.here, self._in_network = addresses.addresses(host, listener)
        """Address for this machine."""
        self._public = url
        self._waits_for_tunnel = bool(program)
        self._links_exist = False
        self._lock = threading.Lock()

    def links_exist(self) -> None:
        """Votes are taken, so there are links to show."""
        with self._lock:
            if not self._links_exist:
                self._links_exist = True
                self._say_links()

    def tunnel_opened(self, address: str) -> None:
        """The tunnel has an address."""
        with self._lock:
            self._public, self._waits_for_tunnel = address, False
            self._say_links()

    def tunnel_ended(self, reason: str) -> None:
        """The tunnel is gone, or did not open."""
        with self._lock:
            print(t("technical.tunnel_ended", program=self._program, reason=reason), file=sys.stderr, flush=True)
            if self._waits_for_tunnel:
                self._waits_for_tunnel = False
                self._say_links()

    def argilla_is_there(self, url: str) -> None:
        """Argilla answers at this address of this machine."""
        with self._lock:
            print(t("vote.argilla", url=url))
            if self._is_fresh:
                names = {name: self._credentials[name] for name in ("username", "password")}
                print(t("server.login", **names))
            print(t("server.credentials", path=self._home / "credentials.json"), flush=True)

    def _say_links(self) -> None:
        if not self._links_exist or self._waits_for_tunnel:
            return
        address = self._public or (self._in_network or [self.here])[0]
        try:
            before = self._note(address)
            print(t("vote.link", link=links_file.own_link(self._config, self._home)))
            links = links_file.current_links(self._config, self._home) if before not in ("", address) else {}
        except (UserError, sqlite3.Error) as error:
            print(error, file=sys.stderr, flush=True)
            return
        print(t("vote.invite"))
        reached = [*([self._public] if self._public else []), *self._in_network]
        for url in reached:
            print(t("vote.reached", url=url))
        if self._in_network:
            print(t("server.unencrypted"))
        if self._public and self._program:
            print(t("vote.tunnel_reads", program=Path(self._program).stem))
        if not reached:
            print(t("vote.only_here"))
        if others := {name: link for name, link in links.items() if name != self._credentials["username"]}:
            print(t("vote.address_changed"))
            print("\n".join(f"  {name}: {link}" for name, link in others.items()))
        print(t("server.stop"), flush=True)

    def _note(self, address: str) -> str:
        """Keep the address for links that are made later, and return the one before, "" for none."""
        with contextlib.closing(connect(self._home / "argilla.db")) as database:
            make_tables(database)
            found = database.execute("SELECT value FROM kto_state WHERE name = 'address'").fetchone()
            database.execute("INSERT OR REPLACE INTO kto_state VALUES ('address', ?)", (address,))
            return found[0] if found else ""

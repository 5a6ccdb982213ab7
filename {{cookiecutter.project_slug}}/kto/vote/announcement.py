"""What the lead reads while the voting page runs: links and addresses, each as soon as it is known."""

import contextlib
import dataclasses
import sqlite3
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from kto.errors import UserError
from kto.settings import Settings
from kto.texts import t
from kto.vote import links_file
from kto.vote.voting_server.database import connect, make_tables


@dataclasses.dataclass(eq=False)
class Announcement:
    """Prints what is known, once. A tunnel tells its address from a thread of its own."""

    config: Settings
    home: Path  # where Argilla keeps the votes
    here: str  # address of the page for this machine
    in_network: list[str]  # addresses for others in the network
    public: str  # address on a web server or of a tunnel, "" for none
    program: str  # that makes a tunnel, "" for none
    login: Mapping[str, str]  # of Argilla's owner, if it was made just now

    def __post_init__(self) -> None:
        self._waits_for_tunnel = bool(self.program)
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
            self.public, self._waits_for_tunnel = address, False
            self._say_links()

    def tunnel_ended(self, reason: str) -> None:
        """The tunnel is gone, or did not open."""
        with self._lock:
            print(t("technical.tunnel_ended", program=self.program, reason=reason), file=sys.stderr, flush=True)
            if self._waits_for_tunnel:
                self._waits_for_tunnel = False
                self._say_links()

    def argilla_is_there(self, url: str) -> None:
        """Argilla answers at this address of this machine."""
        with self._lock:
            print(t("vote.argilla", url=url))
            if self.login:
                print(t("server.login", **self.login))
            print(t("server.credentials", path=self.home / "credentials.json"), flush=True)

    def _say_links(self) -> None:
        if not self._links_exist or self._waits_for_tunnel:
            return
        address = self.public or (self.in_network or [self.here])[0]
        try:
            before = self._note(address)
            own = links_file.own_link(self.config, self.home)
            print(t("vote.link", link=own))
            links = links_file.current_links(self.config, self.home) if before not in ("", address) else {}
        except (UserError, sqlite3.Error) as error:
            print(error, file=sys.stderr, flush=True)
            return
        print(t("vote.invite"))
        reached = [*([self.public] if self.public else []), *self.in_network]
        for url in reached:
            print(t("vote.reached", url=url))
        if self.in_network:
            print(t("server.unencrypted"))
        if self.public and self.program:
            print(t("vote.tunnel_reads", program=Path(self.program).stem))
        if not reached:
            print(t("vote.only_here"))
        if others := {name: link for name, link in links.items() if link != own}:
            print(t("vote.address_changed"))
            print("\n".join(f"  {name}: {link}" for name, link in others.items()))
        print(t("server.stop"), flush=True)

    def _note(self, address: str) -> str:
        """Keep the address for links that are made later, and return the one before, "" for none."""
        with contextlib.closing(connect(self.home / "argilla.db")) as database:
            make_tables(database)
            found = database.execute("SELECT value FROM kto_state WHERE name = 'address'").fetchone()
            database.execute("INSERT OR REPLACE INTO kto_state VALUES ('address', ?)", (address,))
            return found[0] if found else ""

"""Open connections: how many there may be, and how long each of them may take.

Whoever opens many, or sends a byte now and then, stops nobody: a connection that comes when all places are taken gets
the place of the one that has been waiting longest, first among those that have never voted.
"""

import contextlib
import socket
import threading
import time

IDLE = 60.0  # seconds until a connection on which nothing comes is closed
HEAD = 15.0  # seconds that the head of a request may take
ANSWER = 60.0  # seconds that the rest may take: body, work and answer


class Connection:
    """One connection; `end` is when it is closed, in seconds of `time.monotonic`."""

    __slots__ = ("end", "is_voter", "socket", "waits_since")

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.is_voter = False  # a request with a valid secret came by it
        self.wait()

    def wait(self) -> None:
        """Begin to wait for a request."""
        now = time.monotonic()
        self.waits_since: float | None = now
        self.end = now + IDLE

    def read_head(self) -> None:
        """The first byte of a request is there; as long as the rest is not, the connection still counts as waiting."""
        self.end = time.monotonic() + HEAD

    def work(self, seconds: float) -> None:
        """The head of a request is there."""
        self.waits_since = None
        self.end = time.monotonic() + seconds

    def close(self) -> None:
        """Break the connection off; its thread gets an error or the end of the input."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class Connections:
    """All connections of a server. Safe to use from several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open: set[Connection] = set()

    def add(self, connected: socket.socket) -> Connection | None:
        """Return a place for a connection; None if all are taken by requests that are being answered."""
        with self._lock:
            if len(self._open) >= self._most:
                waiting = [(each.is_voter, each.waits_since, id(each), each) for each in self._open if each.waits_since]
                if not waiting:
                    return None
                longest = min(waiting)[-1]
                self._open.discard(longest)
                longest.close()
            connection = Connection(connected)
            self._open.add(connection)
            return connection

    def remove(self, connection: Connection) -> None:
        with self._lock:
            self._open.discard(connection)

    def close_late(self) -> None:
        """Close what has used up its time."""
        now = time.monotonic()
        with self._lock:
            for connection in self._open:
                if connection.end < now:
                    connection.close()

"""The connections of a worker that wait: for a request, the rest of it, their turn, or the caller to read or leave.

`worker.py` moves them from one to the next; this file keeps what they hold and since when they wait.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from gunicorn.workers.gthread import TConn

from adapter.server.framing import IncomingRequest

# A request has this long from its first byte, and a second more for each RATE_BYTES: a large body over a slow line
# is honest. So has its answer.
REQUEST_TIMEOUT_S, RATE_BYTES = 15.0, 256 * 1024
# What all connections of this process may hold. A small request finds room beside large ones.
MAX_BUFFERED_BYTES, SMALL_BYTES = 64 * 1024 * 1024, 64 * 1024
# Reading a body takes many times its size, so large ones are worked on one at a time. The others wait here, not in a
# thread, and not for longer than a CDP waits for an answer.
LARGE_BYTES, LARGE_TIMEOUT_S = 1024 * 1024, 20.0
# After an answer that ends the connection, so that the caller reads it before it sees a reset.
LINGER_S = 2.0


class AnswerSocket(socket.socket):
    """Holds what gunicorn writes, until it is sent in one piece: as much as the caller takes at once.

    unsent  what the caller has not taken yet; it waits for that in no thread
    """

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, accepted.detach())
        self.unsent = bytearray()

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        self.unsent += data

    def flush(self) -> bool:
        """Whether all is sent. Raises OSError where the caller has gone."""
        while self.unsent:
            try:
                sent = self.send(self.unsent, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                return False
            del self.unsent[:sent]
        return True


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """A caller's connection, and the request that is arriving on it.

    deadline   by `time.monotonic`; None while a thread works on it
    started    when the request's first byte arrived
    held       the bytes that it counts for in the worker's bound
    following  what arrived behind the request that a thread works on
    is_cut     True if not all of that request was read, so that nothing may follow it
    drained    what was read and thrown away after the last answer
    is_last    whether the connection ends once its answer is sent
    """

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, AnswerSocket(sock), client, server)
        self.sock: AnswerSocket
        self.request: IncomingRequest
        self.deadline: float | None = None
        self.started = 0.0
        self.held = 0
        self.following = b""
        self.is_cut = False
        self.drained = 0
        self.is_last = False


class Waiting:
    """Which connections wait for what, each in the order in which it began to.

    idle       no byte of a request has arrived
    reading    a part of a request has arrived
    large      a large request is complete, and another one is worked on
    writing    the caller has not read all of its answer
    lingering  the last answer was sent, and the caller has not closed yet
    buffered   bytes that all connections hold, those at work included
    """

    def __init__(self, poller: selectors.BaseSelector) -> None:
        self._poller = poller
        self.idle: dict[Connection, None] = {}
        self.reading: dict[Connection, None] = {}
        self.large: dict[Connection, None] = {}
        self.writing: dict[Connection, None] = {}
        self.lingering: dict[Connection, None] = {}
        self.buffered = 0

    def listen(
        self, connection: Connection, table: dict[Connection, None], timeout_s: float, on_bytes: Callable[..., None]
    ) -> None:
        """Waits so long for bytes of the caller; `on_bytes` is called when there are some."""
        connection.deadline = time.monotonic() + timeout_s
        table[connection] = None
        self._poller.register(connection.sock, selectors.EVENT_READ, on_bytes)

    def write(self, connection: Connection, on_room: Callable[..., None]) -> None:
        """Waits for the caller to read; `on_room` is called when it takes more of its answer."""
        size = len(connection.sock.unsent)
        self.hold(connection, size)
        connection.deadline = time.monotonic() + REQUEST_TIMEOUT_S + size / RATE_BYTES
        self.writing[connection] = None
        self._poller.register(connection.sock, selectors.EVENT_WRITE, on_room)

    def start_reading(self, connection: Connection) -> None:
        """Something of a request has arrived."""
        if connection in self.idle:
            del self.idle[connection]
            self.reading[connection] = None
            connection.started = time.monotonic()
        connection.deadline = connection.started + REQUEST_TIMEOUT_S + connection.held / RATE_BYTES

    def queue_large(self, connection: Connection) -> None:
        """A large request waits for its turn."""
        connection.deadline = time.monotonic() + LARGE_TIMEOUT_S
        self.large[connection] = None

    def leave(self, connection: Connection) -> None:
        """Takes a connection out of all that wait."""
        connection.deadline = None
        self.large.pop(connection, None)
        for table in (self.idle, self.reading, self.writing, self.lingering):
            if connection in table:
                del table[connection]
                self._poller.unregister(connection.sock)

    def hold(self, connection: Connection, size: int) -> None:
        connection.held += size
        self.buffered += size

    def release(self, connection: Connection) -> None:
        self.buffered -= connection.held
        connection.held = 0

    def too_large(self) -> Connection | None:
        """The largest unfinished request, while all together hold too much."""
        if self.buffered <= MAX_BUFFERED_BYTES or not self.reading:
            return None
        largest = max(self.reading, key=lambda connection: connection.held)
        return largest if largest.held > SMALL_BYTES else None

    def oldest(self) -> Connection | None:
        """The connection that has waited longest. An honest request is complete after milliseconds, and its answer
        is read as soon."""
        tables = (self.lingering, self.writing, self.idle, self.reading)
        return next((next(iter(table)) for table in tables if table), None)

    def expired(self, *, everybody: bool) -> Iterator[tuple[Connection, str]]:
        """The connections that have waited too long, each with the reason of which its caller is told, if of any."""
        now = time.monotonic()
        tables = (
            *((self.idle, ""), (self.reading, "timeout"), (self.large, "crowded")),
            *((self.writing, ""), (self.lingering, "")),
        )
        for table, reason in tables:
            for connection in list(table):
                if everybody:
                    yield connection, ""
                elif connection.deadline is not None and connection.deadline <= now:
                    yield connection, reason

"""gunicorn's threaded worker, with one difference: a thread gets a request when all of it has arrived.

Slow callers cost a buffer and no thread, within bounds of number, bytes and time. `framing.py` finds a request's end.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import struct
import time
from concurrent.futures import Future
from functools import partial
from typing import Any

from gunicorn.http import get_parser
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from adapter.server.framing import IncomingRequest, Progress

# A connection on which nothing has arrived is closed after gunicorn's `keepalive`. A request has this long from its
# first byte, and a second more for each RATE_BYTES of it: a large body over a slow line is honest.
REQUEST_TIMEOUT_S, RATE_BYTES = 15.0, 256 * 1024
# What all connections of this process may hold. A small request finds room beside large ones.
MAX_BUFFERED_BYTES, SMALL_BYTES = 64 * 1024 * 1024, 64 * 1024
# What gunicorn asks for at once; it copies what it did not ask for.
PIECE_BYTES = 1024 * 1024
READ_BYTES = 256 * 1024
SWEEP_INTERVAL_S = 0.5
# A caller that does not read its answer.
WRITE_TIMEOUT_S = 5
# After an answer that ends the connection, so that the caller reads it before it sees a reset.
LINGER_S, MAX_LINGER_BYTES = 2.0, 1024 * 1024
# Reason of a refusal → the status line, and further headers.
REFUSALS = {
    "timeout": ("408 Request Timeout", ""),
    "malformed": ("400 Bad Request", ""),
    "crowded": ("503 Service Unavailable", "Retry-After: 5\r\n"),
}


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """A caller's connection, and the request that is arriving on it.

    deadline   by `time.monotonic`; None while a thread works on it
    started    when the request's first byte arrived
    held       the bytes that it counts for in the worker's bound
    following  what arrived behind the request that a thread works on
    is_cut     True if not all of that request was read, so that nothing may follow it
    drained    what was read and thrown away after the last answer
    """

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, sock, client, server)
        self.request: IncomingRequest
        self.deadline: float | None = None
        self.started = 0.0
        self.held = 0
        self.following = b""
        self.is_cut = False
        self.drained = 0
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", WRITE_TIMEOUT_S, 0))


class WholeRequestWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Relies on these inner workings of gunicorn 27.0; a new version is checked against them:

    - `accept` is called for a readable listener, and `enqueue_req` hands a connection to a thread, whose end calls
      `finish_request` on the main thread with the thread's result: whether the connection is kept.
    - `handle` works on a connection that is `initialized` by its `parser`, and reads from nothing else.
    - `run` calls `murder_keepalived` once a second at least, and with `force` at its end.
    """

    def run(self) -> None:
        # Imported after the fork: the series of metrics are files of this process.
        from adapter.server.limits import body_limits
        from freshgate.telemetry import metrics

        self._max_body = body_limits(os.environ)
        self._dropped = metrics.CONNECTIONS_DROPPED
        self._idle: dict[Connection, None] = {}
        self._reading: dict[Connection, None] = {}
        self._lingering: dict[Connection, None] = {}
        self._buffered = 0
        self._swept_at = 0.0
        super().run()

    def accept(self, listener: Any) -> None:
        if self.cfg.is_ssl:
            # Buffers of ours would hold ciphertext. Put a proxy in front for TLS.
            super().accept(listener)
            return
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._drop_oldest()
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        if self.nr_conns >= self.worker_connections - 1:
            self._drop_oldest()
        self.nr_conns += 1
        connection = Connection(self.cfg, sock, client, listener.getsockname())
        self._await_request(connection, b"")
        self._read(connection)

    def _await_request(self, connection: Connection, received: bytes) -> None:
        """Waits for the next request; `received` is what of it has already arrived."""
        connection.request = IncomingRequest(self._max_body, received)
        connection.initialized = False
        connection.deadline = time.monotonic() + (self.cfg.keepalive if self.alive else STOP_KEEPALIVE_LINGER)
        self._idle[connection] = None
        self.poller.register(connection.sock, selectors.EVENT_READ, partial(self._on_readable, connection))
        if received:
            self._hold(connection, len(received))
            self._advance(connection)

    def _on_readable(self, connection: Connection, _sock: Any) -> None:
        # An event of this round may belong to a connection that was closed in it.
        if connection.deadline is not None:
            self._read(connection)

    def _read(self, connection: Connection) -> None:
        try:
            piece = connection.sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            piece = b""
        if not piece:
            self._close(connection)
            return
        connection.request.received += piece
        self._hold(connection, len(piece))
        self._advance(connection)

    def _hold(self, connection: Connection, size: int) -> None:
        connection.held += size
        self._buffered += size

    def _release(self, connection: Connection) -> None:
        self._buffered -= connection.held
        connection.held = 0

    def _advance(self, connection: Connection) -> None:
        """Goes on with a request of which something arrived."""
        request = connection.request
        progress = request.advance()
        if progress is Progress.WAITING:
            if connection in self._idle:
                del self._idle[connection]
                self._reading[connection] = None
                connection.started = time.monotonic()
            connection.deadline = connection.started + REQUEST_TIMEOUT_S + connection.held / RATE_BYTES
            if request.expects_continue and request.head_end:
                request.expects_continue = False
                self._send(connection, b"HTTP/1.1 100 Continue\r\n\r\n")
            self._make_room()
        elif progress is Progress.MALFORMED:
            self._refuse(connection, "malformed")
        else:
            self._hand_over(connection, is_cut=progress is Progress.TOO_LARGE)

    def _hand_over(self, connection: Connection, *, is_cut: bool) -> None:
        """Lets a thread parse and answer the request. It reads from memory, so the caller cannot hold it up."""
        self._leave(connection)
        request = connection.request
        connection.is_cut = is_cut or request.is_chunked
        with memoryview(request.received) as received:
            ends = [request.head_end, *range(request.head_end + PIECE_BYTES, request.end, PIECE_BYTES), request.end]
            pieces = [bytes(received[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
            connection.following = bytes(received[request.end :])
        # The pieces are all that is needed of it.
        request.received.clear()
        connection.parser = get_parser(self.cfg, pieces, connection.client)
        connection.initialized = True
        self.enqueue_req(connection)

    def handle_request(self, req: Any, conn: Any) -> bool:
        if type(conn) is Connection:
            # Said already, or needless.
            req._expected_100_continue = False
        return bool(super().handle_request(req, conn))

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        # Of a chunked request nobody but gunicorn knows for sure where the next one would begin.
        if type(conn) is Connection and conn.is_cut:
            return False
        return bool(super()._keepalive_after(conn, keepalive))

    def finish_request(self, conn: Any, fs: Future[Any]) -> None:
        if type(conn) is not Connection:
            super().finish_request(conn, fs)
            return
        self._release(conn)
        keeps_alive = not fs.cancelled() and fs.exception() is None and bool(fs.result())
        try:
            conn.sock.setblocking(False)
        except OSError:
            self._forget(conn)
            return
        if keeps_alive:
            self._await_request(conn, conn.following)
        else:
            self._linger(conn)

    def murder_keepalived(self, force: bool = False) -> None:
        """Closes what has waited too long; all of it at the worker's end."""
        super().murder_keepalived(force)
        now = time.monotonic()
        if not force and now - self._swept_at < SWEEP_INTERVAL_S:
            return
        self._swept_at = now
        for waiting, reason in ((self._idle, ""), (self._reading, "timeout"), (self._lingering, "")):
            for connection in list(waiting):
                if force or (connection.deadline or now) <= now:
                    if reason and not force:
                        self._refuse(connection, reason)
                    else:
                        self._close(connection)

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for connection in self._idle:
            connection.deadline = min(connection.deadline or deadline, deadline)

    def _make_room(self) -> None:
        """Refuses the largest unfinished requests while all of them together hold too much."""
        while self._buffered > MAX_BUFFERED_BYTES and self._reading:
            largest = max(self._reading, key=lambda waiting: waiting.held)
            if largest.held <= SMALL_BYTES:
                return
            self._refuse(largest, "crowded")

    def _drop_oldest(self) -> None:
        """Closes the connection that has waited longest. An honest request is complete after milliseconds."""
        for waiting in (self._lingering, self._idle, self._reading):
            if waiting:
                self._dropped.labels("crowded").inc()
                self._close(next(iter(waiting)))
                return

    def _refuse(self, connection: Connection, reason: str) -> None:
        """Answers a request that is not complete, and ends its connection."""
        self._dropped.labels(reason).inc()
        status, headers = REFUSALS[reason]
        body = b'{"error":"%b"}' % status[4:].lower().encode()
        head = f"HTTP/1.1 {status}\r\n{headers}Content-Type: application/json\r\nConnection: close\r\n"
        self._send(connection, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self._leave(connection)
        self._release(connection)
        self._linger(connection)

    def _linger(self, connection: Connection) -> None:
        """Ends a connection as RFC 9112, section 9.6, says, without waiting: gunicorn would wait on the main thread."""
        connection.request = IncomingRequest(self._max_body)
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._forget(connection)
            return
        connection.deadline = time.monotonic() + LINGER_S
        self._lingering[connection] = None
        self.poller.register(connection.sock, selectors.EVENT_READ, partial(self._drain, connection))
        self._drain(connection, connection.sock)

    def _drain(self, connection: Connection, _sock: Any) -> None:
        if connection.deadline is None:
            return
        try:
            piece = connection.sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            piece = b""
        connection.drained += len(piece)
        if not piece or connection.drained > MAX_LINGER_BYTES:
            self._close(connection)

    def _close(self, connection: Connection) -> None:
        """Closes a waiting connection."""
        self._leave(connection)
        self._release(connection)
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        self.nr_conns -= 1
        connection.close()

    def _leave(self, connection: Connection) -> None:
        """Takes a connection out of all that wait."""
        connection.deadline = None
        for waiting in (self._idle, self._reading, self._lingering):
            waiting.pop(connection, None)
        self.poller.unregister(connection.sock)

    @staticmethod
    def _send(connection: Connection, answer: bytes) -> None:
        # An answer of a line fits into the socket's buffer; whoever does not read loses it.
        try:
            connection.sock.send(answer)
        except OSError:
            return

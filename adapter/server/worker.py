"""gunicorn's threaded worker, with three differences: work on a request begins when all of it has arrived, events take
no thread while they wait for Redis, and nothing waits for a caller to read an answer.

Slow callers cost a buffer and no thread, within bounds of number, bytes and time: `connections.py`. A slow Redis costs
a task: `tasks.py`.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import time
from concurrent.futures import Future
from functools import partial
from typing import Any

from gunicorn.http import get_parser
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from adapter.server.connections import LARGE_BYTES, LINGER_S, MAX_BUFFERED_BYTES, Connection, Waiting
from adapter.server.framing import IncomingRequest, Progress
from adapter.server.tasks import ServerTasks
from freshgate import sockets

# What gunicorn asks for at once; it copies what it did not ask for.
PIECE_BYTES = 1024 * 1024
READ_BYTES = 256 * 1024
MAX_LINGER_BYTES = 1024 * 1024
SWEEP_INTERVAL_S = 0.5
# New connections that a round of the loop takes after one that computed for so long.
MAX_ACCEPTED, BUSY_S = 32, 0.005
# Events whose reading and planning takes the loop's thread for a tenth of a second at most, and whose routes wait for
# Redis alone. Larger bodies, packed ones and all other URLs go to a thread.
EVENTS = re.compile(rb"[A-Z]+ /(?:webhooks|v1|beacon/v1)/")
MAX_TASK_BYTES = 128 * 1024
# Reason of a refusal → the status line, and further headers.
REFUSALS = {
    "timeout": ("408 Request Timeout", ""),
    "malformed": ("400 Bad Request", ""),
    "crowded": ("503 Service Unavailable", "Retry-After: 5\r\n"),
}


class WholeRequestWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Relies on these inner workings of gunicorn 27.0; a new version is checked against them:

    - `accept` is called for a readable listener, and `enqueue_req` hands a connection to a thread, whose end calls
      `finish_request` on the main thread with the thread's result: whether the connection is kept.
    - `init_process` calls `get_thread_pool` before it loads the app.
    - `handle` works on a connection that is `initialized` by its `parser`, and reads from nothing else. All of an
      answer is written by `sendall`.
    - `run` calls `murder_keepalived` once a second at least, and with `force` at its end.
    """

    def get_thread_pool(self) -> Any:
        # The app's own sockets must know of tasks when they connect. Imported after the fork, as below.
        from adapter.server.limits import can_have_tasks

        self._tasks = ServerTasks() if can_have_tasks(os.environ) else None
        sockets.tasks = self._tasks
        return super().get_thread_pool()

    def run(self) -> None:
        # Imported after the fork: the series of metrics are files of this process.
        from adapter.server.limits import body_limits
        from freshgate.telemetry import metrics

        self._max_body = body_limits(os.environ)
        self._dropped = metrics.CONNECTIONS_DROPPED
        self._waiting = Waiting(self.poller)
        self._large_at_work: Connection | None = None
        self._swept_at = 0.0
        # Whether tasks kept the loop in its last round; and its thread's CPU time so far.
        self._is_busy, self._computed_s = False, time.thread_time()
        if self._tasks is not None:
            self._tasks.attach(self.poller, self.method_queue.defer)
        super().run()
        if self._tasks is not None:
            self._tasks.close()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        if self._tasks is None:
            super().wait_for_and_dispatch_events(timeout)
            return
        super().wait_for_and_dispatch_events(min(timeout, self._tasks.remaining_s()))
        self._tasks.expire()
        self._tasks.run()
        computed_s = time.thread_time()
        self._is_busy = computed_s - self._computed_s > BUSY_S
        self._computed_s = computed_s

    def accept(self, listener: Any) -> None:
        if self.cfg.is_ssl:
            # Buffers of ours would hold ciphertext. Put a proxy in front for TLS.
            super().accept(listener)
            return
        # Who asks /healthz may stand behind hundreds of events. An idle worker leaves others their share.
        for _ in range(MAX_ACCEPTED if self._is_busy else 1):
            if not self._accept(listener) or self.nr_conns >= self.worker_connections:
                return

    def _accept(self, listener: Any) -> bool:
        """Whether there was a connection."""
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._drop_oldest()
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return False
        if self.nr_conns >= self.worker_connections - 1:
            self._drop_oldest()
        self.nr_conns += 1
        connection = Connection(self.cfg, sock, client, listener.getsockname())
        self._await_request(connection, b"")
        self._read(connection)
        return True

    def _await_request(self, connection: Connection, received: bytes) -> None:
        """Waits for the next request; `received` is what of it has already arrived."""
        connection.request = IncomingRequest(self._max_body, received)
        connection.initialized = False
        timeout_s = self.cfg.keepalive if self.alive else STOP_KEEPALIVE_LINGER
        self._waiting.listen(connection, self._waiting.idle, timeout_s, partial(self._on_readable, connection))
        if received:
            self._waiting.hold(connection, len(received))
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
        self._waiting.hold(connection, len(piece))
        self._advance(connection)

    def _advance(self, connection: Connection) -> None:
        """Goes on with a request of which something arrived."""
        request = connection.request
        progress = request.advance()
        if progress is Progress.WAITING:
            self._waiting.start_reading(connection)
            if request.expects_continue and request.head_end:
                request.expects_continue = False
                self._send(connection, b"HTTP/1.1 100 Continue\r\n\r\n")
            while (largest := self._waiting.too_large()) is not None:
                self._refuse(largest, "crowded")
        elif progress is Progress.MALFORMED:
            self._refuse(connection, "malformed")
        else:
            self._hand_over(connection, is_cut=progress is Progress.TOO_LARGE)

    def _hand_over(self, connection: Connection, *, is_cut: bool) -> None:
        """Lets a task or a thread parse and answer the request, from memory: the caller cannot hold it up."""
        self._waiting.leave(connection)
        connection.is_cut = is_cut or connection.request.is_chunked
        if connection.request.end <= LARGE_BYTES:
            self._start(connection)
        elif self._large_at_work is None:
            self._large_at_work = connection
            self._start(connection)
        else:
            self._waiting.queue_large(connection)

    def _start(self, connection: Connection) -> None:
        request = connection.request
        is_task = (
            self._tasks is not None
            and request.end <= MAX_TASK_BYTES
            and not request.is_packed
            and EVENTS.match(request.received) is not None
        )
        with memoryview(request.received) as received:
            ends = [request.head_end, *range(request.head_end + PIECE_BYTES, request.end, PIECE_BYTES), request.end]
            pieces = [bytes(received[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
            connection.following = bytes(received[request.end :])
        # The pieces are all that is needed of it.
        request.received.clear()
        connection.parser = get_parser(self.cfg, pieces, connection.client)
        connection.initialized = True
        if self._tasks is not None and is_task:
            self._tasks.start(partial(self._handle, connection), partial(self._finish, connection))
        else:
            self.enqueue_req(connection)

    def _handle(self, connection: Connection) -> bool:
        """`handle` for a task, which must not raise; whether the connection is kept."""
        try:
            return bool(self.handle(connection))
        except Exception as error:
            self.log.error("Error handling request: %s", type(error).__name__)
            return False

    def handle(self, conn: Any) -> Any:
        """Answers a request. What the caller does not take at once waits for it on the main thread."""
        result = super().handle(conn)
        if type(conn) is Connection:
            try:
                conn.sock.flush()
            except OSError:
                conn.sock.unsent.clear()
                return False
        return result

    def handle_request(self, req: Any, conn: Any) -> bool:
        if type(conn) is Connection:
            # Said already, or needless.
            req._expected_100_continue = False
            if conn.is_cut:
                req.force_close()
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
        self._finish(conn, not fs.cancelled() and fs.exception() is None and bool(fs.result()))

    def _finish(self, conn: Connection, keeps_alive: bool) -> None:
        """The request has been answered; whether the connection is kept."""
        self._waiting.release(conn)
        if conn is self._large_at_work:
            self._large_at_work = next(iter(self._waiting.large), None)
            if self._large_at_work is not None:
                self._waiting.leave(self._large_at_work)
                self._start(self._large_at_work)
        conn.is_last = not keeps_alive
        try:
            conn.sock.setblocking(False)
        except OSError:
            self._forget(conn)
            return
        if conn.sock.unsent:
            self._waiting.write(conn, partial(self._on_writable, conn))
            if self._waiting.buffered > MAX_BUFFERED_BYTES:
                self._close(conn)
        else:
            self._go_on(conn)

    def _on_writable(self, connection: Connection, _sock: Any) -> None:
        # As in `_on_readable`.
        if connection.deadline is None:
            return
        try:
            is_sent = connection.sock.flush()
        except OSError:
            self._close(connection)
            return
        if is_sent:
            self._waiting.leave(connection)
            self._waiting.release(connection)
            self._go_on(connection)

    def _go_on(self, connection: Connection) -> None:
        """The answer is sent: what comes after it."""
        if connection.is_last:
            self._linger(connection)
        else:
            self._await_request(connection, connection.following)

    def murder_keepalived(self, force: bool = False) -> None:
        """Closes what has waited too long; all of it at the worker's end."""
        super().murder_keepalived(force)
        now = time.monotonic()
        if not force and now - self._swept_at < SWEEP_INTERVAL_S:
            return
        self._swept_at = now
        for connection, reason in self._waiting.expired(everybody=force):
            if reason:
                self._refuse(connection, reason)
            else:
                self._close(connection)

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for connection in self._waiting.idle:
            connection.deadline = min(connection.deadline or deadline, deadline)

    def _drop_oldest(self) -> None:
        """Makes room for another connection."""
        oldest = self._waiting.oldest()
        if oldest is not None:
            self._dropped.labels("crowded").inc()
            self._close(oldest)

    def _refuse(self, connection: Connection, reason: str) -> None:
        """Answers a request that is not complete, and ends its connection."""
        self._dropped.labels(reason).inc()
        status, headers = REFUSALS[reason]
        body = b'{"error":"%b"}' % status[4:].lower().encode()
        head = f"HTTP/1.1 {status}\r\n{headers}Content-Type: application/json\r\nConnection: close\r\n"
        self._send(connection, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self._waiting.leave(connection)
        self._waiting.release(connection)
        self._linger(connection)

    def _linger(self, connection: Connection) -> None:
        """Ends a connection as RFC 9112, section 9.6, says, without waiting: gunicorn would wait on the main thread."""
        connection.request = IncomingRequest(self._max_body)
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._forget(connection)
            return
        self._waiting.listen(connection, self._waiting.lingering, LINGER_S, partial(self._drain, connection))
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
        self._waiting.leave(connection)
        self._waiting.release(connection)
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        self.nr_conns -= 1
        connection.close()

    @staticmethod
    def _send(connection: Connection, answer: bytes) -> None:
        # An answer of a line fits into the socket's buffer; whoever does not read loses it.
        try:
            connection.sock.send(answer)
        except OSError:
            return

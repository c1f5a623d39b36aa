"""Connections to Redis, and the client whose trips cost little: `store.connect` makes it.

A connection that was used a moment ago is taken again without a lock and without asking the system about its socket,
and a pipeline without a transaction is one write and its replies. Where many callers would wait in a row, one of them
now and then finds out whether a silent server is back. After a failover all connections are made anew: an old primary
becomes a replica and keeps them open; it refuses writes on them for ever.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from functools import cache, partial
from typing import Any, ClassVar

from redis import Connection, ConnectionPool, Redis
from redis.client import Pipeline
from redis.exceptions import ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from freshgate import sockets

log = logging.getLogger(__name__)
# The timeout bounds the sending of a piece, and a server that carries out a large batch takes it slowly.
PIECE_BYTES = 256 * 1024
# As long as a trip waits for a reply.
PROBE_INTERVAL_S = 1.0


class FailoverPool(ConnectionPool):
    """A pool that drops all its connections once a server on one of them says that it takes no writes.

    The command that met this fails; the next one asks the address again, behind which the new primary is by then.

    recent_s    a connection that has been idle for longer is looked at before it is used: the server may have closed it
    fails_fast  once the server has not answered in time, one trip a second is let through until one is answered; the
                others fail at once. For whoever serves many callers: each would wait for those before it

    Connections that come back are kept in `_recent`, for redis-py still in use; the one that came last goes first.
    """

    recent_s: ClassVar[float] = 0.1

    def __init__(self, connection_class: Any = Connection, *, fails_fast: bool = False, **options: Any) -> None:
        self._fails_fast = fails_fast
        super().__init__(connection_class=_aware(connection_class), **options)

    def reset(self) -> None:
        """A new process begins with no connections."""
        # Appending to its end and taking from it is atomic.
        self._recent: deque[Any] = deque()
        self._is_silent, self._probe_due = False, 0.0
        super().reset()

    def get_connection(self, *_: Any, **__: Any) -> Any:
        """A connection that works, as far as is known. Raises TimeoutError where the server is silent."""
        if self._is_silent:
            self._take_probe()
        if self.pid == os.getpid():
            while self._recent:
                try:
                    connection = self._recent.pop()
                except IndexError:
                    # Another thread took it.
                    break
                connection.is_waiting = False
                if time.monotonic() - connection.used_at < self.recent_s and not connection.should_reconnect():
                    return connection
                super().release(connection)
        try:
            return super().get_connection()
        except RedisTimeoutError:
            self.note_silence()
            raise

    def note_silence(self) -> None:
        """The server has not answered in time."""
        # Only the first of those that wait: after each of the others, another one would be let through.
        if self._fails_fast and not self._is_silent:
            self._is_silent, self._probe_due = True, 0.0

    def _take_probe(self) -> None:
        """Lets one trip through. Raises TimeoutError where that was done a moment ago."""
        with self._lock:
            now = time.monotonic()
            if now < self._probe_due:
                raise RedisTimeoutError("the server did not answer a moment ago")
            self._probe_due = now + PROBE_INTERVAL_S

    def release(self, connection: Any) -> None:
        """Takes a connection back; a second time does nothing, so that two threads never get the same one."""
        if connection.is_waiting:
            return
        if self.pid == os.getpid() and connection.is_connected and not connection.should_reconnect():
            connection.used_at, connection.is_waiting = time.monotonic(), True
            self._is_silent = False
            self._recent.append(connection)
        else:
            super().release(connection)

    def make_connection(self) -> Any:
        connection: Any = super().make_connection()
        connection.on_read_only, connection.on_silence = self.renew, self.note_silence
        return connection

    def renew(self) -> None:
        """Drops idle connections now, and those in use when they are given back."""
        log.warning("redis takes no writes: all connections are made anew")
        with self._lock:
            for connection in self._in_use_connections:
                connection.mark_for_reconnect()
        self.disconnect(inuse_connections=False)


@cache
def _aware(connection_class: Any) -> Any:
    """The connection class, which tells its pool when the server refuses writes."""

    class AwareOfFailover(connection_class):  # type: ignore[misc]  # TCP, TLS or a Unix socket, as the URL has it
        on_read_only: Any = None
        on_silence: Any = None
        # Monotonic seconds; and whether it is one of the pool's `_recent`.
        used_at, is_waiting = 0.0, False

        def connect_check_health(self, *arguments: Any, **options: Any) -> Any:
            # It looks names up and greets the server, which may take seconds: too long for the thread of the tasks.
            connect = partial(super().connect_check_health, *arguments, **options)
            tasks = sockets.tasks
            if self._sock is None and tasks is not None and tasks.is_inside():
                return tasks.in_thread(connect)
            return connect()

        def _connect(self) -> Any:
            sock = super()._connect()
            return sock if sockets.tasks is None else sockets.TaskSocket(sock)

        def read_response(self, *arguments: Any, **options: Any) -> Any:
            try:
                response = super().read_response(*arguments, **options)
            except ReadOnlyError:
                self.on_read_only()
                raise
            except RedisTimeoutError:
                self.on_silence()
                raise
            # Within a transaction, errors are among the replies.
            if type(response) is list and any(isinstance(reply, ReadOnlyError) for reply in response):
                self.on_read_only()
            return response

    return AwareOfFailover


class Client(Redis):
    """A client of one Redis whose pipelines without a transaction are direct."""

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        kind = Pipeline if transaction else DirectPipeline
        return kind(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class DirectPipeline(Pipeline):
    """Commands that share a trip: one write, and a reply for each.

    redis-py's own sends the same, with machinery for retries, which this project does not use, in between.
    """

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """The replies in order. Raises the first error among them, unless they are to stand there; and
        RedisError where there was no trip."""
        if self.explicit_transaction or self.watching or self.scripts:
            return super().execute(raise_on_error)
        commands, self.command_stack = self.command_stack, []
        if not commands:
            return []
        connection: Any = self.connection_pool.get_connection()
        try:
            # Mostly in one piece: between two, another thread may compute for milliseconds.
            packed = b"".join(connection.pack_commands([arguments for arguments, _ in commands]))
            connection.send_packed_command(
                [packed[start : start + PIECE_BYTES] for start in range(0, len(packed), PIECE_BYTES)]
            )
            replies = [self._reply(connection, arguments[0], options) for arguments, options in commands]
        except BaseException:
            # Replies that nobody has read must not be taken for those of another command.
            connection.disconnect()
            raise
        finally:
            self.connection_pool.release(connection)
        if raise_on_error:
            for reply in replies:
                if isinstance(reply, ResponseError):
                    raise reply
        return replies

    def _reply(self, connection: Any, command: str, options: dict[str, Any]) -> Any:
        try:
            if options or command in self.response_callbacks:
                # redis-py has no types for it.
                return self.parse_response(connection, command, **options)  # type: ignore[no-untyped-call]
            return connection.read_response()
        except ResponseError as error:
            return error

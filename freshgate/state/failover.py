"""Connections to Redis that are made anew after a failover: `store.connect` gives its clients this pool.

An old primary becomes a replica and keeps its connections open; it refuses writes on them for ever.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from redis import Connection, ConnectionPool
from redis.exceptions import ReadOnlyError

log = logging.getLogger(__name__)


class FailoverPool(ConnectionPool):
    """A pool that drops all its connections once a server on one of them says that it takes no writes.

    The command that met this fails; the next one asks the address again, behind which the new primary is by then.
    """

    def __init__(self, connection_class: Any = Connection, **options: Any) -> None:
        super().__init__(connection_class=_aware(connection_class), **options)

    def make_connection(self) -> Any:
        connection: Any = super().make_connection()
        connection.on_read_only = self.renew
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

        def read_response(self, *arguments: Any, **options: Any) -> Any:
            try:
                response = super().read_response(*arguments, **options)
            except ReadOnlyError:
                self.on_read_only()
                raise
            # Within a transaction, errors are among the replies.
            if type(response) is list and any(isinstance(reply, ReadOnlyError) for reply in response):
                self.on_read_only()
            return response

    return AwareOfFailover

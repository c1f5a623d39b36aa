"""Sockets for Memcached's client: an answer has so much time and so many bytes, however it trickles or floods.

`caches.py` hands them to pymemcache, whose own timeout is that of a single read.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

# Memcached keeps no more than that in an item; then its head and its end.
MAX_ANSWER_BYTES = 1_100_000


class BoundedSocket(socket.socket):
    """`timeout_s` from a command's sending to its answer's end. Raises TimeoutError, or OSError for too much."""

    timeout_s = 0.05
    _deadline = 0.0
    _received = 0

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        self._deadline, self._received = time.monotonic() + self.timeout_s, 0
        self.settimeout(self.timeout_s)
        super().sendall(data, flags)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        remaining_s = self._deadline - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        self.settimeout(remaining_s)
        data = super().recv(size, flags)
        self._received += len(data)
        if self._received > MAX_ANSWER_BYTES:
            raise OSError("more than an item")
        return data


class BoundedSockets:
    """What pymemcache uses of the module `socket`. `resolve` stands in for `socket.getaddrinfo`."""

    AF_UNSPEC, SOCK_STREAM = socket.AF_UNSPEC, socket.SOCK_STREAM
    IPPROTO_TCP, TCP_NODELAY = socket.IPPROTO_TCP, socket.TCP_NODELAY

    def __init__(self, timeout_s: float, resolve: Callable[..., list[Any]] = socket.getaddrinfo) -> None:
        self.timeout_s = timeout_s
        self._resolve = resolve
        self.socket = type("TimedSocket", (BoundedSocket,), {"timeout_s": timeout_s})

    def getaddrinfo(self, *arguments: Any) -> list[Any]:
        """As that of `socket`, in time: a resolver may take seconds where the host is gone. Raises TimeoutError."""
        addresses: list[Any] = []

        def resolve() -> None:
            with suppress(OSError):
                addresses.extend(self._resolve(*arguments))

        thread = threading.Thread(target=resolve, daemon=True)
        thread.start()
        thread.join(self.timeout_s)
        if not addresses:
            raise TimeoutError
        return addresses

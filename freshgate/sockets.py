"""Sockets to Redis, at which a task waits while others go on.

A server whose requests are tasks says so in `tasks`. Outside of a task such a socket waits like any other.
"""

from __future__ import annotations

import select
import ssl
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Tasks(Protocol):
    """What a server offers to its tasks."""

    def is_inside(self) -> bool:
        """Whether a task is asking."""

    def wait(self, sock: Any, *, writable: bool, timeout_s: float | None) -> bool:
        """Lets other tasks go on until the socket is ready; False if it is not in time."""

    def in_thread(self, call: Callable[[], T]) -> T:
        """Lets other tasks go on while a thread makes the call; returns or raises what it does."""


# Set by `adapter/server/worker.py`.
tasks: Tasks | None = None


class TaskSocket:
    """A connected socket, with TLS or without. Its timeout bounds each wait, as ever, but it never blocks the thread:
    it is tried first, and waited for as long as it is not ready."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._timeout_s: float | None = sock.gettimeout()
        sock.setblocking(False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, value: float | None) -> None:
        self._timeout_s = value

    def gettimeout(self) -> float | None:
        return self._timeout_s

    def setblocking(self, flag: bool) -> None:
        self._timeout_s = None if flag else 0.0

    def recv(self, *arguments: Any) -> Any:
        return self._try(self._sock.recv, *arguments)

    def recv_into(self, *arguments: Any) -> Any:
        return self._try(self._sock.recv_into, *arguments)

    def sendall(self, data: Any) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._try(self._sock.send, rest, writable=True) :]

    def _try(self, call: Callable[..., Any], *arguments: Any, writable: bool = False) -> Any:
        while True:
            try:
                return call(*arguments)
            except ssl.SSLWantReadError:
                self._wait(writable=False)
            except ssl.SSLWantWriteError:
                self._wait(writable=True)
            except BlockingIOError:
                if self._timeout_s == 0:
                    raise
                self._wait(writable=writable)

    def _wait(self, *, writable: bool) -> None:
        timeout_s = self._timeout_s
        if timeout_s == 0:
            raise BlockingIOError("not ready")
        if tasks is not None and tasks.is_inside():
            if tasks.wait(self._sock, writable=writable, timeout_s=timeout_s):
                return
            # Other tasks may have kept the loop past the deadline: what arrived meanwhile was in time.
            timeout_s = 0.0
        poll = select.poll()
        poll.register(self._sock, select.POLLOUT if writable else select.POLLIN)
        if not poll.poll(None if timeout_s is None else timeout_s * 1000):
            raise TimeoutError("timed out")

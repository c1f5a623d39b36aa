"""Sockets to Redis, at which a task waits while others go on.

A server whose requests are tasks says so in `tasks`. Outside of a task such a socket waits like any other.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar

T = TypeVar("T")


class Tasks(Protocol):
    """What a server offers to its tasks."""

    def is_inside(self) -> bool:
        """Whether a task is asking."""

    def wait(self, sock: socket.socket, *, writable: bool, timeout_s: float | None) -> bool:
        """Lets other tasks go on until the socket is ready; False if it is not in time."""

    def in_thread(self, call: Callable[[], T]) -> T:
        """Lets other tasks go on while a thread makes the call; returns or raises what it does."""


# Set by `adapter/server/worker.py`.
tasks: Tasks | None = None


class TaskSocket(socket.socket):
    """Its timeout bounds each wait, as ever, but the system's own socket never blocks: it is tried first."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._timeout_s = super().gettimeout()
        super().setblocking(False)

    @classmethod
    def of(cls, sock: socket.socket) -> Self:
        """Takes over a socket, which is of no more use."""
        timeout_s = sock.gettimeout()
        own = cls(sock.family, sock.type, sock.proto, sock.detach())
        own.settimeout(timeout_s)
        return own

    def settimeout(self, value: float | None, /) -> None:
        self._timeout_s = value

    def gettimeout(self) -> float | None:
        return self._timeout_s

    def setblocking(self, flag: bool, /) -> None:
        self._timeout_s = None if flag else 0.0

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        while True:
            try:
                return super().recv(bufsize, flags)
            except BlockingIOError:
                if self._timeout_s == 0:
                    raise
                self._wait()

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        while True:
            try:
                return super().recv_into(buffer, nbytes, flags)
            except BlockingIOError:
                if self._timeout_s == 0:
                    raise
                self._wait()

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[super().send(rest, flags) :]
            except BlockingIOError:
                if self._timeout_s == 0:
                    raise
                self._wait(writable=True)

    def _wait(self, *, writable: bool = False) -> None:
        timeout_s = self._timeout_s
        if tasks is not None and tasks.is_inside():
            is_ready = tasks.wait(self, writable=writable, timeout_s=timeout_s)
        else:
            poll = select.poll()
            poll.register(self, select.POLLOUT if writable else select.POLLIN)
            is_ready = bool(poll.poll(None if timeout_s is None else timeout_s * 1000))
        if not is_ready:
            raise TimeoutError("timed out")

"""The load: one thread, raw sockets kept alive, requests that were written in advance.

It costs a few tens of microseconds a request, so that on a shared machine it takes little from what is measured.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator, Sequence

ACCEPTED = b"HTTP/1.1 200"
LENGTH = b"content-length:"


class Clients:
    """Some connections to one port. `burst` keeps all of them busy, `paced` sends at given moments."""

    def __init__(self, port: int, connections: int) -> None:
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._read: dict[int, bytes] = {}
        for _ in range(connections):
            opened = socket.create_connection(("127.0.0.1", port), timeout=30)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[opened.fileno()] = opened
            self._poll.register(opened, select.EPOLLIN)

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        self._poll.close()
        for opened in self._sockets.values():
            opened.close()

    def burst(self, requests: Sequence[bytes]) -> float:
        """Seconds until all are answered, each connection asking again as soon as it was. Raises RuntimeError."""
        waiting = iter(requests)
        begun = time.perf_counter()
        open_answers = sum(self._send(fd, waiting) for fd in self._sockets)
        while open_answers:
            for fd in self._answered(30.0):
                open_answers -= 1
                open_answers += self._send(fd, waiting)
        return time.perf_counter() - begun

    def paced(self, requests: Sequence[bytes], rate: float) -> list[int]:
        """At so many a second, answered or not; when each was due to be sent, in nanoseconds of the monotonic clock."""
        free, due_at = list(self._sockets), []
        begun = time.monotonic_ns() + 10_000_000
        for number, request in enumerate(requests):
            due = begun + int(number * 1e9 / rate)
            while (left := due - time.monotonic_ns()) > 0 or not free:
                free += self._answered(max(left, 0) / 1e9 if free else 30.0, timeout_is_error=not free)
            self._sockets[free.pop(0)].sendall(request)
            due_at.append(due)
        while len(free) < len(self._sockets):
            free += self._answered(30.0)
        return due_at

    def _send(self, fd: int, waiting: Iterator[bytes]) -> int:
        request = next(waiting, None)
        if request is None:
            return 0
        self._sockets[fd].sendall(request)
        return 1

    def _answered(self, timeout_s: float, *, timeout_is_error: bool = True) -> list[int]:
        """The connections whose answer is in as a whole."""
        ready = self._poll.poll(timeout_s)
        if not ready and timeout_is_error:
            raise RuntimeError("no answer within 30 s")
        return [fd for fd, _ in ready if self._is_whole(fd)]

    def _is_whole(self, fd: int) -> bool:
        text = self._read.get(fd, b"") + self._sockets[fd].recv(65536)
        head, found, body = text.partition(b"\r\n\r\n")
        if not found and text:
            self._read[fd] = text
            return False
        if not text.startswith(ACCEPTED):
            raise RuntimeError(f"not accepted: {text[:300]!r}")
        at = head.lower().index(LENGTH) + len(LENGTH)
        whole = len(body) >= int(head[at:].split(b"\r\n", 1)[0])
        self._read[fd] = b"" if whole else text
        return whole

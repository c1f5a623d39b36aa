"""The load generator: one thread, raw sockets kept alive, requests that were built in advance.

It costs some tens of microseconds a request, so on a shared machine it takes little CPU from what is measured.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator, Sequence

ACCEPTED = b"HTTP/1.1 200"
LENGTH = b"content-length:"


class Clients:
    """Some connections to one port. `burst` keeps all of them busy, `paced` sends at a fixed rate."""

    def __init__(self, port: int, connections: int) -> None:
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._received: dict[int, bytes] = {}
        for _ in range(connections):
            sock = socket.create_connection(("127.0.0.1", port), timeout=30)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[sock.fileno()] = sock
            self._poll.register(sock, select.EPOLLIN)

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        self._poll.close()
        for sock in self._sockets.values():
            sock.close()

    def burst(self, requests: Sequence[bytes]) -> float:
        """Seconds until all are answered; a connection sends its next request at once. Raises RuntimeError."""
        waiting = iter(requests)
        started = time.perf_counter()
        unanswered = sum(self._send(fd, waiting) for fd in self._sockets)
        while unanswered:
            for fd in self._answered(30.0):
                unanswered -= 1
                unanswered += self._send(fd, waiting)
        return time.perf_counter() - started

    def paced(self, requests: Sequence[bytes], rate: float) -> list[int]:
        """Sends `rate` requests a second, answered or not. Returns when each was due, in monotonic nanoseconds."""
        return [due for due, _ in self.timed(requests, rate)]

    def timed(self, requests: Sequence[bytes], rate: float) -> list[tuple[int, int]]:
        """As `paced`; returns when each was due, and when its answer was whole, in monotonic nanoseconds."""
        free, unanswered = list(self._sockets), dict[int, int]()
        due_at, answered_at = [0] * len(requests), [0] * len(requests)

        def collect(timeout_s: float, *, timeout_is_error: bool = True) -> None:
            for fd in self._answered(timeout_s, timeout_is_error=timeout_is_error):
                answered_at[unanswered.pop(fd)] = time.monotonic_ns()
                free.append(fd)

        started = time.monotonic_ns() + 10_000_000
        for number, request in enumerate(requests):
            due_at[number] = started + int(number * 1e9 / rate)
            while (wait_ns := due_at[number] - time.monotonic_ns()) > 0 or not free:
                collect(max(wait_ns, 0) / 1e9 if free else 30.0, timeout_is_error=not free)
            fd = free.pop(0)
            unanswered[fd] = number
            self._sockets[fd].sendall(request)
        while unanswered:
            collect(30.0)
        return list(zip(due_at, answered_at, strict=True))

    def _send(self, fd: int, waiting: Iterator[bytes]) -> int:
        request = next(waiting, None)
        if request is None:
            return 0
        self._sockets[fd].sendall(request)
        return 1

    def _answered(self, timeout_s: float, *, timeout_is_error: bool = True) -> list[int]:
        """The connections that have received a whole response."""
        ready = self._poll.poll(timeout_s)
        if not ready and timeout_is_error:
            raise RuntimeError("no answer within 30 s")
        return [fd for fd, _ in ready if self._is_whole(fd)]

    def _is_whole(self, fd: int) -> bool:
        text = self._received.get(fd, b"") + self._sockets[fd].recv(65536)
        head, separator, body = text.partition(b"\r\n\r\n")
        if not separator and text:
            self._received[fd] = text
            return False
        if not text.startswith(ACCEPTED):
            raise RuntimeError(f"not accepted: {text[:300]!r}")
        at = head.lower().index(LENGTH) + len(LENGTH)
        is_whole = len(body) >= int(head[at:].split(b"\r\n", 1)[0])
        self._received[fd] = b"" if is_whole else text
        return is_whole

"""The bench's own ESP: accepts every mail, after a delay if it is given one, and records when each arrived.

`python -m bench.stub PORT`. GET / gives [[number, nanoseconds], ...], GET /count how many, DELETE / clears,
PUT /<milliseconds> sets the delay, and PUT /<milliseconds>/<status> what it answers instead of 202. The numbers
are those of the orders `bench-<number>` in the body, several in a batch; the clock is the monotonic one.
"""

from __future__ import annotations

import asyncio
import http.client
import re
import sys
import time

import msgspec

ORDER = re.compile(rb"bench-(\d+)")
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
ACCEPTED = (
    b"HTTP/1.1 202 Accepted\r\nServer: nginx\r\nContent-Length: 0\r\nConnection: keep-alive\r\n"
    b"X-Message-Id: 14c5d75ce93.dfd.64b469\r\nAccess-Control-Allow-Origin: https://sendgrid.api-docs.io\r\n\r\n"
)
REFUSED = b"HTTP/1.1 %d Refused\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"


# The order's number, and when its mail arrived, in monotonic nanoseconds.
Arrival = tuple[int, int]


class Shared:
    """What all connections of a stub share."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.delay_s = 0.0
        self.answer = ACCEPTED


class Stub(asyncio.Protocol):
    """One connection."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.WriteTransport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not separator or self._transport is None or len(body) < (int(length[1]) if length else 0):
            return
        self._received, shared = b"", self._shared
        if head.startswith(b"POST"):
            now = time.monotonic_ns()
            # A batch names each of its orders; a mail may name its own several times.
            shared.arrivals += [(int(order), now) for order in dict.fromkeys(ORDER.findall(body)) or (b"0",)]
            if shared.delay_s:
                asyncio.get_running_loop().call_later(shared.delay_s, self._transport.write, shared.answer)
            else:
                self._transport.write(shared.answer)
            return
        if head.startswith(b"DELETE"):
            shared.arrivals.clear()
        if head.startswith(b"PUT"):
            milliseconds, _, status = head.split(b" ", 2)[1][1:].partition(b"/")
            shared.delay_s = float(milliseconds) / 1000
            shared.answer = REFUSED % int(status) if status else ACCEPTED
        reply = msgspec.json.encode(len(shared.arrivals) if b" /count " in head else shared.arrivals)
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(reply) + reply)


async def serve(port: int) -> None:
    """Serves until it is killed."""
    shared = Shared()
    server = await asyncio.get_running_loop().create_server(lambda: Stub(shared), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def clear(port: int) -> None:
    """Makes the stub of that port forget all arrivals."""
    _request(port, "DELETE")


def delay(port: int, milliseconds: float) -> None:
    """Makes the stub of that port answer each mail so much later."""
    _request(port, "PUT", f"/{milliseconds:g}")


def refuse(port: int, status: int) -> None:
    """Makes the stub of that port answer each mail with that status at once, until its next delay is set."""
    _request(port, "PUT", f"/0/{status}")


def count(port: int) -> int:
    """How many mails have arrived."""
    return int(_request(port, path="/count"))


def arrivals(port: int) -> list[Arrival]:
    """The order's number and the time in nanoseconds of each mail since the last `clear`."""
    return msgspec.json.decode(_request(port), type=list[Arrival])


def _request(port: int, method: str = "GET", path: str = "/") -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path)
        return connection.getresponse().read()
    finally:
        connection.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))

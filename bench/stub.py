"""The bench's own ESP: accepts every mail at once, and records when each arrived.

`python -m bench.stub PORT`. GET / gives [[number, nanoseconds], ...], GET /count how many, DELETE / clears them. The
number is that of the order `bench-<number>` in the body; the clock is the monotonic one.
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


# The order's number, and when its mail arrived, in monotonic nanoseconds.
Arrival = tuple[int, int]


class Stub(asyncio.Protocol):
    """One connection. All of them share the list of arrivals."""

    def __init__(self, arrivals: list[Arrival]) -> None:
        self._arrivals = arrivals
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
        self._received = b""
        if head.startswith(b"POST"):
            order = ORDER.search(body)
            self._arrivals.append((int(order[1]) if order else 0, time.monotonic_ns()))
            self._transport.write(ACCEPTED)
            return
        if head.startswith(b"DELETE"):
            self._arrivals.clear()
        reply = msgspec.json.encode(len(self._arrivals) if b" /count " in head else self._arrivals)
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(reply) + reply)


async def serve(port: int) -> None:
    """Serves until it is killed."""
    arrivals: list[Arrival] = []
    server = await asyncio.get_running_loop().create_server(lambda: Stub(arrivals), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def clear(port: int) -> None:
    """Makes the stub of that port forget all arrivals."""
    _request(port, "DELETE")


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

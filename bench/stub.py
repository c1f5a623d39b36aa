"""The bench's own ESP: takes every mail at once, or after a fixed delay, and remembers when each arrived.

`python -m bench.stub PORT DELAY_MS`. GET / gives {"connections", "arrivals": [[number, nanoseconds], ...]}; DELETE /
forgets them. The number is that of the order, `bench-<number>`, which the body names; the clock is the monotonic one.
"""

from __future__ import annotations

import asyncio
import http.client
import re
import sys
import time
from functools import partial

import msgspec

ORDER = re.compile(rb"bench-(\d+)")
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
TAKEN = (
    b"HTTP/1.1 202 Accepted\r\nServer: nginx\r\nContent-Length: 0\r\nConnection: keep-alive\r\n"
    b"X-Message-Id: 14c5d75ce93.dfd.64b469\r\nAccess-Control-Allow-Origin: https://sendgrid.api-docs.io\r\n\r\n"
)


class Seen(msgspec.Struct):
    """What came in since the last DELETE."""

    connections: int = 0
    arrivals: list[tuple[int, int]] = []


class Stub(asyncio.Protocol):
    """One connection."""

    def __init__(self, seen: Seen, delay_s: float) -> None:
        self._seen, self._delay_s = seen, delay_s
        self._read = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.WriteTransport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, body = self._read.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not found or self._transport is None or len(body) < (int(length[1]) if length else 0):
            return
        self._read = b""
        if head.startswith(b"POST"):
            order = ORDER.search(body)
            self._seen.arrivals.append((int(order[1]) if order else 0, time.monotonic_ns()))
            if self._delay_s:
                asyncio.get_running_loop().call_later(self._delay_s, partial(self._transport.write, TAKEN))
            else:
                self._transport.write(TAKEN)
            return
        self._tell(head, self._transport)

    def _tell(self, head: bytes, transport: asyncio.WriteTransport) -> None:
        if head.startswith(b"DELETE"):
            self._seen.arrivals = []
            self._seen.connections = 0
        told = str(len(self._seen.arrivals)).encode() if b" /count " in head else msgspec.json.encode(self._seen)
        transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(told) + told)


async def serve(port: int, delay_ms: float) -> None:
    """Until it is killed."""
    seen = Seen()

    def connected() -> Stub:
        seen.connections += 1
        return Stub(seen, delay_ms / 1000)

    server = await asyncio.get_running_loop().create_server(connected, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def ask(port: int, method: str = "GET", path: str = "/") -> bytes:
    """For the bench: one question to the stub of that port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path)
        return connection.getresponse().read()
    finally:
        connection.close()


def forget(port: int) -> None:
    ask(port, "DELETE")


def count(port: int) -> int:
    """How many mails came in."""
    return int(ask(port, path="/count"))


def seen(port: int) -> Seen:
    """Everything since the last `forget`. `connections` counts the one that asks, too."""
    return msgspec.json.decode(ask(port), type=Seen)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))

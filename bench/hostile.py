"""Honest orders while strangers attack, and alone: `python -m bench.hostile --seconds 600`.

Not a part of `make bench`: it takes its time. Docs: docs/SECURITY-MODEL.md has a run's figures. What is honest and not
acknowledged, or acknowledged and not recorded, is a loss.
"""

from __future__ import annotations

import argparse
import http.client
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from adapter.sources.segment.signature import sign
from bench.lab import SECRET, Lab, Process, free_port
from bench.payloads import orders

RATE = 20.0
HEAD = b"POST /webhooks/segment HTTP/1.1\r\nHost: x\r\n"


class Honest:
    """A CDP that posts so many signed orders a second, each on a connection of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.seconds: list[float] = []
        self.lost = 0

    def run(self, stop: threading.Event) -> None:
        due = time.monotonic()
        while not stop.is_set():
            ((_, body),) = orders(1)
            started = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            status = 0
            with suppress(OSError, http.client.HTTPException):
                headers = {"X-Signature": sign(SECRET, body), "Content-Type": "application/json"}
                connection.request("POST", "/webhooks/segment", body, headers)
                status = connection.getresponse().status
            connection.close()
            self.seconds.append(time.monotonic() - started)
            self.lost += status != http.client.OK
            due += 1 / RATE
            stop.wait(max(0.0, due - time.monotonic()))


def slow(port: int, stop: threading.Event, first: bytes, count: int) -> None:
    """Connections that send a byte every two seconds; one that is closed is opened again."""
    connections: list[socket.socket] = []
    while not stop.wait(2):
        for connection in list(connections):
            try:
                connection.sendall(b"a")
            except OSError:
                connections.remove(connection)
                connection.close()
        with suppress(OSError):
            while len(connections) < count:
                connections.append(socket.create_connection(("127.0.0.1", port), timeout=5))
                connections[-1].sendall(first)
    for connection in connections:
        connection.close()


def flood(port: int, stop: threading.Event) -> None:
    """Requests that nobody answers with 200, some hundred a second."""
    chance = random.Random(7)  # noqa: S311  # not a secret
    body = b'{"writeKey":"x","batch":[' + b",".join([b"{}"] * 20_000) + b"],NaN}"
    for build in cycle_of(chance, body):
        if stop.wait(0.005):
            return
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(build())
            connection.recv(1000)


def cycle_of(chance: random.Random, body: bytes) -> Iterator[Callable[[], bytes]]:
    def word() -> bytes:
        return "".join(chance.choices("ABCDEFGHIJ", k=8)).encode()

    kinds: list[Callable[[], bytes]] = [
        lambda: word() + b" /webhooks/segment HTTP/1.1\r\nHost: " + word() + b"\r\n\r\n",
        lambda: b"GET /" + word() + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        lambda: HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + word() + b"\r\n",
        lambda: HEAD + b"X-Signature: %040d\r\nContent-Length: 20000\r\n\r\n" % 7 + b"[" * 20_000,
        lambda: b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
        lambda: HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    ]
    while True:
        yield chance.choice(kinds)


class State(NamedTuple):
    memory_mb: int
    files: int
    file_bytes: int
    series: int


def state(app: Process, folder: Path, metrics_port: int) -> State:
    files = list(folder.iterdir())
    connection = http.client.HTTPConnection("127.0.0.1", metrics_port, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    children = Path(f"/proc/{app.popen.pid}/task/{app.popen.pid}/children").read_text(encoding="ascii").split()
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) for pid in children)
    series = len(re.findall(r"^[^#]", text, re.MULTILINE))
    return State(pages * 4 // 1024, len(files), sum(file.stat().st_size for file in files), series)


def percentiles(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p50, p99 = (ordered[int(len(ordered) * part)] * 1000 for part in (0.5, 0.99))
    return f"{len(seconds)} orders, p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {ordered[-1] * 1000:.0f} ms"


def main(seconds: float) -> None:
    with Lab() as lab:
        redis = lab.client(lab.valkey())
        metrics_port = free_port()
        app = lab.gunicorn("receiver", "adapter.app:from_environment()", {"FRESHGATE_METRICS_PORT": str(metrics_port)})
        folder = lab.folder / "var-receiver" / "metrics" / "receiver"
        for title, is_attacked, length in (("alone", False, seconds / 5), ("attacked", True, seconds)):
            honest, stop = Honest(app.port), threading.Event()
            threads = [threading.Thread(target=honest.run, args=(stop,))]
            if is_attacked:
                firsts = (b"", HEAD + b"X-A: ", HEAD + b"Content-Length: 100000\r\n\r\n{")
                threads += [threading.Thread(target=slow, args=(app.port, stop, first, 100)) for first in firsts]
                threads += [threading.Thread(target=flood, args=(app.port, stop))]
            for thread in threads:
                thread.start()
            time.sleep(min(20.0, length / 3))
            before = state(app, folder, metrics_port)
            stop.wait(length - min(20.0, length / 3))
            after = state(app, folder, metrics_port)
            stop.set()
            for thread in threads:
                thread.join()
            print(f"{title}: {percentiles(honest.seconds)}, {honest.lost} not taken", flush=True)
            print(f"  {before} after the start, {after} at the end", flush=True)
        print(f"jobs in Redis: {redis.llen('rq:queue:freshgate-sendgrid')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    main(parser.parse_args().seconds)

"""Honest orders while strangers attack, and alone: `python -m bench.hostile --seconds 600`.

Not a part of `make bench`: it takes its time. Docs: docs/SECURITY-MODEL.md has a run's figures. A worker sends to the
bench's ESP all the while; in the end each order is compared with its mails, one by one. Exits with 1 if any was lost or
doubled.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import random
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from adapter.sources.segment.signature import sign
from bench import stub
from bench.lab import SECRET, Lab, Process, free_port
from bench.payloads import orders

RATE = 20.0
ATTEMPTS = 5
MAX_FAULTS_SHOWN = 50
# A page's source next to the honest one: its key is known to everybody, and its budget used up within seconds.
PAGE_KEY = "page-key"
PAGE = {
    "FRESHGATE_SOURCES__PAGE__KIND": "tracking",
    "FRESHGATE_SOURCES__PAGE__TRUST": "browser",
    "FRESHGATE_SOURCES__PAGE__WRITE_KEYS": PAGE_KEY,
    "FRESHGATE_SOURCES__PAGE__RECORDED_BYTES": "2000000/1h",
}
HEAD = b"POST /webhooks/segment HTTP/1.1\r\nHost: x\r\n"


class Honest:
    """A CDP that posts so many signed orders a second, each on a connection of its own, and repeats what is not taken.

    seconds     how long each attempt took
    refused     attempts that were not answered 200
    orders      the number of each order that was posted → whether it was acknowledged
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.seconds: list[float] = []
        self.refused = 0
        self.orders: dict[int, bool] = {}

    def run(self, stop: threading.Event) -> None:
        due = time.monotonic()
        while not stop.is_set():
            ((number, body),) = orders(1)
            self.orders[number] = any(self._is_taken(body) for _ in range(ATTEMPTS))
            due += 1 / RATE
            stop.wait(max(0.0, due - time.monotonic()))

    def _is_taken(self, body: bytes) -> bool:
        started = time.monotonic()
        headers = {"X-Signature": sign(SECRET, body), "Content-Type": "application/json"}
        is_taken = post(self._port, "/webhooks/segment", body, headers) == http.client.OK
        self.seconds.append(time.monotonic() - started)
        self.refused += not is_taken
        return is_taken


def post(port: int, path: str, body: bytes, headers: Mapping[str, str]) -> int:
    """The status, or 0 if there was no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, body, dict(headers))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


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


def fill(port: int, stop: threading.Event) -> None:
    """Whoever read the page's key puts large carts of new visitors into Redis."""
    key = base64.b64encode(f"{PAGE_KEY}:".encode()).decode()
    headers = {"Authorization": f"Basic {key}", "Content-Type": "application/json"}
    lines = [{"product_id": f"{line}", "name": "n" * 200, "price": 1} for line in range(80)]
    number = 0
    while not stop.wait(0.05):
        number += 1
        event = {
            "type": "track",
            "event": "Cart Viewed",
            "anonymousId": f"x{number}",
            "properties": {"products": lines},
        }
        post(port, "/v1/batch", json.dumps({"batch": [event] * 4}).encode(), headers)


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
    return f"{len(seconds)} attempts, p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {ordered[-1] * 1000:.0f} ms"


def compare(posted: Mapping[int, bool], sent: Counter[int]) -> list[str]:
    """What is wrong with single orders: the number of each that was lost or doubled, or that nobody posted."""
    faults = [f"order {number}: acknowledged, and no mail" for number in posted if posted[number] and not sent[number]]
    faults += [f"order {number}: {count} mails" for number, count in sorted(sent.items()) if count > 1]
    return faults + [f"order {number}: a mail, and nobody posted it" for number in sorted(sent.keys() - posted.keys())]


def main(seconds: float) -> int:
    """Prints the figures of both runs and each fault; returns the exit code."""
    posted: dict[int, bool] = {}
    with Lab() as lab:
        redis = lab.client(lab.valkey())
        esp = lab.stub()
        metrics_port = free_port()
        environ = {"FRESHGATE_METRICS_PORT": str(metrics_port), **PAGE}
        app = lab.gunicorn("receiver", "adapter.app:from_environment()", environ)
        for process in ("deliver", "timers"):
            lab.python(process, "workers", process)
        folder = lab.folder / "var-receiver" / "metrics" / "receiver"
        for title, is_attacked, length in (("alone", False, seconds / 5), ("attacked", True, seconds)):
            honest, stop = Honest(app.port), threading.Event()
            threads = [threading.Thread(target=honest.run, args=(stop,))]
            if is_attacked:
                firsts = (b"", HEAD + b"X-A: ", HEAD + b"Content-Length: 100000\r\n\r\n{")
                threads += [threading.Thread(target=slow, args=(app.port, stop, first, 100)) for first in firsts]
                threads += [threading.Thread(target=attack, args=(app.port, stop)) for attack in (flood, fill)]
            for thread in threads:
                thread.start()
            time.sleep(min(20.0, length / 3))
            before = state(app, folder, metrics_port)
            stop.wait(length - min(20.0, length / 3))
            after = state(app, folder, metrics_port)
            stop.set()
            for thread in threads:
                thread.join()
            print(f"{title}: {percentiles(honest.seconds)}, {honest.refused} attempts not taken", flush=True)
            print(f"  {before} after the start, {after} at the end", flush=True)
            posted |= honest.orders
        acknowledged = sum(posted.values())
        # A send without its job is taken from the timers after 20 s.
        deadline = time.monotonic() + 60
        while stub.count(esp.port) < acknowledged and time.monotonic() < deadline:
            time.sleep(0.5)
        # What would be doubled has a moment to arrive, too.
        time.sleep(2)
        faults = compare(posted, Counter(number for number, _ in stub.arrivals(esp.port)))
        print(
            f"{len(posted)} orders posted, {acknowledged} acknowledged, each compared with its mails: "
            f"{len(faults)} wrong"
        )
        print(f"Redis: {redis.info('memory')['used_memory'] // 1_000_000} MB, persons of the page included")
    for fault in faults[:MAX_FAULTS_SHOWN]:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    sys.exit(main(parser.parse_args().seconds))

"""The People API: how soon it shows an event at 500 events a second, and what a stopped Memcached adds to its p99.

The receiver, with its cache in memory, gets batches of 10. Two of five are posted by a prober, which then asks for the
person of its last event until the event shows: in turns `/recent`, which reads no cache, and the person, whose older
document was put into the cache before. Memcached's windows take turns with those in which it hangs by SIGSTOP. The
gate has no row: it lives in `workers`, which by an import contract never import the adapter, and with it the cache.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from statistics import median
from typing import Any, NamedTuple

from adapter.people.caches import PAUSE_S
from bench.lab import Lab, Process
from bench.load import Clients
from bench.payloads import Shoppers, batch_request
from bench.rows import Effort, Goal, Row, paired, percentile

PART = "people"
PEOPLE = 1000
CONNECTIONS = 16
EVENTS_PER_S, BATCH = 500, 10
# Batches a second of the prober; the background load has the others.
PROBES_PER_S = 20.0
VISIBLE_GOAL = Goal("value", "at most", 100)
VISIBLE_TIMEOUT_S = 10.0
# A batch of the background load that is answered later was not sent at the rate.
MAX_LAG_NS = 1_000_000_000
# Persons, and requests a second, while Memcached answers or hangs.
ASKED_PEOPLE, ASKED_PER_S = 100, 100.0
WINDOW_S = 3.0
# Its timeout, and what else such a request takes longer.
ADDED_GOAL = Goal("value", "at most", 50)
API_KEY = "bench-api-key"
API = {"FRESHGATE_API_TOKENS": API_KEY, "FRESHGATE_API_RATE": "1000000/1m"}
APP = "adapter.app:from_environment()"


class Probe(NamedTuple):
    """Milliseconds until the API showed an event: since its post was due, and since its post was answered."""

    since_due: float
    since_answer: float


def measure(effort: Effort) -> list[Row]:
    """p50 and p99 of both."""
    with Lab() as lab:
        lab.client(lab.valkey())
        receiver = lab.gunicorn("receiver", APP, API)
        shoppers = Shoppers(PEOPLE)
        with Clients(receiver.port, CONNECTIONS) as clients:
            clients.burst([batch_request([shoppers.event() for _ in range(50)]) for _ in range(2 * PEOPLE // 50)])
        rows = visible_rows(probe_under_load(receiver, shoppers, effort.of(12, 4)))
        receiver.stop()
        return [*rows, *memcached_rows(lab, effort)]


def probe_under_load(receiver: Process, shoppers: Shoppers, seconds: int) -> dict[str, list[Probe]]:
    """The probes by path, after a second of load that does not count. Raises RuntimeError if an event never shows."""
    rate = EVENTS_PER_S / BATCH - PROBES_PER_S
    batches = [batch_request([shoppers.event() for _ in range(BATCH)]) for _ in range(int(rate * (seconds + 1.5)))]
    probes: dict[str, list[Probe]] = {"/recent": [], "": []}
    with Clients(receiver.port, CONNECTIONS) as clients, ThreadPoolExecutor(1) as pool, connect(receiver.port) as sock:
        load = pool.submit(clients.timed, batches, rate)
        started = time.monotonic() + 1
        for number in range(int(seconds * PROBES_PER_S)):
            path = "" if number % 2 else "/recent"
            probes[path].append(probe(sock, shoppers, path, started + number / PROBES_PER_S))
        if max(answered - due for due, answered in load.result()) > MAX_LAG_NS:
            raise RuntimeError(f"this machine does not take {EVENTS_PER_S} events a second")
    return probes


def probe(sock: socket.socket, shoppers: Shoppers, path: str, due: float) -> Probe:
    """Posts a batch when it is due, and asks for the person of its last event until the event shows."""
    events = [shoppers.event() for _ in range(BATCH)]
    event, batch = json.loads(events[-1]), batch_request(events)
    question = get_request(event["userId"], path)
    # Puts the document without this event into the cache.
    exchange(sock, question)
    time.sleep(max(0.0, due - time.monotonic()))
    exchange(sock, batch)
    answered = time.monotonic()
    shows: Callable[[Mapping[str, Any], Mapping[str, Any]], bool] = shows_in_recent if path else shows_in_cart
    while not shows(exchange(sock, question), event):
        if time.monotonic() > answered + VISIBLE_TIMEOUT_S:
            raise RuntimeError(f"an event did not show within {VISIBLE_TIMEOUT_S:g} s")
    shown = time.monotonic()
    return Probe((shown - due) * 1000, (shown - answered) * 1000)


def shows_in_recent(reply: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    return any(entry["id"] == event["messageId"] for entry in reply["recent"])


def shows_in_cart(reply: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    return any(line["at"] == event["timestamp"] for line in reply["cart"])


def visible_rows(probes: Mapping[str, Sequence[Probe]]) -> list[Row]:
    rows = []
    for path, of_path in probes.items():
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            for since, field in (("the post", 0), ("its answer", 1)):
                value = percentile((times[field] for times in of_path), share)
                title = f"event in {path or 'the cached person'}, {name} since {since}, {EVENTS_PER_S}/s"
                rows.append(Row(part=PART, name=title, unit="ms", value=value, goal=VISIBLE_GOAL))
    return rows


def memcached_rows(lab: Lab, effort: Effort) -> list[Row]:
    """The API while Memcached answers, and after it was stopped. Without Memcached, a row that says so."""
    added = "p99 that a stopped memcached adds to GET of a person"
    program = shutil.which("memcached")
    if not program:
        return [Row(part=PART, name=f"{added}: no memcached here", unit="ms", value=math.nan)]
    memcached = lab.memcached(program)
    cache = f"memcached://127.0.0.1:{memcached.port}"
    app = lab.gunicorn("receiver-memcached", APP, API | {"FRESHGATE_PEOPLE_CACHE": cache})
    windows = [measure_round(app, memcached) for _ in range(effort.of(4, 1))]
    rows = []
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        pairs = [(percentile(stopped, share), percentile(answering, share)) for answering, stopped in windows]
        rows.append(paired(PART, f"GET of a person, {name}, memcached stopped", "ms", pairs, "memcached answers"))
    # `pairs` are those of p99.
    value = median(stopped - answering for stopped, answering in pairs)
    return [*rows, Row(part=PART, name=added, unit="ms", value=value, goal=ADDED_GOAL)]


def measure_round(app: Process, memcached: Process) -> tuple[list[float], list[float]]:
    """Latencies in ms while Memcached answers, and while it is stopped. Raises RuntimeError if either was not so."""
    # Fills the cache. After the last round the workers leave it alone for PAUSE_S.
    ask(app, PAUSE_S + 0.2)
    hits = get_hits(memcached.port)
    answering = ask(app, WINDOW_S)
    if get_hits(memcached.port) - hits < 0.9 * len(answering):
        raise RuntimeError("memcached answers, but too few documents came from it")
    faults = count_faults(app)
    memcached.popen.send_signal(signal.SIGSTOP)
    try:
        stopped = ask(app, WINDOW_S)
    finally:
        memcached.popen.send_signal(signal.SIGCONT)
    if count_faults(app) == faults:
        raise RuntimeError("memcached is stopped, but nobody noticed")
    return answering, stopped


def ask(app: Process, seconds: float) -> list[float]:
    """The latency of each GET of a person since it was due, in milliseconds."""
    requests = [get_request(f"u-{number % ASKED_PEOPLE}", "") for number in range(int(seconds * ASKED_PER_S))]
    with Clients(app.port, CONNECTIONS) as clients:
        return [(answered - due) / 1e6 for due, answered in clients.timed(requests, ASKED_PER_S)]


def get_hits(port: int) -> int:
    """How many documents Memcached handed out so far."""
    with connect(port) as sock, sock.makefile("rb") as replies:
        sock.sendall(b"stats\r\n")
        stats = {}
        while (line := replies.readline().split()) and line != [b"END"]:
            stats[line[1]] = line[2]
    return int(stats[b"get_hits"])


def count_faults(app: Process) -> int:
    return app.log.read_text(encoding="utf-8", errors="replace").count("memcached_failed")


def get_request(person: str, path: str) -> bytes:
    """The whole HTTP request for a person, or for their newest events if the path is `/recent`."""
    head = f"GET /api/people/{person}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {API_KEY}\r\n\r\n"
    return head.encode()


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def exchange(sock: socket.socket, wire: bytes) -> dict[str, Any]:
    """Sends a request and reads its JSON. Raises RuntimeError for any status but 200."""
    sock.sendall(wire)
    response = HTTPResponse(sock)
    response.begin()
    body = response.read()
    if response.status != 200:
        raise RuntimeError(f"not accepted: {response.status} {body[:300]!r}")
    reply: dict[str, Any] = json.loads(body)
    return reply

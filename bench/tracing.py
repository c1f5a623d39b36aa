"""The cost of traces: the receiver's CPU if nothing or everything is sampled, and the latency without a collector.

Every sampled span is exported to a collector that answers at once. `observability.py` measures metrics the same way.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench import latency
from bench.lab import Lab, free_port
from bench.load import Clients
from bench.observability import CONNECTIONS, PEOPLE, SINGLES, spent_us
from bench.payloads import Shoppers, request
from bench.rows import Effort, Goal, Row, paired, percentile

PART = "tracing"
OFF = "without traces"
RATIOS = {"off": "", "unsampled": "0", "sampled": "1"}
UNSAMPLED_GOAL = Goal("ratio", "at most", 1.05)
# On shared machines a ratio below 1.3 is noise.
LATENCY_GOAL = Goal("ratio", "at most", 1.3)
# The first rounds create the shoppers' records and fill caches.
WARM_UP_ROUNDS = 3


def measure(effort: Effort) -> list[Row]:
    """CPU an event, and latency."""
    return [*cpu(effort), *without_collector(effort)]


def cpu(effort: Effort) -> list[Row]:
    """CPU an event, with traces of no event and of every event."""
    rounds: list[dict[str, float]] = []
    with Lab() as lab, collector() as url, ExitStack() as stack:
        lab.client(lab.valkey())
        apps = {}
        for name, ratio in RATIOS.items():
            environ = {"FRESHGATE_OTLP_ENDPOINT": url, "FRESHGATE_TRACE_RATIO": ratio} if ratio else {}
            apps[name] = lab.gunicorn(name, "adapter.app:from_environment()", environ)
            apps[name].keep_single_worker()
        clients = {name: stack.enter_context(Clients(app.port, CONNECTIONS)) for name, app in apps.items()}
        shoppers = Shoppers(PEOPLE)
        for number in range(effort.of(60, 12) + WARM_UP_ROUNDS):
            names = list(apps) if number % 2 else list(reversed(apps))
            cpu_us = {}
            for name in names:
                events = [request(shoppers.event()) for _ in range(SINGLES)]
                cpu_us[name] = spent_us(apps[name], clients[name], events) / SINGLES
            if number >= WARM_UP_ROUNDS:
                rounds.append(cpu_us)
    pairs = {name: [(cpu_us[name], cpu_us["off"]) for cpu_us in rounds] for name in ("unsampled", "sampled")}
    return [
        paired(PART, "receiver CPU, nothing sampled", "µs/event", pairs["unsampled"], OFF, UNSAMPLED_GOAL),
        paired(PART, "receiver CPU, everything sampled", "µs/event", pairs["sampled"], OFF),
    ]


def without_collector(effort: Effort) -> list[Row]:
    """From the webhook to the ESP: default sampling with a collector that is down, against no traces at all."""
    collector_down = {"FRESHGATE_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    apps = {}
    with Lab() as lab:
        esp = lab.stub()
        for name, environ in (("off", {}), ("down", collector_down)):
            lab.valkey(f"redis-{name}")
            apps[name] = lab.gunicorn(name, "adapter.app:from_environment()", environ)
            lab.python(f"{name}-worker", "workers", "deliver", environ=environ)
            latency.window(apps[name], esp, 50)
        amount = effort.of(250, 75)
        windows = [
            (latency.window(apps["down"], esp, amount), latency.window(apps["off"], esp, amount))
            for _ in range(effort.of(4, 2))
        ]
    rows = []
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        pairs = [(percentile(down, share), percentile(off, share)) for down, off in windows]
        rows.append(paired(PART, f"event to ESP, {name}, collector down", "ms", pairs, OFF, LATENCY_GOAL))
    return rows


@contextmanager
def collector() -> Iterator[str]:
    """The URL of a collector that accepts every span and keeps none."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _AcceptHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _AcceptHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Logs nothing: the table is the only output."""

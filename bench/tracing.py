"""What traces cost: the receiver's CPU when nothing is sampled, or everything; the latency when no collector is there.

`observability.py` measures the metrics the same way. Every span is exported, to a collector that answers at once.
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
UNSAMPLED = Goal("ratio", "at most", 1.05)
# Under 1.3 is no difference on machines that others use, too.
UNMOVED = Goal("ratio", "at most", 1.3)
# The first rounds bring the shoppers into being, and the apps into caches.
WARMING = 3


def measure(effort: Effort) -> list[Row]:
    return [*cpu(effort), *without_collector(effort)]


def cpu(effort: Effort) -> list[Row]:
    """CPU an event: tracing on and nothing sampled, and everything sampled."""
    rounds: list[dict[str, float]] = []
    with Lab() as lab, collector() as url, ExitStack() as held:
        lab.client(lab.valkey())
        apps = {}
        for name, ratio in RATIOS.items():
            told = {"FRESHGATE_OTLP_ENDPOINT": url, "FRESHGATE_TRACE_RATIO": ratio} if ratio else {}
            apps[name] = lab.gunicorn(name, "adapter.app:from_environment()", told)
            apps[name].keep_one_worker()
        clients = {name: held.enter_context(Clients(app.port, CONNECTIONS)) for name, app in apps.items()}
        shoppers = Shoppers(PEOPLE)
        for number in range(effort.of(60, 12) + WARMING):
            names = list(apps) if number % 2 else list(reversed(apps))
            spent = {}
            for name in names:
                events = [request(shoppers.event()) for _ in range(SINGLES)]
                spent[name] = spent_us(apps[name], clients[name], events) / SINGLES
            if number >= WARMING:
                rounds.append(spent)
    pairs = {name: [(one[name], one["off"]) for one in rounds] for name in ("unsampled", "sampled")}
    return [
        paired(PART, "receiver CPU, nothing sampled", "µs/event", pairs["unsampled"], OFF, UNSAMPLED),
        paired(PART, "receiver CPU, everything sampled", "µs/event", pairs["sampled"], OFF),
    ]


def without_collector(effort: Effort) -> list[Row]:
    """From the webhook to the ESP, sampled as by default and nobody there to take it, against no traces at all."""
    nowhere = {"FRESHGATE_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    apps = {}
    with Lab() as lab:
        esp = lab.stub()
        for name, told in (("off", {}), ("down", nowhere)):
            lab.valkey(f"redis-{name}")
            apps[name] = lab.gunicorn(name, "adapter.app:from_environment()", told)
            lab.python(f"{name}-worker", "workers", "deliver", environ=told)
            latency.window(apps[name], esp, 50)
        amount = effort.of(250, 75)
        windows = [
            (latency.window(apps["down"], esp, amount), latency.window(apps["off"], esp, amount))
            for _ in range(effort.of(4, 2))
        ]
    rows = []
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        pairs = [(percentile(down, share), percentile(off, share)) for down, off in windows]
        rows.append(paired(PART, f"event to ESP, {name}, collector down", "ms", pairs, OFF, UNMOVED))
    return rows


@contextmanager
def collector() -> Iterator[str]:
    """The URL of something that takes every span and keeps none."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Taking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Taking(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """The table is the only output."""

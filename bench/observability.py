"""What metrics cost: CPU of the receiver and the worker with them, against the same without (`unmeasured.py`).

User and system time, not wall, in nanoseconds by the scheduler's own count. The windows are short and many, and both
sides take turns, so that what else the machine does hits both. Observations are made once a request: a batch pays once.
"""

from __future__ import annotations

import re
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import Any

from bench import burst
from bench.lab import Lab, Started
from bench.load import Clients
from bench.payloads import Shoppers, batch_request, request
from bench.receiver import BATCH
from bench.rows import Effort, Goal, Row, paired

PART = "observability"
PEOPLE = 500
CONNECTIONS = 8
# Requests in a window: about a tenth of a second.
SINGLES, BATCHES = 80, 16
SINGLE, MANY = Goal("ratio", "at most", 1.15), Goal("ratio", "at most", 1.05)
OFF = "without metrics"
Pairs = list[tuple[float, float]]


def measure(effort: Effort) -> list[Row]:
    """CPU an event and a send, with metrics and without."""
    with Lab() as lab:
        lab.client(lab.valkey())
        apps = [
            lab.gunicorn("measured", "adapter.app:from_environment()"),
            lab.gunicorn("unmeasured", "bench.unmeasured:receiver()"),
        ]
        for app in apps:
            app.keep_one_worker()
        single, batch = receivers(apps, effort.of(60, 12))
        sends = worker(lab, effort.of(5000, 1000))
    # A batch of 50 is read in one window and sent in a job of 50.
    reading = median(ours for ours, _ in batch), median(theirs for _, theirs in batch)
    together = [(reading[0] + ours, reading[1] + theirs) for ours, theirs in sends]
    return [
        paired(PART, "receiver CPU, single event", "µs/event", single, OFF, SINGLE),
        paired(PART, "receiver CPU, batch of 50", "µs/event", batch, OFF, MANY),
        paired(PART, "worker CPU, jobs of 50", "µs/send", sends, OFF, MANY),
        paired(PART, "both CPU, batches and jobs of 50", "µs/event", together, OFF, MANY),
    ]


def receivers(apps: list[Started], rounds: int) -> tuple[Pairs, Pairs]:
    """Single events, and batches; who is first alternates."""
    shoppers = Shoppers(PEOPLE)
    singles: list[dict[str, float]] = []
    batches: list[dict[str, float]] = []
    with ExitStack() as held:
        clients = {app.port: held.enter_context(Clients(app.port, CONNECTIONS)) for app in apps}
        for number in range(rounds + 3):
            one: dict[str, float] = {}
            many: dict[str, float] = {}
            for app in apps if number % 2 else reversed(apps):
                name = app.log.stem
                alone = [request(shoppers.event()) for _ in range(SINGLES)]
                one[name] = spent_us(app, clients[app.port], alone) / SINGLES
                full = [batch_request([shoppers.event() for _ in range(BATCH)]) for _ in range(BATCHES)]
                many[name] = spent_us(app, clients[app.port], full) / BATCHES / BATCH
            # The first rounds bring the shoppers into being, and the apps into caches.
            if number >= 3:
                singles.append(one)
                batches.append(many)
    return _pairs(singles), _pairs(batches)


def _pairs(rounds: list[dict[str, float]]) -> Pairs:
    return [(one["measured"], one["unmeasured"]) for one in rounds]


def spent_us(app: Started, clients: Clients, requests: list[bytes]) -> float:
    """CPU that the app took for these, in microseconds."""
    before = cpu_ns(app.process.pid)
    clients.burst(requests)
    return (cpu_ns(app.process.pid) - before) / 1000


def cpu_ns(pid: int) -> int:
    """User and system time of a process and its children, of all their threads (proc's schedstat, first field)."""
    total = 0
    with suppress(FileNotFoundError, ProcessLookupError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        for one in (pid, *children):
            for thread in Path(f"/proc/{one}/task").iterdir():
                total += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
    return total


def worker(lab: Lab, size: int) -> Pairs:
    """A burst of orders in jobs of 50, of which every other one has metrics."""
    esp: Any = lab.stub()
    burst.record(lab.client(lab.environ["FRESHGATE_REDIS_URL"]), size, BATCH)
    burst.one(lab, esp, size, "bench.unmeasured")
    said = (lab.folder / "worker.out").read_text(encoding="utf-8", errors="replace")
    jobs = [(kind, int(spent)) for kind, spent in re.findall(r"^cpu (with|without) (\d+)$", said, re.MULTILINE)]
    # The first pairs import, connect and prepare.
    pairs = [dict(jobs[at : at + 2]) for at in range(4, len(jobs) - 1, 2)]
    return [(pair["with"] / 1000 / BATCH, pair["without"] / 1000 / BATCH) for pair in pairs]

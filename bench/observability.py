"""The cost of metrics: CPU of the receiver and the worker with them, against the same without (`unmeasured.py`).

CPU is user and system time in the scheduler's nanoseconds. Windows are short and many, and both sides take turns, so
that other load on the machine hits both. Metrics are observed once a request: a batch pays once.
"""

from __future__ import annotations

import re
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import Any

from bench import burst
from bench.lab import Lab, Process
from bench.load import Clients
from bench.payloads import Shoppers, batch_request, request
from bench.receiver import BATCH
from bench.rows import Effort, Goal, Row, paired

PART = "observability"
PEOPLE = 500
CONNECTIONS = 8
# Requests in a window: about a tenth of a second.
SINGLES, BATCHES = 80, 16
WARM_UP_ROUNDS = 3
SINGLE_GOAL, BATCH_GOAL = Goal("ratio", "at most", 1.15), Goal("ratio", "at most", 1.05)
OFF = "without metrics"
Pairs = list[tuple[float, float]]


def measure(effort: Effort) -> list[Row]:
    """CPU an event and a mail, with metrics and without."""
    with Lab() as lab:
        lab.client(lab.valkey())
        apps = [
            lab.gunicorn("measured", "adapter.app:from_environment()"),
            lab.gunicorn("unmeasured", "bench.unmeasured:receiver()"),
        ]
        for app in apps:
            app.keep_single_worker()
        single, batch = receiver_pairs(apps, effort.of(60, 12))
        sends = worker_pairs(lab, effort.of(5000, 1000))
    # The receiver's median for an event of a batch, added to what the worker took for its mail.
    with_us, without_us = median(pair[0] for pair in batch), median(pair[1] for pair in batch)
    together = [(with_us + pair[0], without_us + pair[1]) for pair in sends]
    return [
        paired(PART, "receiver CPU, single event", "µs/event", single, OFF, SINGLE_GOAL),
        paired(PART, "receiver CPU, batch of 50", "µs/event", batch, OFF, BATCH_GOAL),
        paired(PART, "worker CPU, jobs of 50", "µs/send", sends, OFF, BATCH_GOAL),
        paired(PART, "both CPU, batches and jobs of 50", "µs/event", together, OFF, BATCH_GOAL),
    ]


def receiver_pairs(apps: list[Process], rounds: int) -> tuple[Pairs, Pairs]:
    """CPU an event of single events, and of batches. Which app is first alternates."""
    shoppers = Shoppers(PEOPLE)
    singles: list[dict[str, float]] = []
    batches: list[dict[str, float]] = []
    with ExitStack() as stack:
        clients = {app.port: stack.enter_context(Clients(app.port, CONNECTIONS)) for app in apps}
        for number in range(rounds + WARM_UP_ROUNDS):
            single_us: dict[str, float] = {}
            batch_us: dict[str, float] = {}
            for app in apps if number % 2 else reversed(apps):
                name = app.log.stem
                requests = [request(shoppers.event()) for _ in range(SINGLES)]
                single_us[name] = spent_us(app, clients[app.port], requests) / SINGLES
                requests = [batch_request([shoppers.event() for _ in range(BATCH)]) for _ in range(BATCHES)]
                batch_us[name] = spent_us(app, clients[app.port], requests) / BATCHES / BATCH
            # The first rounds create the shoppers' records and fill caches.
            if number >= WARM_UP_ROUNDS:
                singles.append(single_us)
                batches.append(batch_us)
    return _pairs(singles), _pairs(batches)


def _pairs(rounds: list[dict[str, float]]) -> Pairs:
    return [(us["measured"], us["unmeasured"]) for us in rounds]


def spent_us(app: Process, clients: Clients, requests: list[bytes]) -> float:
    """CPU that the app took for these requests, in microseconds."""
    before = cpu_ns(app.popen.pid)
    clients.burst(requests)
    return (cpu_ns(app.popen.pid) - before) / 1000


def cpu_ns(pid: int) -> int:
    """User and system time of all threads of a process and its children: the first field of /proc's schedstat."""
    total = 0
    with suppress(FileNotFoundError, ProcessLookupError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        for process in (pid, *children):
            for thread in Path(f"/proc/{process}/task").iterdir():
                total += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
    return total


def worker_pairs(lab: Lab, size: int) -> Pairs:
    """CPU a mail, of a burst in jobs of 50, every other of which runs with metrics."""
    esp: Any = lab.stub()
    burst.record_orders(lab.client(lab.environ["FRESHGATE_REDIS_URL"]), size, BATCH)
    # One job at a time.
    single = {"FRESHGATE_ESPS__SENDGRID__CONCURRENCY": "1", "FRESHGATE_ESPS__SENDGRID__BATCH": str(BATCH)}
    burst.run_worker(lab, esp, size, single, "bench.unmeasured")
    output = (lab.folder / "worker.out").read_text(encoding="utf-8", errors="replace")
    jobs = [(side, int(cpu)) for side, cpu in re.findall(r"^cpu (with|without) (\d+)$", output, re.MULTILINE)]
    # The first two pairs also import, connect and prepare.
    pairs = [dict(jobs[start : start + 2]) for start in range(4, len(jobs) - 1, 2)]
    return [(pair["with"] / 1000 / BATCH, pair["without"] / 1000 / BATCH) for pair in pairs]

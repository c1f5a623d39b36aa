"""From the webhook to the ESP: milliseconds from when an order's webhook was due until the ESP has its mail.

Orders come at 50 a second, in turn to Freshgate's receiver, worker and timers, and to the chain of `naive.py`: Flask,
one RQ job, one python-http-client post, nothing checked. Both have the same gunicorn, a Valkey each, and one worker.
"""

from __future__ import annotations

from bench import stub
from bench.lab import OWN_THREADS, Lab, Process
from bench.load import Clients
from bench.payloads import orders, request
from bench.rows import Effort, Goal, Row, paired, percentile
from bench.waiting import wait_until

PART = "latency"
RATE = 50.0
CONNECTIONS = 8


def measure(effort: Effort) -> list[Row]:
    """p50 and p99, in windows that take turns."""
    with Lab() as lab:
        esp = lab.stub()
        lab.valkey("redis-naive")
        naive = lab.gunicorn("naive", "bench.naive:chain()", worker_class=OWN_THREADS)
        lab.python("naive-worker", "bench.naive")
        lab.valkey("redis-freshgate")
        freshgate = lab.gunicorn("receiver", "adapter.app:from_environment()")
        lab.python("worker", "workers", "deliver")
        lab.python("timers", "workers", "timers")
        for app in (freshgate, naive):
            window(app, esp, 50)
        amount = effort.of(250, 75)
        windows = [(window(freshgate, esp, amount), window(naive, esp, amount)) for _ in range(effort.of(7, 2))]
    goal = Goal("ratio", "at most", 1.1)
    rows = []
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        pairs = [(percentile(latencies, share), percentile(reference, share)) for latencies, reference in windows]
        rows.append(paired(PART, f"event to ESP, {name}, 50/s", "ms", pairs, "Flask + RQ + POST", goal))
    return rows


def window(app: Process, esp: Process, amount: int) -> list[float]:
    """The latency of each of so many orders, in milliseconds. Raises RuntimeError if a mail does not arrive."""
    stub.clear(esp.port)
    numbers, bodies = zip(*orders(amount), strict=True)
    with Clients(app.port, CONNECTIONS) as clients:
        due_at = clients.paced([request(body) for body in bodies], RATE)
    wait_until(lambda: stub.count(esp.port) >= amount, 60.0, f"{amount} mails")
    arrived = dict(stub.arrivals(esp.port))
    return [(arrived[number] - due) / 1e6 for number, due in zip(numbers, due_at, strict=True)]

"""From the webhook to the ESP: milliseconds from the moment an order was due to be posted until the ESP has its mail.

Orders come at 50 a second, to our receiver, worker and timers, and in turn to the naive chain of `naive.py`: Flask, one
RQ job, one python-http-client post, nothing checked. Both have the same gunicorn, a Valkey each, and one worker.
"""

from __future__ import annotations

from bench import stub
from bench.lab import Lab, Started
from bench.load import Clients
from bench.payloads import orders, request
from bench.rows import Effort, Goal, Row, paired, percentile
from bench.waiting import wait_until

PART = "latency"
RATE = 50.0
CONNECTIONS = 8


def measure(effort: Effort) -> list[Row]:
    """p50 and p99, of all pairs of windows."""
    with Lab() as lab:
        esp = lab.stub()
        lab.valkey("redis-naive")
        naive = lab.gunicorn("naive", "bench.naive:chain()")
        lab.python("naive-worker", "bench.naive")
        lab.valkey("redis-ours")
        ours = lab.gunicorn("receiver", "adapter.app:from_environment()")
        lab.python("worker", "workers", "deliver")
        lab.python("timers", "workers", "timers")
        for app in (ours, naive):
            window(app, esp, 50)
        amount = effort.of(250, 75)
        windows = [(window(ours, esp, amount), window(naive, esp, amount)) for _ in range(effort.of(7, 2))]
    goal = Goal("ratio", "at most", 1.5)
    rows = []
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        pairs = [(percentile(mine, share), percentile(theirs, share)) for mine, theirs in windows]
        rows.append(paired(PART, f"event to ESP, {name}, 50/s", "ms", pairs, "Flask + RQ + POST", goal))
    return rows


def window(app: Started, esp: Started, amount: int) -> list[float]:
    """The latency of each of so many orders, in milliseconds. Raises RuntimeError if one does not arrive."""
    stub.forget(esp.port)
    numbers, bodies = zip(*orders(amount), strict=True)
    with Clients(app.port, CONNECTIONS) as clients:
        due_at = clients.paced([request(body) for body in bodies], RATE)
    wait_until(lambda: stub.count(esp.port) >= amount, 60.0, f"{amount} mails")
    arrived = dict(stub.seen(esp.port).arrivals)
    return [(arrived[number] - due) / 1e6 for number, due in zip(numbers, due_at, strict=True)]

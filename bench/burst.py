"""A full queue and one worker process: mails a second from the first to the last, and the worker's CPU for each.

Freshgate gates, claims, posts and settles each of 5,000 order confirmations that came in batches of 50, and of 500 that
came one by one. RQ's `SimpleWorker` runs one job a mail, which is a python-http-client post. Each round starts a new
worker, whose start-up does not count; the ESP answers at once.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import msgspec
from rq import Queue

from adapter.ingest.record import Recorder, WebhookReply
from adapter.sources import SOURCES
from bench import naive, stub
from bench.lab import PII_KEY, SECRET, Lab, Process
from bench.payloads import order_properties, orders
from bench.rows import Effort, Goal, Row, paired
from bench.waiting import wait_until
from catalog import EVENTS, TRIGGERS
from freshgate.events import Event
from freshgate.routing import Routes
from freshgate.settings import SourceSettings
from freshgate.state.planner import Planner
from freshgate.state.store import load

PART = "burst"
BATCH = 50


class Result(NamedTuple):
    """One burst: mails a second, and CPU a mail."""

    mails_per_s: float
    cpu_us: float


def measure(effort: Effort) -> list[Row]:
    """Mails a second, and the worker's CPU a mail."""
    bursts: dict[str, list[Result]] = {"batches": [], "singles": [], "plain": []}
    with Lab() as lab:
        url = lab.valkey()
        esp = lab.stub()
        client = lab.client(url)
        for _ in range(effort.of(4, 2)):
            size = effort.of(5000, 1000)
            record_orders(client, size, BATCH)
            bursts["batches"].append(run_worker(lab, esp, size, "workers", "deliver"))
            client.flushall()
            size = effort.of(500, 150)
            jobs = [Queue.prepare_data(naive.send, args=(order_properties(),)) for _ in range(size)]
            Queue(naive.QUEUE, connection=client).enqueue_many(jobs)
            bursts["plain"].append(run_worker(lab, esp, size, "bench.naive"))
            client.flushall()
            load(client)
            record_orders(client, size, 1)
            bursts["singles"].append(run_worker(lab, esp, size, "workers", "deliver"))
            client.flushall()
            load(client)
    rq = "RQ SimpleWorker + POST"

    def pairs(name: str, field: int) -> list[tuple[float, float]]:
        return [(burst[field], plain[field]) for burst, plain in zip(bursts[name], bursts["plain"], strict=True)]

    return [
        paired(PART, "one worker, jobs of 50", "sends/s", pairs("batches", 0), rq, Goal("ratio", "at least", 10)),
        paired(PART, "one worker, jobs of 1", "sends/s", pairs("singles", 0), rq),
        paired(PART, "worker CPU, jobs of 50", "µs/send", pairs("batches", 1), rq),
    ]


def record_orders(client: Any, amount: int, batch: int) -> None:
    """Records orders of as many people as the receiver does, which leaves one job a batch in the queue."""
    source = SOURCES["segment"].configure("segment", SourceSettings(kind="segment", secrets=(SECRET,)), EVENTS)
    recorder = Recorder(client, Planner(EVENTS, TRIGGERS, PII_KEY.encode()), Routes(["sendgrid"]))
    bodies = [body for _, body in orders(amount)]
    for start in range(0, amount, batch):
        body = b"[" + b",".join(bodies[start : start + batch]) + b"]"
        reply = WebhookReply(refusals=[])
        verdicts = source.read(body, time.time_ns() // 1_000_000)
        events = [verdict for verdict in verdicts if isinstance(verdict, Event)]
        recorder.record(events, reply)
        if reply.accepted != min(batch, amount - start):
            raise RuntimeError(f"not all recorded: {msgspec.structs.asdict(reply)}")


def run_worker(lab: Lab, esp: Process, amount: int, module: str, *arguments: str) -> Result:
    """Starts the worker, waits for all mails, ends it. The first mail starts the clock and does not count."""
    stub.clear(esp.port)
    worker = lab.python("worker", module, *arguments)
    try:
        wait_until(lambda: stub.count(esp.port) > 0, 30.0, "the first mail")
        cpu_s, already_sent = worker.cpu_s(), stub.count(esp.port)
        wait_until(lambda: stub.count(esp.port) >= amount, 120.0, f"{amount} mails")
        cpu_s = worker.cpu_s() - cpu_s
    finally:
        worker.stop()
    arrived_ns = [at for _, at in stub.arrivals(esp.port)]
    if len(arrived_ns) != amount:
        raise RuntimeError(f"{len(arrived_ns)} mails instead of {amount}")
    seconds = (arrived_ns[-1] - arrived_ns[0]) / 1e9
    return Result((amount - 1) / seconds, cpu_s / max(1, amount - already_sent) * 1e6)

"""A burst: sends that are recorded and enqueued already, and one worker process, from the first mail to the last.

Ours gates, claims, posts and settles each of 5,000 order confirmations that came in batches of 50; plain RQ's
`SimpleWorker` runs one job a mail, a python-http-client post. Workers are started anew each round, beside a full queue.
The ESP answers at once; what a worker needs to start does not count.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import msgspec
from rq import Queue

from adapter.ingest.record import Recorder, WebhookReply
from adapter.sources import SOURCES
from bench import naive, stub
from bench.lab import PII_KEY, SECRET, Lab, Started
from bench.payloads import order_properties, orders
from bench.rows import Effort, Goal, Row, paired
from bench.waiting import wait_until
from catalog import EVENTS, TRIGGERS
from freshgate.events import Event
from freshgate.queue import queue_name
from freshgate.settings import SourceSettings
from freshgate.state.planner import Planner
from freshgate.state.store import load

PART = "burst"
BATCH = 50


class Result(NamedTuple):
    """One burst, by one worker."""

    rate: float
    cpu_us: float


def measure(effort: Effort) -> list[Row]:
    """Sends a second, and the worker's CPU a send."""
    bursts: dict[str, list[Result]] = {"batches": [], "singles": [], "plain": []}
    with Lab() as lab:
        url = lab.valkey()
        esp = lab.stub()
        client = lab.client(url)
        for _ in range(effort.of(4, 2)):
            size = effort.of(5000, 1000)
            record(client, size, BATCH)
            bursts["batches"].append(one(lab, esp, size, "workers", "deliver"))
            client.flushall()
            size = effort.of(500, 150)
            jobs = [Queue.prepare_data(naive.send, args=(order_properties(),)) for _ in range(size)]
            Queue(naive.QUEUE, connection=client).enqueue_many(jobs)
            bursts["plain"].append(one(lab, esp, size, "bench.naive"))
            client.flushall()
            load(client)
            record(client, size, 1)
            bursts["singles"].append(one(lab, esp, size, "workers", "deliver"))
            client.flushall()
            load(client)
    rq = "RQ SimpleWorker + POST"

    def pairs(name: str, field: int) -> list[tuple[float, float]]:
        return [(ours[field], plain[field]) for ours, plain in zip(bursts[name], bursts["plain"], strict=True)]

    return [
        paired(PART, "one worker, jobs of 50", "sends/s", pairs("batches", 0), rq, Goal("ratio", "at least", 10)),
        paired(PART, "one worker, jobs of 1", "sends/s", pairs("singles", 0), rq),
        paired(PART, "worker CPU, jobs of 50", "µs/send", pairs("batches", 1), rq),
    ]


def record(client: Any, amount: int, batch: int) -> None:
    """Orders of as many people, recorded as the receiver does it, which leaves a job a batch in the queue."""
    source = SOURCES["segment"].configure("segment", SourceSettings(kind="segment", secrets=(SECRET,)), EVENTS)
    recorder = Recorder(client, Planner(EVENTS, TRIGGERS, PII_KEY.encode()), queue_name("sendgrid"))
    bodies = [body for _, body in orders(amount)]
    for at in range(0, amount, batch):
        body = b"[" + b",".join(bodies[at : at + batch]) + b"]"
        answer = WebhookReply(refusals=[])
        verdicts = source.read(body, time.time_ns() // 1_000_000)
        events = [verdict for verdict in verdicts if isinstance(verdict, Event)]
        recorder.record(events, answer)
        if answer.accepted != min(batch, amount - at):
            raise RuntimeError(f"not all recorded: {msgspec.structs.asdict(answer)}")


def one(lab: Lab, esp: Started, amount: int, module: str, *arguments: str) -> Result:
    """Start the worker, wait for all mails, end it. The first mail starts the clock and is not counted."""
    stub.forget(esp.port)
    worker = lab.python("worker", module, *arguments)
    try:
        wait_until(lambda: stub.count(esp.port) > 0, 30.0, "the first mail")
        cpu, begun_with = worker.cpu_s(), stub.count(esp.port)
        wait_until(lambda: stub.count(esp.port) >= amount, 120.0, f"{amount} mails")
        cpu = worker.cpu_s() - cpu
    finally:
        worker.stop()
    moments = [at for _, at in stub.seen(esp.port).arrivals]
    if len(moments) != amount:
        raise RuntimeError(f"{len(moments)} mails instead of {amount}")
    return Result((amount - 1) / (moments[-1] - moments[0]) * 1e9, cpu / max(1, amount - begun_with) * 1e6)

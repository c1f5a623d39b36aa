"""A full queue and one worker process: mails a second from the first to the last, by how long the ESP takes.

Freshgate gates, claims, posts and settles each order confirmation: of orders that came one by one, a call each, and of
orders that came in batches of 50, which share calls. RQ's `SimpleWorker` runs one job a mail, which is a post by
python-http-client. Each round starts a new worker, whose start-up does not count; the ESP takes 0, 20, 50 and 150 ms.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Mapping
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
from freshgate.settings import EspSettings, SourceSettings
from freshgate.state.planner import Planner
from freshgate.state.store import load

PART = "burst"
BATCH = 50
DELAYS_MS = (0, 20, 50, 150)
CONCURRENCY = EspSettings().concurrency
# A worker without batches makes a call for each mail, as it must with many an ESP.
ALONE = {"FRESHGATE_ESPS__SENDGRID__BATCH": "1"}
# With fewer cores the processes of the bench itself would bound two workers.
CORES_FOR_TWO = 4
RQ = "RQ SimpleWorker + POST"


class Result(NamedTuple):
    """One burst: mails a second, and CPU a mail."""

    mails_per_s: float
    cpu_us: float


Results = dict[tuple[str, int], list[Result]]


def measure(effort: Effort) -> list[Row]:
    """Mails a second, and the worker's CPU a mail."""
    results: Results = defaultdict(list)
    with Lab() as lab:
        url = lab.valkey()
        esp = lab.stub()
        client = lab.client(url)
        # What is too late for its call comes back by its timer.
        lab.python("timers", "workers", "timers")
        for _ in range(effort.of(3, 1)):
            for delay_ms in DELAYS_MS:
                stub.delay(esp.port, delay_ms)
                measure_round(lab, client, esp, delay_ms, effort, results)
    return rows(results)


def measure_round(lab: Lab, client: Any, esp: Process, delay_ms: int, effort: Effort, results: Results) -> None:
    """Each kind of burst once, with an ESP that takes so long."""
    # About so many mails as leave within some seconds.
    plain = min(effort.of(500, 150), max(20, 3000 // max(delay_ms, 1)))
    jobs = [Queue.prepare_data(naive.send, args=(order_properties(),)) for _ in range(plain)]
    Queue(naive.QUEUE, connection=client).enqueue_many(jobs)
    results["plain", delay_ms].append(run_worker(lab, esp, plain, {}, "bench.naive"))
    clear(client)
    bursts: list[tuple[str, int, int, dict[str, str], tuple[str, ...]]] = [
        ("singles", 1, effort.of(1500, 500), ALONE, ()),
        ("batches", BATCH, effort.of(10_000, 3000), {}, ()),
    ]
    if delay_ms == 50:
        bursts.append(("two", BATCH, effort.of(10_000, 3000), {}, ("--processes", "2")))
    for name, batch, amount, environ, options in bursts:
        record_orders(client, amount, batch)
        results[name, delay_ms].append(run_worker(lab, esp, amount, environ, "workers", "deliver", *options))
        clear(client)


def rows(results: Results) -> list[Row]:
    table: list[Row] = []

    def pairs(name: str, delay_ms: int, field: int = 0) -> list[tuple[float, float]]:
        both = zip(results[name, delay_ms], results["plain", delay_ms], strict=True)
        return [(burst[field], plain[field]) for burst, plain in both]

    for delay_ms in DELAYS_MS:
        goal = Goal("ratio", "at least", 10) if delay_ms == 0 else None
        title = f"ESP {delay_ms} ms"
        table.append(paired(PART, f"{title}, one by one, a call each", "sends/s", pairs("singles", delay_ms), RQ))
        table.append(
            paired(PART, f"{title}, jobs of {BATCH}, batches", "sends/s", pairs("batches", delay_ms), RQ, goal)
        )
    table.append(paired(PART, f"worker CPU, jobs of {BATCH}, batches", "µs/send", pairs("batches", 0, 1), RQ))
    table.append(paired(PART, "worker CPU, one by one, a call each", "µs/send", pairs("singles", 0, 1), RQ))
    limit = CONCURRENCY / 0.05
    allowed = [
        (slow.mails_per_s, min(limit, fast.mails_per_s))
        for slow, fast in zip(results["singles", 50], results["singles", 0], strict=True)
    ]
    bound = f"the lesser of {limit:g} (concurrency) and the rate at 0 ms"
    goal = Goal("ratio", "at least", 0.85)
    table.append(paired(PART, "ESP 50 ms, one by one, a call each", "sends/s", allowed, bound, goal))
    table.append(
        paired(PART, f"ESP 50 ms, jobs of {BATCH}, batches", "sends/s", of_each(results, "batches"), "at 0 ms", goal)
    )
    two = [
        (both.mails_per_s, single.mails_per_s)
        for both, single in zip(results["two", 50], results["batches", 50], strict=True)
    ]
    cores = os.cpu_count() or 1
    goal_for_two = Goal("ratio", "at least", 1.7) if cores >= CORES_FOR_TWO else None
    table.append(paired(PART, "ESP 50 ms, two processes", "sends/s", two, f"one, on {cores} cores", goal_for_two))
    return table


def of_each(results: Results, name: str) -> list[tuple[float, float]]:
    """The rate at 50 ms and that at 0 ms of each round."""
    return [
        (slow.mails_per_s, fast.mails_per_s) for slow, fast in zip(results[name, 50], results[name, 0], strict=True)
    ]


def clear(client: Any) -> None:
    client.flushall()
    load(client)


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


def run_worker(lab: Lab, esp: Process, amount: int, environ: Mapping[str, str], module: str, *arguments: str) -> Result:
    """Starts the worker, waits for all mails, ends it. The first mail starts the clock and does not count."""
    stub.clear(esp.port)
    worker = lab.python("worker", module, *arguments, environ=environ)
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

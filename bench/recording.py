"""Recording events: microseconds of Redis' CPU an event, by what the event is and how many come at once.

Redis alone works; the events were read before. CPU is user and system time of the server, with its protocol and its
append-only file; the time within the functions is Redis' own count. The reference is plain commands, which read and
write about as much without comparing: HMGET, HSET, ZADD, SADD, LPUSH, LTRIM. Rounds of all loads take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, NamedTuple

from adapter.ingest.record import Recorder, WebhookReply
from adapter.sources import SOURCES
from bench.lab import PII_KEY, SECRET, Lab
from bench.payloads import Shoppers, orders
from bench.receiver import redis_s
from bench.rows import Effort, Goal, Row, paired
from catalog import EVENTS, TRIGGERS
from freshgate.events import Event
from freshgate.routing import Routes
from freshgate.settings import SourceSettings
from freshgate.state.planner import Planner

PART = "recording"
PEOPLE = 1000
BATCH = 50
EVENTS_A_ROUND = 1000
MAX_ADDED_US, MAX_ORDER_US = 50, 80


class Cost(NamedTuple):
    """Of one event: CPU of the whole server, and of it the time within the functions, in microseconds."""

    cpu_us: float
    function_us: float


def measure(effort: Effort) -> list[Row]:
    """Microseconds an event."""
    with Lab() as lab:
        client = lab.client(lab.valkey())
        source = SOURCES["segment"].configure("segment", SourceSettings(kind="segment", secrets=(SECRET,)), EVENTS)
        recorder = Recorder(client, Planner(EVENTS, TRIGGERS, PII_KEY.encode()), Routes(["sendgrid"]))

        def read(bodies: Iterator[bytes], amount: int) -> list[Event]:
            verdicts = source.read(b"[" + b",".join(next(bodies) for _ in range(amount)) + b"]", _now())
            return [verdict for verdict in verdicts if isinstance(verdict, Event)]

        shoppers = Shoppers(PEOPLE)
        added = iter(shoppers.event, None)
        order = (body for number in iter(int, None) for _, body in orders(1))
        loads: dict[str, tuple[Callable[[int], list[Event]], int]] = {
            "Product Added, batches of 50": (lambda n: read(added, n), BATCH),
            "Product Added, one by one": (lambda n: read(added, n), 1),
            "Order Completed, batches of 50": (lambda n: read(order, n), BATCH),
            "Order Completed, one by one": (lambda n: read(order, n), 1),
        }
        for _ in range(2):
            _record(client, recorder, read(added, PEOPLE), BATCH)
        costs: dict[str, list[Cost]] = {name: [] for name in loads}
        plain = []
        for _ in range(effort.of(20, 8)):
            plain.append(_plain_commands(client))
            for name, (build, batch) in loads.items():
                costs[name].append(_record(client, recorder, build(EVENTS_A_ROUND), batch))
    rows = []
    for name in loads:
        bound = MAX_ADDED_US if name.startswith("Product") else MAX_ORDER_US
        goal = Goal("value", "at most", bound) if name.endswith("of 50") else None
        pairs = [(cost.cpu_us, reference) for cost, reference in zip(costs[name], plain, strict=True)]
        rows.append(paired(PART, name, "µs/event", pairs, "six plain commands", goal))
        within = median(cost.function_us for cost in costs[name])
        rows.append(Row(part=PART, name=f"{name}, within the function", unit="µs/event", value=within))
    return rows


def _plain_commands(client: Any) -> float:
    """Microseconds of Redis' CPU for plain commands on the records of some people, pipelined as a batch is."""
    cpu = redis_s(client)
    stamped = "1789999998000" + "0" * 9
    for start in range(0, EVENTS_A_ROUND, BATCH):
        pipe = client.pipeline(transaction=False)
        for number in range(start, start + BATCH):
            key = f"plain:{number % PEOPLE}"
            pipe.hmget(key, *[f"m:{field}" for field in range(20)])
            pipe.hset(key, mapping={f"m:{field}": stamped for field in range(8)} | {"product": "x" * 150})
            pipe.zadd("plain:timers", {key: number})
            pipe.sadd("plain:seen", f"{start}-{number}")
            pipe.lpush(f"{key}:trail", "x" * 100)
            pipe.ltrim(f"{key}:trail", 0, 10)
        pipe.execute()
    return (redis_s(client) - cpu) / EVENTS_A_ROUND * 1e6


def _record(client: Any, recorder: Recorder, events: list[Event], batch: int) -> Cost:
    client.config_resetstat()
    cpu = redis_s(client)
    reply = WebhookReply(refusals=[])
    for start in range(0, len(events), batch):
        recorder.record(events[start : start + batch], reply)
    cpu = redis_s(client) - cpu
    if reply.accepted != len(events):
        raise RuntimeError(f"not all recorded: {reply}")
    functions = client.info("commandstats")["cmdstat_fcall"]["usec"]
    return Cost(cpu / len(events) * 1e6, functions / len(events))


def _now() -> int:
    return time.time_ns() // 1_000_000

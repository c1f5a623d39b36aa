"""One decision about a cart mail, by how many devices the person has: microseconds of CPU in the worker and in Redis.

The records of a person's ids are folded when they are read, so each device costs one more hash. Every device added a
product to the cart and viewed one. A pair is the same in a person without any device; the rounds take turns. What a
mail needs is read from the same records, and costs CPU and, on the trail, bytes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import redis
from msgspec.structs import replace
from structlog.testing import capture_logs

from adapter.ingest.record import Recorder, WebhookReply
from bench.lab import PII_KEY, Lab
from bench.rows import Effort, Row, paired
from catalog import EVENTS, TRIGGERS
from freshgate import Fallback, Needs, Trigger
from freshgate.events import Event, Product
from freshgate.queue import Item, Job
from freshgate.routing import Routes
from freshgate.state import keys
from freshgate.state.planner import Planner
from workers.courier import Courier
from workers.decisions import Records
from workers.esp.base import Message, SendResult
from workers.gate import decide
from workers.lookup import Lookup

PART = "deciding"
DEVICES = (1, 3, 10)
PERSONS = 20
TRIGGER = next(trigger for trigger in TRIGGERS if trigger.name == "abandoned_cart")
UNLINKED = "a person without devices"
PLAIN = replace(TRIGGER, needs=())
# The first of them fails, so that its fallback is looked at, too.
NEEDY = replace(
    TRIGGER,
    needs=(
        Needs("profile.locale", otherwise=Fallback(template_id="d", needs=(Needs("cart", fresh_for="24h"),))),
        Needs("cart.prices", fresh_for="24h"),
        Needs("view.product", fresh_for="24h"),
        Needs("profile.email", fresh_for="24h"),
        Needs("activity", fresh_for="24h"),
    ),
)


def person_events(person: int, devices: int, now: int) -> list[Event]:
    """A user with an address and a cart of one product, and what each device of theirs did by itself."""
    user, shared = f"{devices}-{person}", {"source": "segment", "id_space": "main", "received_at": now}
    email = f"{user}@example.com"
    events = [event("Identify", f"{user}-identify", now, shared | {"user_id": user, "email": email})]
    for device in range(devices + 1):
        visitor = f"{user}-{device}"
        ids = {"anonymous_id": visitor} if device else {"user_id": user}
        product = Product(product_id=f"sku-{device}", name="A product with a name", price="19.95")
        for name in ("Product Viewed", "Product Added"):
            events.append(event(name, f"{visitor}-{name}", now, shared | ids, product=product))
        if device:
            events.append(event("Page", f"{visitor}-link", now, shared | ids | {"user_id": user}))
    return events


def event(name: str, message_id: str, now: int, attributes: dict[str, Any], **fields: Any) -> Event:
    return Event(name=name, message_id=message_id, occurred_at=now, fields=fields, **attributes)


class AcceptingEsp:
    """Accepts everything at once."""

    name = "sendgrid"

    def prepare(self) -> None: ...
    def close(self) -> None: ...

    def send(self, message: Message) -> SendResult:
        return SendResult(provider_id="p", status=202)


def trail_bytes(client: redis.Redis, lookup: Lookup, trigger: Trigger, timer: str, now: int) -> float:
    """Bytes of what the trail says of a mail that left; each timer once."""
    courier = Courier(client, {trigger.name: trigger}, AcceptingEsp(), lookup, 10_000, lambda: now)
    # Its lines do not belong among the rows.
    with capture_logs():
        courier.deliver(Job(sends=(Item(timer, 0),), created=now, shop="main"))
    (line,) = client.lrange(f"{keys.person('main', keys.TimerRef.parse(timer).id)}:dec", 0, -1)
    return float(len(line))


def decide_all(lookup: Lookup, timers: Sequence[str], now: int) -> float:
    """Microseconds of the worker's CPU a decision: reading and deciding, one send a trip as for a single event."""
    started = time.thread_time()
    for timer in timers:
        _, (records,), _ = lookup.read("main", [timer], now)
        decision = decide(TRIGGER, records, now)
        if decision.do != "send":
            raise RuntimeError(f"the mail should leave: {decision.outcome} {decision.reason}")
    return (time.thread_time() - started) / len(timers) * 1e6


def decide_only(trigger: Trigger, all_records: Sequence[Records], now: int) -> float:
    """Microseconds of the worker's CPU a decision, of records that have been read."""
    started = time.thread_time()
    for records in all_records:
        decide(trigger, records, now)
    return (time.thread_time() - started) / len(all_records) * 1e6


def measured(client: redis.Redis, lookup: Lookup, timers: Sequence[str], now: int) -> tuple[float, float]:
    """Microseconds a decision, in the worker and in Redis. CPU, since a shared machine makes waiting a lottery."""
    client.config_resetstat()
    worker = decide_all(lookup, timers, now)
    stats: Any = client.info("commandstats")
    return worker, stats["cmdstat_fcall"]["usec_per_call"]


def measure(effort: Effort) -> list[Row]:
    """Microseconds a decision, by the number of devices."""
    pairs: dict[tuple[int, int], list[tuple[float, float]]] = {}
    with Lab() as lab:
        client = lab.client(lab.valkey())
        recorder = Recorder(client, Planner(EVENTS, TRIGGERS, PII_KEY.encode()), Routes(["bench"]))
        now = time.time_ns() // 1_000_000
        timers = {}
        for devices in (0, *DEVICES):
            for person in range(PERSONS):
                recorder.record(person_events(person, devices, now), WebhookReply())
            ids = [keys.person_id("main", f"{devices}-{person}") for person in range(PERSONS)]
            timers[devices] = [keys.timer(TRIGGER.name, "p", record_id) for record_id in ids]
        lookup = Lookup(client, PII_KEY.encode(), 300_000)
        later = now + TRIGGER.delay + TRIGGER.settle_ms
        for _ in range(effort.of(40, 15)):
            for devices in DEVICES:
                reference = measured(client, lookup, timers[0], later)
                value = measured(client, lookup, timers[devices], later)
                for part in (0, 1):
                    pairs.setdefault((devices, part), []).append((value[part], reference[part]))
        _, read, _ = lookup.read("main", timers[0], later)
        needs = [(decide_only(NEEDY, read, later), decide_only(PLAIN, read, later)) for _ in range(effort.of(200, 50))]
        trails = [
            (trail_bytes(client, lookup, NEEDY, first, later), trail_bytes(client, lookup, PLAIN, second, later))
            for first, second in zip(timers[0][::2], timers[0][1::2], strict=True)
        ]
    return [
        paired(PART, "five needs and a fallback, CPU of the worker", "us", needs, "a trigger without needs"),
        paired(PART, "five needs and a fallback, on the trail", "bytes", trails, "a trigger without needs"),
    ] + [
        paired(PART, f"linked devices: {devices}, {where}", "us", pairs[devices, part], UNLINKED)
        for devices in DEVICES
        for part, where in enumerate(("CPU of the worker", "in Redis"))
    ]

"""What Redis keeps a person and a remembered message, in bytes, by its own account.

It is asked of a Valkey with the settings that `make run` uses; the trail does not count.
"""

from __future__ import annotations

import time
from typing import Any

from adapter.ingest.record import Recorder, WebhookReply
from bench.lab import Lab
from bench.rows import Effort, Goal, Row
from catalog import EVENTS, TRIGGERS
from freshgate.events import Event, Product
from freshgate.state.planner import Planner

PART = "memory"
GOAL_PERSON = 1536
GOAL_MESSAGE = 64


def events(person: int, now: int) -> list[Event]:
    """An identified person with three products in the cart."""
    head: dict[str, Any] = {"source": "segment", "id_space": "main", "received_at": now, "user_id": f"user-{person}"}
    told = [Event(**head, name="Identify", message_id=f"i{person}", occurred_at=now, email=f"user{person}@example.com")]
    for number in range(3):
        product = Product(
            product_id=f"sku-{number}",
            name="A product with a name",
            price="19.95",
            url=f"https://shop.example.com/products/{number}",
            image_url=f"https://shop.example.com/images/{number}.jpg",
        )
        told.append(
            Event(
                **head,
                name="Product Added",
                message_id=f"a{person}-{number}",
                occurred_at=now + number,
                fields={"product": product},
            )
        )
    return told


def views(amount: int, now: int) -> list[Event]:
    """So many messages of one person, which are remembered in one shard."""
    head: dict[str, Any] = {"source": "segment", "id_space": "main", "received_at": now, "user_id": "reader"}
    return [
        Event(**head, name="Page", message_id=f"ajs-next-{number:013d}", occurred_at=now + number)
        for number in range(amount)
    ]


def measure(effort: Effort) -> list[Row]:
    with Lab() as lab:
        client = lab.client(lab.valkey())
        planner = Planner(EVENTS, TRIGGERS, b"bench")
        recorder = Recorder(client, planner, "bench")
        now = time.time_ns() // 1_000_000
        for person in range(effort.of(2000, 1000)):
            recorder.record(events(person, now), WebhookReply())
        # A set of few ids is packed tightly; where there is traffic, a shard's set holds thousands.
        recorder.record(views(effort.of(6000, 3000), now), WebhookReply())
        hashes = [key for key in client.scan_iter("fg:*:p:*", count=1000) if key.count(b":") == 3]
        person_bytes = sum(client.memory_usage(key, samples=0) for key in hashes) / len(hashes)
        seen = max(client.scan_iter("fg:*:seen:*"), key=client.scard)
        message_bytes = client.memory_usage(seen, samples=0) / client.scard(seen)
    return [
        Row(part=PART, name=what, unit="bytes", ours=figure, goal=Goal("ours", "at most", goal))
        for what, figure, goal in (
            ("an active person with a cart of three", person_bytes, GOAL_PERSON),
            ("a remembered message id", message_bytes, GOAL_MESSAGE),
        )
    ]

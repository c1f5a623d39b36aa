"""Bytes that Redis needs for a person, and for a message id that is remembered to recognize duplicates.

The server is a Valkey with the settings of `make run`, and reports the bytes itself; the trail does not count.
"""

from __future__ import annotations

import time
from typing import Any

from adapter.ingest.record import Recorder, WebhookReply
from bench.lab import Lab
from bench.rows import Effort, Goal, Row
from catalog import EVENTS, TRIGGERS
from freshgate.events import Event, Product
from freshgate.routing import Routes
from freshgate.state.planner import Planner

PART = "memory"
MAX_PERSON_BYTES = 1536
MAX_MESSAGE_ID_BYTES = 64


def cart_events(person: int, now: int) -> list[Event]:
    """An identified person with three products in the cart."""
    head: dict[str, Any] = {"source": "segment", "id_space": "main", "received_at": now, "user_id": f"user-{person}"}
    events = [
        Event(**head, name="Identify", message_id=f"i{person}", occurred_at=now, email=f"user{person}@example.com")
    ]
    for number in range(3):
        product = Product(
            product_id=f"sku-{number}",
            name="A product with a name",
            price="19.95",
            url=f"https://shop.example.com/products/{number}",
            image_url=f"https://shop.example.com/images/{number}.jpg",
        )
        events.append(
            Event(
                **head,
                name="Product Added",
                message_id=f"a{person}-{number}",
                occurred_at=now + number,
                fields={"product": product},
            )
        )
    return events


def page_events(amount: int, now: int) -> list[Event]:
    """Messages of one person."""
    head: dict[str, Any] = {"source": "segment", "id_space": "main", "received_at": now, "user_id": "reader"}
    return [
        Event(**head, name="Page", message_id=f"ajs-next-{number:013d}", occurred_at=now + number)
        for number in range(amount)
    ]


def measure(effort: Effort) -> list[Row]:
    """Bytes a person and a message id."""
    with Lab() as lab:
        client = lab.client(lab.valkey())
        planner = Planner(EVENTS, TRIGGERS, b"bench")
        recorder = Recorder(client, planner, Routes(["bench"]))
        now = time.time_ns() // 1_000_000
        for person in range(effort.of(2000, 1000)):
            recorder.record(cart_events(person, now), WebhookReply())
        # A small set is packed tightly; under traffic, a shop's set holds thousands of ids.
        recorder.record(page_events(effort.of(6000, 3000), now), WebhookReply())
        hashes = [key for key in client.scan_iter("fg:*:p:*", count=1000) if key.count(b":") == 3]
        person_bytes = sum(client.memory_usage(key, samples=0) for key in hashes) / len(hashes)
        message_ids = max(client.scan_iter("fg:*:seen:*"), key=client.scard)
        message_bytes = client.memory_usage(message_ids, samples=0) / client.scard(message_ids)
    return [
        Row(part=PART, name=name, unit="bytes", value=value, goal=Goal("value", "at most", bound))
        for name, value, bound in (
            ("an active person with a cart of three", person_bytes, MAX_PERSON_BYTES),
            ("a remembered message id", message_bytes, MAX_MESSAGE_ID_BYTES),
        )
    ]

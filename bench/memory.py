"""Bytes that Redis needs for a person, and for a message id that is remembered to recognize duplicates.

The server is a Valkey with the settings of `make run`, and reports the bytes itself. A person counts with all keys:
the records of person and address, the trail, the timer, the remembered messages. A remembered message is
measured as under seven events a second, since each part of the window takes as much for a few.
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
from freshgate.state import keys
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


def measure(effort: Effort) -> list[Row]:
    """Bytes a person and a message id."""
    with Lab() as lab:
        client = lab.client(lab.valkey())
        planner = Planner(EVENTS, TRIGGERS, b"bench")
        recorder = Recorder(client, planner, Routes(["bench"]))
        now = time.time_ns() // 1_000_000
        for person in range(effort.of(2000, 1000)):
            recorder.record(cart_events(person, now), WebhookReply())
        persons = effort.of(2000, 1000)
        own = [key for key in client.scan_iter("fg:{main}:*", count=1000) if b":seen:" not in key]
        all_bytes = sum(client.memory_usage(key, samples=0) for key in own)
        hashes = [key for key in own if key.startswith(b"fg:{main}:p:") and key.count(b":") == 3]
        record_bytes = sum(client.memory_usage(key, samples=0) for key in hashes) / len(hashes)
        message_bytes = _message_bytes(client)
        person_bytes = all_bytes / persons + 4 * message_bytes
    return [
        Row(part=PART, name=name, unit="bytes", value=value, goal=Goal("value", "at most", bound))
        for name, value, bound in (
            ("a person with a cart of three, all keys", person_bytes, MAX_PERSON_BYTES),
            ("the person's record of it", record_bytes, MAX_PERSON_BYTES),
            ("a remembered message id", message_bytes, MAX_MESSAGE_ID_BYTES),
        )
    ]


def _message_bytes(client: Any) -> float:
    """Bytes a message in one part of the window, which holds as many as seven events a second leave in it."""
    key = "fg:{bench}:seen:0:0000"
    client.sadd(key, *[keys.dedupe_id("segment", str(number)) for number in range(64)])
    return float(client.memory_usage(key, samples=0)) / 64

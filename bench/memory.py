"""What Redis keeps a person and a remembered message, in bytes, by its own account.

`python -m bench.memory` starts a Valkey of its own, with the settings that `make run` uses.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from adapter import embedded
from adapter.events import Event, Product
from adapter.receive import Answer, Receiver
from adapter.state import store
from adapter.state.writes import Planner
from catalog import EVENTS, TRIGGERS

PERSONS = 2000
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


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="freshgate-bench-") as folder:
        server = embedded.prepare(Path(folder) / "redis", log=Path(folder) / "redis.log")
        process = embedded.start(server)
        try:
            measure(server.url)
        finally:
            embedded.stop(server, process)


def measure(url: str) -> None:
    client: Any = store.connect(url)
    store.load(client)
    planner = Planner(EVENTS, TRIGGERS, b"bench")
    receiver = Receiver(client, planner, "bench")
    now = time.time_ns() // 1_000_000
    for person in range(PERSONS):
        receiver.record(events(person, now), Answer())
    hashes = [key for key in client.scan_iter("fg:*:p:*", count=1000) if key.count(b":") == 3]
    person_bytes = sum(client.memory_usage(key, samples=0) for key in hashes) / len(hashes)
    seen = list(client.scan_iter("fg:*:seen:*"))
    message_bytes = sum(client.memory_usage(key, samples=0) for key in seen) / sum(map(client.scard, seen))
    for what, figure, goal in (
        ("an active person with a cart of three", person_bytes, GOAL_PERSON),
        ("a remembered message id", message_bytes, GOAL_MESSAGE),
    ):
        print(f"{what:40} {figure:8.0f} bytes   goal {goal}   {'reached' if figure <= goal else 'not reached'}")


if __name__ == "__main__":
    main()

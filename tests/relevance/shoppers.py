"""Shoppers made up from a seed: what they do on which device, and when each event of it arrives.

`oracle.py` says which mails they should get; the tests tell the events to Freshgate and compare.
"""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

PRODUCTS = ("mug", "pot", "tea", "jar")
CHAPTERS = ("view", "add", "add", "remove", "cart", "step", "order", "page", "identify", "signup", "cancel", "stop")


class Told(NamedTuple):
    """One event: when it occurred and when it arrives (ms after the shopper's start), and what it says."""

    occurred: int
    arrives: int
    name: str
    user: str | None
    anon: str | None
    message_id: str
    fields: dict[str, Any]


class Shopper(NamedTuple):
    seed: int
    email: str
    told: tuple[Told, ...]


def shopper(seed: int, *, second: int) -> Shopper:
    """A life of about ten `second`s (ms): two devices, late and doubled arrivals, ids that are learned on the way."""
    random = Random(seed)
    email = f"shopper{seed}@example.com"
    user = f"u{seed}"
    # From when on a device knows who holds it; a device that never does stays anonymous.
    login = {f"x{seed}a": random.choice([0, 3, 6, 99]), f"x{seed}b": random.choice([2, 5, 99])}
    moments = sorted(random.sample(range(100, 8 * second), random.randint(2, 9)))
    told: list[Told] = []
    orders = 0
    for number, at in enumerate(moments):
        what = random.choice(CHAPTERS)
        device = random.choice([*login, None])
        known = device is None or login[device] * second <= at
        ids = (user if known else None, device)
        fields: dict[str, Any] = {}
        if what in ("order", "cancel", "signup", "stop"):
            ids = (user, device if known else None)
        if what in ("view", "add", "remove"):
            fields["product"] = random.choice(PRODUCTS)
        elif what in ("cart", "order"):
            fields["products"] = tuple(sorted(random.sample(PRODUCTS, random.randint(0, 2))))
        if what == "order":
            orders += 1
            fields["order_id"] = f"o{seed}-{orders}"
            if random.random() < 0.3:
                fields["order_email"] = email
        elif what == "cancel":
            fields["order_id"] = f"o{seed}-{random.randint(1, 2)}"
        elif what in ("identify", "signup") and random.random() < 0.8:
            fields["email"] = email
        elif what == "stop" and random.random() < 0.6:
            # Of an address; otherwise of whoever the person is.
            fields["email"] = email
        late = random.choice([0, 0, 0, random.randint(0, 5 * second)])
        event = Told(at, at + late + random.randint(20, 200), what, *ids, f"{seed}-{number}", fields)
        told.append(event)
        if random.random() < 0.15:
            told.append(event._replace(arrives=event.arrives + random.randint(50, 3 * second)))
    return Shopper(seed, email, tuple(sorted(told, key=lambda event: event.arrives)))

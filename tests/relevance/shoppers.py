"""Random shoppers from a seed: what they do on which device, and when each event of it arrives.

`oracle.py` says which mails they should get; the tests send the events to Freshgate and compare.
"""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

PRODUCTS = ("mug", "pot", "tea", "jar")
EVENTS = ("view", "add", "add", "remove", "cart", "step", "order", "page", "identify", "signup", "cancel", "stop")


class Arrival(NamedTuple):
    """One arrival of an event; `occurred_at` and `arrives_at` are in ms after the shopper's start."""

    occurred_at: int
    arrives_at: int
    name: str
    user: str | None
    anon: str | None
    message_id: str
    fields: dict[str, Any]


class Shopper(NamedTuple):
    seed: int
    email: str
    arrivals: tuple[Arrival, ...]


def build_shopper(seed: int, *, second: int) -> Shopper:
    """A shopper with up to nine events in eight `second`s (the length of one, in ms).

    There are two devices, late and repeated arrivals, and a login after which a device sends the user id.
    """
    random = Random(seed)
    email = f"shopper{seed}@example.com"
    user = f"u{seed}"
    # Device → the second of its login; at 99 it never logs in.
    login = {f"x{seed}a": random.choice([0, 3, 6, 99]), f"x{seed}b": random.choice([2, 5, 99])}
    moments = sorted(random.sample(range(100, 8 * second), random.randint(2, 9)))
    arrivals: list[Arrival] = []
    orders = 0
    for number, at in enumerate(moments):
        name = random.choice(EVENTS)
        device = random.choice([*login, None])
        known = device is None or login[device] * second <= at
        ids = (user if known else None, device)
        fields: dict[str, Any] = {}
        if name in ("order", "cancel", "signup", "stop"):
            ids = (user, device if known else None)
        if name in ("view", "add", "remove"):
            fields["product"] = random.choice(PRODUCTS)
        elif name in ("cart", "order"):
            fields["products"] = tuple(sorted(random.sample(PRODUCTS, random.randint(0, 2))))
        if name == "order":
            orders += 1
            fields["order_id"] = f"o{seed}-{orders}"
            if random.random() < 0.3:
                fields["order_email"] = email
        elif name == "cancel":
            fields["order_id"] = f"o{seed}-{random.randint(1, 2)}"
        elif name in ("identify", "signup") and random.random() < 0.8:
            fields["email"] = email
        elif name == "stop" and random.random() < 0.6:
            # An opt-out of the address; without it, of the person.
            fields["email"] = email
        delay = random.choice([0, 0, 0, random.randint(0, 5 * second)])
        event = Arrival(at, at + delay + random.randint(20, 200), name, *ids, f"{seed}-{number}", fields)
        arrivals.append(event)
        if random.random() < 0.15:
            arrivals.append(event._replace(arrives_at=event.arrives_at + random.randint(50, 3 * second)))
    return Shopper(seed, email, tuple(sorted(arrivals, key=lambda event: event.arrives_at)))

"""How long one function call keeps Redis from everybody else, with the worst that the receiver takes.

A row is the longest of its calls. Of each counts the smaller one of two figures that are too large: CPU of the server's
main thread, which does other things as well, and Redis' own count, which goes on while others have the core. Products
have names and links as long as a source reads; carts have 250 lines, lines 60 changes, persons 200 devices.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from adapter.ingest.record import Recorder
from bench.lab import PII_KEY, Lab
from bench.rows import Effort, Goal, Row
from catalog import EVENTS, TRIGGERS
from freshgate.events import Event, Product
from freshgate.routing import Routes
from freshgate.state import keys
from freshgate.state.planner import Planner, move_products
from freshgate.state.store import fcall

PART = "blocking"
MAX_MS = 5.0
LINES, CHANGES, DEVICES = 250, 60, 200
LARGE = tuple(
    Product(
        product_id=f"product-{number}", sku=f"sku-{number}", name="n" * 200, price="19.95",
        url="https://shop.example.com/" + "u" * 470, image_url="https://shop.example.com/" + "i" * 470,
    )
    for number in range(LINES)
)  # fmt: skip
SMALL = tuple(Product(product_id=f"product-{number}", name="A product", price="19.95") for number in range(LINES))


class Shop:
    """The recorder's own plans and calls, each sent by itself so that its CPU can be read."""

    def __init__(self, client: Any, *, has_pages: bool = False) -> None:
        self.client = client
        pages = ("main",) if has_pages else ()
        self._planner = Planner(EVENTS, TRIGGERS, PII_KEY.encode(), shops_with_pages=pages)
        self._recorder = Recorder(client, self._planner, Routes(["sendgrid"]))
        pid = client.info("server")["process_id"]
        self._stat = Path(f"/proc/{pid}/task/{pid}/schedstat")
        self.now = time.time_ns() // 1_000_000 - 86_400_000
        self.max_ms = 0.0
        self._count = 0

    def event(self, name: str, user: str | None = None, device: str | None = None, **fields: Any) -> Event:
        """An event a millisecond after the one before; `email` and `previous_id` are attributes."""
        self._count += 1
        self.now += 1
        attributes = {key: fields.pop(key) for key in ("email", "previous_id") if key in fields}
        return Event(
            source="segment", id_space="main", name=name, message_id=f"m{self._count}", occurred_at=self.now,
            received_at=self.now, user_id=user, anonymous_id=device, fields=fields, **attributes,
        )  # fmt: skip

    def record(self, *events: Event) -> None:
        """In the calls that the receiver makes of one request with these events."""
        plans = [self._planner.plan(event) for event in events]
        plans += move_products(plans)
        for arguments in self._recorder._calls(plans, (), False):  # noqa: SLF001  # the calls themselves are measured
            _, *replies = self.call("record", *arguments)
            while any(reply.startswith(b"more ") for reply in replies):
                _, *replies = self.call("record", *arguments)

    def call(self, function: str, *arguments: Any) -> Any:
        cpu_ms, elapsed_ms = self._read_ms()
        reply = fcall(self.client, function, keys.shop("main"), *arguments)
        cpu_after_ms, elapsed_after_ms = self._read_ms()
        self.max_ms = max(self.max_ms, min(cpu_after_ms - cpu_ms, elapsed_after_ms - elapsed_ms))
        return reply

    def _read_ms(self) -> tuple[float, float]:
        elapsed = self.client.info("commandstats").get("cmdstat_fcall", {"usec": 0})["usec"]
        return int(self._stat.read_text(encoding="ascii").split()[0]) / 1e6, elapsed / 1e3

    def timers(self, users: Sequence[str]) -> list[str]:
        return [keys.timer("abandoned_cart", "p", keys.person_id("main", user)) for user in users]

    def fill_devices(self, user: str, devices: int, products: Sequence[Product]) -> None:
        for number in range(devices):
            device = f"{user}-{number}"
            added = [self.event("Product Added", device=device, product=product) for product in products]
            self.record(*added, self.event("Page", user, device))

    def fill_changes(self, user: str) -> None:
        for _ in range(CHANGES):
            self.record(*[self.event("Product Added", user, product=product) for product in LARGE])


def measure(_: Effort) -> list[Row]:
    """Milliseconds of the longest call, by what is recorded or read."""
    rows = []
    with Lab() as lab:
        shop = Shop(lab.client(lab.valkey()), has_pages=True)
        for name, action in _scenarios(shop):
            shop.max_ms = 0.0
            action()
            rows.append(Row(part=PART, name=name, unit="ms", value=shop.max_ms, goal=Goal("value", "at most", MAX_MS)))
    return rows


def _scenarios(shop: Shop) -> list[tuple[str, Callable[[], object]]]:
    event, record = shop.event, shop.record
    users = [f"user-{number}" for number in range(100)]
    for user in ("changed", "ordered"):
        shop.fill_changes(user)
    for user, devices, products in (("many", DEVICES, SMALL[:1]), ("others", DEVICES, SMALL[:1]), ("full", 10, LARGE)):
        shop.fill_devices(user, devices, products)
    record(*[event("Cart Viewed", user, email=f"{user}@example.com", products=SMALL[:25]) for user in users])
    now = shop.now + 86_400_000
    return [
        ("8 carts of 250 lines", lambda: record(*[event("Cart Viewed", "cart", products=LARGE) for _ in range(8)])),
        (
            "250 products added to lines of 60 changes",
            lambda: record(*[event("Product Added", "changed", product=product) for product in LARGE]),
        ),
        ("a cart emptied of 250 lines of 60 changes", lambda: record(event("Cart Viewed", "changed", products=()))),
        (
            "an order of 250 products, of lines of 60 changes",
            lambda: record(event("Order Completed", "ordered", order_id="1", products=LARGE)),
        ),
        (
            "500 orders of new users with new devices",
            lambda: record(
                *[
                    event(
                        "Order Completed",
                        f"n{n}",
                        f"d{n}",
                        email=f"{n}@example.com",
                        order_id=f"{n}",
                        products=SMALL[:2],
                    )
                    for n in range(500)
                ]
            ),
        ),
        ("an opt-out of 200 devices", lambda: record(event("Unsubscribed", "many"))),
        (
            "50 more devices linked to 200",
            lambda: record(
                *[event("Page", device=f"more-{n}") for n in range(50)],
                *[event("Page", "many", f"more-{n}") for n in range(50)],
            ),
        ),
        ("an alias of 200 devices to 200", lambda: record(event("Alias", "others", previous_id="many"))),
        ("a decision about 200 devices", lambda: shop.call("read", "", *shop.timers(["others"]))),
        ("an erasure of 200 devices", lambda: record(event("Delete", "others"))),
        ("an erasure of 10 carts of 250 lines", lambda: record(event("Delete", "full"))),
        ("100 decisions about carts of 25 lines", lambda: shop.call("read", "", *shop.timers(users))),
        ("100 timers claimed", lambda: shop.call("claim_due", now, 100, 1, "")),
        ("100 leases that ran out", lambda: shop.call("claim_due", now + 1000, 100, 30_000, "")),
    ]

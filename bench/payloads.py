"""Webhook bodies as Segment sends them, about 1.5 KB an event, signed in advance.

The parts post them; every event has its own message id and time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count

from bench.lab import SECRET, TOKEN

_numbers = count(1)


def product_added(number: int) -> dict[str, object]:
    """A Product Added as analytics.js sends it; most of it is context."""
    return {
        **_frame(number),
        "event": "Product Added",
        "properties": {
            "cart_id": f"cart-{number}",
            "product_id": "lamp-0042",
            "sku": "LMP-42-BR",
            "category": "Lamps",
            "name": "Desk lamp, brass",
            "brand": "Example",
            "variant": "brass",
            "price": 79.5,
            "currency": "GBP",
            "quantity": 1,
            "url": "https://shop.example.com/lamps/desk-lamp-brass",
            "image_url": "https://cdn.example.com/lamps/0042-brass.jpg",
        },
    }


def order_completed(number: int) -> dict[str, object]:
    """An order of two products, whose confirmation is sent at once."""
    return {**_frame(number), "event": "Order Completed", "properties": order_properties(number)}


def order_properties(number: int = 0) -> dict[str, object]:
    """The order's id is `bench-<number>`."""
    lines = [
        {"product_id": "lamp-0042", "name": "Desk lamp, brass", "price": 79.5, "quantity": 1, "category": "Lamps"},
        {"product_id": "bulb-0007", "name": "Bulb, warm white", "price": 6.25, "quantity": 2, "category": "Bulbs"},
    ]
    return {
        "order_id": f"bench-{number}",
        "checkout_id": f"checkout-{number}",
        "affiliation": "web",
        "total": 97.0,
        "revenue": 92.0,
        "shipping": 5.0,
        "tax": 16.17,
        "currency": "GBP",
        "products": lines,
    }


def _frame(number: int) -> dict[str, object]:
    return {
        "anonymousId": f"a8f1c2de-0b7e-4c55-9d3a-{number:012d}",
        "channel": "client",
        "context": {
            "active": True,
            "campaign": {"name": "spring lights", "source": "newsletter", "medium": "email", "content": "header"},
            "ip": "192.0.2.44",
            "library": {"name": "analytics.js", "version": "next-1.81.0"},
            "locale": "en-GB",
            "page": {
                "path": "/lamps/desk-lamp-brass",
                "referrer": "https://shop.example.com/lamps",
                "search": "?ref=list",
                "title": "Desk lamp, brass | Example Shop",
                "url": "https://shop.example.com/lamps/desk-lamp-brass?ref=list",
            },
            "screen": {"width": 1728, "height": 1117, "density": 2},
            "timezone": "Europe/London",
            "traits": {"email": f"shopper{number}@example.com"},
            "userAgent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko)",
        },
        "integrations": {"All": True},
        "messageId": f"ajs-next-1789999998{number:03d}-7c1f0a52",
        "originalTimestamp": "2026-09-21T14:13:17.412Z",
        "receivedAt": "2026-09-21T14:13:18.020Z",
        "sentAt": "2026-09-21T14:13:17.590Z",
        "timestamp": "2026-09-21T14:13:17.842Z",
        "type": "track",
        "userId": f"u-{number}",
        "version": 2,
    }


class Shoppers:
    """A fixed set of people who keep adding to their carts, so that after a first round all records exist."""

    def __init__(self, people: int) -> None:
        with_placeholders = (
            {**product_added(person), "messageId": "%m", "timestamp": "%t"} for person in range(people)
        )
        self._frames = [json.dumps(frame, separators=(",", ":")) for frame in with_placeholders]

    def event(self) -> bytes:
        """The next shopper's Product Added, with a new message id and the present time."""
        number = next(_numbers)
        frame = self._frames[number % len(self._frames)]
        return frame.replace("%m", f"m{number}", 1).replace("%t", _now(), 1).encode()


def orders(amount: int) -> Iterator[tuple[int, bytes]]:
    """Orders of as many new people, each with the number in its order id."""
    return _of_new_people(order_completed, amount)


def carts(amount: int) -> Iterator[tuple[int, bytes]]:
    """A product in the cart of as many new people."""
    return _of_new_people(product_added, amount)


def sign_ups(amount: int) -> Iterator[tuple[int, bytes]]:
    """As many new people sign up."""
    return _of_new_people(lambda number: {**_frame(number), "event": "Signed Up", "properties": {}}, amount)


def _of_new_people(build: Callable[[int], dict[str, object]], amount: int) -> Iterator[tuple[int, bytes]]:
    for _ in range(amount):
        number = next(_numbers)
        event = {**build(number), "messageId": f"m{number}", "timestamp": _now()}
        yield number, json.dumps(event, separators=(",", ":")).encode()


def request(body: bytes, signed: bytes = b"") -> bytes:
    """The whole HTTP request. Segment signs the first element of a batch: pass it as `signed`."""
    signature = hmac.new(SECRET.encode(), signed or body, hashlib.sha1).hexdigest()
    head = (
        "POST /webhooks/segment HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"User-Agent: Segment.io/1.0\r\nX-Signature: {signature}\r\nX-Freshgate-Token: {TOKEN}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def batch_request(elements: list[bytes]) -> bytes:
    """A signed batch of these elements."""
    return request(b"[" + b",".join(elements) + b"]", elements[0])


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

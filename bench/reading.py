"""What verifying and reading one event costs, against json.loads of the same bytes in the same run.

`python -m bench.reading` prints microseconds and ratios, for a single event and for a batch of 50.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from werkzeug.datastructures import EnvironHeaders

from adapter.settings import SourceSettings
from adapter.sources import SOURCES
from catalog.events import EVENTS

SECRET, TOKEN = "bench-secret", "bench-token"
RECEIVED_AT = 1_790_000_000_000
ROUNDS = 400


def product_added(number: int) -> dict[str, object]:
    """A Product Added as analytics.js sends it: about 1.5 KB, most of it context."""
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
        "event": "Product Added",
        "integrations": {"All": True},
        "messageId": f"ajs-next-1789999998{number:03d}-7c1f0a52",
        "originalTimestamp": "2026-09-21T14:13:17.412Z",
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
        "receivedAt": "2026-09-21T14:13:18.020Z",
        "sentAt": "2026-09-21T14:13:17.590Z",
        "timestamp": "2026-09-21T14:13:17.842Z",
        "type": "track",
        "userId": f"u-{number}",
        "version": 2,
    }


def headers_for(signed: bytes) -> EnvironHeaders:
    """The headers as a WSGI server hands them over."""
    signature = hmac.new(SECRET.encode(), signed, hashlib.sha1).hexdigest()
    return EnvironHeaders(
        {"CONTENT_TYPE": "application/json", "HTTP_X_SIGNATURE": signature, "HTTP_X_FRESHGATE_TOKEN": TOKEN}
    )


def interleaved(first: Callable[[], object], second: Callable[[], object], each: int) -> tuple[float, float]:
    """Microseconds a call of both, the smallest of many rounds that take turns: whatever else runs hits both alike."""
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for index, call in enumerate((first, second)):
            started = perf_counter_ns()
            for _ in range(each):
                call()
            best[index] = min(best[index], (perf_counter_ns() - started) / each / 1000)
    return best[0], best[1]


def main() -> None:
    settings = SourceSettings(kind="segment", secrets=(SECRET,), tokens=(TOKEN,))
    source = SOURCES["segment"].configure("bench", settings, EVENTS)
    elements = [json.dumps(product_added(number), separators=(",", ":")).encode() for number in range(50)]
    print(f"{len(elements[0])} bytes an event; best of {ROUNDS} interleaved rounds")
    print(f"{'':24}{'verify + read':>16}{'json.loads':>14}{'ratio':>8}   (µs an event)")
    for what, body, events, each in (
        ("one event", elements[0], 1, 50),
        ("batch of 50", b"[" + b",".join(elements) + b"]", 50, 2),
    ):
        headers = headers_for(elements[0])

        def ours(body: bytes = body, headers: Any = headers) -> None:
            source.verify(body, headers)
            source.read(body, RECEIVED_AT)

        def theirs(body: bytes = body) -> None:
            json.loads(body)

        mine, stdlib = interleaved(ours, theirs, each)
        print(f"{what:24}{mine / events:16.2f}{stdlib / events:14.2f}{mine / stdlib:8.2f}")


if __name__ == "__main__":
    main()

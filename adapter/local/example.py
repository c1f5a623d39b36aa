"""The signed example requests that `make run` prints, ready to be pasted: an order, and a cart that is left."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime

from adapter.sources.segment.kinds import SEGMENT
from freshgate.declare import Trigger
from freshgate.settings import Settings

CART_EVENT = "Product Added"


def order_line(settings: Settings) -> str:
    """A curl line that posts an order, completed just now, to the first Segment source; empty without such a source."""
    return _curl_line(settings, _order())


def cart_line(settings: Settings) -> str:
    """The same for a product that is put into a cart, and left there."""
    return _curl_line(settings, _cart())


def waiting_trigger(triggers: Iterable[Trigger]) -> Trigger | None:
    """The trigger that waits for what `cart_line` posts."""
    started = (trigger for trigger in triggers if CART_EVENT in trigger.on and trigger.enabled)
    return next((trigger for trigger in started if trigger.delay > 0), None)


def _curl_line(settings: Settings, event: dict[str, object]) -> str:
    name = segment_source(settings)
    if name is None:
        return ""
    source = settings.sources[name]
    body = json.dumps(event, separators=(",", ":"))
    headers = {"content-type": "application/json"}
    headers |= {header.lower(): value for header, value in SEGMENT.prove(source.secrets[0], body.encode()).items()}
    # Without a token, which is a secret and only batches need. The signature is good for this body alone.
    options = " ".join(f"-H '{header}: {value}'" for header, value in headers.items())
    return f"curl -sS {options} -d '{body}' {url_of(settings)}/webhooks/{name}"


def segment_source(settings: Settings) -> str | None:
    """The name of the first source that takes signed Segment elements: what is made up here and by `traffic` is one."""
    sources = settings.sources.items()
    return next((name for name, source in sources if source.kind == SEGMENT.name and source.secrets), None)


def url_of(settings: Settings) -> str:
    """Where the receiver is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # nosec B104  # asked, not bound
    return f"http://{host}:{settings.port}"


def _order() -> dict[str, object]:
    order = secrets.token_hex(4)
    return {
        **_track("Order Completed", f"demo-{order}", "ada@example.com"),
        "properties": {
            "order_id": f"demo-{order}",
            "email": "ada@example.com",
            "total": 59.9,
            "currency": "EUR",
            "products": [{"product_id": "mug-1", "name": "Mug", "price": 29.95, "quantity": 2}],
        },
    }


def _cart() -> dict[str, object]:
    # A person and an address of its own: one address gets one such mail a day, and an order would cancel it.
    person = f"cart-{secrets.token_hex(4)}"
    return {
        **_track(CART_EVENT, person, f"{person}@example.com"),
        "properties": {"product_id": "lamp-4", "name": "Lamp", "price": 59, "quantity": 1},
    }


def _track(event: str, person: str, email: str) -> dict[str, object]:
    return {
        "type": "track",
        "event": event,
        "messageId": f"demo-{secrets.token_hex(8)}",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "userId": person,
        "context": {"traits": {"email": email, "firstName": "Ada"}},
    }

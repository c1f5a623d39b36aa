"""A signed example to paste: what `make run` prints of where webhooks go."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime

from adapter.sources.segment.signature import sign
from freshgate.settings import Settings


def curl_line(settings: Settings) -> str:
    """A line to paste: an order that was completed just now, with an address, signed for the first Segment source."""
    name = next((n for n, source in settings.sources.items() if source.kind == "segment" and source.secrets), None)
    if name is None:
        return ""
    source = settings.sources[name]
    body = json.dumps(_order(), separators=(",", ":"))
    headers = {"content-type": "application/json", "x-signature": sign(source.secrets[0], body.encode())}
    if source.tokens:
        headers["x-freshgate-token"] = source.tokens[0]
    options = " ".join(f"-H '{header}: {value}'" for header, value in headers.items())
    return f"curl -sS {options} -d '{body}' {url_of(settings)}/webhooks/{name}"


def url_of(settings: Settings) -> str:
    """Where the receiver is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104  # asked, not bound
    return f"http://{host}:{settings.port}"


def _order() -> dict[str, object]:
    order = secrets.token_hex(4)
    return {
        "type": "track",
        "event": "Order Completed",
        "messageId": f"demo-{secrets.token_hex(8)}",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "userId": f"demo-{order}",
        "context": {"traits": {"email": "ada@example.com", "firstName": "Ada"}},
        "properties": {
            "order_id": f"demo-{order}",
            "email": "ada@example.com",
            "total": 59.9,
            "currency": "EUR",
            "products": [{"product_id": "mug-1", "name": "Mug", "price": 29.95, "quantity": 2}],
        },
    }

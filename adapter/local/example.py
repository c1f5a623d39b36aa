"""The signed example request that `make run` prints, ready to be pasted."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime

from adapter.sources.segment.kinds import SEGMENT
from freshgate.settings import Settings


def curl_line(settings: Settings) -> str:
    """A curl line that posts an order, completed just now, to the first Segment source; empty without such a source."""
    name = segment_source(settings)
    if name is None:
        return ""
    source = settings.sources[name]
    body = json.dumps(_order(), separators=(",", ":"))
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

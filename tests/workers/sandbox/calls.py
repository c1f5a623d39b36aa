"""Requests to a sandbox over a real socket, and a body of mail/send that it accepts."""

from __future__ import annotations

import http.client
import json
from typing import Any

from workers.sandbox.server import Sandbox

GOOD: dict[str, Any] = {
    "from": {"email": "shop@example.com"},
    "template_id": "d-1",
    "personalizations": [
        {
            "to": [{"email": "ada@example.com"}],
            "dynamic_template_data": {"first_name": "<b>Ada</b>", "products": [{"name": "Lamp", "price": 12.5}]},
            "custom_args": {"freshgate_send": "s-1", "freshgate_trigger": "welcome"},
        }
    ],
}
SEND = {"Authorization": "Bearer k", "Content-Type": "application/json"}


def call(
    sandbox: Sandbox, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=5)
    raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, raw, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    reply = response.status, response.headers, response.read()
    connection.close()
    return reply


def send(sandbox: Sandbox, body: Any = GOOD, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    return call(
        sandbox,
        "POST",
        "/v3/mail/send",
        body,
        **{**{"Authorization": "Bearer k"}, "Content_Type": SEND["Content-Type"], **headers},
    )

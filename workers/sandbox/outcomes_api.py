"""A CDP's tracking API and a webhook as the sandbox plays them, for what Freshgate tells of its mails.

`apis.py` lists them; `GET /outcomes` shows what they took.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from typing import Any

from jsonschema import Draft202012Validator

from workers.sandbox.api import TEXT, Api, Call, Refused, Reply, error, parse, reply
from workers.sandbox.hook_api import SIGNATURE_HEADERS

OUTCOMES = "outcomes"
MAX_OUTCOMES = 20_000
ID: dict[str, Any] = {"type": "string", "pattern": "^freshgate-outcome-[0-9a-f]{24}$"}
TIME: dict[str, Any] = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
BATCH: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["batch", "sentAt"],
    "properties": {
        "sentAt": TIME,
        "batch": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["type", "event", "messageId", "timestamp", "properties"],
                "anyOf": [{"required": ["userId"]}, {"required": ["anonymousId"]}],
                "properties": {
                    "type": {"const": "track"},
                    "event": TEXT,
                    "userId": TEXT,
                    "anonymousId": TEXT,
                    "messageId": ID,
                    "timestamp": TIME,
                    "properties": {"type": "object", "minProperties": 1},
                },
            },
        },
    },
}
MESSAGE: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["type", "timestamp", "data"],
    "properties": {
        "type": {"const": "freshgate.outcomes"},
        "timestamp": TIME,
        "data": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["id", "event", "timestamp"],
                "properties": {"id": ID, "event": TEXT, "timestamp": TIME},
            },
        },
    },
}
BATCH_VALIDATOR, MESSAGE_VALIDATOR = Draft202012Validator(BATCH), Draft202012Validator(MESSAGE)


def outcomes(memory: dict[str, Any]) -> bytes:
    """What was taken as JSON, newest last."""
    return json.dumps(list(memory.get(OUTCOMES, ()))).encode()


def write_key(call: Call) -> str:
    """The user of HTTP basic authentication."""
    scheme, _, credentials = call.headers.get("Authorization", "").partition(" ")
    try:
        decoded = base64.b64decode(credentials if scheme.lower() == "basic" else "", validate=True).decode()
    except ValueError:
        return ""
    return decoded.partition(":")[0]


def accept_batch(call: Call) -> tuple[list[bytes], Reply]:
    body = parse(call.body, BATCH_VALIDATOR)
    _keep(call, body["batch"])
    return [], reply(200, {"success": True})


def accept_message(call: Call) -> tuple[list[bytes], Reply]:
    if not all(call.headers.get(name) for name in SIGNATURE_HEADERS):
        raise Refused(401, f"the signature is missing: {', '.join(SIGNATURE_HEADERS)}")
    body = parse(call.body, MESSAGE_VALIDATOR)
    _keep(call, body["data"])
    return [], (204, {}, b"")


def refuse(status: int, message: str, field: str = "") -> Reply:
    return error(status, message)


def _keep(call: Call, entries: list[Any]) -> None:
    call.memory.setdefault(OUTCOMES, deque(maxlen=MAX_OUTCOMES)).extend(entries)


def _url_key(call: Call) -> str:
    return call.match.group(0).rstrip("/").rpartition("/")[2]


OUTCOME_APIS = (
    Api(OUTCOMES, "POST", "/v1/batch", write_key, accept_batch, refuse),
    Api(OUTCOMES, "POST", r"/hooks/outcomes(?:/[^?]*)?", _url_key, accept_message, refuse),
)

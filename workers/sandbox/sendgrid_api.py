"""SendGrid's side of mail/send as the sandbox plays it: what it refuses, in which words, and what it keeps.

`server.py` serves it; `sendgrid_schema.py` is the schema of the body.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import MutableSequence
from email.message import Message
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from workers.sandbox.sendgrid_schema import MAIL_SEND, MAX_CUSTOM_ARGS_BYTES

Reply = tuple[int, dict[str, str], bytes]
JSON = {"Content-Type": "application/json"}
VALIDATOR = Draft202012Validator(MAIL_SEND)


def mail_send(outbox: MutableSequence[bytes], headers: Message, body: bytes) -> Reply:
    """One call of POST /v3/mail/send: 202 and the mail in the outbox, or 400, 401, 415 and nothing."""
    scheme, _, key = headers.get("Authorization", "").partition(" ")
    if scheme.lower() not in ("bearer", "basic") or not key.strip():
        return error(401, "The provided authorization grant is invalid, expired, or revoked")
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        return error(415, "Content-Type should be application/json.")
    try:
        parsed = json.loads(body, parse_constant=_no_constant)
        violation = best_match(VALIDATOR.iter_errors(parsed))
        if violation is not None:
            return error(
                400, f"{_field(violation) or 'the body'} does not fit: {violation.validator}", _field(violation)
            )
        for number, personalization in enumerate(parsed["personalizations"]):
            if len(json.dumps(personalization.get("custom_args", {})).encode()) >= MAX_CUSTOM_ARGS_BYTES:
                field = f"personalizations.{number}.custom_args"
                return error(400, f"custom_args take less than {MAX_CUSTOM_ARGS_BYTES} bytes", field)
        # Encoded now: a body that cannot be written as JSON is refused here, and never breaks GET /messages.
        outbox.extend(_messages(parsed))
    except (ValueError, RecursionError):
        return error(400, "Bad Request: the body is not JSON")
    return 202, {"X-Message-Id": secrets.token_urlsafe(16)}, b""


def _messages(body: dict[str, Any]) -> list[bytes]:
    """One mail for each recipient, as `GET /messages` lists them."""
    now_ms = int(time.time() * 1000)
    return [
        json.dumps(
            {
                "received_at_ms": now_ms,
                "provider": "sendgrid",
                "to": recipient["email"],
                "template_id": body.get("template_id", ""),
                "template_data": personalization.get("dynamic_template_data", {}),
                "custom_args": personalization.get("custom_args", {}),
                "raw": body,
            },
            allow_nan=False,
        ).encode()
        for personalization in body["personalizations"]
        for recipient in personalization["to"]
    ]


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _field(violation: ValidationError) -> str:
    """The path of the field as SendGrid writes it: personalizations.0.to.0.email."""
    parts = [str(part) for part in violation.absolute_path]
    value, schema = violation.validator_value, violation.schema
    if violation.validator == "required" and isinstance(value, list):
        parts += [name for name in value if name not in _names(violation)][:1]
    elif violation.validator == "additionalProperties" and isinstance(schema, dict):
        parts += [name for name in _names(violation) if name not in schema.get("properties", {})][:1]
    return ".".join(parts)[:200]


def _names(violation: ValidationError) -> list[str]:
    return list(violation.instance) if isinstance(violation.instance, dict) else []


def error(status: int, message: str, field: str = "") -> Reply:
    """A reply in the shape of SendGrid's errors."""
    text = json.dumps({"errors": [{"message": message, "field": field or None, "help": None}]})
    return status, JSON, text.encode()

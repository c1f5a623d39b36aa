"""Resend's side of /emails and /emails/batch as the sandbox plays it, idempotency keys included.

`apis.py` lists it. `EMAIL` is the schema of the parts that Freshgate uses.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from jsonschema import Draft202012Validator

from workers.sandbox.api import SENDER, TEXT, Api, Call, Refused, Reply, bearer, mail, parse, reply, unused

_TAG_TEXT: dict[str, Any] = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,256}$"}
EMAIL: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["from", "to"],
    "additionalProperties": False,
    "properties": {
        "from": SENDER,
        "to": {"anyOf": [SENDER, {"type": "array", "minItems": 1, "maxItems": 50, "items": SENDER}]},
        **unused("cc", "bcc", "reply_to", "scheduled_at", "attachments", "topic_id"),
        "subject": TEXT,
        "html": TEXT,
        "text": TEXT,
        "headers": {"type": "object", "additionalProperties": {"type": "string"}},
        "template": {
            "type": "object",
            "required": ["id"],
            "additionalProperties": False,
            "properties": {
                "id": TEXT,
                "variables": {
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": {"type": ["string", "number"]},
                },
            },
        },
        "tags": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "value"],
                "additionalProperties": False,
                "properties": {"name": _TAG_TEXT, "value": _TAG_TEXT},
            },
        },
    },
    # A mail is a template or a text of its own, which then needs a subject.
    "oneOf": [
        {"required": ["template"], "not": {"anyOf": [{"required": ["html"]}, {"required": ["text"]}]}},
        {
            "required": ["subject"],
            "anyOf": [{"required": ["html"]}, {"required": ["text"]}],
            "not": {"required": ["template"]},
        },
    ],
}
MAX_KEY_LENGTH = 256
SINGLE = Draft202012Validator(EMAIL)
BATCH = Draft202012Validator({"type": "array", "minItems": 1, "maxItems": 100, "items": EMAIL})
# Resend's name of an error by status; any other is an application_error.
ERRORS = {
    400: "validation_error",
    401: "missing_api_key",
    403: "invalid_api_key",
    409: "invalid_idempotent_request",
    422: "validation_error",
    429: "rate_limit_exceeded",
    500: "internal_server_error",
}


def accept_single(call: Call) -> tuple[list[bytes], Reply]:
    """200 and the id; for a key that was used with this body the same reply, and no second mail."""
    email = parse(call.body, SINGLE)
    return _once(call, lambda: ([_mail(email)], reply(200, {"id": secrets.token_hex(16)})))


def accept_batch(call: Call) -> tuple[list[bytes], Reply]:
    """200 and the ids."""
    emails = parse(call.body, BATCH)
    ids = [{"id": secrets.token_hex(16)} for _ in emails]
    return _once(call, lambda: ([_mail(email) for email in emails], reply(200, {"data": ids})))


def error(status: int, message: str, field: str = "") -> Reply:
    """A reply in the shape of Resend's errors."""
    return reply(status, {"statusCode": status, "name": ERRORS.get(status, "application_error"), "message": message})


def _once(call: Call, act: Any) -> tuple[list[bytes], Reply]:
    key = call.headers.get("Idempotency-Key")
    if key is None:
        return act()  # type: ignore[no-any-return]
    if not 1 <= len(key) <= MAX_KEY_LENGTH:
        raise Refused(400, "invalid_idempotency_key")
    digest = hashlib.sha256(call.body).digest()
    used, first_reply = call.memory.setdefault("resend", {}).get(key, (b"", None))
    if first_reply is None:
        mails, first_reply = act()
        call.memory["resend"][key] = digest, first_reply
        return mails, first_reply
    if used != digest:
        raise Refused(409, "this idempotency key was used with another body")
    return [], first_reply


def _mail(email: dict[str, Any]) -> bytes:
    template = email.get("template", {})
    custom_args = {tag["name"]: tag["value"] for tag in email.get("tags", [])}
    to = email["to"] if isinstance(email["to"], str) else email["to"][0]
    return mail("resend", to, template.get("id", ""), template.get("variables", {}), custom_args, email)


EMAILS_API = Api("resend", "POST", "/emails", bearer, accept_single, error)
EMAILS_BATCH_API = Api("resend", "POST", "/emails/batch", bearer, accept_batch, error)

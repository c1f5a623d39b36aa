"""What the APIs of the sandbox share: one call, the reply, a body checked by its schema, a mail for the outbox.

`apis.py` lists the APIs; each stands in a file of its own, such as `resend_api.py`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from email.message import Message
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

Reply = tuple[int, dict[str, str], bytes]
JSON = {"Content-Type": "application/json"}
ADDRESS: dict[str, Any] = {"type": "string", "pattern": r"^[^@\s]+@[^@\s]+\.[^@\s]+$", "maxLength": 320}
# An address, perhaps with a name before it: `"The Shop" <shop@example.com>`.
SENDER: dict[str, Any] = {"type": "string", "pattern": r"^([^@<>]+<[^@<>\s]+@[^@<>\s]+>|[^@<>\s]+@[^@<>\s]+)$"}
TEXT: dict[str, Any] = {"type": "string", "minLength": 1}


def unused(*names: str) -> dict[str, bool]:
    """Schemas of published fields that Freshgate does not send: whoever calls the sandbox alone may. Not checked."""
    return dict.fromkeys(names, True)


class Call(NamedTuple):
    """One call of an API. `match` is the path's, `memory` what the API keeps between calls, such as keys."""

    match: re.Match[str]
    headers: Message
    body: bytes
    memory: dict[str, Any]


class Refused(Exception):
    """The API does not accept the call: with this status, for this reason."""

    def __init__(self, status: int, reason: str, field: str = "") -> None:
        super().__init__(reason)
        self.status, self.reason, self.field = status, reason, field


class Api(NamedTuple):
    """One call that the sandbox plays.

    path    a regular expression of the whole path
    key     the caller's key; "" if there is none
    accept  the mails for the outbox, and the reply. Raises Refused
    error   the API's own form of an error: status, reason, and the field that is at fault
    """

    provider: str
    method: str
    path: str
    key: Callable[[Call], str]
    accept: Callable[[Call], tuple[list[bytes], Reply]]
    error: Callable[[int, str, str], Reply]


def parse(body: bytes, validator: Draft202012Validator) -> Any:
    """The JSON of a body that fits the schema. Raises Refused, 400."""
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
        # A number such as 1e999 is read as infinity, which GET /messages could not write.
        json.dumps(document, allow_nan=False)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    violation = best_match(validator.iter_errors(document))
    if violation is not None:
        field = field_of(violation)
        raise Refused(400, f"{field or 'the body'} does not fit: {violation.validator}", field)
    return document


def mail(
    provider: str, to: str, template_id: str, template_data: Any, custom_args: Mapping[str, str], raw: Any
) -> bytes:
    """A mail as `GET /messages` lists it."""
    message = {
        "received_at_ms": int(time.time() * 1000),
        "provider": provider,
        "to": to,
        "template_id": template_id,
        "template_data": template_data,
        "custom_args": custom_args,
        "raw": raw,
    }
    return json.dumps(message).encode()


def bearer(call: Call) -> str:
    """The key in `Authorization: Bearer`."""
    scheme, _, key = call.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def reply(status: int, document: Any) -> Reply:
    return status, JSON, json.dumps(document).encode()


def field_of(violation: ValidationError) -> str:
    """The path of the field, joined by dots: personalizations.0.to.0.email."""
    parts = [str(part) for part in violation.absolute_path]
    value, schema = violation.validator_value, violation.schema
    if violation.validator == "required" and isinstance(value, list):
        parts += [name for name in value if name not in _names(violation)][:1]
    elif violation.validator == "additionalProperties" and isinstance(schema, dict):
        parts += [name for name in _names(violation) if name not in schema.get("properties", {})][:1]
    return ".".join(parts)[:200]


def _names(violation: ValidationError) -> list[str]:
    return list(violation.instance) if isinstance(violation.instance, dict) else []


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def error(status: int, message: str) -> Reply:
    """An error of the sandbox itself, in the shape of SendGrid's, which tools know."""
    return reply(status, {"errors": [{"message": message, "field": None, "help": None}]})

"""Postmark's side of email/withTemplate and email/batchWithTemplates as the sandbox plays it.

`apis.py` lists it. `EMAIL` is the schema of the parts that Freshgate uses.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from jsonschema import Draft202012Validator

from workers.sandbox.api import SENDER, TEXT, Api, Call, Reply, mail, parse, reply, unused

_RECIPIENT = r"([^@<>,]+<[^@<>\s,]+@[^@<>\s,]+>|[^@<>\s,]+@[^@<>\s,]+)"
RECIPIENTS: dict[str, Any] = {"type": "string", "pattern": rf"^{_RECIPIENT}(,\s*{_RECIPIENT}){{0,49}}$"}
_FIELDS: dict[str, Any] = {
    "From": SENDER,
    "To": RECIPIENTS,
    **unused("Cc", "Bcc", "ReplyTo", "TrackOpens", "TrackLinks", "Attachments"),
    "Tag": {"type": "string", "minLength": 1, "maxLength": 1000},
    "Metadata": {
        "type": "object",
        "maxProperties": 10,
        "propertyNames": {"maxLength": 20},
        "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 80},
    },
    "MessageStream": TEXT,
    "Headers": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["Name", "Value"],
            "additionalProperties": False,
            "properties": {"Name": TEXT, "Value": TEXT},
        },
    },
}
# With a stored template.
EMAIL: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["From", "To", "TemplateModel"],
    "additionalProperties": False,
    "properties": {
        **_FIELDS,
        "TemplateId": {"type": "integer", "minimum": 1},
        "TemplateAlias": TEXT,
        "TemplateModel": {"type": "object"},
        **unused("InlineCss"),
    },
    "oneOf": [{"required": ["TemplateId"]}, {"required": ["TemplateAlias"]}],
}
# With a text of its own.
RAW_EMAIL: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["From", "To", "Subject"],
    "additionalProperties": False,
    "properties": {**_FIELDS, "Subject": TEXT, "TextBody": TEXT, "HtmlBody": TEXT},
    "anyOf": [{"required": ["TextBody"]}, {"required": ["HtmlBody"]}],
}
SINGLE, RAW = Draft202012Validator(EMAIL), Draft202012Validator(RAW_EMAIL)
BATCH = Draft202012Validator(
    {
        "type": "object",
        "required": ["Messages"],
        "additionalProperties": False,
        "properties": {"Messages": {"type": "array", "minItems": 1, "maxItems": 500, "items": EMAIL}},
    }
)
RAW_BATCH = Draft202012Validator({"type": "array", "minItems": 1, "maxItems": 500, "items": RAW_EMAIL})
# Postmark's ErrorCode by status: 10 is a bad token, 300 an invalid request, 429 the rate limit, 100 maintenance.
CODES = {400: 402, 401: 10, 422: 300, 429: 429, 503: 100}


def key(call: Call) -> str:
    """The server's token."""
    return str(call.headers.get("X-Postmark-Server-Token", ""))


def accept_single(call: Call) -> tuple[list[bytes], Reply]:
    """200 and the MessageID."""
    email = parse(call.body, SINGLE if call.match.string.endswith("withTemplate") else RAW)
    return [_mail(email)], reply(200, _accepted(email))


def accept_batch(call: Call) -> tuple[list[bytes], Reply]:
    """200 and an answer for each mail, in their order."""
    is_stored = call.match.string.endswith("WithTemplates")
    emails = parse(call.body, BATCH)["Messages"] if is_stored else parse(call.body, RAW_BATCH)
    return [_mail(email) for email in emails], reply(200, [_accepted(email) for email in emails])


def error(status: int, message: str, field: str = "") -> Reply:
    """A reply in the shape of Postmark's errors."""
    return reply(status, {"ErrorCode": CODES.get(status, 0 if status < 300 else 300), "Message": message})


def _accepted(email: dict[str, Any]) -> dict[str, Any]:
    return {
        "To": email["To"],
        "SubmittedAt": datetime.now(UTC).isoformat(),
        "MessageID": str(uuid.uuid4()),
        "ErrorCode": 0,
        "Message": "OK",
    }


def _mail(email: dict[str, Any]) -> bytes:
    template = email.get("TemplateAlias") or str(email.get("TemplateId", ""))
    return mail("postmark", email["To"], template, email.get("TemplateModel", {}), email.get("Metadata", {}), email)


EMAIL_API = Api("postmark", "POST", r"/email(?:/withTemplate)?", key, accept_single, error)
EMAIL_BATCH_API = Api("postmark", "POST", r"/email/batch(?:WithTemplates)?", key, accept_batch, error)

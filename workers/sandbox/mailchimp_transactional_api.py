"""Mailchimp Transactional's side of messages/send-template as the sandbox plays it.

`apis.py` lists it. `SEND_TEMPLATE` is the schema of the parts that Freshgate uses.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from jsonschema import Draft202012Validator

from workers.sandbox.api import ADDRESS, TEXT, Api, Call, Reply, mail, parse, reply, unused

_VARIABLES: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["name", "content"],
        "additionalProperties": False,
        "properties": {"name": {"type": "string", "pattern": "^[^_]"}, "content": True},
    },
}
_MESSAGE: dict[str, Any] = {
    "type": "object",
    # The template may name the sender.
    "required": ["to"],
    "additionalProperties": False,
    "properties": {
        "to": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["email"],
                "additionalProperties": False,
                "properties": {"email": ADDRESS, "name": TEXT, "type": {"enum": ["to", "cc", "bcc"]}},
            },
        },
        "from_email": ADDRESS,
        "from_name": TEXT,
        "subject": TEXT,
        "preserve_recipients": {"type": "boolean"},
        "merge_language": {"enum": ["mailchimp", "handlebars"]},
        "global_merge_vars": _VARIABLES,
        "merge_vars": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["rcpt", "vars"],
                "additionalProperties": False,
                "properties": {"rcpt": ADDRESS, "vars": _VARIABLES},
            },
        },
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        "recipient_metadata": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["rcpt", "values"],
                "additionalProperties": False,
                "properties": {"rcpt": ADDRESS, "values": {"type": "object"}},
            },
        },
        "tags": {"type": "array", "items": {"type": "string", "pattern": "^[^_]", "maxLength": 50}},
        "headers": {"type": "object", "additionalProperties": {"type": "string"}},
        **unused("html", "text", "important", "track_opens", "track_clicks", "auto_text", "auto_html", "inline_css"),
        **unused("url_strip_qs", "view_content_link", "bcc_address", "tracking_domain", "signing_domain"),
        **unused("return_path_domain", "merge", "subaccount", "google_analytics_domains", "google_analytics_campaign"),
        **unused("attachments", "images"),
    },
}
SEND_TEMPLATE: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["key", "template_name", "template_content", "message"],
    "additionalProperties": False,
    "properties": {
        "key": TEXT,
        "template_name": TEXT,
        "template_content": {"type": "array"},
        "message": _MESSAGE,
        "async": {"type": "boolean"},
        **unused("ip_pool", "send_at"),
    },
}
VALIDATOR = Draft202012Validator(SEND_TEMPLATE)
# Mailchimp's name of an error, and its number, by status; any other is a GeneralError.
ERRORS = {
    400: ("ValidationError", -2),
    401: ("Invalid_Key", -1),
    402: ("PaymentRequired", 10),
    404: ("Unknown_Template", 5),
    422: ("ValidationError", -2),
    429: ("RequestLimitExceeded", -3),
    503: ("ServiceUnavailable", -50),
}


def key(call: Call) -> str:
    """The key, which travels in the body."""
    try:
        return str(json.loads(call.body)["key"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""


def accept(call: Call) -> tuple[list[bytes], Reply]:
    """200 and a status for each recipient."""
    body = parse(call.body, VALIDATOR)
    message = body["message"]
    shared = {entry["name"]: entry["content"] for entry in message.get("global_merge_vars", [])}
    variables = {
        entry["rcpt"].lower(): {variable["name"]: variable["content"] for variable in entry["vars"]}
        for entry in message.get("merge_vars", [])
    }
    metadata = {entry["rcpt"].lower(): entry["values"] for entry in message.get("recipient_metadata", [])}
    # The outbox does not show the key.
    raw = {**body, "key": "<key>"}
    mails, replies = [], []
    for recipient in message["to"]:
        address = recipient["email"]
        data = {**shared, **variables.get(address.lower(), {})}
        custom_args = {**message.get("metadata", {}), **metadata.get(address.lower(), {})}
        mails.append(mail("mailchimp_transactional", address, body["template_name"], data, custom_args, raw))
        replies.append(
            {
                "email": address,
                "status": "sent",
                "_id": secrets.token_hex(16),
                "reject_reason": None,
                "queued_reason": None,
            }
        )
    return mails, reply(200, replies)


def error(status: int, message: str, field: str = "") -> Reply:
    """A reply in the shape of Mailchimp Transactional's errors."""
    name, code = ERRORS.get(status, ("GeneralError", -99))
    return reply(status, {"status": "error", "code": code, "name": name, "message": message})


SEND_TEMPLATE_API = Api(
    "mailchimp_transactional", "POST", r"(?:/api)?(?:/1\.[0-9])?/messages/send-template(?:\.json)?", key, accept, error
)

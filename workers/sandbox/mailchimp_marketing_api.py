"""Mailchimp Marketing's side as the sandbox plays it: members, their events, and the steps of journeys.

`apis.py` lists them. A mail is what an event or a step of a journey starts for a member who is known.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from jsonschema import Draft202012Validator

from workers.sandbox.api import ADDRESS, TEXT, Api, Call, Refused, Reply, mail, parse, reply

STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional")
# Freshgate never sends `status`: it would subscribe whoever has left.
MEMBER: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["email_address", "status_if_new"],
    "additionalProperties": False,
    "properties": {"email_address": ADDRESS, "status_if_new": {"enum": STATUSES}, "merge_fields": {"type": "object"}},
}
EVENT: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 30},
        "properties": {"type": "object", "minProperties": 1, "additionalProperties": TEXT},
        "is_syncing": {"type": "boolean"},
        "occurred_at": TEXT,
    },
}
STEP: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["email_address"],
    "additionalProperties": False,
    "properties": {"email_address": ADDRESS},
}
MEMBERS, EVENTS, STEPS = (Draft202012Validator(schema) for schema in (MEMBER, EVENT, STEP))
_MEMBER_PATH = r"(?:/3\.0)?/lists/(?P<list>[^/]+)/members/(?P<member>[0-9a-f]{32})"
IDS = ("freshgate_send", "freshgate_trigger")


def key(call: Call) -> str:
    """The password of Basic, or what stands behind Bearer."""
    scheme, _, credentials = call.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return str(credentials.strip())
    try:
        decoded = base64.b64decode(credentials if scheme.lower() == "basic" else "", validate=True)
    except ValueError:
        return ""
    return decoded.partition(b":")[2].decode("utf-8", "replace")


def accept_member(call: Call) -> tuple[list[bytes], Reply]:
    """200; a member who is known keeps the status."""
    body = parse(call.body, MEMBERS)
    member = call.match["member"]
    if hashlib.md5(body["email_address"].lower().encode(), usedforsecurity=False).hexdigest() != member:
        raise Refused(400, "the path does not name this address")
    known = call.memory.setdefault("mailchimp_marketing", {}).setdefault(member, dict(body))
    return [], reply(200, {"id": member, "email_address": known["email_address"], "status": known["status_if_new"]})


def accept_event(call: Call) -> tuple[list[bytes], Reply]:
    """204, and what an automation that listens to the event would send."""
    body = parse(call.body, EVENTS)
    member = call.memory.get("mailchimp_marketing", {}).get(call.match["member"])
    if member is None:
        raise Refused(404, "the member is not known")
    properties = dict(body.get("properties", {}))
    custom_args = {name: properties.pop(name) for name in IDS if name in properties}
    accepted = mail("mailchimp_marketing", member["email_address"], body["name"], properties, custom_args, body)
    return [accepted], (204, {}, b"")


def accept_step(call: Call) -> tuple[list[bytes], Reply]:
    """204, and the mail of the step."""
    body = parse(call.body, STEPS)
    return [mail("mailchimp_marketing", body["email_address"], call.match["step"], {}, {}, body)], (204, {}, b"")


def error(status: int, message: str, field: str = "") -> Reply:
    """A problem document."""
    code, _, body = reply(
        status, {"type": "about:blank", "title": "Refused", "status": status, "detail": message, "instance": "sandbox"}
    )
    return code, {"Content-Type": "application/problem+json"}, body


MEMBERS_API = Api("mailchimp_marketing", "PUT", _MEMBER_PATH, key, accept_member, error)
EVENTS_API = Api("mailchimp_marketing", "POST", f"{_MEMBER_PATH}/events", key, accept_event, error)
STEPS_API = Api(
    "mailchimp_marketing",
    "POST",
    r"(?:/3\.0)?/customer-journeys/(?P<step>journeys/[0-9]+/steps/[0-9]+)/actions/trigger",
    key,
    accept_step,
    error,
)

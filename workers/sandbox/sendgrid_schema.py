"""The parts of SendGrid's mail/send that Freshgate uses, as a JSON Schema, stricter than SendGrid's own.

The sandbox refuses bodies that do not fit; the tests of `esp/sendgrid.py` check its bodies against it.
"""

from __future__ import annotations

from typing import Any

# docs.sendgrid.com/api-reference/mail-send/limitations
MAX_BODY_BYTES = 30 * 1024 * 1024
# Of one personalization, as JSON. A schema cannot count bytes; `sendgrid_api.py` does.
MAX_CUSTOM_ARGS_BYTES = 10_000

# Deliberately simple: SendGrid says "format email", and its own check is stricter still.
_ADDRESS: dict[str, Any] = {"type": "string", "pattern": r"^[^@\s]+@[^@\s]+\.[^@\s]+$", "maxLength": 320}
_PERSON: dict[str, Any] = {
    "type": "object",
    "required": ["email"],
    "additionalProperties": False,
    "properties": {
        "email": _ADDRESS,
        # A recipient's name may hold neither ; nor , (limitations page).
        "name": {"type": "string", "minLength": 1, "pattern": "^[^;,]*$"},
    },
}
_STRINGS: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "string"}}
_SWITCH: dict[str, Any] = {
    "type": "object",
    "required": ["enable"],
    "additionalProperties": False,
    "properties": {"enable": {"type": "boolean"}},
}

_PERSONALIZATION: dict[str, Any] = {
    "type": "object",
    "required": ["to"],
    "additionalProperties": False,
    "properties": {
        "to": {"type": "array", "minItems": 1, "maxItems": 1000, "items": _PERSON},
        "subject": {"type": "string", "minLength": 1},
        "dynamic_template_data": {"type": "object"},
        "substitutions": _STRINGS,
        "custom_args": _STRINGS,
        "headers": _STRINGS,
    },
}

MAIL_SEND: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["from", "personalizations"],
    "additionalProperties": False,
    "properties": {
        "from": {
            **_PERSON,
            "properties": {"email": _ADDRESS, "name": {"type": "string", "minLength": 1}},
        },
        "reply_to": _PERSON,
        "subject": {"type": "string", "minLength": 1},
        "personalizations": {"type": "array", "minItems": 1, "maxItems": 1000, "items": _PERSONALIZATION},
        "template_id": {"type": "string", "minLength": 1},
        "content": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["type", "value"],
                "additionalProperties": False,
                "properties": {
                    "type": {"type": "string", "minLength": 1},
                    "value": {"type": "string", "minLength": 1},
                },
            },
        },
        "categories": {
            "type": "array",
            "maxItems": 10,
            "uniqueItems": True,
            "items": {"type": "string", "maxLength": 255},
        },
        "mail_settings": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"sandbox_mode": _SWITCH},
        },
        "tracking_settings": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": False,
            "properties": {"click_tracking": _SWITCH, "open_tracking": _SWITCH},
        },
        "asm": {
            "type": "object",
            "required": ["group_id"],
            "additionalProperties": False,
            "properties": {
                "group_id": {"type": "integer", "minimum": 1},
                "groups_to_display": {"type": "array", "maxItems": 25, "items": {"type": "integer"}},
            },
        },
    },
    # SendGrid's specification requires neither; its service requires one of the two.
    "anyOf": [{"required": ["template_id"]}, {"required": ["content"]}],
    # Dynamic templates ("d-...") take dynamic_template_data, legacy ones substitutions.
    "if": {"required": ["template_id"], "properties": {"template_id": {"type": "string", "pattern": "^d-"}}},
    "then": {"properties": {"personalizations": {"items": {"properties": {"substitutions": False}}}}},
    "else": {"properties": {"personalizations": {"items": {"properties": {"dynamic_template_data": False}}}}},
}

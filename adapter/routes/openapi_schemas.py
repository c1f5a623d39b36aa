"""The schemas of the receiver's replies, for the OpenAPI document that `openapi.py` writes."""

from __future__ import annotations

from typing import Any

from freshgate.telemetry.metrics import REFUSED_ELEMENTS

Schema = dict[str, Any]
# What each fact of a person has beside its value.
_AGED = ("at", "age_s", "source")
_COUNT: Schema = {"type": "integer", "minimum": 0}
SCHEMAS: dict[str, Schema] = {
    "Answer": {
        "type": "object",
        "description": "One verdict an element. A bad element never fails its neighbours.",
        "required": ["accepted", "duplicate", "ignored", "refused", "refusals"],
        "additionalProperties": False,
        "properties": {
            "accepted": _COUNT,
            "duplicate": _COUNT,
            "ignored": _COUNT,
            "refused": _COUNT,
            "refusals": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["index", "reason"],
                    "properties": {"index": _COUNT, "reason": {"enum": list(REFUSED_ELEMENTS)}},
                },
            },
        },
    },
    "Feedback": {
        "type": "object",
        "required": ["accepted", "duplicate", "unmatched"],
        "additionalProperties": False,
        "properties": {"accepted": _COUNT, "duplicate": _COUNT, "unmatched": _COUNT},
    },
    "Person": {
        "type": "object",
        "required": ["person", "fields", "cart", "consent"],
        "additionalProperties": False,
        "properties": {
            "person": {"type": "string"},
            "fields": {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Field"}},
            "cart": {"type": "array", "items": {"type": "object", "required": ["product", "quantity", *_AGED]}},
            "consent": {"type": "object", "required": ["marketing", "transactional"]},
        },
    },
    "Field": {
        "type": "object",
        "required": ["value", "trust", *_AGED],
        "properties": {
            "value": {},
            "at": {"type": "string", "format": "date-time"},
            "age_s": {"type": "number", "minimum": 0},
            "source": {"type": ["string", "null"]},
            "trust": {"enum": ["server", "form", "page"]},
            "fresh": {"type": "boolean"},
        },
    },
    "Recent": {
        "type": "object",
        "required": ["recent"],
        "additionalProperties": False,
        "properties": {"recent": {"type": "array", "maxItems": 50, "items": {"type": "object", "required": [*_AGED]}}},
    },
    "Fault": {
        "type": "object",
        "required": ["error"],
        "additionalProperties": False,
        "properties": {"error": {"type": "string"}},
    },
    "Done": {
        "type": "object",
        "required": ["success"],
        "additionalProperties": False,
        "properties": {"success": {"const": True}},
    },
    "TrackingFault": {
        "type": "object",
        "required": ["code", "message"],
        "additionalProperties": False,
        "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
    },
    "Health": {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}},
    "Readiness": {
        "type": "object",
        "required": ["status", "problems", "notes"],
        "properties": {
            "status": {"enum": ["ready", "not ready"]},
            "problems": {"type": "array", "items": {"type": "string"}},
            "notes": {"type": "array", "items": {"type": "string"}},
        },
    },
}

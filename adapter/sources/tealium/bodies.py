"""Tealium's bodies → the payloads of single events and visitors: JSON, forms, and bulks taken apart.

`source.py` reads the payloads; `salvage.py` finds where those of a broken body begin and end.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import Any
from urllib.parse import parse_qs

import msgspec

from adapter.sources.base import FORM_CONTENT_TYPE
from adapter.sources.reading.limits import TooManyElements
from adapter.sources.reading.salvage import DECODE_ERRORS, UnbalancedJson
from adapter.sources.reading.salvaged_elements import decode_each_element

# More fields than any data layer has.
MAX_FIELDS = 2000
_decode = msgspec.json.Decoder().decode


def decode_body(body: bytes, content_type: str, max_elements: int) -> list[Any]:
    """The payloads of a body, in order; a Refused stands for one that could not be decoded.

    Raises TooManyElements, and UnbalancedJson for a body that is neither a JSON object or array nor a form.
    """
    if body[:1] == b"{":
        # Nearly always it is one event.
        try:
            payload = _decode(body)
        except DECODE_ERRORS:
            pass
        else:
            return [payload] if type(payload.get("events")) is not list else _within(_split_bulk(payload), max_elements)
    # Customers choose the content type, so whatever looks like JSON is read as JSON.
    if body.lstrip(b" \t\r\n")[:1] not in (b"{", b"[") and _is_form(body, content_type):
        fields = _parse_form(body)
        if "data" not in fields:
            return [fields]
        # Forms and GET carry the whole JSON in one field (docs, webhook-connectors/actions-and-parameters).
        body = str(fields["data"]).lstrip("\ufeff").encode("utf-8", "replace")
    payloads: list[Any] = []
    for element in _decode_json(body, max_elements):
        payloads.extend(_split_bulk(element))
        _within(payloads, max_elements)
    return payloads


def _within(payloads: list[Any], max_elements: int) -> list[Any]:
    if len(payloads) > max_elements:
        raise TooManyElements
    return payloads


def _is_form(body: bytes, content_type: str) -> bool:
    return content_type.strip().lower().startswith(FORM_CONTENT_TYPE) or body.startswith(b"data=")


def _parse_form(body: bytes) -> dict[str, Any]:
    """The fields of a form; a repeated one, as `product_id=a&product_id=b`, is a list. Raises UnbalancedJson."""
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise UnbalancedJson from None
    return {name.removesuffix("[]"): values if len(values) > 1 else values[0] for name, values in fields.items()}


def _decode_json(body: bytes, max_elements: int) -> list[Any]:
    try:
        decoded = _decode(body)
    except DECODE_ERRORS:
        decoded = list(islice(decode_each_element(body), max_elements + 1))
    if type(decoded) is dict:
        return [decoded]
    if type(decoded) is not list:
        raise UnbalancedJson
    if len(decoded) > max_elements:
        raise TooManyElements
    return decoded


def _split_bulk(element: Any) -> list[Any]:
    """The events of a bulk, each with what they share (docs, api/v3/http-api/endpoints); else the element alone."""
    if type(element) is not dict or type(element.get("events")) is not list or "tealium_event" in element:
        return [element]
    shared = element.get("shared")
    if type(shared) is not dict:
        return list(element["events"])
    return [{**shared, **event} if type(event) is dict else event for event in element["events"]]


def encode_payload(payload: Any) -> bytes:
    """The payload as a body of its own, for the quarantine; empty if it cannot be encoded."""
    try:
        return json.dumps(payload).encode()
    except (RecursionError, TypeError, ValueError):
        return b""

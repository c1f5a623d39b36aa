"""Tealium's bodies → elements as they were sent: JSON, forms, and bulks taken apart.

`source.py` reads the elements; where a broken body's elements begin and end is found by `salvage.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import msgspec

from adapter.sources.base import FORM_CONTENT_TYPE
from adapter.sources.reading.limits import TooManyElements
from adapter.sources.reading.salvage import DECODE_ERRORS, MAX_DEPTH, UnbalancedJson, decode_leniently, elements
from freshgate.events import Refused

# More fields than any data layer has.
MAX_FIELDS = 2000


def sent_elements(body: bytes, content_type: str, most: int) -> list[Any]:
    """The elements of a body in order; a Refused stands where one could not be decoded.

    Raises TooMany beyond `most` elements, NotClosed for what is neither a JSON object or array nor a form.
    """
    # The content type is the customer's to choose, so what looks like JSON is JSON.
    if body.lstrip(b" \t\r\n")[:1] not in (b"{", b"[") and _is_form(body, content_type):
        fields = _fields(body)
        if "data" not in fields:
            return [fields]
        # Forms and GET have the whole JSON in one field (docs, webhook-connectors/actions-and-parameters).
        body = str(fields["data"]).encode("utf-8", "replace")
    found: list[Any] = []
    for element in _decoded(body, most):
        found.extend(_unbundled(element))
        if len(found) > most:
            raise TooManyElements
    return found


def _is_form(body: bytes, content_type: str) -> bool:
    return content_type.strip().lower().startswith(FORM_CONTENT_TYPE) or body.startswith(b"data=")


def _fields(body: bytes) -> dict[str, Any]:
    """A form's fields; one that is repeated, as `product_id=a&product_id=b`, is a list. Raises NotClosed."""
    try:
        told = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise UnbalancedJson from None
    return {name.removesuffix("[]"): values if len(values) > 1 else values[0] for name, values in told.items()}


def _decoded(body: bytes, most: int) -> list[Any]:
    try:
        decoded = msgspec.json.decode(body)
    except DECODE_ERRORS:
        return list(_salvaged(body, most))
    if type(decoded) is dict:
        return [decoded]
    if type(decoded) is not list:
        raise UnbalancedJson
    if len(decoded) > most:
        raise TooManyElements
    return decoded


def _salvaged(body: bytes, most: int) -> Iterator[Any]:
    for count, span in enumerate(elements(body)):
        if count == most:
            raise TooManyElements
        if span.depth > MAX_DEPTH:
            yield Refused("too_deep")
            continue
        try:
            yield decode_leniently(body[span.start : span.end])
        except ValueError:
            yield Refused("not_json")


def _unbundled(element: Any) -> list[Any]:
    """The events of a bulk, each with what they share (docs, api/v3/http-api/endpoints); else the element alone."""
    if type(element) is not dict or type(element.get("events")) is not list or "tealium_event" in element:
        return [element]
    shared = element.get("shared")
    if type(shared) is not dict:
        return list(element["events"])
    return [{**shared, **event} if type(event) is dict else event for event in element["events"]]

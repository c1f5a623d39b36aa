"""mParticle's bodies → batches: the fast decoder, and piece by piece what it refuses.

`source.py` reads the batches; where brackets begin and end is found by `salvage.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from adapter.sources.reading.limits import TooManyElements
from adapter.sources.reading.salvage import DECODE_ERRORS, MAX_DEPTH, Span, decode_leniently, elements, members
from freshgate.events import Refused


class Batch(msgspec.Struct, gc=False):
    """What is decoded of one batch (docs, developers/server/json-reference); any member may have any type.

    `events` may hold a Refused where one could not be read. The last seven are a Firehose request's.
    """

    events: Any = None
    mpid: Any = None
    user_identities: Any = None
    user_attributes: Any = None
    consent_state: Any = None
    batch_id: Any = None
    source_request_id: Any = None
    timestamp_unixtime_ms: Any = None
    type: Any = None
    id: Any = None
    timestamp_ms: Any = None
    subject_request_id: Any = None
    subject_request_type: Any = None
    subject_identities: Any = None
    submitted_time: Any = None


_one = msgspec.json.Decoder(Batch)
_many = msgspec.json.Decoder(list[Batch])


def batches(body: bytes, most: int) -> list[Batch | Refused]:
    """The batches of a body: one object, or an array of them.

    Raises TooMany beyond `most` elements, NotClosed for a body that is neither object nor array.
    """
    found: list[Batch | Refused]
    try:
        found = list(_many.decode(body)) if body.lstrip(b" \t\r\n")[:1] == b"[" else [_one.decode(body)]
    except DECODE_ERRORS:
        found = list(_salvaged(body, most))
    if sum(map(_size, found)) > most:
        raise TooManyElements
    return found


def _size(batch: Batch | Refused) -> int:
    """A batch without events is an element too: it may change a profile."""
    return max(1, len(batch.events)) if isinstance(batch, Batch) and type(batch.events) is list else 1


def _salvaged(body: bytes, most: int) -> Iterator[Batch | Refused]:
    for count, span in enumerate(elements(body)):
        if count == most:
            raise TooManyElements
        raw = body[span.start : span.end]
        try:
            yield _one.decode(raw)
        except DECODE_ERRORS:
            yield _pieced(raw, most) if raw[:1] == b"{" else _no_batch(raw, span)


def _no_batch(raw: bytes, span: Span) -> Refused:
    if span.depth > MAX_DEPTH:
        return Refused("too_deep")
    try:
        decode_leniently(raw)
    except ValueError:
        return Refused("not_json")
    return Refused("not_an_object")


def _pieced(raw: bytes, most: int) -> Batch | Refused:
    """A batch of which every member, and every event, is read alone: what is broken costs only itself."""
    batch = Batch()
    try:
        for name, value, depth in members(raw):
            if name == "events" and value[:1] == b"[":
                batch.events = _events(value, most)
            elif name in Batch.__struct_fields__:
                setattr(batch, name, _value(value, depth))
    except ValueError:  # What does not close is one too, and a name that is no JSON.
        return Refused("not_json")
    return batch


def _events(raw: bytes, most: int) -> list[Any]:
    found: list[Any] = []
    for span in elements(raw):
        if len(found) == most:
            raise TooManyElements
        if span.depth > MAX_DEPTH:
            found.append(Refused("too_deep"))
            continue
        try:
            found.append(decode_leniently(raw[span.start : span.end]))
        except ValueError:
            found.append(Refused("not_json"))
    return found


def _value(raw: bytes, depth: int) -> Any:
    try:
        return decode_leniently(raw) if depth <= MAX_DEPTH else None
    except ValueError:
        return None

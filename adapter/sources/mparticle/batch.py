"""mParticle's bodies → batches, by the fast decoder or, where that fails, piece by piece.

`source.py` reads the batches; `salvage.py` finds where the pieces of a broken body begin and end.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from adapter.sources.reading.limits import TooManyElements
from adapter.sources.reading.salvage import DECODE_ERRORS, MAX_DEPTH, Span, decode_leniently, elements, members
from adapter.sources.reading.salvaged_elements import decode_each_element
from freshgate.events import Refused


class Batch(msgspec.Struct, gc=False):
    """The decoded members of one batch (docs, developers/server/json-reference). Each may have any type.

    `events` may hold a Refused in place of an event that could not be decoded. The members from `type` on
    belong to Firehose requests, but for the last.
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
    request_type: Any = None
    environment: Any = None


_batch_decoder = msgspec.json.Decoder(Batch)
_batches_decoder = msgspec.json.Decoder(list[Batch])


def decode_batches(body: bytes, max_elements: int) -> list[Batch | Refused]:
    """Decode a body: one batch, or an array of them. A Refused stands for a batch that could not be decoded.

    Raises TooManyElements, and UnbalancedJson for a body that is neither an object nor an array.
    """
    batches: list[Batch | Refused]
    try:
        if body.lstrip(b" \t\r\n")[:1] == b"[":
            batches = list(_batches_decoder.decode(body))
        else:
            batches = [_batch_decoder.decode(body)]
    except DECODE_ERRORS:
        batches = list(_salvage_batches(body, max_elements))
    if sum(map(_count_elements, batches)) > max_elements:
        raise TooManyElements
    return batches


def _salvage_batches(body: bytes, max_elements: int) -> Iterator[Batch | Refused]:
    for count, span in enumerate(elements(body)):
        if count == max_elements:
            raise TooManyElements
        raw = body[span.start : span.end]
        try:
            yield _batch_decoder.decode(raw)
        except DECODE_ERRORS:
            yield _salvage_batch(raw, max_elements) if raw[:1] == b"{" else _refuse_non_object(raw, span)


def _salvage_batch(raw: bytes, max_elements: int) -> Batch | Refused:
    """Decode every member of a batch alone, and every event, so that a broken one costs only itself."""
    batch = Batch()
    try:
        for name, value, depth in members(raw):
            if name == "events" and value[:1] == b"[":
                batch.events = _salvage_events(value, max_elements)
            elif name in Batch.__struct_fields__:
                setattr(batch, name, _decode_member(value, depth))
    except ValueError:  # The braces do not close (UnbalancedJson is a ValueError), or a name cannot be decoded.
        return Refused("not_json")
    return batch


def _salvage_events(raw: bytes, max_elements: int) -> list[Any]:
    events = list(islice(decode_each_element(raw), max_elements + 1))
    if len(events) > max_elements:
        raise TooManyElements
    return events


def _decode_member(raw: bytes, depth: int) -> Any:
    try:
        return decode_leniently(raw) if depth <= MAX_DEPTH else None
    except ValueError:
        return None


def _refuse_non_object(raw: bytes, span: Span) -> Refused:
    if span.depth > MAX_DEPTH:
        return Refused("too_deep")
    try:
        decode_leniently(raw)
    except ValueError:
        return Refused("not_json")
    return Refused("not_an_object")


def _count_elements(batch: Batch | Refused) -> int:
    """Count the events; a batch without any counts as one element, since it may change a profile."""
    return max(1, len(batch.events)) if isinstance(batch, Batch) and type(batch.events) is list else 1


def environment_of(batch: Batch) -> str:
    """Where the batch's app runs; production, where it does not say."""
    return batch.environment if type(batch.environment) is str else "production"


def encode_batch(batch: Batch, events: Any) -> bytes:
    """The batch with these events only, as JSON for the quarantine; empty if it cannot be encoded."""
    try:
        return msgspec.json.encode({**msgspec.structs.asdict(batch), "events": events})
    except RecursionError:
        return b""

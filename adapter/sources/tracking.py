"""Segment's HTTP Tracking API, which its SDKs speak: reads the items of a request.

`routes/tracking_api.py` has the routes, `write_keys.py` verifies; `segment/source.py` reads the items, after they were
made a webhook's elements.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import msgspec

from adapter.sources.base import NO_CONTEXT, Headers, RequestContext, SecurityScheme, SourceKind, failed
from adapter.sources.reading.identity import canonical
from adapter.sources.reading.salvage import DECODE_ERRORS, MAX_DEPTH, decode_leniently, elements, members
from adapter.sources.reading.timestamps import stated_time, time_ms
from adapter.sources.segment.kinds import SEGMENT
from adapter.sources.segment.source import SegmentSource
from adapter.sources.write_keys import WriteKeys
from freshgate.declare import EventType
from freshgate.errors import RequestError, TooLarge
from freshgate.events import Event, Refused, Verdict
from freshgate.settings import SourceSettings

# Segment's limits: docs, connections/sources/catalog/libraries/server/http-api. A kilobyte has 1024 bytes there.
MAX_BYTES = 500 * 1024
MAX_ITEMS = 2500
MAX_ITEM_BYTES = 32 * 1024
# Of a body that is not quite JSON: the members that are read one by one.
MAX_MEMBERS = 1000
_encode = msgspec.json.Encoder().encode
# How long a request may travel, and how far a clock may be ahead, before we call the device's clock wrong.
MAX_TRAVEL_MS = 10_000
MAX_AHEAD_MS = 1_000
# A larger difference is not corrected: the clock was never set, or the request was stored before it was sent.
MAX_SKEW_MS = 24 * 3_600_000


class _Items:
    """Items as bytes, for message ids and samples: the same in every retry of the request."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    def __getitem__(self, index: int) -> bytes:
        return canonical({name: value for name, value in self._items[index].items() if name != "sentAt"})


class _RawItems:
    """As `_Items`, of items that have not been decoded as a whole."""

    def __init__(self, raws: Sequence[msgspec.Raw]) -> None:
        self._raws = raws

    def __getitem__(self, index: int) -> bytes:
        return _Items([msgspec.json.decode(self._raws[index])])[0]


class _Batch(msgspec.Struct, gc=False):
    batch: list[msgspec.Raw]
    context: Any = None
    sentAt: Any = None  # noqa: N815  # the member's name


class TrackingSource:
    """One configured source: the calls of one or more write keys."""

    def __init__(self, name: str, settings: SourceSettings, catalog: Sequence[EventType]) -> None:
        self.name = name
        self.settings = settings
        keys = WriteKeys(name, settings)
        self.verify: Callable[[bytes, Headers], None] = keys.verify
        self.knows: Callable[[str], bool] = keys.knows
        self._reader = SegmentSource(name, settings, catalog, self.verify)
        self._decode_batch = msgspec.json.Decoder(_Batch).decode

    def read(self, body: bytes, received_at: int, context: RequestContext = NO_CONTEXT) -> Sequence[Verdict]:
        """One verdict an item, in order; `context.call` is the call in the URL.

        Raises TooLarge for too many bytes or items, RequestError for a body that is not a JSON object.
        """
        if len(body) > MAX_BYTES:
            raise TooLarge(f"more than {MAX_BYTES} bytes", f"{self.name}: the SDK's batches are too large")
        verdicts = self._read_plain_batch(body, received_at)
        if verdicts is not None:
            return verdicts
        payload = _decode(body)
        batch = payload.get("batch")
        if type(batch) is list:
            items = batch
        elif context.call == "batch":
            raise RequestError("no batch", f"{self.name}: the body has no list `batch`")
        else:
            payload.pop("writeKey", None)
            items = [payload if context.call == "" else {**payload, "type": context.call}]
        max_items = min(MAX_ITEMS, self.settings.max_elements)
        if len(items) > max_items:
            raise TooLarge(f"more than {max_items} items", f"{self.name}: the SDK's batches are too large")
        raws = _Items(items)
        return [self._read_item(item, payload, raws, index, received_at, len(body)) for index, item in enumerate(items)]

    def _read_plain_batch(self, body: bytes, received_at: int) -> list[Verdict] | None:
        """The verdicts on a batch as SDKs send it; None for any other body, which takes the longer way.

        Only the members that are read are decoded, so a batch costs half as much.
        """
        try:
            payload = self._decode_batch(body)
            envelopes = [self._reader.decode(raw) for raw in payload.batch]
        except DECODE_ERRORS:
            return None
        items = payload.batch
        # What items share has to be merged into each, and what is large to be measured as UTF-8.
        is_large = len(body) > MAX_ITEM_BYTES and any(memoryview(raw).nbytes > MAX_ITEM_BYTES for raw in items)
        if payload.context is not None or is_large or len(items) > min(MAX_ITEMS, self.settings.max_elements):
            return None
        raws = _RawItems(items)
        batch_sent_at = time_ms(payload.sentAt)
        verdicts: list[Verdict] = []
        for index, envelope in enumerate(envelopes):
            times, arrivals = (envelope.timestamp, envelope.originalTimestamp), (envelope.sentAt, payload.sentAt)
            sent_at = time_ms(envelope.sentAt) or batch_sent_at
            envelope.timestamp, is_doubtful = _occurred_at(times, arrivals, sent_at, received_at)
            envelope.sentAt = envelope.receivedAt = None
            try:
                verdict = self._reader.read_envelope(envelope, raws, index, received_at)
                verdict = _with_doubt(verdict) if is_doubtful else verdict
            except Exception:  # A fault of ours: the longer way keeps the item for the quarantine.
                item = msgspec.json.decode(items[index])
                verdict = self._read_item(item, {"sentAt": payload.sentAt}, _Items([item]), 0, received_at, 0)
            verdicts.append(verdict)
        return verdicts

    def _read_item(
        self, item: Any, payload: dict[str, Any], raws: _Items, index: int, received_at: int, body_bytes: int
    ) -> Verdict:
        if isinstance(item, Refused):
            return item
        if type(item) is not dict:
            return Refused("not_an_object")
        try:
            # As UTF-8, whatever escapes the SDK sent; no item is larger than a body of that size.
            if body_bytes > MAX_ITEM_BYTES and len(_encode(item)) > MAX_ITEM_BYTES:
                return Refused("too_large")
            element, is_doubtful = _to_element(item, payload, received_at)
        except RecursionError:
            return Refused("too_deep")
        try:
            verdict = self._reader.read_item(element, raws, index, received_at)
            return _with_doubt(verdict) if is_doubtful else verdict
        except Exception as error:  # A fault of ours in one item must not cost its neighbours.
            return failed(error, canonical({"batch": [element]}))


def _with_doubt(verdict: Verdict) -> Verdict:
    """The reader got the time in milliseconds, and cannot know that it was stated without an offset."""
    if not isinstance(verdict, Event):
        return verdict
    return msgspec.structs.replace(verdict, doubtful=(*verdict.doubtful, "occurred_at"))


def _to_element(item: dict[str, Any], payload: dict[str, Any], received_at: int) -> tuple[dict[str, Any], bool]:
    """The element that Segment's webhook would send of it: with the batch's context, and with times by our clock.
    And whether its time is doubtful."""
    element = {**item}
    shared = payload.get("context")
    if payload is not item and type(shared) is dict:
        own = item.get("context")
        element["context"] = {**shared, **own} if type(own) is dict else shared
    arrivals = (item.get("sentAt"), payload.get("sentAt"))
    sent_at = time_ms(arrivals[0]) or time_ms(arrivals[1])
    times = (item.get("timestamp"), item.get("originalTimestamp"))
    element["timestamp"], is_doubtful = _occurred_at(times, arrivals, sent_at, received_at)
    # `timestamp` has it already; and a device does not know when we received it.
    element["sentAt"] = element["receivedAt"] = None
    return element, is_doubtful


def _occurred_at(
    times: tuple[Any, Any], arrivals: tuple[Any, Any], sent_at: int | None, received_at: int
) -> tuple[Any, bool]:
    """When an item occurred (ms), by our clock, None where it does not say; and whether that is doubtful.

    times, arrivals  as sent
    """
    stated, is_unreadable, is_doubtful = stated_time(times, arrivals, received_at)
    # As it was sent, a time that cannot be read is named by the reader.
    return (times, False) if is_unreadable else (_to_our_clock(stated or sent_at, sent_at, received_at), is_doubtful)


def _to_our_clock(stated: int | None, sent_at: int | None, received_at: int) -> int | None:
    """The time (ms) that a device stated, corrected as Segment does: received - (sent - stated).

    A request's travel time is not corrected: it differs from one to the next, and would change their order. Nor is a
    difference of more than a day.
    """
    if stated is None or sent_at is None:
        return stated
    skew = received_at - sent_at
    if -MAX_AHEAD_MS <= skew <= MAX_TRAVEL_MS or abs(skew) > MAX_SKEW_MS:
        return stated
    return stated + skew


def _decode(body: bytes) -> dict[str, Any]:
    try:
        payload = msgspec.json.decode(body)
    except DECODE_ERRORS:
        payload = _salvage(body)
    if type(payload) is not dict:
        raise RequestError("not a JSON object")
    return payload


def _salvage(body: bytes) -> dict[str, Any]:
    """The body with each member, and each item of the batch, decoded alone: a broken one costs only itself."""
    payload: dict[str, Any] = {}
    try:
        for name, value, depth in islice(members(body.strip(b" \t\r\n")), MAX_MEMBERS):
            if name == "batch" and value[:1] == b"[":
                # One more than allowed is enough to refuse them.
                spans = islice(elements(value), MAX_ITEMS + 1)
                payload[name] = [_salvage_value(value[span.start : span.end], span.depth) for span in spans]
            else:
                salvaged = _salvage_value(value, depth)
                payload[name] = None if isinstance(salvaged, Refused) else salvaged
    except ValueError:
        raise RequestError("not JSON") from None
    return payload


def _salvage_value(raw: bytes, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return Refused("too_deep")
    try:
        return decode_leniently(raw)
    except ValueError:
        return Refused("not_json")


def prove(secret: str, body: bytes) -> dict[str, str]:
    """The headers with which an SDK sends a body: the write key is the user of an empty password."""
    return {"Authorization": "Basic " + base64.b64encode(f"{secret}:".encode()).decode()}


TRACKING = SourceKind(
    name="tracking",
    configure=TrackingSource,
    max_bytes=MAX_BYTES,
    reads=SEGMENT.name,
    roots=SEGMENT.roots,
    own_emails=SEGMENT.own_emails,
    example_event=SEGMENT.example_event,
    prove=prove,
    proven_by="write_keys",
    first_secrets={"write_key": ""},
    security=SecurityScheme(name="write_key", scheme={"type": "http", "scheme": "basic"}),
    endpoint="tracking_api",
)

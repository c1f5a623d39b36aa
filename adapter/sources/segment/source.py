"""Segment's webhooks, and those of CDPs that post the same elements: a body is read into canonical events.

`kinds.py` declares who they are and how each is verified; `plans.py` compiles the catalog, `salvage.py` splits bodies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import msgspec

from adapter.sources.base import NO_CONTEXT, Headers, RequestContext, failed
from adapter.sources.reading.dialect import only_unambiguous
from adapter.sources.reading.fields import name_and_email, read_values
from adapter.sources.reading.identity import junk_ids, message_id_of, person_id, sent_message_id
from adapter.sources.reading.limits import MAX_NAME_LENGTH, TooManyElements, too_many_elements
from adapter.sources.reading.names import fold
from adapter.sources.reading.paths import Spelling, alternatives
from adapter.sources.reading.product_lines import decode_text
from adapter.sources.reading.salvage import (
    DECODE_ERRORS,
    MAX_DEPTH,
    ElementBytes,
    RawElements,
    UnbalancedJson,
    decode_leniently,
    split,
)
from adapter.sources.reading.salvage import members as members_of
from adapter.sources.reading.timestamps import exact_ms, occurred_at
from adapter.sources.segment.plans import members, plan
from freshgate.clock import AHEAD_MS
from freshgate.declare import EventType
from freshgate.errors import CatalogError, RequestError
from freshgate.events import Event, Ignored, Refused, Verdict
from freshgate.settings import SourceSettings

# The samples of the email spec are in snake_case, with `action` for `type` (docs, connections/spec/email.md).
MEMBERS = (
    *("type", "action", "event", "userId", "user_id", "anonymousId", "anonymous_id", "previousId", "previous_id"),
    *("messageId", "timestamp", "originalTimestamp", "sentAt", "receivedAt", "properties", "traits", "json"),
)
ADVICE = "lower the batch size at Segment"
NO_TYPE, NO_IDENTITY = Refused("no_type"), Refused("no_identity")
# Members of an element that say nothing of the event itself: Segment's, RudderStack's, and what any of them may add.
ENVELOPE = frozenset(
    map(
        fold,
        (
            *("type", "event", "action", "name", "category", "id", "userId", "anonymousId", "previousId", "groupId"),
            *("messageId", "timestamp", "originalTimestamp", "sentAt", "receivedAt", "version", "channel", "options"),
            *("properties", "traits", "context", "integrations", "projectId", "writeKey", "rudderId", "request_ip"),
            *("json", "library", "metadata", "source", "sourceId"),
        ),
    )
)
# Of an envelope of a batch: the members that are looked through for it.
MAX_MEMBERS = 100


class SegmentSource:
    """One configured endpoint for webhooks with Segment's elements.

    verify  raises NotAuthentic unless the headers prove the body
    """

    def __init__(
        self,
        name: str,
        settings: SourceSettings,
        catalog: Sequence[EventType],
        verify: Callable[[bytes, Headers], None],
        dialects: tuple[str, ...] = ("segment",),
    ) -> None:
        """`dialects`: the kinds whose spellings it reads."""
        self.name = name
        self.settings = settings
        self.verify = verify
        self._id_space = settings.id_space
        self._junk = junk_ids(settings)
        self._tracks: dict[str, Spelling] = {}
        self._calls: dict[str, Spelling] = {}
        spellings = []
        for event in catalog:
            for dialect in dialects:
                if dialect in event.sources:
                    spellings.append(event.sources[dialect])
                    self._add(event, dialect)
        # Names as Segment's destinations match them (analytics-events, lib/index.js): order_completed, OrderCompleted.
        self._folded_tracks = only_unambiguous((fold(name), track) for name, track in self._tracks.items())
        top, context = members(spellings, MEMBERS)
        # Few elements are asked for the address of their page.
        page = () if "page" in context else (("page", msgspec.Raw, None),)
        self._context = msgspec.defstruct(
            "Context", [*((member, Any, None) for member in context), *page], frozen=True, gc=False
        )
        self._context_members = self._context.__struct_fields__
        self._no_context = self._context()
        self._members = top
        # The first of two names is the one that is looked at first: userId, then user_id.
        names = sorted((*top, "context"), key=lambda name: (name not in MEMBERS, "_" in name))
        self._names = {fold(name): name for name in reversed(names)}
        self._envelope = msgspec.defstruct(
            "Envelope",
            [*((member, Any, None) for member in top), ("context", self._context, self._no_context)],
            gc=False,
        )
        self._decode_element = msgspec.json.Decoder(self._envelope).decode
        self._decode_list = msgspec.json.Decoder(list[self._envelope]).decode  # type: ignore[name-defined]

    def _add(self, event: EventType, dialect: str) -> None:
        when = event.sources[dialect].when
        if "type" not in when or not set(when) <= {"type", "event"}:
            raise CatalogError(f"{event.name} from {dialect}: `when` takes `type`, and `event` for tracks")
        compiled = plan(event, dialect, self._junk)
        table, names = (self._tracks, when["event"]) if "event" in when else (self._calls, when["type"])
        for name in alternatives(names):
            if name in table:
                raise CatalogError(f"{event.name} from {dialect}: {name!r} is {table[name].name} already")
            table[name] = compiled

    def read(self, body: bytes, received_at: int, context: RequestContext = NO_CONTEXT) -> Sequence[Verdict]:
        """One verdict an element, in order; `received_at` in milliseconds UTC.

        Raises TooLarge for too many elements, RequestError for a body that is neither a JSON object nor an array.
        """
        try:
            envelopes = self._decode_list(body) if _is_list(body) else (self._decode_element(body),)
        except DECODE_ERRORS:
            return self._salvage(body, received_at)
        if len(envelopes) > self.settings.max_elements:
            raise too_many_elements(self.name, self.settings, ADVICE)
        raws = RawElements(body)
        verdicts: list[Verdict] = []
        for index, envelope in enumerate(envelopes):
            try:
                verdicts.append(self._element(envelope, raws, index, received_at))
            except Exception as error:  # A fault of ours in one element must not cost its neighbours.
                verdicts.append(failed(error, raws[index]))
        if verdicts == [NO_TYPE] and (batch := _batch_in(body)) is not None:
            # As an SDK's request has it, passed on as it was.
            return self.read(batch, received_at, context)
        return verdicts

    def read_item(self, item: dict[str, Any], raws: ElementBytes, index: int, received_at: int) -> Verdict:
        """The verdict on one element that the caller has decoded; `raws[index]` are its bytes."""
        return self._element(self._envelope_of(item), raws, index, received_at)

    def decode(self, raw: bytes | msgspec.Raw) -> Any:
        """The envelope of one element; raises one of DECODE_ERRORS where it needs `read_item`. May be changed."""
        return self._decode_element(raw)

    def read_envelope(self, envelope: Any, raws: ElementBytes, index: int, received_at: int) -> Verdict:
        """The verdict on an element from `decode`; `raws[index]` are its bytes."""
        return self._element(envelope, raws, index, received_at)

    def _element(
        self, envelope: Any, raws: ElementBytes, index: int, received_at: int, *, is_respelled: bool = False
    ) -> Verdict:
        call = envelope.type or envelope.action
        name = envelope.event
        if type(call) is str and call != "track" and fold(call) != "track":
            spelling = self._calls.get(call) or self._calls.get(fold(call))
            if spelling is None:
                return self._ignored(call[:MAX_NAME_LENGTH], envelope, raws, index)
            envelope.properties = decode_text(envelope.properties)
            if envelope.traits is None and spelling is self._calls.get("identify") and not self._has_traits(envelope):
                envelope.traits = _flat_members(raws, index)
        elif type(name) is str and name:
            spelling = self._tracks.get(name) or self._folded_tracks.get(fold(name))
            if spelling is None:
                return self._ignored(f"track / {name[:MAX_NAME_LENGTH]}", envelope, raws, index)
            if type(envelope.properties) is not dict:
                sent = envelope.properties
                envelope.properties = _flat_members(raws, index) if sent is None else decode_text(sent)
        elif envelope.json is not None:
            # The extensible webhook wraps the elements of a batch (action-destinations, webhook-extensible/send).
            return self._unwrapped(raws, index, received_at)
        else:
            return NO_TYPE if is_respelled else self._read_respelled(raws, index, received_at, NO_TYPE)
        verdict = self._event(spelling, envelope, raws, index, received_at)
        if verdict is NO_IDENTITY and not is_respelled:
            return self._read_respelled(raws, index, received_at, NO_IDENTITY)
        return verdict

    def _read_respelled(self, raws: ElementBytes, index: int, received_at: int, verdict: Refused) -> Verdict:
        """The verdict on an element whose own members are spelled otherwise, such as USER_ID; `verdict` where none
        is."""
        try:
            element = decode_leniently(raws[index])
        except (ValueError, RecursionError):
            return verdict
        spelled = dict(element) if type(element) is dict else {}
        for key, value in list(spelled.items()):
            name = self._names.get(fold(key))
            if name is not None and spelled.get(name) is None:
                spelled[name] = value
        if not spelled or spelled == element:
            return verdict
        return self._element(self._envelope_of(spelled), raws, index, received_at, is_respelled=True)

    def _has_traits(self, envelope: Any) -> bool:
        return bool(getattr(envelope.context, "traits", None))

    def _ignored(self, what: str, envelope: Any, raws: ElementBytes, index: int) -> Ignored:
        user_id, anonymous_id = self._ids(envelope)
        return Ignored(
            what,
            lambda: decode_leniently(raws[index]),
            user_id,
            anonymous_id,
            sent_message_id(envelope.messageId, self._junk) or "",
            exact_ms(envelope.timestamp) or 0,
        )

    def _ids(self, envelope: Any) -> tuple[str | None, str | None]:
        """The user id and the anonymous id."""
        junk = self._junk
        user_id = person_id(envelope.userId, junk)
        if user_id is None and envelope.user_id is not None:
            user_id = person_id(envelope.user_id, junk)
        anonymous_id = person_id(envelope.anonymousId, junk)
        if anonymous_id is None and envelope.anonymous_id is not None:
            anonymous_id = person_id(envelope.anonymous_id, junk)
        return user_id, anonymous_id

    def _event(self, spelling: Spelling, envelope: Any, raws: ElementBytes, index: int, received_at: int) -> Verdict:
        junk = self._junk
        user_id, anonymous_id = self._ids(envelope)
        previous_id = None
        if spelling.effect == "alias":
            previous_id = person_id(envelope.previousId, junk) or person_id(envelope.previous_id, junk)
        if type(envelope.traits) is str:
            envelope.traits = decode_text(envelope.traits)
        fields, email, unreadable, doubtful = read_values(spelling, envelope)
        name = spelling.name
        if email is None or spelling.instead is not None:
            name, email = name_and_email(spelling, fields, email, user_id, anonymous_id)
        if (
            (user_id is None and anonymous_id is None and previous_id is None)
            # An address alone is enough for some.
            and (email is None or not (spelling.by_address or spelling.effect == "delete"))
        ):
            return NO_IDENTITY
        if spelling.read is not None:
            element = decode_leniently(raws[index])
            fields.update(spelling.read(element["json"] if element.keys() == {"json"} else element))
        message_id = sent_message_id(envelope.messageId, junk) or message_id_of(self.name, raws[index])
        at, clamped = exact_ms(envelope.timestamp), False
        if at is None or at > received_at + AHEAD_MS:
            stated, arrivals = (envelope.timestamp, envelope.originalTimestamp), (envelope.sentAt, envelope.receivedAt)
            at, clamped = occurred_at(stated, arrivals, received_at, unreadable, doubtful)
        return Event(
            source=self.name,
            id_space=self._id_space,
            name=name,
            message_id=message_id,
            occurred_at=at,
            received_at=received_at,
            user_id=user_id,
            anonymous_id=anonymous_id,
            previous_id=previous_id,
            email=email,
            fields=fields,
            unreadable=tuple(unreadable),
            clamped=clamped,
            doubtful=tuple(doubtful),
        )

    def _salvage(self, body: bytes, received_at: int) -> Sequence[Verdict]:
        """The elements one by one, where the body as a whole could not be decoded."""
        try:
            spans = split(body, self.settings.max_elements)
        except TooManyElements:
            raise too_many_elements(self.name, self.settings, ADVICE) from None
        except UnbalancedJson:
            raise RequestError("not JSON") from None
        raws = RawElements(body, spans)
        verdicts: list[Verdict] = []
        for index, span in enumerate(spans):
            try:
                verdicts.append(self._salvaged(raws, index, span.depth, received_at))
            except Exception as error:  # As in `read`.
                verdicts.append(failed(error, raws[index]))
        return verdicts

    def _salvaged(self, raws: ElementBytes, index: int, depth: int, received_at: int) -> Verdict:
        if depth > MAX_DEPTH:
            return Refused("too_deep")
        try:
            envelope = self._decode_element(raws[index])
        except DECODE_ERRORS:
            try:
                envelope = decode_leniently(raws[index])
            except ValueError:
                return Refused("not_json")
            if type(envelope) is not dict:
                return Refused("not_an_object")
            envelope = self._envelope_of(envelope)
        return self._element(envelope, raws, index, received_at)

    def _unwrapped(self, raws: ElementBytes, index: int, received_at: int) -> Verdict:
        try:
            outer = decode_leniently(raws[index])
        except (ValueError, RecursionError):
            return Refused("not_json")
        if len(outer) != 1 or type(outer["json"]) is not dict or outer["json"].keys() == {"json"}:
            return Refused("no_type")
        return self._element(self._envelope_of(outer["json"]), raws, index, received_at)

    def _envelope_of(self, element: dict[str, Any]) -> Any:
        """The envelope of an element whose members may have any type."""
        context, sent = self._no_context, decode_text(element.get("context"))
        if type(sent) is dict:
            context = self._context(**{member: sent.get(member) for member in self._context_members})
        return self._envelope(**{member: element.get(member) for member in self._members}, context=context)


def _flat_members(raws: ElementBytes, index: int) -> dict[str, Any] | None:
    """What a row of a warehouse says of its event beside the envelope, where it has no properties or traits of its own;
    None where it says nothing."""
    try:
        element = decode_leniently(raws[index])
    except (ValueError, RecursionError):
        return None
    if type(element) is not dict:
        return None
    return {name: value for name, value in element.items() if fold(name) not in ENVELOPE} or None


def _batch_in(body: bytes) -> bytes | None:
    """The list in the member `batch` of a body that is one object."""
    try:
        for name, value, _ in islice(members_of(body.strip(b" \t\r\n")), MAX_MEMBERS):
            if name == "batch" and value[:1] == b"[":
                return value
    except ValueError:
        pass
    return None


def _is_list(body: bytes) -> bool:
    return body[:1] != b"{" and body.lstrip(b" \t\r\n")[:1] == b"["

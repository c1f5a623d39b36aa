"""Tealium's webhooks (EventStream, AudienceStream) and Collect's shapes: a static header, read into canonical events.

`bodies.py` decodes a body, `elements.py` turns each payload into the element that the catalog's paths read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from adapter.sources.base import NO_CONTEXT, ExampleEvent, RequestContext, SourceKind, failed
from adapter.sources.reading.dialect import Dialect, product_events, read_values, steps_of, value_at
from adapter.sources.reading.fields import name_and_email
from adapter.sources.reading.identity import canonical, junk_ids, message_id_of, person_id, sent_message_id
from adapter.sources.reading.limits import MAX_NAME_LENGTH, TooManyElements, too_many_elements
from adapter.sources.reading.paths import Spelling
from adapter.sources.reading.profiles import has_content
from adapter.sources.reading.salvage import UnbalancedJson
from adapter.sources.reading.static_header import HeaderVerifier
from adapter.sources.reading.timestamps import occurred_at, time_ms
from adapter.sources.tealium import elements
from adapter.sources.tealium.bodies import decode_body, encode_payload
from freshgate.declare import EventType
from freshgate.errors import RequestError
from freshgate.events import Event, Ignored, Refused, Verdict
from freshgate.settings import SourceSettings

# A visitor may list hundreds, and repeats them each time; no more are linked for one visitor.
MAX_REPLACED = 50


class IdentifiedElement(msgspec.Struct, frozen=True, gc=False):
    """One element: as it was sent, as the catalog reads it, its person and message ids, its own times, best first."""

    payload: Mapping[str, Any]
    element: dict[str, Any]
    user_id: str | None
    anonymous_id: str | None
    event_times: tuple[Any, ...]
    message_id: str


class TealiumSource:
    """One configured endpoint, and the URLs of its audiences below it."""

    def __init__(self, name: str, settings: SourceSettings, catalog: Sequence[EventType]) -> None:
        self.name = name
        self.settings = settings
        self.verify = HeaderVerifier(
            name, settings, "write the Authorization header that Tealium's connector sends"
        ).verify
        self._junk = junk_ids(settings)
        self._user_ids = tuple(steps_of(key) for key in settings.user_id_keys)
        self._dialect = Dialect("tealium", catalog, settings.email_keys, "tealium_event", self._junk)
        self._cart_events = frozenset(event.name for event in catalog if event.cart in ("add", "remove"))
        self._cart_readers = frozenset(event.name for event in catalog if elements.reads_cart(event))

    def read(self, body: bytes, received_at: int, context: RequestContext = NO_CONTEXT) -> Sequence[Verdict]:
        """One verdict an element, in order; `received_at` in milliseconds UTC.

        Extra verdicts follow: the other products of one cart event, and for a visitor who joined or left an audience
        its profile and the ids that it replaces. Raises TooLarge for too many elements, RequestError for a body that
        is neither JSON nor a form.
        """
        try:
            payloads = decode_body(body, context.content_type, self.settings.max_elements)
        except TooManyElements:
            raise too_many_elements(self.name, self.settings, "lower the batch size at Tealium") from None
        except UnbalancedJson:
            raise RequestError("not JSON") from None
        verdicts: list[Verdict] = []
        extra: list[Verdict] = []
        for payload in payloads:
            try:
                own = self._read_payload(payload, received_at, context)
            except RecursionError:  # Just shallow enough to be decoded, too deep to be hashed.
                own = [Refused("too_deep")]
            except Exception as error:  # An unforeseen fault in one element must not cost its neighbours.
                own = [failed(error, encode_payload(payload))]
            verdicts.append(own[0])
            if len(own) > 1:
                # The surplus is dropped: Tealium repeats it with later payloads, and refusing the body would lose more.
                extra.extend(own[1 : 1 + max(0, 2 * self.settings.max_elements - len(extra))])
        return verdicts + extra

    def _read_payload(self, payload: Any, received_at: int, context: RequestContext) -> list[Verdict]:
        """The payload's own verdict, then the extra ones."""
        if type(payload) is not dict:
            return [payload if isinstance(payload, Refused) else Refused("not_an_object")]
        if context.audience or elements.is_visitor(payload):
            return self._read_visitor(payload, received_at, context)
        element = elements.build_event_element(payload)
        name = element.get("tealium_event")
        if type(name) is not str or not name:
            return [Refused("no_type")]
        spelling = self._dialect.find(element)
        if spelling is None:
            return [self._ignore(name, payload, element)]
        if spelling.name in self._cart_readers:
            elements.add_cart(element, payload)
        # In a flat data layer `event_id` is the shop's own variable, and two events may have the same.
        event_id = payload.get("event_id") if type(payload.get("data")) is dict else None
        message_id = sent_message_id(event_id, self._junk) or self._hash(payload)
        identified = self._identify(payload, element, elements.event_times(element), message_id)
        event = self._build_event(spelling, identified, received_at)
        if spelling.name not in self._cart_events:
            # Of a page that shows several products, the first is the one that was viewed.
            return [event]
        return [event] if isinstance(event, Refused) else [*product_events(spelling, event, element)]

    def _ignore(self, name: str, payload: Mapping[str, Any], element: dict[str, Any]) -> Ignored:
        sent = self._identify(payload, element, elements.event_times(element), "")
        at = next(filter(None, map(time_ms, sent.event_times)), 0)
        ids = (sent.user_id, sent.anonymous_id, "", at)
        # Its shape is for those who write paths, so it is the element's.
        return Ignored(f"event / {name[:MAX_NAME_LENGTH]}", lambda: elements.add_cart(element, payload), *ids)

    def _read_visitor(self, payload: Mapping[str, Any], received_at: int, context: RequestContext) -> list[Verdict]:
        """The verdicts on a visitor: its membership (at an audience's URL), its profile, the ids that it replaces."""
        if elements.is_visitor(payload):
            element, last_seen = elements.build_visitor_element(payload), elements.visitor_times(payload)
        else:
            element = elements.add_cart(elements.build_event_element(payload), payload)
            element["tealium_event"] = elements.PROFILE_EVENT
            last_seen = elements.event_times(element)
        visitor = self._identify(payload, element, last_seen, self._hash(["profile", payload]))
        profile = self._read_profile(visitor, received_at)
        links = self._read_links(visitor, received_at)
        if not context.audience:
            return [profile, *links]
        membership = self._read_membership(visitor, received_at, context)
        return [membership, *([profile] if isinstance(profile, Event) else []), *links]

    def _read_profile(self, visitor: IdentifiedElement, received_at: int) -> Verdict:
        """The visitor's attributes as one event. Ignored where nothing is known about the person."""
        spelling = self._dialect.find(visitor.element)
        if spelling is None:
            return Ignored(f"event / {elements.PROFILE_EVENT}", lambda: visitor.element)
        profile = self._build_event(spelling, visitor, received_at)
        if isinstance(profile, Event) and not has_content(profile):
            return Ignored("visitor / nothing told", lambda: visitor.element)
        return profile

    def _read_links(self, visitor: IdentifiedElement, received_at: int) -> Iterator[Verdict]:
        """Yield an alias for each visitor that was stitched into this one."""
        if visitor.user_id is None and visitor.anonymous_id is None:
            return
        element = {"tealium_event": elements.REPLACED_EVENT}
        spelling = self._dialect.find(element)
        if spelling is None:
            return
        for replaced_id in elements.replaced_ids(visitor.payload)[:MAX_REPLACED]:
            previous_id = person_id(replaced_id, self._junk)
            if previous_id is None or previous_id == visitor.anonymous_id:
                continue
            # A link keeps its id, however many profiles repeat it.
            link_id = self._hash(["replaces", visitor.user_id, visitor.anonymous_id, previous_id])
            link = msgspec.structs.replace(visitor, element=element, message_id=link_id)
            yield self._build_event(spelling, link, received_at, previous_id)

    def _read_membership(self, visitor: IdentifiedElement, received_at: int, context: RequestContext) -> Verdict:
        """The visitor's joining or leaving of an audience.

        The body does not say why it was sent; the URL does (docs, webhook-connectors: one action, one URL).
        """
        audience, turn, payload = context.audience, context.turn, visitor.payload
        element = {**visitor.element, "tealium_event": None, "audience": audience, "turn": turn}
        spelling = self._dialect.find(element)
        if spelling is None:
            ids = (visitor.user_id, visitor.anonymous_id)
            return Ignored(f"audience {audience[:MAX_NAME_LENGTH]} {turn}", lambda: element, *ids)
        joined_at = elements.visitor_times(payload, audience) if turn == "joined" else ()
        membership = msgspec.structs.replace(
            visitor,
            element=element,
            event_times=(*joined_at, *visitor.event_times),
            message_id=self._hash([audience, turn, payload]),
        )
        return self._build_event(spelling, membership, received_at)

    def _identify(
        self, payload: Mapping[str, Any], element: dict[str, Any], event_times: tuple[Any, ...], message_id: str
    ) -> IdentifiedElement:
        return IdentifiedElement(
            payload=payload,
            element=element,
            user_id=self._user_id(element),
            # Nearly always Tealium's server says it, which is the first of them.
            anonymous_id=person_id(payload.get("visitor_id"), self._junk)
            or self._first_id(elements.anonymous_ids(payload, element)),
            event_times=event_times,
            message_id=message_id,
        )

    def _user_id(self, element: dict[str, Any]) -> str | None:
        for steps in self._user_ids:
            value = value_at(element, steps)
            if type(value) is list and len(value) == 1:
                value = value[0]
            if value is not None and (valid := person_id(value, self._junk)) is not None:
                return valid
        return None

    def _first_id(self, values: Iterator[Any]) -> str | None:
        return next((valid for value in values if (valid := person_id(value, self._junk)) is not None), None)

    def _build_event(
        self, spelling: Spelling, identified: IdentifiedElement, received_at: int, previous_id: str | None = None
    ) -> Event | Refused:
        fields, email, unreadable, doubtful = read_values(spelling, identified.element)
        name = spelling.name
        if email is None or spelling.instead is not None:
            name, email = name_and_email(spelling, fields, email, identified.user_id, identified.anonymous_id)
        if identified.user_id is None and identified.anonymous_id is None and not (spelling.by_address and email):
            return Refused("no_identity")
        arrivals = (identified.payload.get("post_time"),)
        at, clamped = occurred_at(identified.event_times, arrivals, received_at, unreadable, doubtful)
        return Event(
            source=self.name,
            id_space=self.settings.id_space,
            name=name,
            message_id=identified.message_id,
            occurred_at=at,
            received_at=received_at,
            user_id=identified.user_id,
            anonymous_id=identified.anonymous_id,
            previous_id=previous_id,
            # An erasure must not record the address once more.
            email=email if spelling.effect != "delete" else None,
            fields=fields,
            unreadable=tuple(unreadable),
            clamped=clamped,
            doubtful=tuple(doubtful),
        )

    def _hash(self, value: Any) -> str:
        """A message id for what has none: a redelivery has the same bytes, and so the same id."""
        return message_id_of(self.name, canonical(value))


def spell(name: str) -> dict[str, str] | None:
    """ "event / quiz_answered", "audience vip joined"; a visitor's profile without anything in it has no `when`."""
    head, _, event = name.partition(" / ")
    if head == "event":
        return {"tealium_event": event}
    audience, _, turn = name.removeprefix("audience ").rpartition(" ")
    return {"audience": audience, "turn": turn} if name.startswith("audience ") else None


TEALIUM = SourceKind(
    name="tealium",
    # A batched action leaves at 16 MB (docs, server-side/connectors/batched-actions).
    max_bytes=16 * 1024 * 1024,
    configure=TealiumSource,
    texts={"turn": ("joined", "left")},
    spell=spell,
    # No roots: a path names a variable of the shop's own data layer, so any may be right.
    own_emails=SourceSettings(kind="tealium").email_keys,
    example_event=ExampleEvent(
        when={"tealium_event": "{slug}"},
        field="plan",
        payload=Path(__file__).with_name("example_event.json.j2"),
    ),
    has_audiences=True,
)

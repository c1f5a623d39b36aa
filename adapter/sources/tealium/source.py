"""Tealium's webhooks (EventStream, AudienceStream) and Collect's shapes: a static header, read into canonical events.

`bodies.py` decodes a body, `elements.py` makes of each element what the catalog's paths are about.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from adapter.sources.base import NO_CONTEXT, ExampleEvent, RequestContext, SourceKind, failed
from adapter.sources.reading.dialect import Dialect, Steps, extra_product_events, read_values, steps_of, value_at
from adapter.sources.reading.identity import canonical, junk_ids, message_id_of, person_id, sent_message_id
from adapter.sources.reading.limits import MAX_NAME_LENGTH, TooManyElements, too_many_elements
from adapter.sources.reading.paths import Spelling
from adapter.sources.reading.salvage import UnbalancedJson
from adapter.sources.reading.static_header import HeaderVerifier
from adapter.sources.reading.timestamps import occurrence
from adapter.sources.tealium import elements as spell
from adapter.sources.tealium.bodies import sent_elements
from freshgate.declare import EventType
from freshgate.errors import RequestError
from freshgate.events import Event, Ignored, Refused, Verdict
from freshgate.settings import SourceSettings

# A visitor may list hundreds, and lists them again each time; the engine merges no more into one person.
MAX_REPLACED = 50


class TealiumElement(msgspec.Struct, frozen=True, gc=False):
    """One element: as it was sent, as the catalog reads it, who it is about, and when it happened (ms UTC)."""

    sent: Mapping[str, Any]
    element: dict[str, Any]
    user_id: str | None
    anonymous_id: str | None
    stated: int | None
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
        self._dialect = Dialect("tealium", catalog, settings.email_keys)
        self._of_cart = frozenset(event.name for event in catalog if event.cart in ("add", "remove"))

    def read(self, body: bytes, received_at: int, context: RequestContext = NO_CONTEXT) -> Sequence[Verdict]:
        """One verdict an element, in order; `received_at` in milliseconds UTC.

        Behind them stands what is more than one event can say: further products of one cart event, and of a visitor
        who joined or left an audience its profile and the ids that it replaces. Raises TooLarge for too many elements,
        RequestError for a body that is neither JSON nor a form.
        """
        try:
            found = sent_elements(body, context.content_type, self.settings.max_elements)
        except TooManyElements:
            raise too_many_elements(self.name, self.settings, "lower the batch size at Tealium") from None
        except UnbalancedJson:
            raise RequestError("not JSON") from None
        verdicts: list[Verdict] = []
        more: list[Verdict] = []
        for sent in found:
            try:
                verdict, *further = self._element(sent, received_at, context)
            except RecursionError:  # Just shallow enough to be decoded, too deep for its hash.
                verdict, further = Refused("too_deep"), []
            except Exception as error:  # One element's fault that nobody foresaw must not cost its neighbours.
                verdict, further = failed(error, _raw(sent)), []
            verdicts.append(verdict)
            # What is too much is no new event, and is told again: refusing all of it would lose more.
            more.extend(further[: max(0, 2 * self.settings.max_elements - len(more))])
        return verdicts + more

    def _element(self, sent: Any, received_at: int, context: RequestContext) -> list[Verdict]:
        """The element's own verdict, and behind it what else it says."""
        if isinstance(sent, Refused):
            return [sent]
        if type(sent) is not dict:
            return [Refused("not_an_object")]
        if context.audience or spell.is_visitor(sent):
            return self._visitor(sent, received_at, context)
        made = spell.event(sent)
        name = made.get("tealium_event")
        if type(name) is not str or not name:
            return [Refused("no_type")]
        found = self._dialect.find(made)
        if found is None:
            return [Ignored(f"event / {name[:MAX_NAME_LENGTH]}", lambda: sent)]
        # In a flat data layer `event_id` is a variable of the shop's, and may be the same twice.
        message_id = self._message_id(sent.get("event_id") if type(sent.get("data")) is dict else None, sent)
        told = self._told(sent, made, spell.event_time(made), message_id)
        event = self._event(found, told, received_at)
        # Of a page that shows several products the first is the one that was viewed.
        return [event, *(extra_product_events(event, made.get("products")) if found.name in self._of_cart else ())]

    def _visitor(self, sent: Mapping[str, Any], received_at: int, context: RequestContext) -> list[Verdict]:
        is_visitor = spell.is_visitor(sent)
        made = spell.visitor(sent) if is_visitor else {**spell.event(sent), "tealium_event": spell.PROFILE}
        seen = spell.visitor_time(sent) if is_visitor else spell.event_time(made)
        told = self._told(sent, made, seen, self._message_id(None, ["profile", sent]))
        profile = self._profile(told, received_at)
        links = self._links(told, received_at)
        if not context.audience:
            return [profile, *links]
        # The body does not say why it was sent; the URL does (docs, webhook-connectors: one action, one URL).
        made = {**made, "tealium_event": None, "audience": context.audience, "turn": context.turn}
        found = self._dialect.find(made)
        membership: Verdict = Ignored(f"audience {context.audience[:MAX_NAME_LENGTH]} {context.turn}", lambda: sent)
        if found is not None:
            at = (spell.visitor_time(sent, context.audience) if context.turn == "joined" else None) or seen
            message_id = self._message_id(None, [context.audience, context.turn, sent])
            membership = self._event(found, self._told(sent, made, at, message_id), received_at)
        return [membership, *([profile] if isinstance(profile, Event) else []), *links]

    def _profile(self, told: TealiumElement, received_at: int) -> Verdict:
        """What a visitor's profile says of the person. A visitor nobody knows anything of is left alone."""
        found = self._dialect.find(told.element)
        if found is None:
            return Ignored(f"event / {spell.PROFILE}", lambda: told.sent)
        event = self._event(found, told, received_at)
        if isinstance(event, Event) and not (event.fields or event.email or (event.user_id and event.anonymous_id)):
            return Ignored("visitor / nothing told", lambda: told.sent)
        return event

    def _links(self, told: TealiumElement, received_at: int) -> Iterator[Verdict]:
        """An alias for each visitor that was stitched into this one."""
        if told.user_id is None and told.anonymous_id is None:
            return
        for replaced in spell.replaced(told.sent)[:MAX_REPLACED]:
            previous_id = person_id(replaced, self._junk)
            if previous_id is None or previous_id == told.anonymous_id:
                continue
            made = {"tealium_event": spell.REPLACED}
            found = self._dialect.find(made)
            if found is None:
                return
            # One link is one event, in however many profiles it is repeated.
            message_id = self._message_id(None, ["replaces", told.user_id, told.anonymous_id, previous_id])
            link = msgspec.structs.replace(told, element=made, message_id=message_id)
            yield self._event(found, link, received_at, previous_id)

    def _told(
        self, sent: Mapping[str, Any], made: dict[str, Any], stated: int | None, message_id: str
    ) -> TealiumElement:
        return TealiumElement(
            sent=sent,
            element=made,
            user_id=self._first_id(value_at(made, steps) for steps in self._user_ids),
            anonymous_id=self._first_id(spell.visitor_ids(sent, made)),
            stated=stated,
            message_id=message_id,
        )

    def _first_id(self, values: Iterator[Any]) -> str | None:
        return next((found for value in values if (found := person_id(value, self._junk)) is not None), None)

    def _event(
        self, found: Spelling[Steps], told: TealiumElement, received_at: int, previous_id: str | None = None
    ) -> Event | Refused:
        fields, email, unreadable = read_values(found, told.element)
        if told.user_id is None and told.anonymous_id is None and not (found.suppresses and email):
            return Refused("no_identity")
        occurred_at, clamped = occurrence(told.stated, told.sent.get("post_time"), received_at)
        return Event(
            source=self.name,
            id_space=self.settings.id_space,
            name=found.name,
            message_id=told.message_id,
            occurred_at=occurred_at,
            received_at=received_at,
            user_id=told.user_id,
            anonymous_id=told.anonymous_id,
            previous_id=previous_id,
            # What erases a person must not write its address down once more.
            email=email if found.effect != "delete" else None,
            fields=fields,
            unreadable=tuple(unreadable),
            clamped=clamped,
        )

    def _message_id(self, given: Any, context: Any) -> str:
        """The id that Tealium gave, else a hash: a redelivery has the same bytes, and so the same id."""
        return sent_message_id(given, self._junk) or message_id_of(self.name, canonical(context))


def _raw(sent: Any) -> bytes:
    """The element as a body of its own, for the quarantine; empty if that cannot be written."""
    try:
        return json.dumps(sent).encode()
    except (RecursionError, TypeError, ValueError):
        return b""


TEALIUM = SourceKind(
    name="tealium",
    configure=TealiumSource,
    # No roots: a path names a variable of the shop's own data layer, so any may be right.
    own_emails=SourceSettings(kind="tealium").email_keys,
    example_event=ExampleEvent(
        when={"tealium_event": "{slug}"},
        field="plan",
        payload=Path(__file__).with_name("example_event.json.j2"),
    ),
    has_audiences=True,
)

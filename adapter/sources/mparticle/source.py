"""mParticle's webhook and Firehose: a static header, and batches of one person's events read into canonical events.

`batch.py` decodes a body, `elements.py` turns each event into the element that the catalog's paths read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from adapter.sources.base import NO_CONTEXT, ExampleEvent, RequestContext, SourceKind, failed
from adapter.sources.mparticle.batch import Batch, decode_batches, encode_batch, environment_of
from adapter.sources.mparticle.elements import (
    EVENT_TYPES,
    build_element,
    find_renewal,
    find_withdrawal,
    profile_names,
    read_attributes,
    read_identities,
    refuse_malformed,
    spell,
    unmapped_name,
)
from adapter.sources.mparticle.firehose import SubjectRequest, to_batch
from adapter.sources.reading.dialect import Dialect, product_events, read_values
from adapter.sources.reading.fields import name_and_email
from adapter.sources.reading.identity import canonical, junk_ids, message_id_of, person_id, sent_message_id
from adapter.sources.reading.limits import MAX_NAME_LENGTH, TooManyElements, too_many_elements
from adapter.sources.reading.names import fold
from adapter.sources.reading.paths import Spelling
from adapter.sources.reading.profiles import has_content
from adapter.sources.reading.salvage import UnbalancedJson
from adapter.sources.reading.static_header import HeaderVerifier
from adapter.sources.reading.timestamps import exact_ms, occurred_at
from freshgate.declare import EventType
from freshgate.errors import RequestError
from freshgate.events import Event, Ignored, Refused, Verdict
from freshgate.settings import SourceSettings

# Best first: set by the client and kept over its retries; set by the server; seen outbound only (docs,
# developers/server/json-reference).
MESSAGE_IDS = ("source_message_id", "event_id", "message_id")
OWN_EMAILS = ("user_identities.email", "user_attributes.email")


class BatchPerson(msgspec.Struct, frozen=True, gc=False):
    """The person a batch is about: the two ids that identify (device ids do not), all identities and attributes."""

    user_id: str | None
    anonymous_id: str | None
    identities: dict[str, Any]
    attributes: dict[str, Any]


class MparticleSource:
    """One configured endpoint for mParticle's webhook, its raw data feed, and relayed Firehose requests."""

    def __init__(self, name: str, settings: SourceSettings, catalog: Sequence[EventType]) -> None:
        self.name = name
        self.settings = settings
        self.verify = HeaderVerifier(
            name, settings, "write the Authorization header that mParticle's webhook sends"
        ).verify
        self._junk = junk_ids(settings)
        self._purposes = frozenset(purpose.strip().lower() for purpose in settings.consent_purposes)
        self._environments = frozenset(name.strip().lower() for name in settings.environments)
        self._dialect = Dialect("mparticle", catalog, OWN_EMAILS, "data.event_name", self._junk)
        self._profile_names = profile_names(catalog)

    def read(self, body: bytes, received_at: int, context: RequestContext = NO_CONTEXT) -> Sequence[Verdict]:
        """One verdict an event, in order, or one for a batch that cannot be read; `received_at` in milliseconds UTC.

        Extra verdicts follow: the other products of an event that takes one, and for each batch its person's
        attributes and a refusal of consent. Raises TooLarge for too many elements, RequestError for a body that is
        neither a JSON object nor an array.
        """
        verdicts: list[Verdict] = []
        extra: list[Verdict] = []
        try:
            batches = decode_batches(body, self.settings.max_elements)
            # A batch adds two at most, its profile and its refusal; products count like elements.
            max_extra = self.settings.max_elements + 2 * len(batches)
            for batch in batches:
                if isinstance(batch, Refused):
                    verdicts.append(batch)
                else:
                    self._read_batch(to_batch(batch), received_at, verdicts, extra, max_extra)
        except TooManyElements:
            raise too_many_elements(self.name, self.settings, "post fewer batches at once") from None
        except UnbalancedJson:
            raise RequestError("not JSON") from None
        return verdicts + extra

    def _read_batch(
        self, batch: Batch, received_at: int, verdicts: list[Verdict], extra: list[Verdict], max_extra: int
    ) -> None:
        """Append one verdict an event to `verdicts`, and what else the batch says to `extra`.

        Raises TooManyElements where `extra` grows beyond `max_extra`.
        """
        person = self._read_person(batch)
        events = batch.events
        environment = environment_of(batch)
        if self._environments and environment.lower() not in self._environments:
            what = f"environment / {environment[:MAX_NAME_LENGTH]}"
            verdicts.extend([Ignored(what)] * max(1, len(events) if type(events) is list else 0))
            return
        if events is not None and type(events) is not list:
            verdicts.append(Refused("not_an_object"))
            events = None
        has_event = False
        for event in events or ():
            try:
                verdict, product_events = self._read_event(event, batch, person, received_at)
            except RecursionError:  # Just shallow enough to be decoded, too deep to be hashed.
                verdict, product_events = Refused("too_deep"), ()
            except Exception as error:  # An unforeseen fault in one element must not cost its neighbours.
                verdict, product_events = failed(error, encode_batch(batch, [event])), ()
            has_event = has_event or isinstance(verdict, Event)
            verdicts.append(verdict)
            extra.extend(product_events)
            if len(extra) > max_extra:
                raise TooManyElements
        if isinstance(batch, SubjectRequest):
            return
        # Each by itself: a profile that cannot be read must not hide that consent was withdrawn.
        for verdicts_of_state in (
            self._read_profile(batch, person, received_at, has_event=has_event),
            self._read_consent(batch, person, received_at),
        ):
            try:
                extra.extend(verdicts_of_state)
            except RecursionError:  # As above.
                extra.append(Refused("too_deep"))
            except Exception as error:  # As above.
                extra.append(failed(error, encode_batch(batch, None)))

    def _read_person(self, batch: Batch) -> BatchPerson:
        identities = read_identities(batch.user_identities)
        return BatchPerson(
            user_id=person_id(identities.get("customer_id"), self._junk),
            # An int64, often negative. It stays text: beyond 2^53 a float would be another person's id.
            anonymous_id=person_id(batch.mpid, self._junk),
            identities=identities,
            attributes=read_attributes(batch.user_attributes),
        )

    def _read_event(
        self, event: Any, batch: Batch, person: BatchPerson, received_at: int
    ) -> tuple[Verdict, Sequence[Event]]:
        """The verdict on one event, and an Event for each further product where the event type takes one product."""
        if (refused := refuse_malformed(event)) is not None:
            return refused, ()
        element = build_element(event, person.identities, person.attributes)
        spelling = self._dialect.find(element)
        if spelling is None:
            at = exact_ms(element["data"].get("timestamp_unixtime_ms")) or 0
            ids = (
                person.user_id,
                person.anonymous_id,
                sent_message_id(element["data"].get("event_id"), self._junk) or "",
            )
            return Ignored(unmapped_name(element), lambda: element, *ids, at), ()
        verdict = self._build_event(spelling, element, batch, person, received_at)
        if isinstance(verdict, Refused):
            return verdict, ()
        event, *extra = product_events(spelling, verdict, element)
        return event, extra

    def _build_event(
        self, spelling: Spelling, element: dict[str, Any], batch: Batch, person: BatchPerson, received_at: int
    ) -> Event | Refused:
        fields, email, unreadable, doubtful = read_values(spelling, element)
        name = spelling.name
        if email is None or spelling.instead is not None:
            name, email = name_and_email(spelling, fields, email, person.user_id, person.anonymous_id)
        has_id = bool(person.user_id or person.anonymous_id)
        is_erasure = spelling.effect == "delete"
        if not has_id and not ((spelling.by_address or is_erasure) and email):
            return Refused("no_identity")
        data = element["data"]
        stated = (data.get("timestamp_unixtime_ms"), data.get("event_start_unixtime_ms"))
        at, clamped = occurred_at(stated, (batch.timestamp_unixtime_ms,), received_at, unreadable, doubtful)
        return Event(
            source=self.name,
            id_space=self.settings.id_space,
            name=name,
            message_id=self._message_id(element, person),
            occurred_at=at,
            received_at=received_at,
            user_id=person.user_id,
            anonymous_id=person.anonymous_id,
            # An erasure must not record the address once more; without an id it is about whoever has the address.
            email=None if is_erasure and has_id else email,
            fields=fields,
            unreadable=tuple(unreadable),
            clamped=clamped,
            doubtful=tuple(doubtful),
        )

    def _message_id(self, element: dict[str, Any], person: BatchPerson) -> str:
        data = element["data"]
        for name in MESSAGE_IDS:
            if (message_id := sent_message_id(data.get(name), self._junk)) is not None:
                return message_id
        # The hash includes the person: "session_start" may be the same text for two people.
        hashed = [person.user_id, person.anonymous_id, person.identities, element["event_type"], data]
        return message_id_of(self.name, canonical(hashed))

    def _read_profile(
        self, batch: Batch, person: BatchPerson, received_at: int, *, has_event: bool
    ) -> Iterator[Verdict]:
        """Yield the batch's identities and attributes as one event, unless an event of the batch says as much.

        By default mParticle forwards no changes of attributes or identities as events (docs,
        integrations/webhook/event), but every batch carries the current ones. `has_event`: an event has the ids.
        """
        if not (person.user_id or person.anonymous_id) or (has_event and not self._says_more(person)):
            return
        data = {
            "timestamp_unixtime_ms": batch.timestamp_unixtime_ms,
            # Both are hashed into the message id: the same for a batch delivered twice, another for the next batch,
            # since an attribute may change and change back.
            "batch": [batch.batch_id, batch.source_request_id],
            "attributes": person.attributes,
        }
        verdict, _ = self._read_event({"event_type": "user_profile", "data": data}, batch, person, received_at)
        if isinstance(verdict, Event) and (verdict.fields or not has_event) and has_content(verdict):
            yield verdict

    def _says_more(self, person: BatchPerson) -> bool:
        """Whether the attributes hold a field of the profile; most batches have none, or only the shop's own."""
        if not person.attributes or (
            self._profile_names and self._profile_names.isdisjoint(map(fold, person.attributes))
        ):
            return False
        element = build_element({"event_type": "user_profile", "data": {}}, person.identities, person.attributes)
        spelling = self._dialect.find(element)
        return spelling is not None and bool(read_values(spelling, element)[0])

    def _read_consent(self, batch: Batch, person: BatchPerson, received_at: int) -> Iterator[Verdict]:
        """Yield the newest refusal in the batch's consent state as one event, however many batches repeat it; else the
        newest consent, which takes an older refusal back."""
        if not batch.consent_state:
            return
        consent, name = find_withdrawal(batch.consent_state, self._purposes), "consent_withdrawn"
        if consent is None:
            consent, name = find_renewal(batch.consent_state, self._purposes), "consent_renewed"
        if consent is None or not (person.user_id or person.anonymous_id or person.identities):
            return
        data = {
            "timestamp_unixtime_ms": batch.timestamp_unixtime_ms if consent.at is None else consent.at,
            "event_name": name,
            "custom_attributes": {"list_name": consent.purpose},
        }
        verdict, _ = self._read_event({"event_type": "custom_event", "data": data}, batch, person, received_at)
        yield verdict


MPARTICLE = SourceKind(
    name="mparticle",
    configure=MparticleSource,
    # `elements.py` makes these members.
    roots=("event_type", "data", "user_identities", "user_attributes", "products", "product", "promotion", "list"),
    texts={"event_type": EVENT_TYPES, "data.promotion_action.action": ("view", "click")},
    beside={
        "data.event_name": ("event_type", ("custom_event",)),
        "data.screen_name": ("event_type", ("screen_view",)),
        "data.product_action.action": ("event_type", ("commerce_event",)),
        "data.promotion_action.action": ("event_type", ("commerce_event",)),
    },
    spell=spell,
    own_emails=OWN_EMAILS,
    example_event=ExampleEvent(
        when={"event_type": "custom_event", "data.event_name": "{name}"},
        field="data.custom_attributes.plan",
        payload=Path(__file__).with_name("example_event.json.j2"),
        element=("events", 0),
    ),
)

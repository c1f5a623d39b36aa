"""mParticle's webhook and Firehose: a static header, and batches of one person's events read into canonical events.

`batch.py` decodes a body, `elements.py` makes of each event what the catalog's paths are about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from adapter.sources.base import NO_CONTEXT, ExampleEvent, RequestContext, SourceKind, failed
from adapter.sources.mparticle import elements as spell
from adapter.sources.mparticle.batch import Batch, batches
from adapter.sources.mparticle.firehose import Request, as_batch
from adapter.sources.reading.dialect import Dialect, Steps, extra_product_events, read_values
from adapter.sources.reading.identity import canonical, junk_ids, message_id_of, person_id, sent_message_id
from adapter.sources.reading.limits import TooManyElements, too_many_elements
from adapter.sources.reading.paths import Spelling
from adapter.sources.reading.salvage import UnbalancedJson
from adapter.sources.reading.static_header import HeaderVerifier
from adapter.sources.reading.timestamps import occurrence, time_ms
from freshgate.declare import EventType
from freshgate.errors import RequestError
from freshgate.events import Event, Ignored, Refused, Verdict
from freshgate.settings import SourceSettings

# Client made and kept over a retry; the server's; seen outbound only (docs, developers/server/json-reference).
MESSAGE_IDS = ("source_message_id", "event_id", "message_id")
OWN_EMAILS = ("user_identities.email", "user_attributes.email")


class Person(msgspec.Struct, frozen=True, gc=False):
    """Who a batch is about: the ids that count, and all that is told. Device ids are nobody's."""

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
        self._dialect = Dialect("mparticle", catalog, OWN_EMAILS)

    def read(self, body: bytes, received_at: int, context: RequestContext = NO_CONTEXT) -> Sequence[Verdict]:
        """One verdict an event, in order, a batch that is none included; `received_at` in milliseconds UTC.

        Behind them stands what is more than one event can say: further products of one cart event, and of each batch
        its person's attributes and a refusal of consent. Raises TooLarge for too many elements, RequestError for a
        body that is neither a JSON object nor an array.
        """
        verdicts: list[Verdict] = []
        more: list[Verdict] = []
        try:
            found = batches(body, self.settings.max_elements)
            most = self.settings.max_elements + 2 * len(found)
            for batch in found:
                if isinstance(batch, Refused):
                    verdicts.append(batch)
                else:
                    self._batch(as_batch(batch), received_at, verdicts, more, most)
        except TooManyElements:
            raise too_many_elements(self.name, self.settings, "post fewer batches at once") from None
        except UnbalancedJson:
            raise RequestError("not JSON") from None
        return verdicts + more

    def _batch(self, batch: Batch, received_at: int, verdicts: list[Verdict], more: list[Verdict], most: int) -> None:
        """Appends a verdict an event to `verdicts`, and what else the batch says to `more`: at most so much."""
        person = self._person(batch)
        events = batch.events
        if events is not None and type(events) is not list:
            verdicts.append(Refused("not_an_object"))
            events = None
        told = False
        for event in events or ():
            try:
                verdict, further = self._event(event, batch, person, received_at)
            except RecursionError:  # Just shallow enough to be decoded, too deep for its hash.
                verdict, further = Refused("too_deep"), ()
            except Exception as error:  # One element's fault that nobody foresaw must not cost its neighbours.
                verdict, further = failed(error, _raw(batch, [event])), ()
            told = told or isinstance(verdict, Event)
            verdicts.append(verdict)
            more.extend(further)
            if len(more) > most:
                raise TooManyElements
        if isinstance(batch, Request):
            return
        try:
            more.extend(self._state(batch, person, received_at, told=told))
        except RecursionError:  # As above.
            more.append(Refused("too_deep"))
        except Exception as error:  # As above.
            more.append(failed(error, _raw(batch, None)))

    def _person(self, batch: Batch) -> Person:
        identities = spell.identities(batch.user_identities)
        return Person(
            user_id=person_id(identities.get("customer_id"), self._junk),
            # An int64, often negative: kept as text, since beyond 2^53 a float would be another person's.
            anonymous_id=person_id(batch.mpid, self._junk),
            identities=identities,
            attributes=spell.attributes(batch.user_attributes),
        )

    def _event(self, event: Any, batch: Batch, person: Person, received_at: int) -> tuple[Verdict, Sequence[Event]]:
        """The verdict on one event, and an Event for each further product where the event type has room for one."""
        if (broken := _broken(event)) is not None:
            return broken, ()
        element = spell.element(event, person.identities, person.attributes)
        found = self._dialect.find(element)
        if found is None:
            return Ignored(spell.spelled(element), lambda: element), ()
        made = self._made(found, element, batch, person, received_at)
        return made, list(extra_product_events(made, element.get("products")))

    def _made(
        self, found: Spelling[Steps], element: dict[str, Any], batch: Batch, person: Person, received_at: int
    ) -> Event | Refused:
        fields, email, unreadable = read_values(found, element)
        if person.user_id is None and person.anonymous_id is None and not (found.suppresses and email):
            return Refused("no_identity")
        data = element["data"]
        stated = time_ms(data.get("timestamp_unixtime_ms")) or time_ms(data.get("event_start_unixtime_ms"))
        occurred_at, clamped = occurrence(stated, batch.timestamp_unixtime_ms, received_at)
        return Event(
            source=self.name,
            id_space=self.settings.id_space,
            name=found.name,
            message_id=self._message_id(element, person),
            occurred_at=occurred_at,
            received_at=received_at,
            user_id=person.user_id,
            anonymous_id=person.anonymous_id,
            # What erases a person must not write its address down once more.
            email=email if found.effect != "delete" else None,
            fields=fields,
            unreadable=tuple(unreadable),
            clamped=clamped,
        )

    def _state(self, batch: Batch, person: Person, received_at: int, *, told: bool) -> Iterator[Verdict]:
        """What a batch says beside its events: who the person is, and a refusal. `told`: an event has said the ids.

        By default mParticle forwards neither changes of attributes nor of identities as events (docs,
        integrations/webhook/event), but every batch has all of them.
        """
        stamp = {"timestamp_unixtime_ms": batch.timestamp_unixtime_ms}
        if (person.user_id or person.anonymous_id) and (person.attributes or not told):
            # Of one batch delivered twice the same; of two batches not, since an attribute may change to and fro.
            context = {"batch": [batch.batch_id, batch.source_request_id], "attributes": person.attributes}
            profile = {"event_type": "user_profile", "data": stamp | context}
            verdict, _ = self._event(profile, batch, person, received_at)
            if isinstance(verdict, Event) and (verdict.fields or not told) and _says_something(verdict):
                yield verdict
        refusal = spell.withdrawal(batch.consent_state, self._purposes)
        if refusal and (person.user_id or person.anonymous_id or person.identities):
            # One refusal is one event, in however many batches its state is repeated.
            if refusal.at is not None:
                stamp = {"timestamp_unixtime_ms": refusal.at}
            said = {"event_name": "consent_withdrawn", "custom_attributes": {"list_name": refusal.purpose}}
            verdict, _ = self._event({"event_type": "custom_event", "data": stamp | said}, batch, person, received_at)
            yield verdict

    def _message_id(self, element: dict[str, Any], person: Person) -> str:
        data = element["data"]
        for name in MESSAGE_IDS:
            message_id = sent_message_id(data.get(name), self._junk)
            if message_id is not None:
                return message_id
        # The person belongs to it: two people's "session_start" may be the same text.
        context = [person.user_id, person.anonymous_id, person.identities, element["event_type"], data]
        return message_id_of(self.name, canonical(context))


def _broken(event: Any) -> Refused | None:
    if isinstance(event, Refused):
        return event
    if type(event) is not dict:
        return Refused("not_an_object")
    kind = event.get("event_type")
    return None if type(kind) is str and kind else Refused("no_type")


def _says_something(profile: Event) -> bool:
    """Of a person without fields, address or link there is nothing to keep."""
    return bool(profile.fields or profile.email or (profile.user_id and profile.anonymous_id))


def _raw(batch: Batch, events: Any) -> bytes:
    """One event as a batch of its own, for the quarantine; empty if that cannot be written."""
    try:
        return msgspec.json.encode({**msgspec.structs.asdict(batch), "events": events})
    except RecursionError:
        return b""


MPARTICLE = SourceKind(
    name="mparticle",
    configure=MparticleSource,
    # `elements.py` makes these members.
    roots=("event_type", "data", "user_identities", "user_attributes", "products", "product", "promotion", "list"),
    own_emails=OWN_EMAILS,
    example_event=ExampleEvent(
        when={"event_type": "custom_event", "data.event_name": "{name}"},
        field="data.custom_attributes.plan",
        payload=Path(__file__).with_name("example_event.json.j2"),
    ),
)

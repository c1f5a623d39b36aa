"""The source of a CDP that posts JSON objects, or arrays of them: a kind declares where its elements have what.

`dialect.py` finds the event type and its fields by the catalog's paths, `salvage.py` splits the body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import asdict

from adapter.sources.base import NO_CONTEXT, Headers, RequestContext, failed
from adapter.sources.reading.dialect import Dialect, read_values, steps_of, value_at
from adapter.sources.reading.fields import name_and_email
from adapter.sources.reading.identity import junk_ids, message_id_of, person_id, sent_message_id
from adapter.sources.reading.limits import MAX_NAME_LENGTH, TooManyElements, too_many_elements
from adapter.sources.reading.paths import Spelling, alternatives
from adapter.sources.reading.salvage import MAX_DEPTH, Span, UnbalancedJson, decode_leniently, split
from adapter.sources.reading.timestamps import occurred_at, time_ms
from freshgate.declare import EventType, Path
from freshgate.errors import RequestError
from freshgate.events import Event, Ignored, Refused, Verdict
from freshgate.settings import SourceSettings


class ElementLayout(msgspec.Struct, frozen=True, kw_only=True):
    """Where an element has what every event needs. In a tuple of paths the first that can be used wins.

    event_name    what happened; the operator sees it where no event type of the catalog is spelled so
    user_id       the shop's own id of the person
    anonymous_id  a device's or a browser's
    message_id    the id that a redelivery repeats; without one, the same bytes are the same message
    occurred_at   when it happened
    sent_at       the same in every redelivery; used where `occurred_at` is missing or lies in the future
    emails        the person's own address, in every element
    """

    event_name: Path
    user_id: Path = ()
    anonymous_id: Path = ()
    message_id: Path = ()
    occurred_at: Path = ()
    sent_at: Path = ()
    emails: Path = ()


class WebhookSource:
    """One configured endpoint. A kind whose elements need more than paths overrides the methods that say so."""

    # An event without any id counts if it has the person's address; else only what suppresses an address does.
    address_is_enough = False

    def __init__(
        self,
        name: str,
        settings: SourceSettings,
        catalog: Sequence[EventType],
        kind: str,
        layout: ElementLayout,
        verify: Callable[[bytes, Headers], None],
    ) -> None:
        """`kind`: the name under which the catalog spells event types; `verify` raises NotAuthentic."""
        self.name = name
        self.settings = settings
        self.verify = verify
        self._junk = junk_ids(settings)
        self._dialect = Dialect(kind, catalog, layout.emails, alternatives(layout.event_name)[0], self._junk)
        self._places = {field: tuple(map(steps_of, alternatives(path))) for field, path in asdict(layout).items()}

    def read(self, body: bytes, received_at: int, context: RequestContext = NO_CONTEXT) -> Sequence[Verdict]:
        """One verdict an element, in order; `received_at` in milliseconds UTC.

        Raises TooLarge for too many elements, RequestError for a body that is neither a JSON object nor an array.
        """
        try:
            spans = split(body, self.settings.max_elements)
        except TooManyElements:
            raise too_many_elements(self.name, self.settings, "send smaller batches") from None
        except UnbalancedJson:
            raise RequestError("not JSON") from None
        verdicts: list[Verdict] = []
        for span in spans:
            raw = body[span.start : span.end]
            try:
                verdicts.append(self._read_element(raw, span, received_at))
            except Exception as error:  # A fault of ours in one element must not cost its neighbours.
                verdicts.append(failed(error, raw))
        return verdicts

    def event_name(self, element: Mapping[str, Any]) -> str | None:
        """What happened, for the operator; None where the element does not say it, and is refused."""
        name = next(self._values("event_name", element), None)
        return name if type(name) is str and name else None

    def message_id(self, element: Mapping[str, Any], raw: bytes) -> str:
        """The same for every redelivery of the element."""
        values = self._values("message_id", element)
        sent = next(filter(None, (sent_message_id(value, self._junk) for value in values)), None)
        return sent or message_id_of(self.name, raw)

    def _read_element(self, raw: bytes, span: Span, received_at: int) -> Verdict:
        if span.depth > MAX_DEPTH:
            return Refused("too_deep")
        try:
            element = decode_leniently(raw)
        except ValueError:
            return Refused("not_json")
        if type(element) is not dict:
            return Refused("not_an_object")
        spelling = self._dialect.find(element)
        if spelling is not None:
            return self._event(spelling, element, raw, received_at)
        name = self.event_name(element)
        if name is None:
            return Refused("no_type")
        return Ignored(
            name[:MAX_NAME_LENGTH],
            lambda: element,
            self._person_id("user_id", element),
            self._person_id("anonymous_id", element),
            self.message_id(element, raw),
            next(filter(None, map(time_ms, self._values("occurred_at", element))), 0),
        )

    def _event(self, spelling: Spelling, element: dict[str, Any], raw: bytes, received_at: int) -> Verdict:
        user_id, anonymous_id = self._person_id("user_id", element), self._person_id("anonymous_id", element)
        fields, email, unreadable, doubtful = read_values(spelling, element)
        name = spelling.name
        if email is None or spelling.instead is not None:
            name, email = name_and_email(spelling, fields, email, user_id, anonymous_id)
        has_address = email is not None and (spelling.by_address or self.address_is_enough)
        if user_id is None and anonymous_id is None and not has_address:
            return Refused("no_identity")
        stated, arrivals = (tuple(self._values(name, element)) for name in ("occurred_at", "sent_at"))
        at, clamped = occurred_at(stated, arrivals, received_at, unreadable, doubtful)
        return Event(
            source=self.name,
            id_space=self.settings.id_space,
            name=name,
            message_id=self.message_id(element, raw),
            occurred_at=at,
            received_at=received_at,
            user_id=user_id,
            anonymous_id=anonymous_id,
            email=email,
            fields=fields,
            unreadable=tuple(unreadable),
            clamped=clamped,
            doubtful=tuple(doubtful),
        )

    def _person_id(self, field: str, element: Mapping[str, Any]) -> str | None:
        ids = (person_id(value, self._junk) for value in self._values(field, element))
        return next(filter(None, ids), None)

    def _values(self, field: str, element: Mapping[str, Any]) -> Iterator[Any]:
        for steps in self._places[field]:
            value = value_at(element, steps)
            if value is not None and value != "":
                yield value

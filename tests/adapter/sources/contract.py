"""The promises that every kind of source keeps, whatever its dialect.

`class TestSegment(SourceContract)` sets the attributes, and inherits the tests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapter.ingest.receive import check_trust
from adapter.sources.base import Source, SourceKind
from catalog.events import EVENTS
from freshgate.errors import NotAuthentic, RequestError, SettingsError, TooLarge
from freshgate.events import Event, Ignored, Refused, Verdict
from freshgate.settings import SourceSettings
from freshgate.telemetry.metrics import REFUSED_ELEMENTS

RECEIVED_AT = 1_790_000_040_000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


class SourceContract:
    """Subclasses name the kind, how it is authenticated, and one element that is read as an Event."""

    kind: SourceKind[Any]
    settings: SourceSettings
    good: Mapping[str, Any]

    def headers(self, body: bytes) -> dict[str, str]:
        """The headers with which the CDP would send this body."""
        raise NotImplementedError

    def source(self) -> Source:
        return self.kind.configure("shop", self.settings, EVENTS)

    def body(self, elements: Sequence[Any]) -> bytes:
        """A body of these elements, each of which is read as one verdict."""
        return json.dumps(elements).encode()

    def test_without_any_secret_it_does_not_start_and_names_the_key(self) -> None:
        with pytest.raises(SettingsError, match=r"sources\.shop\.secrets"):
            self.kind.configure("shop", SourceSettings(kind=self.kind.name), EVENTS)

    def test_a_body_of_the_source_is_let_in(self) -> None:
        body = json.dumps(self.good).encode()
        self.source().verify(body, self.headers(body))

    def test_a_body_without_any_header_is_kept_out(self) -> None:
        with pytest.raises(NotAuthentic):
            self.source().verify(json.dumps(self.good).encode(), {})

    def test_the_caller_learns_nothing_but_the_operator_learns_the_key(self) -> None:
        with pytest.raises(NotAuthentic) as caught:
            self.source().verify(b"{}", {})
        assert "SHOP" not in caught.value.reason
        assert "FRESHGATE_SOURCES__SHOP__" in caught.value.hint

    def test_reading_twice_gives_the_same_verdicts(self) -> None:
        body = self.body([self.good, {"type": "track"}, 7])
        source = self.source()
        assert source.read(body, RECEIVED_AT) == source.read(body, RECEIVED_AT)

    @pytest.mark.parametrize("bad", [None, 7, "text", [], {}, {"type": 3}, {"userId": {}, "event": []}])
    def test_a_bad_element_does_not_fail_its_neighbours(self, bad: Any) -> None:
        first, broken, last = self.source().read(self.body([self.good, bad, self.good]), RECEIVED_AT)
        assert isinstance(first, Event)
        assert isinstance(broken, Refused)
        assert first == last or first.message_id.startswith("h-")

    def test_more_elements_than_allowed_are_too_large(self) -> None:
        settings = msgspec.structs.replace(self.settings, max_elements=2)
        source = self.kind.configure("shop", settings, EVENTS)
        with pytest.raises(TooLarge):
            source.read(self.body([{}, {}, {}]), RECEIVED_AT)
        with pytest.raises(TooLarge):
            source.read(self.body([1, 2, 3]), RECEIVED_AT)

    @FUZZ
    @given(body=st.binary(max_size=200), header=st.text(max_size=60))
    def test_no_bytes_and_no_header_raise_anything_but_a_request_error(self, body: bytes, header: str) -> None:
        source = self.source()
        for prefix in (b"", b"[", b"{", b'[{"type":"track"},'):
            for call in (
                lambda sent: source.verify(sent, dict.fromkeys(self.headers(sent), header)),
                lambda sent: source.read(sent, RECEIVED_AT),
            ):
                with suppress(RequestError):
                    call(prefix + body)

    @FUZZ
    @given(foreign=st.dictionaries(st.sampled_from(["list", "tail"]), JSON, max_size=2), data=st.data())
    def test_wrong_types_in_any_member_never_fail_the_neighbours(self, foreign: dict[str, Any], data: Any) -> None:
        hostile = {member: data.draw(JSON, label=member) for member in self.good}
        mixed = {**self.good, data.draw(st.sampled_from(sorted(self.good))): data.draw(JSON)}
        body = self.body([self.good, hostile, mixed, foreign, self.good])
        verdicts = self.source().read(body, RECEIVED_AT)
        assert len(verdicts) == 5
        assert isinstance(verdicts[0], Event) and isinstance(verdicts[4], Event)
        for verdict in verdicts:
            assert isinstance(verdict, Event | Ignored | Refused)
            if isinstance(verdict, Refused):
                assert verdict.reason in REFUSED_ELEMENTS and verdict.reason != "internal"


def from_page(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts that the receiver leaves where the source's key stands in a page."""
    types = {event.name: event for event in EVENTS}
    return [
        check_trust(verdict, types[verdict.name], "browser") if isinstance(verdict, Event) else verdict
        for verdict in verdicts
    ]

"""Real payloads whose times, amounts, products or addresses are spelled in another way, or spoiled.

The oracle knows what was done. Respelled, the payload is read as the same event. Spoiled, whatever is read differently
is named in `unreadable`, and is absent: no value is taken for another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapter.sources import SOURCES
from adapter.sources.base import Source
from adapter.sources.reading.timestamps import exact_ms
from catalog.events import EVENTS
from freshgate.events import Event
from freshgate.settings import SourceSettings

FOLDER = Path(__file__).parent.parent / "payloads"
RECEIVED_AT = 1_790_000_040_000
KINDS = ("mparticle", "segment", "tealium")
TIMES = re.compile(r"timestamp|timestamp_unixtime_ms|tealium_timestamp_(epoch|utc)|post_time", re.ASCII)
AMOUNTS = re.compile(
    r"total|revenue|subtotal|tax|shipping|discount|value|price|(total|tax|shipping)_amount|order_total|product_price"
)
QUANTITIES = re.compile(r"quantity|product_quantity")
PRODUCTS = re.compile(r"products")
ADDRESSES = re.compile(r"email|customer_email|identity")
INVISIBLE = st.sampled_from("\u200b\u2060\ufeff\u00ad\u200e\u202c")
NONSENSE = st.sampled_from([True, [], {}, "?", "{{value}}", [[1]], {"a": 1}, "\ufffd"])


def sources() -> dict[str, Source]:
    return {kind: SOURCES[kind].configure("shop", SourceSettings(kind=kind, secrets=("s",)), EVENTS) for kind in KINDS}


READERS = sources()


def payloads(kind: str) -> list[Any]:
    files = sorted(file for file in (FOLDER / kind).glob("*.json") if not file.name.endswith(".expected.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


PAYLOADS = {kind: payloads(kind) for kind in KINDS}


def read(kind: str, payload: Any) -> list[Event]:
    verdicts = READERS[kind].read(json.dumps(payload).encode(), RECEIVED_AT)
    return [verdict for verdict in verdicts if isinstance(verdict, Event)]


def leaves(value: Any, names: re.Pattern[str]) -> Iterator[tuple[Any, Any]]:
    """(container, key) of each value under such a name; of a list of plain values, each of them."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if isinstance(key, str) and names.fullmatch(key) and inner not in (None, ""):
            plain = isinstance(inner, list) and all(not isinstance(item, dict | list) for item in inner)
            yield from ((inner, index) for index in range(len(inner))) if plain else [(value, key)]
        yield from leaves(inner, names)


def plain(event: Event) -> dict[str, Any]:
    """What the event says: name → value, a line's members by their place."""
    values: dict[str, Any] = {
        "email": event.email,
        "occurred_at": event.occurred_at,
        "ids": (event.user_id, event.anonymous_id),
    }
    for name, value in event.fields.items():
        lines = value if isinstance(value, tuple) else (value,)
        if lines and isinstance(lines[0], msgspec.Struct):
            for index, line in enumerate(lines):
                place = f"{name}.{index}" if isinstance(value, tuple) else name
                values |= {f"{place}.{member}": inner for member, inner in msgspec.structs.asdict(line).items()}
        else:
            values[name] = value
    return values


def differences(before: Event, after: Event) -> set[str]:
    old, new = plain(before), plain(after)
    absent = object()
    return {name for name in {*old, *new} if old.get(name, absent) != new.get(name, absent)}


def other_times(payload: Any) -> set[int | None]:
    """The times that stand elsewhere in the payload: of the same occurrence, as its device or its CDP had it."""
    names = re.compile(r"originalTimestamp|event_start_unixtime_ms|tealium_timestamp_.*|Last.event|.*_ts", re.ASCII)
    return {exact_ms(container[key]) for container, key in leaves(payload, names)}


def other_addresses(payload: Any) -> set[Any]:
    """The person's addresses in other places, of which the first that can be read is theirs."""
    return {container[key] for container, key in chosen_leaves(payload, ADDRESSES)}


def is_named(name: str, unreadable: tuple[str, ...]) -> bool:
    """Whether that, or what it is part of, is named; a quantity is known by its flag, too."""
    name = name.replace("has_quantity", "quantity")
    if name == "email" and "contact_email" in unreadable:
        # A guest has no other address than the form's.
        return True
    return any(name == fault or name.startswith(f"{fault}.") for fault in unreadable)


def grouped(text: str) -> str:
    whole, _, cents = f"{float(text):.2f}".partition(".")
    return f"{int(whole):,}.{cents}"


def german(text: str) -> str:
    return grouped(text).translate(str.maketrans(",.", ".,"))


def respell_amount(draw: st.DrawFn, value: Any) -> Any:
    text = str(value)
    if not re.fullmatch(r"\d+(\.\d{1,2})?", text):
        return value
    forms: list[Callable[[str], Any]] = [
        lambda text: f" {text} ",
        lambda text: f"${grouped(text)}",
        lambda text: f"{german(text)} €",
        lambda text: f"CHF {grouped(text).replace(',', chr(0x2019))}",
        lambda text: f"{grouped(text)}\u00a0EUR",
    ]
    return draw(st.sampled_from(forms))(text)


def respell_time(draw: st.DrawFn, value: Any) -> Any:
    ms = exact_ms(value)
    if ms is None:
        return value
    at = datetime.fromtimestamp(ms / 1000, UTC)
    whole = datetime.fromtimestamp(ms // 1000, UTC)
    forms = [
        ms,
        str(ms),
        ms * 1000,
        ms * 1_000_000 + 5,
        f"/Date({ms})/",
        {"$date": ms},
        at.strftime("%Y%m%dT%H%M%S.%fZ"),
    ]
    if ms % 1000 == 0:
        forms += [whole.strftime("%a, %d %b %Y %H:%M:%S GMT"), whole.strftime("%a %b %d %Y %H:%M:%S GMT+0000 (UTC)")]
    return draw(st.sampled_from(forms))


def respell_quantity(draw: st.DrawFn, value: Any) -> Any:
    pieces = str(value)
    return draw(st.sampled_from([pieces, float(pieces), f" {pieces} "])) if pieces.isdecimal() else value


def respell_products(draw: st.DrawFn, value: Any) -> Any:
    if not isinstance(value, list) or not all(isinstance(line, dict) for line in value):
        return value
    as_map = {str(3 * index): line for index, line in enumerate(value)}
    return draw(
        st.sampled_from([as_map, json.dumps(value), json.dumps(as_map), {"items": value}, list(map(json.dumps, value))])
    )


def respell_address(draw: st.DrawFn, value: Any) -> Any:
    if not isinstance(value, str) or "@" not in value:
        return value
    place = draw(st.integers(0, len(value)))
    return draw(st.sampled_from(["", " ", "\u00a0"])) + value[:place] + draw(INVISIBLE) + value[place:]


RESPELL = {
    AMOUNTS: respell_amount,
    TIMES: respell_time,
    QUANTITIES: respell_quantity,
    PRODUCTS: respell_products,
    ADDRESSES: respell_address,
}
# mParticle's products are a list in its own form: only the shop's own attributes have others.
FORMS = {
    "segment": tuple(RESPELL),
    "mparticle": (AMOUNTS, TIMES, QUANTITIES, ADDRESSES),
    "tealium": (AMOUNTS, TIMES, QUANTITIES, ADDRESSES),
}


def chosen_leaves(payload: Any, names: re.Pattern[str]) -> list[tuple[Any, Any]]:
    places = leaves(payload, names)
    # Ids stand under the same names in mParticle's identities.
    form = {ADDRESSES: r".*@.*", AMOUNTS: r"[-\d.]+"}.get(names, r"(?s:.*)")
    return [(holder, key) for holder, key in places if re.fullmatch(form, str(holder[key]))]


@st.composite
def changed(draw: st.DrawFn, kind: str, *, spoil: bool) -> tuple[Any, Any]:
    """A payload, and the same with one of its values changed."""
    names = draw(st.sampled_from(FORMS[kind]))
    candidates = [payload for payload in PAYLOADS[kind] if chosen_leaves(payload, names)]
    before = draw(st.sampled_from(candidates))
    after = deepcopy(before)
    container, key = draw(st.sampled_from(chosen_leaves(after, names)))
    if spoil:
        # An empty list of products is a list of products, and Tealium's empty arrays say nothing.
        may_be_empty = names is not PRODUCTS and kind != "tealium"
        container[key] = deepcopy(draw(NONSENSE if may_be_empty else NONSENSE.filter(bool)))
    else:
        container[key] = RESPELL[names](draw, container[key])
    return before, after


CHECKS = settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_in_another_spelling_is_read_as_the_same_event(kind: str) -> None:
    @CHECKS
    @given(payloads=changed(kind, spoil=False))
    def check(payloads: tuple[Any, Any]) -> None:
        before, after = (read(kind, payload) for payload in payloads)
        assert len(before) == len(after)
        for event, respelled in zip(before, after, strict=True):
            assert differences(event, respelled) - same_prices(event, respelled) == set()
            assert respelled.unreadable == event.unreadable

    check()


def event_key(event: Event) -> tuple[Any, ...]:
    """The same for both: what the ids of further products and of further links end in."""
    return event.name, event.previous_id, event.message_id.partition("#")[2]


def same_prices(before: Event, after: Event) -> set[str]:
    """Prices of the same amount: "10" and "10.00"."""
    old, new = plain(before), plain(after)
    prices = {name for name in old if name.endswith(".price") and old[name] and new.get(name)}
    return {name for name in prices if float(old[name]) == float(new[name])}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_read_differently_of_a_spoiled_value_is_named_and_absent(kind: str) -> None:
    @CHECKS
    @given(payloads=changed(kind, spoil=True))
    def check(payloads: tuple[Any, Any]) -> None:
        before, after = (read(kind, payload) for payload in payloads)
        # A profile that says nothing any more is not an event, and a line that is dropped has none.
        groups = [
            [[e for e in events if event_key(e) == key] for events in (before, after)] for key in map(event_key, before)
        ]
        pairs = [pair for old, new in groups if len(old) == len(new) for pair in zip(old, new, strict=True)]
        for event, spoiled in pairs:
            for name in differences(event, spoiled):
                if name == "occurred_at" and (spoiled.clamped or spoiled.occurred_at in other_times(payloads[0])):
                    continue
                if name == "email" and spoiled.email in other_addresses(payloads[1]):
                    continue
                assert is_named(name, spoiled.unreadable), (name, spoiled)
                value = plain(spoiled).get(name)
                assert value in (None, "", 1, False) or name == "occurred_at", (name, value)

    check()

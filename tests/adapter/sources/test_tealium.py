"""Tealium's webhooks: every shape of a body. `test_static_headers.py` tests who is let in.

`contract.py` has the promises that all sources share, `test_payloads.py` single elements as fixtures;
`test_tealium_people.py` tests ids, visitors and audiences, `tests/adapter/routes/test_tealium_http.py` the routes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given

from adapter.sources import SOURCES
from adapter.sources.base import NO_CONTEXT, RequestContext
from adapter.sources.tealium.source import TEALIUM, TealiumSource
from catalog.events import EVENTS
from freshgate.declare import EventType, From
from freshgate.errors import CatalogError, RequestError, TooLarge
from freshgate.events import Event, Ignored, Refused
from freshgate.settings import SourceSettings
from freshgate.telemetry.metrics import REFUSED_ELEMENTS
from tests.adapter.sources.contract import FUZZ, JSON, RECEIVED_AT, SourceContract

HEADER, TOKEN = "Basic c2hvcDpzZWNyZXQ=", "second-factor"
AT = 1_789_999_997_000
FORM = "application/x-www-form-urlencoded"
ADDED = {
    "tealium_event": "cart_add",
    "tealium_visitor_id": "v-1",
    "tealium_timestamp_epoch": AT // 1000,
    "customer_id": "u-1",
    "product_id": ["L-1"],
    "order_id": "1001",
    "dom.url": "https://shop.example.com/",
}
EVENT_STREAM = {
    "data": {"udo": ADDED, "dom": {}, "firstparty_tealium_cookies": {"TAPID": "t-1"}},
    "post_time": AT + 400,
    "event_id": "e-1",
    "visitor_id": "v-1",
}
VISITOR: dict[str, Any] = {
    "_id": "v-1",
    "properties": {"Customer ID": "u-1", "Customer Email": "ada@example.com"},
    "current_visit": {"dates": {"last_event_ts": AT}},
}
JOINED = RequestContext("application/json", "Lamp lovers", "joined")
PAYLOADS = Path(__file__).parents[2] / "payloads" / "tealium"


def source(catalog: tuple[EventType, ...] = EVENTS, **settings: Any) -> TealiumSource:
    return TEALIUM.configure("shop", SourceSettings(kind="tealium", **{"secrets": (HEADER,), **settings}), catalog)


def read(body: Any, context: RequestContext = NO_CONTEXT, **options: Any) -> list[Any]:
    raw = body if type(body) is bytes else json.dumps(body).encode()
    return list(source(**options).read(raw, RECEIVED_AT, context))


def names(verdicts: list[Any]) -> list[str]:
    return [verdict.name if isinstance(verdict, Event) else type(verdict).__name__ for verdict in verdicts]


class TestTealium(SourceContract):
    kind = SOURCES["tealium"]
    settings = SourceSettings(kind="tealium", secrets=(HEADER,), tokens=(TOKEN,))
    # An event without products, since each further product of a cart event is an event of its own.
    good = {"tealium_event": "user_login", "tealium_visitor_id": "v-1", "customer_id": "u-1", "dom.url": "/", "cp": {}}

    def headers(self, body: bytes) -> dict[str, str]:
        return {"Authorization": HEADER, "X-Freshgate-Token": TOKEN}


class TestTealiumEventStream(TestTealium):
    good = EVENT_STREAM


# ---- bodies


def event_bodies() -> list[Any]:
    event = json.dumps(EVENT_STREAM)
    return [
        pytest.param(event, "text/plain", id="json whatever it is called"),
        pytest.param(event, FORM, id="json called a form"),
        pytest.param(f"\n [{event}] ", FORM, id="array"),
        pytest.param(urlencode({"data": event}), FORM, id="form"),
        pytest.param(urlencode({"data": event}), f" {FORM.upper()}; charset=UTF-8", id="form in capitals"),
        pytest.param(urlencode({"key": "x", "data": event, "z": ""}), FORM, id="form with other fields"),
        pytest.param("data=" + quote(event), "", id="form without its content type"),
    ]


@pytest.mark.parametrize(("body", "content_type"), event_bodies())
def test_one_event_is_the_same_in_every_kind_of_body(body: str, content_type: str) -> None:
    assert read(body.encode(), RequestContext(content_type)) == read(EVENT_STREAM)


def test_a_form_of_plain_fields_is_a_data_layer() -> None:
    body = "tealium_event=cart_view&tealium_visitor_id=v-1&product_id=L-1&product_id=L-2&product_price[]=39.95"
    (verdict,) = read(body.encode(), RequestContext(FORM))
    assert [line.product_id for line in verdict.fields["products"]] == ["L-1", "L-2"]
    assert verdict.fields["products"][0].price == "39.95"
    assert verdict.anonymous_id == "v-1" and verdict.occurred_at == RECEIVED_AT


@pytest.mark.parametrize(
    "body", [b"", b"7", b"null", b'"text"', b"{", b"[{}", b"{} {}", b"\xff", b"data=", b"data=7", b"data=%7B"]
)
def test_a_body_that_is_neither_json_nor_a_form_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(RequestError):
        read(body)


def test_a_form_of_too_many_fields_is_refused_as_a_whole() -> None:
    with pytest.raises(RequestError):
        read(b"&".join(b"a%d=1" % n for n in range(2001)), RequestContext(FORM))


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b'{"tealium_event":"cart_add","a":01}', "not_json"),
        (b"nonsense", "not_json"),
        (b'{"b":' + b"[" * 65 + b"NaN" + b"]" * 65 + b"}", "too_deep"),
        (b"[" * 10_000 + b"]" * 10_000, "too_deep"),
    ],
)
def test_an_element_that_cannot_be_decoded_does_not_cost_its_neighbours(broken: bytes, reason: str) -> None:
    good = json.dumps(ADDED).encode()
    first, second, third = read(b"[%s, %s ,%s]" % (good, broken, good))
    assert first == third and first.user_id == "u-1"
    assert second == Refused(reason)


def test_half_an_emoji_and_a_number_beyond_floats_cost_only_themselves() -> None:
    raw = json.dumps({**ADDED, "product_name": "X"}).encode().replace(b'"X"', b'"\\ud83d"')
    (verdict,) = read(raw[:-1] + b',"product_price":1e400}')
    assert (verdict.fields["product"].name, verdict.fields["product"].price) == ("�", "")


def test_the_events_of_bulks_count_towards_the_limit() -> None:
    bulk: dict[str, Any] = {"shared": {}, "events": [{}, {}]}
    assert len(read([bulk], max_elements=2)) == 2
    with pytest.raises(TooLarge):
        read([bulk, {}], max_elements=2)


def test_extra_verdicts_follow_so_that_a_refusals_index_is_its_element() -> None:
    verdicts = read([{**ADDED, "product_id": ["L-1", "L-2"]}, {}, VISITOR])
    assert names(verdicts) == ["Product Added", "Refused", "Identify", "Product Added"]


# ---- whatever else may come


@FUZZ
@given(udo=JSON, dom=JSON, ids=JSON, cart=JSON)
def test_no_event_of_any_shape_fails_our_code(udo: Any, dom: Any, ids: Any, cart: Any) -> None:
    payloads = [
        {**EVENT_STREAM, "data": {"udo": udo, "dom": dom, "firstparty_tealium_cookies": dom}},
        {**ADDED, "product_id": ids, "product_price": cart, "cart_product_id": cart, "cart_total_items": udo},
        {**ADDED, "dom": dom, "dom.url": udo, "cp.TAPID": ids, "cp": cart, "a......b": 1},
        {"shared": dom, "events": udo},
        {"_id": ids, "properties": {"visitor_id": dom, "Customer ID": ids}, "replaces": cart, "current_visit": udo},
        {"_id": 1, "properties": udo, "current_visit": {"dates": dom, "last_event": ids}, "secondary_ids": cart},
    ]
    for context in (NO_CONTEXT, JOINED):
        for verdict in read(payloads, context):
            assert isinstance(verdict, Event | Ignored | Refused)
            assert not isinstance(verdict, Refused) or verdict.reason in REFUSED_ELEMENTS[:-1]


def test_a_path_without_a_field_stops_the_start() -> None:
    odd = EventType(name="Odd", sources={"tealium": From(when={"tealium_event": "odd"}, paths={"plan": "plan"})})
    with pytest.raises(CatalogError, match="Odd"):
        source(catalog=(odd,))


def test_every_payload_is_read_alike_as_a_form() -> None:
    for path in sorted(PAYLOADS.glob("*[a-z].json")):
        if not path.name.endswith(".expected.json"):
            body = path.read_bytes()
            text = json.dumps(json.loads(body))
            assert read(urlencode({"data": text}).encode(), RequestContext(FORM)) == read(body), path.name


@pytest.mark.parametrize("written", [json.dumps, list], ids=["text", "list"])
@pytest.mark.parametrize("ids", [["L-1", "L-2"], ["L-1"]])
def test_arrays_of_products_are_read_as_json_text_too(written: Any, ids: list[str]) -> None:
    arrays = {"product_id": ids, "product_name": ["Lamp", "Bulb"], "product_price": ["39.95", "5"]}
    bought = {**ADDED, "tealium_event": "purchase", **{name: written(values) for name, values in arrays.items()}}
    (verdict,) = read(bought)
    assert [(line.product_id, line.name, line.price) for line in verdict.fields["products"]] == [
        ("L-1", "Lamp", "39.95"),
        ("L-2", "Bulb", "5"),
    ][: len(ids)]


def test_an_id_in_brackets_is_an_id() -> None:
    (verdict,) = read({**ADDED, "product_id": "[L-1"})
    assert verdict.fields["product"].product_id == "[L-1"

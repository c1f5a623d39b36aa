"""What one event is planned to write, field by field, as `record.lua` documents it. Pure: no Redis."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec import json
from msgspec.structs import replace

from catalog import EVENTS, TRIGGERS
from freshgate import DAY, Ask, EventType, Fallback, Needs, Segment
from freshgate.declare import FIRST_EVENT_MARK
from freshgate.events import Event, Product
from freshgate.state import keys
from freshgate.state.planner import Plan, Planner, move_products
from freshgate.state.stamps import ORDER, stamp
from freshgate.state.subjects import subject_key
from tests.engine.subjects import BACK_IN_STOCK, SUBJECT_EVENTS

NOON = 1_760_000_000_000
KEY = b"a key for tests"
ADA, DEVICE = keys.person_id("main", "ada"), keys.person_id("main", None, "d1")
EMAIL = "ada@example.com"
EMAIL_ID = keys.address_id(KEY, EMAIL)
ORDER_ID = keys.order_id("main", "4711")
AT = stamp(NOON, "m1")
LAMP = Product(product_id="p1", sku="S1", quantity=2)
# No event of the catalog is an opt-in so far.
PLANNER = Planner([*EVENTS, EventType(name="Subscribed", lifts="unsubscribed")], TRIGGERS, KEY)


def event(name: str, **fields: Any) -> Event:
    attributes = {key: fields.pop(key) for key in ("user_id", "anonymous_id", "previous_id", "email") if key in fields}
    extra = {key: fields.pop(key) for key in ("unreadable", "clamped", "doubtful") if key in fields}
    return Event(
        source="segment", id_space="main", name=name, message_id="m1", occurred_at=NOON, received_at=NOON + 5,
        fields=fields, **attributes, **extra,
    )  # fmt: skip


def plan(name: str, *, replay: bool = False, trusted: bool = True, **fields: Any) -> Plan:
    return PLANNER.plan(event(name, **fields), replay=replay, trusted=trusted)


def body(name: str, *, trusted: bool = True, **fields: Any) -> dict[str, Any]:
    return plan(name, trusted=trusted, **fields).body


def registers(*parts: Any, **fields: Any) -> dict[str, tuple[str, str]]:
    """The event's registers: name → (stamp, value)."""
    return {name: (at, value) for name, at, value in body(*parts, **fields)["regs"]}


def test_what_every_event_of_a_person_brings() -> None:
    planned = plan("Product Added", user_id="ada", product=LAMP)
    assert planned.person == ADA
    assert planned.body["at"] == NOON
    assert planned.body["stamp"] == AT
    assert planned.body["id"] == ADA
    assert planned.body["ttl"] == 180 * DAY
    assert planned.body["srv"] is True
    trail = json.decode(planned.body["trail"])
    assert trail == ["m1", "Product Added", "segment", NOON, 5]
    absent = {"again", "del", "addr", "sup", "links", "claims", "order", "bought", "addresses", "clear"}
    assert not absent & planned.body.keys()
    assert plan("Product Added", user_id="ada", replay=True).body["again"] is True
    assert PLANNER.plan(event("Product Added", user_id="ada", product=LAMP)).body == planned.body


def test_the_trail_names_what_could_not_be_used() -> None:
    trail = json.decode(body("Order Completed", user_id="ada", unreadable=("total",), clamped=True)["trail"])
    assert trail[5:] == [
        {"rejected": ["order_confirmation: missing order_id"], "unreadable": ["total"], "clamped": True}
    ]
    assert body("Order Completed", user_id="ada")["trail"].count("unreadable") == 0
    doubtful = json.decode(body("Product Added", user_id="ada", product=LAMP, doubtful=("email",))["trail"])
    assert doubtful[5:] == [{"doubtful": ["email"]}]


def test_the_trail_has_the_values_behind_a_subjects_key() -> None:
    planner = Planner([*EVENTS, *SUBJECT_EVENTS], [BACK_IN_STOCK], KEY)
    planned = planner.plan(event("Product Restocked", user_id="ada", product_id="mug"))
    assert json.decode(planned.body["trail"])[5:] == [
        {"subjects": {subject_key({"product_id": "mug"}): {"product_id": "mug"}}}
    ]
    nameless = json.decode(planner.plan(event("Product Restocked", user_id="ada")).body["trail"])
    assert nameless[5:] == [{"rejected": ["back_in_stock: missing product_id"]}]


def test_who_is_known_is_remembered_for_longer_than_a_device() -> None:
    assert body("Product Added", anonymous_id="d1")["ttl"] == 30 * DAY
    assert body("Product Added", anonymous_id="d1", email=EMAIL)["ttl"] == 180 * DAY
    assert body("Product Added", anonymous_id="d1", user_id="ada", trusted=False)["ttl"] == 180 * DAY
    assert "srv" not in body("Product Added", anonymous_id="d1")
    assert "srv" not in body("Product Added", anonymous_id="d1", user_id="ada", trusted=False)


def test_whose_record_an_event_belongs_to() -> None:
    assert plan("Product Added", user_id="ada", anonymous_id="d1").person == ADA
    assert plan("Product Added", user_id="ada", anonymous_id="d1", trusted=False).person == DEVICE
    assert plan("Product Added", anonymous_id="d1", email=EMAIL).person == DEVICE
    assert plan("Product Added", email=EMAIL).person == "e" + EMAIL_ID[:14]
    assert plan("Unsubscribed", email=EMAIL).person == ""
    assert body("Unsubscribed", email=EMAIL).keys() == {"at", "stamp", "seen", "addresses"}
    assert plan("Product Added", user_id="ada", trusted=False).person == ""


def test_dedupe_tells_apart_what_broken_code_sends_under_one_message_id() -> None:
    events: list[dict[str, Any]] = [
        {"user_id": "ada"}, {"user_id": "bob"}, {"anonymous_id": "ada"}, {"user_id": "ada", "order_id": "1"},
        {"user_id": "ada", "order_id": "2"}, {"user_id": "ada", "previous_id": "bob"},
        {"user_id": "ada", "anonymous_id": "d1"},
    ]  # fmt: skip
    ids = {body("Order Completed", **fields)["seen"] for fields in events} | {body("Alias", user_id="ada")["seen"]}
    assert len(ids) == len(events) + 1
    assert body("Order Completed", user_id="ada")["seen"] == keys.dedupe_id(
        "segment", "m1", "Order Completed", "", "ada", "", ""
    )


def test_registers_for_an_address() -> None:
    known = registers("Product Added", user_id="ada@x.org", email=EMAIL)
    assert known["t:id"] == (AT, "ada@x.org")
    assert known["A:id"] == (AT, keys.address_id(KEY, "ada@x.org"))
    assert known["t:email"] == (AT, EMAIL)
    assert known["A:email"] == (AT, EMAIL_ID)
    assert "A:id" not in registers("Product Added", user_id="ada")
    page = registers("Product Added", anonymous_id="d1", user_id="ada@x.org", email=EMAIL, trusted=False)
    assert page["t:said_email"] == (AT, EMAIL)
    assert not {"t:email", "A:email", "t:id", "A:id", "A:said_email"} & page.keys()
    assert body("Product Added", user_id="ada", email=EMAIL)["addr"] is True
    assert body("Product Added", user_id="ada@x.org")["addr"] is True
    assert body("Product Added", user_id="ada", contact_email=EMAIL)["addr"] is True
    bounced = body("Email Bounced", user_id="ada", email=EMAIL)
    assert not {name for name, _, _ in bounced["regs"]} & {"t:email", "A:email"}
    assert "addr" not in bounced
    assert "t:typed_email" not in registers("Email Bounced", user_id="ada", email=EMAIL, contact_email="b@x.org")
    assert "addr" not in body("Product Added", user_id="ada")


def test_a_pages_address_is_looked_up_and_releases_mails_only_where_mail_may_go_there() -> None:
    assert "addr" not in body("Product Added", anonymous_id="d1", email=EMAIL, trusted=False)
    unsaid = Planner(EVENTS, TRIGGERS, KEY).plan(event("Product Added", anonymous_id="d1", email=EMAIL), trusted=False)
    assert "addr" not in unsaid.body
    believing = Planner(EVENTS, TRIGGERS, KEY, page_addresses=True)
    claim = believing.plan(event("Product Added", anonymous_id="d1", user_id="ada@x.org"), trusted=False)
    assert "addr" not in claim.body, "whose id a page says it is, is not an address that it gave"
    page = believing.plan(plan("Product Added", anonymous_id="d1", email=EMAIL).event, trusted=False).body
    assert page["addr"] is True
    assert ("A:said_email", AT, EMAIL_ID) in page["regs"]


def test_what_a_customer_typed_is_a_servers_word_if_a_server_passes_it_on() -> None:
    fields = {"user_id": "ada", "anonymous_id": "d1", "contact_email": EMAIL}
    typed = registers("Product Added", **fields)
    assert (typed["t:typed_email"], typed["A:typed_email"]) == ((AT, EMAIL), (AT, EMAIL_ID))
    page = registers("Product Added", **fields, trusted=False)
    assert page["t:said_email"] == (AT, EMAIL)
    assert not {"t:typed_email", "A:said_email"} & page.keys()


def test_traits_that_are_empty_are_not_remembered() -> None:
    assert registers("Signed Up", user_id="ada", first_name="Ada")["t:first_name"] == (AT, "Ada")
    assert "t:first_name" not in registers("Signed Up", user_id="ada", first_name="")
    assert "t:first_name" not in registers("Signed Up", user_id="ada")


def test_marks() -> None:
    assert registers("Product Added", user_id="ada", product=LAMP).items() >= {
        "m:cart": (AT, ""), "m:activity": (AT, ""), "m:added": (AT, ""),
    }.items()  # fmt: skip
    assert registers("Product Added", user_id="ada").keys() == {"t:id", "m:cart", "m:activity", "m:added"}
    viewed = registers("Product Viewed", user_id="ada", product=LAMP)
    assert json.decode(viewed["m:view"][1], type=Product) == LAMP
    assert registers("Product Viewed", user_id="ada")["m:view"] == (AT, "")
    without_id = registers("Order Completed", user_id="ada", products=(LAMP, Product(product_id="", id="i1")))
    assert without_id["m:order"] == (AT, '["S1","i1","p1"]')
    assert "m:order" not in registers("Order Completed", user_id="ada", order_id="4711")
    types = [
        EventType(name="Paid", marks=("order", "paid"), order="completed"),
        EventType(name="Shipped", marks=("order",)),
    ]
    other = Planner(types, [], KEY)
    paid = other.plan(event("Paid", user_id="ada", order_id="1")).body["regs"]
    assert [name for name, _, _ in paid] == ["t:id", "m:paid"]
    shipped = other.plan(event("Shipped", user_id="ada", order_id="1")).body["regs"]
    assert shipped[-1] == ("m:order", AT, "[]")


def test_an_opt_out_without_an_address_is_the_persons() -> None:
    assert registers("Unsubscribed", user_id="ada")["m:unsubscribed"] == (AT, "segment")
    assert body("Unsubscribed", user_id="ada")["sup"] is True
    assert registers("Subscribed", user_id="ada")["m:subscribed"] == (AT, "segment")
    assert body("Subscribed", user_id="ada")["sup"] is True
    for name, mark in (("Subscribed", "m:subscribed"), ("Unsubscribed", "m:unsubscribed")):
        assert [field for field in registers(name, user_id="ada") if field.startswith("m:")] == [mark]
    named = body("Unsubscribed", user_id="ada", email=EMAIL)
    # A user's own, too: the mail may have gone to an older address.
    assert named["sup"] is True
    assert "m:unsubscribed" in {name for name, _, _ in named["regs"]}
    for others in (
        body("Email Bounced", user_id="ada", email=EMAIL),
        body("Unsubscribed", anonymous_id="x", email=EMAIL),
        body("Subscribed", user_id="ada", email=EMAIL),
        body("Unsubscribed", user_id="ada", anonymous_id="x", email=EMAIL, trusted=False),
    ):
        assert "sup" not in others
        assert not {"m:unsubscribed", "m:bounced", "m:subscribed"} & {name for name, _, _ in others["regs"]}
    assert named["addresses"] == [
        (EMAIL_ID, [(f"h:{ADA}", AT, ""), ("m:unsubscribed", AT, "segment")], 0),
    ]  # fmt: skip
    assert body("Subscribed", email=EMAIL)["addresses"] == [(EMAIL_ID, [("m:subscribed", AT, "segment")], 180 * DAY)]


def test_an_order_withdraws_for_its_addresses() -> None:
    bought = ("m:order", stamp(NOON, "m1", ORDER), '["S1","p1"]')
    both = body("Order Completed", user_id="ada", email=EMAIL, order_email="bob@x.org", products=(LAMP,))
    assert both["addresses"] == [
        (EMAIL_ID, [(f"h:{ADA}", AT, ""), bought], 180 * DAY),
        (keys.address_id(KEY, "bob@x.org"), [bought], 180 * DAY),
    ]  # fmt: skip
    assert len(body("Order Completed", user_id="ada", email=EMAIL, order_email=EMAIL)["addresses"]) == 1
    assert len(body("Order Completed", user_id="ada", email=EMAIL)["addresses"]) == 1
    assert "addresses" not in body("Order Completed", user_id="ada")
    assert body("Order Completed", user_id="ada", order_email=EMAIL, products=(LAMP,))["addresses"] == [
        (EMAIL_ID, [bought], 180 * DAY)
    ]
    assert "addresses" not in body("Order Completed", user_id="ada", order_email="")
    assert "addresses" not in body("Product Added", user_id="ada", order_email=EMAIL)
    assert "addresses" not in body("Order Completed", anonymous_id="d1", email=EMAIL, trusted=False)


def test_erasure_is_nothing_but_erasure() -> None:
    erased = body("Delete", user_id="ada", email=EMAIL)
    assert erased["del"] == NOON
    assert erased.keys() == {"at", "stamp", "seen", "id", "ttl", "trail", "del"}


def test_an_erasure_says_whose_the_device_is_and_names_an_address_in_place_of_an_id_only() -> None:
    assert body("Delete", user_id="ada", anonymous_id="d1")["links"] == [(DEVICE, ADA, False)]
    assert body("Delete", email=EMAIL)["address"] == EMAIL_ID
    assert "address" not in body("Delete", anonymous_id="d1", email=EMAIL)


def test_an_event_whose_time_cannot_be_read_starts_nothing_and_says_so() -> None:
    planned = plan("Signed Up", user_id="ada", email=EMAIL, unreadable=("occurred_at",))
    assert (planned.starts, planned.timers, planned.lacking) == ([], [], ["welcome: time unreadable"])
    assert "starts" not in planned.body
    lacking = plan("Order Completed", user_id="ada", unreadable=("occurred_at",)).lacking
    assert lacking == ["order_confirmation: time unreadable"], "what else it lacks does not matter"


def test_the_first_event_is_kept_where_a_trigger_needs_it_and_its_time_can_be_read() -> None:
    needing = replace(TRIGGERS[0], needs=(Needs("session.first_seen"),))
    first = f"m:{FIRST_EVENT_MARK}"

    def keeps_first(planner: Planner, **fields: Any) -> bool:
        planned = planner.plan(event("Product Viewed", user_id="ada", **fields)).body
        return first in [name for name, _, _ in planned["regs"]]

    planner = Planner(EVENTS, [needing], KEY)
    assert keeps_first(planner)
    assert not keeps_first(planner, unreadable=("occurred_at",))
    assert not keeps_first(Planner(EVENTS, TRIGGERS, KEY))


FIRST_VISIT = Needs("session.first_seen")
NEW = Segment(name="new", value=lambda person: None, needs=(FIRST_VISIT,))
ASK = Ask(name="shop", url="https://shop.example/{session.first_seen}", timeout="5s")


@pytest.mark.parametrize(
    "need",
    [
        FIRST_VISIT,
        Needs(NEW),
        Needs("profile.city", placeholder="session.first_seen"),
        Needs("profile.city", ask=ASK),
        Needs("profile.city", otherwise=Fallback(template_id="d-1", needs=(FIRST_VISIT,))),
        Needs("profile.city", otherwise=Fallback(template_id="d-1", segment=NEW)),
        Needs(
            "profile.city", otherwise=Fallback(template_id="d-1", otherwise=Fallback(template_id="d-2", segment=NEW))
        ),
    ],
)
def test_the_first_event_is_kept_wherever_a_trigger_says_that_it_needs_it(need: Needs) -> None:
    trigger = replace(TRIGGERS[0], needs=("order_id", Needs("profile.first_name"), need))
    planned = Planner(EVENTS, [trigger], KEY).plan(event("Product Viewed", user_id="ada")).body
    assert f"m:{FIRST_EVENT_MARK}" in [name for name, _, _ in planned["regs"]]
    assert trigger.asks == ((ASK,) if need.ask else ())


def test_what_servers_tell_of_many_products_is_written_in_calls_of_50() -> None:
    planner = Planner(EVENTS, TRIGGERS, KEY, shops_with_pages=("main",))

    def sizes(count: int, **options: bool) -> list[int]:
        lines = tuple(Product(product_id=f"p{number}", name="Lamp") for number in range(count))
        first = planner.plan(event("Cart Viewed", anonymous_id="d1", products=lines), **options)
        moved = list(move_products([first]))
        assert all(plan.body.keys() == {"at", "stamp", "products"} and plan.person == "" for plan in moved)
        return [len(plan.body.get("products", ())) for plan in (first, *moved)]

    assert [sizes(count) for count in (0, 1, 50, 51, 120)] == [[0], [1], [50], [50, 1], [50, 50, 20]]
    assert sizes(3, trusted=False) == [0], "a page's word is not a server's"
    plain = plan("Product Added", user_id="ada", product=LAMP)
    assert list(move_products([plain])) == []
    assert "products" not in plain.body, "no page tells of this shop's products"


def test_links() -> None:
    assert body("Product Added", user_id="ada", anonymous_id="d1")["links"] == [(DEVICE, ADA, False)]
    page = body("Product Added", user_id="ada", anonymous_id="d1", trusted=False)
    assert page["links"] == [(DEVICE, ADA, True)]
    bob, as_device = keys.person_id("main", "bob"), keys.person_id("main", None, "bob")
    assert body("Alias", user_id="ada", previous_id="bob")["links"] == [(as_device, ADA, False), (bob, ADA, False)]
    assert body("Alias", user_id="ada", previous_id="ada")["links"] == [
        (keys.person_id("main", None, "ada"), ADA, False)
    ]
    assert "links" not in body("Alias", user_id="ada")
    assert "links" not in body("Alias", anonymous_id="d1", previous_id="bob", trusted=False)
    assert "links" not in body("Product Added", user_id="ada", previous_id="bob")


@pytest.mark.parametrize(
    ("fields", "total"),
    [({"total": Decimal("9.50"), "revenue": Decimal(1)}, "9.50"), ({"revenue": Decimal(1)}, ""), ({}, "")],
)
def test_an_order_is_kept_with_its_total_and_never_with_its_revenue(fields: dict[str, Any], total: str) -> None:
    values = {"order_id": "4711", "currency": "EUR", "order_email": EMAIL, "products": (LAMP,) * 251} | fields
    order, now, firsts, ttl = body("Order Completed", user_id="ada", **values)["order"]
    assert (order, ttl) == (ORDER_ID, 30 * DAY)
    assert now == []
    known = {name: value for name, at, value in firsts if at == AT}
    purchase = json.decode(known["F:order"])
    assert len(purchase.pop("p")) == 250
    assert purchase == {"o": "4711", "c": "EUR"} | ({"t": total} if total else {})
    assert (known[f"w:{ADA}"], known["F:email"], known["A:order"]) == ("", EMAIL, EMAIL_ID)
    assert [name for name, _, _ in body("Order Completed", user_id="ada", order_id="1")["order"][2]] == [
        "F:order",
        f"w:{ADA}",
    ]
    assert "order" not in body("Order Completed", user_id="ada")
    assert "order" not in body("Order Completed", anonymous_id="d1", order_id="1", trusted=False)
    assert "order" not in body("Product Added", user_id="ada", order_id="1")


def test_what_withdraws_an_order() -> None:
    def changed(name: str, **fields: Any) -> Any:
        return body(name, user_id="ada", order_id="4711", **fields)["order"][1:3]

    assert changed("Order Cancelled") == ([("m:cancelled", AT, "")], [])
    assert changed("Order Refunded") == ([("m:refunded", AT, "")], [])
    assert changed("Order Refunded", total=Decimal("9.50")) == ([("m:refunded:9.50", AT, "")], [])
    ((name, moment, items),), firsts = changed("Order Refunded", products=(LAMP,))
    assert (name.partition("m:returned:")[0], moment, firsts) == ("", AT, [])
    assert json.decode(items) == [[sorted({LAMP.product_id, LAMP.sku, LAMP.id} - {""}), LAMP.quantity]]

"""What one event is planned to write, field by field, as `record.lua` documents it. Pure: no Redis."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec import json

from catalog import EVENTS, TRIGGERS
from freshgate import DAY, EventType
from freshgate.events import Event, Product
from freshgate.state import keys
from freshgate.state.planner import Plan, Planner
from freshgate.state.stamps import ORDER, stamp

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
    extra = {key: fields.pop(key) for key in ("unreadable", "clamped") if key in fields}
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
    bounced = body("Email Bounced", user_id="ada", email=EMAIL)
    assert not {name for name, _, _ in bounced["regs"]} & {"t:email", "A:email"}
    assert "addr" not in bounced
    assert "addr" not in body("Product Added", user_id="ada")


def test_a_pages_address_is_looked_up_and_releases_mails_only_where_mail_may_go_there() -> None:
    assert "addr" not in body("Product Added", anonymous_id="d1", email=EMAIL, trusted=False)
    believing = Planner(EVENTS, TRIGGERS, KEY, page_addresses=True)
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
    named = body("Unsubscribed", user_id="ada", email=EMAIL)
    # A user's own, too: the mail may have gone to an older address.
    assert named["sup"] is True
    assert "m:unsubscribed" in {name for name, _, _ in named["regs"]}
    for others in (
        body("Email Bounced", user_id="ada", email=EMAIL),
        body("Unsubscribed", anonymous_id="x", email=EMAIL),
        body("Subscribed", user_id="ada", email=EMAIL),
    ):
        assert "sup" not in others
        assert not {"m:unsubscribed", "m:bounced", "m:subscribed"} & {name for name, _, _ in others["regs"]}
    assert named["addresses"] == [
        (EMAIL_ID, [("m:who", AT, ADA), ("m:unsubscribed", AT, "segment")], 0),
    ]  # fmt: skip
    assert body("Subscribed", email=EMAIL)["addresses"] == [(EMAIL_ID, [("m:subscribed", AT, "segment")], 180 * DAY)]


def test_an_order_withdraws_for_its_addresses() -> None:
    bought = ("m:order", stamp(NOON, "m1", ORDER), '["S1","p1"]')
    both = body("Order Completed", user_id="ada", email=EMAIL, order_email="bob@x.org", products=(LAMP,))
    assert both["addresses"] == [
        (EMAIL_ID, [("m:who", AT, ADA), bought], 180 * DAY),
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

"""What an event is planned to do to the cart, and which mails it starts. Pure: no Redis."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from catalog import EVENTS, TRIGGERS
from freshgate import MINUTE, EventType
from freshgate.events import Event, Product
from freshgate.state import keys
from freshgate.state.planner import Plan, Planner
from freshgate.state.stamps import ADD, ORDER, REMOVE, SNAPSHOT, stamp
from freshgate.state.stored import encode_line, encode_product

NOON = 1_760_000_000_000
ADA = keys.person_id("main", "ada")
AT = stamp(NOON, "m1")
LAMP = Product(product_id="p1", sku="S1", quantity=2)
BY_NAME = {trigger.name: trigger for trigger in TRIGGERS}


def plan(name: str, *, planner: Planner | None = None, trusted: bool = True, **fields: Any) -> Plan:
    planner = planner or Planner(EVENTS, TRIGGERS, b"a key for tests")
    unreadable = fields.pop("unreadable", ())
    event = Event(
        source="segment", id_space="main", name=name, message_id="m1", occurred_at=NOON, received_at=NOON,
        user_id="ada" if trusted else None, anonymous_id=None if trusted else "d1", fields=fields,
        unreadable=unreadable,
    )  # fmt: skip
    return planner.plan(event, trusted=trusted)


def change(product: Product, rank: str, amount: str) -> tuple[str, str, str, str]:
    encode = encode_line if rank == ADD else encode_product
    return product.line, stamp(NOON, "m1", rank), amount, encode(product)


def lines(name: str, **fields: Any) -> Any:
    return plan(name, **fields).body.get("lines")


def test_adding_and_removing() -> None:
    assert lines("Product Added", product=LAMP) == [change(LAMP, ADD, "+2")]
    assert lines("Product Added") is None
    # What a removed product is called is not kept.
    names = Product(product_id=LAMP.product_id, sku=LAMP.sku)
    assert lines("Product Removed", product=LAMP) == [change(names, REMOVE, "-2")]
    everything = replace(LAMP, has_quantity=False)
    assert lines("Product Removed", product=everything) == [change(names, REMOVE, "x")]
    assert lines("Product Removed") == [("?", stamp(NOON, "m1", REMOVE), "x", "{}")]
    assert lines("Product Viewed", product=LAMP) is None


def test_a_snapshot_sets_the_cart_and_adds_up_lines_of_one_product() -> None:
    red, other = Product(product_id="p1", variant="red"), Product(product_id="p1", name="Lamp", quantity=3)
    planned = plan("Cart Viewed", products=(LAMP, red, other, Product())).body
    assert planned["clear"] == stamp(NOON, "m1", SNAPSHOT)
    assert planned["lines"] == [change(other, ADD, "+5"), change(red, ADD, "+1")]
    empty = plan("Cart Viewed", products=()).body
    assert (empty["clear"], empty["lines"]) == (stamp(NOON, "m1", SNAPSHOT), [])
    assert not {"clear", "lines"} & plan("Cart Viewed").body.keys()


def test_what_cannot_be_read_of_a_cart_leaves_it_unknown() -> None:
    unknown = lines("Product Removed")
    assert [line[0] for line in unknown] == ["?"]
    assert lines("Product Removed", product=LAMP, unreadable=("product.quantity",)) == unknown
    assert lines("Cart Viewed", unreadable=("products",)) == unknown
    assert lines("Product Added", unreadable=("products",)) is None
    ordered = plan("Order Completed", order_id="1", unreadable=("products",)).body
    assert (ordered.get("lines"), ordered["bought"][2]) == (None, "[]")


def test_a_line_without_a_quantity_or_an_id_is_not_in_the_cart() -> None:
    shown = (replace(LAMP, quantity=0), replace(LAMP, product_id=""), Product(product_id="p2"))
    assert [line[0] for line in lines("Cart Viewed", products=shown)] == ["p2"]


def test_an_order_with_a_product_that_has_no_id_may_have_had_every_product() -> None:
    for products, bought in (((LAMP,), '["S1","p1"]'), ((LAMP, Product("")), "[]")):
        assert plan("Order Completed", order_id="1", products=products).body["bought"][2] == bought


def test_an_order_empties_the_cart_as_of_its_first_telling_where_it_has_an_id() -> None:
    known = plan("Order Completed", order_id="1", products=(LAMP,)).body
    assert known["bought"] == (keys.order_id("main", "1"), stamp(NOON, "m1", ORDER), '["S1","p1"]')
    assert "clear" not in known
    nameless = plan("Order Completed", products=(LAMP,)).body
    assert nameless["clear"] == stamp(NOON, "m1", ORDER)
    assert "bought" not in nameless
    clears = EventType(name="Cart Emptied", cart="clear")
    emptied = plan("Cart Emptied", planner=Planner([clears], [], b""), order_id="1").body
    assert (emptied["clear"], "bought" in emptied) == (stamp(NOON, "m1", ORDER), False)


def test_what_an_event_starts() -> None:
    cart = plan("Product Added", product=LAMP)
    assert cart.body["starts"] == [("abandoned_cart", "p", "m:activity", 30 * MINUTE, 2 * MINUTE)]
    assert (cart.starts, cart.timers, cart.lacking) == (["abandoned_cart"], [], [])
    order = plan("Order Completed", order_id="1")
    assert order.body["starts"] == [("order_confirmation", "o", "m:order", 0, 0)]
    assert (order.starts, order.timers) == (
        ["order_confirmation"],
        [f"order_confirmation|o:{keys.order_id('main', '1')}"],
    )
    assert order.lacking == []
    welcome = plan("Signed Up")
    assert welcome.body["starts"] == [("welcome", "p", "m:signup", 0, 0)]
    assert welcome.timers == [f"welcome|p:{ADA}"]
    immediate = replace(BY_NAME["welcome"], settle=MINUTE)
    assert plan("Signed Up", planner=Planner(EVENTS, [immediate], b"")).body["starts"] == welcome.body["starts"]
    assert "starts" not in plan("Page").body


def test_what_starts_nothing() -> None:
    nameless = plan("Order Completed")
    assert (nameless.starts, nameless.timers, nameless.lacking) == ([], [], ["order_confirmation: missing order_id"])
    assert "starts" not in nameless.body
    page = plan("Order Completed", trusted=False, order_id="1")
    assert (page.starts, page.lacking) == ([], ["order_confirmation: told by a browser"])
    assert plan("Order Completed", trusted=False).lacking == ["order_confirmation: told by a browser"]
    added = plan("Product Added", trusted=False, product=LAMP)
    assert (added.starts, added.lacking) == (["abandoned_cart"], [])
    disabled = Planner(EVENTS, [replace(BY_NAME["abandoned_cart"], enabled=False)], b"")
    assert plan("Product Added", planner=disabled, product=LAMP).starts == []
    on_refund = replace(BY_NAME["order_confirmation"], on=("Order Refunded",))
    assert plan("Order Refunded", planner=Planner(EVENTS, [on_refund], b""), order_id="1").starts == []


def test_a_condition_on_the_event_decides_on_the_start_and_the_mark_goes_along() -> None:
    condition = replace(BY_NAME["welcome"], on=("Identify",), starts=lambda event: "plan" in event.fields)
    planner = Planner(EVENTS, [condition], b"")
    assert plan("Identify", planner=planner).starts == []
    started = plan("Identify", planner=planner, plan="gold")
    assert started.starts == ["welcome"]
    assert ("m:signup", AT, "") in started.body["regs"]
    assert [name for name, _, _ in plan("Signed Up").body["regs"]].count("m:signup") == 1


@pytest.mark.parametrize(
    ("counts", "size", "work"),
    [
        ((0, 0, 0, 0), 0, 1), ((2, 0, 0, 0), 0, 1.5), ((0, 4, 0, 0), 0, 1.5), ((0, 0, 2, 0), 0, 1.5),
        ((0, 0, 0, 2), 0, 15), ((0, 0, 0, 0), 4096, 1.5), ((250, 8, 50, 0), 0, 77),
    ],
)  # fmt: skip
def test_work_grows_with_lines_registers_links_and_bytes(
    counts: tuple[int, int, int, int], size: int, work: float
) -> None:
    planned = plan("Product Viewed")
    names = ("lines", "regs", "products", "links")
    planned.body |= dict(zip(names, ([()] * count for count in counts), strict=True))
    assert planned.work(size) == work


def test_an_event_without_lines_registers_and_links_is_the_least_work() -> None:
    planned = plan("Product Viewed")
    planned.body.clear()
    assert planned.work(0) == 1

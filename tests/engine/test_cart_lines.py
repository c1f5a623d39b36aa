"""How the changes of a cart add up, whatever keys a product is named by; and what an order says. Pure: no Redis."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from freshgate.events import Product
from freshgate.state.cart import with_changes
from freshgate.state.orders import OrderView
from freshgate.state.records import Mark
from freshgate.state.stamps import ADD, REMOVE, stamp
from freshgate.state.stored import Order, decode_line, encode_line, encode_order, encode_product
from freshgate.state.views import PersonView

NOON = 1_760_000_000_000
GRACE = 300_000
LAMP = Product(product_id="p1", name="Lamp")


def at(moment: int, rank: str = ADD) -> str:
    return stamp(moment, "m", rank)


def text(value: Product | Order) -> str:
    return encode_order(value) if isinstance(value, Order) else encode_product(value)


def added(product: Product, amount: int = 1, moment: int = NOON) -> dict[str, str]:
    return {f"+{product.line}": f"{at(moment)}+{amount}{encode_line(product)}"}


def removed(product: Product, amount: str, moment: int = NOON + 1, name: str = "") -> dict[str, str]:
    name = name or product.line
    return {f"-{name}": at(moment, REMOVE) + text(product), f"n:{name}": f"{at(moment, REMOVE)}{amount}"}


def cart(*records: dict[str, str]) -> dict[str, int]:
    view = PersonView("r0", [(f"r{number}", fields) for number, fields in enumerate(records)], GRACE)
    return {line.product.line: line.product.quantity for line in view.cart}


def test_quantities_add_and_subtract_and_never_fall_below_nothing() -> None:
    assert cart(added(LAMP, 2)) == {"p1": 2}
    assert cart(added(LAMP, 2), removed(LAMP, "-1")) == {"p1": 1}
    assert cart(added(LAMP, 2), removed(LAMP, "-2")) == {}
    assert cart(added(LAMP, 2), removed(LAMP, "-5"), added(LAMP, 1, NOON + 2)) == {"p1": 1}
    assert cart(added(LAMP, 2), removed(LAMP, "x"), added(LAMP, 1, NOON + 2)) == {"p1": 1}
    assert cart(removed(LAMP, "x"), added(LAMP, 2)) == {}


@pytest.mark.parametrize(
    "product", [LAMP, Product(product_id="p1", variant="red"), Product(product_id="p1/red", sku="S1")]
)
def test_a_line_names_the_id_of_its_product_once(product: Product) -> None:
    assert decode_line(product.line, encode_line(product)) == product
    assert encode_line(product).count('"p":') == (product.variant != "")


def test_the_only_change_of_a_line_stands_with_its_product() -> None:
    ((product, text), *others) = with_changes(added(LAMP, 2))
    assert (product, text, others) == ("n:p1", f"{at(NOON)}+2", [("+p1", at(NOON) + encode_line(LAMP))])
    # A page's word stands behind its sign, and a product beside a list of changes has none of its own.
    unlike = {"s:restock#k": at(NOON) + '?{"price":"1"}', "+p2": at(NOON) + encode_line(LAMP)}
    assert dict(with_changes(unlike)) == unlike
    # Beside a list of all changes it says nothing that the list does not.
    listed = {"n:p1": f"{at(NOON)}+2 {at(NOON + 1)}+1"}
    assert dict(with_changes(added(LAMP, 2) | listed))["n:p1"] == listed["n:p1"]
    assert cart(added(LAMP, 2) | listed) == {"p1": 3}


def test_one_change_under_two_ids_counts_once() -> None:
    assert cart(added(LAMP, 2), added(LAMP, 2)) == {"p1": 2}


@pytest.mark.parametrize(("cleared", "lines"), [(at(NOON), {}), (at(NOON - 1), {"p1": 2}), (at(NOON, "0"), {"p1": 2})])
def test_what_is_as_old_as_the_clearing_is_gone(cleared: str, lines: dict[str, int]) -> None:
    assert cart(added(LAMP, 2) | {"cc": cleared}) == lines


def test_the_newest_clearing_or_order_counts() -> None:
    bought = f'{at(NOON + 1)} o1\t["p9"]'
    assert cart(added(LAMP, 2) | {"cc": at(NOON - 1), "O": bought}) == {}
    assert cart(added(LAMP, 2, NOON + 2) | {"cc": at(NOON - 1), "O": bought}) == {"p1": 2}
    assert cart(added(LAMP, 2) | {"cc": at(NOON + 1), "O": f'{at(NOON - 1)} o1\t["p9"]'}) == {}
    assert cart(added(LAMP, 2), {"cc": at(NOON + 1)}) == cart({"cc": at(NOON)}, added(LAMP, 2)) == {}


@pytest.mark.parametrize(("moment", "lines"), [(NOON + GRACE, {}), (NOON + GRACE + 1, {"p1": 1})])
def test_what_was_bought_and_is_only_shown_once_more_is_left_out(moment: int, lines: dict[str, int]) -> None:
    for bought in ('["p1"]', "[]"):
        assert cart(added(LAMP, 1, moment) | {"O": f"{at(NOON)} o1\t{bought}"}) == lines
    assert cart(added(LAMP, 1, moment) | {"O": f'{at(NOON)} o1\t["p2"]'}) == {"p1": 1}


def test_two_sources_name_a_product_by_different_keys() -> None:
    by_id = Product(product_id="p1", sku="S1", name="by id")
    by_sku = Product(product_id="S1", name="by sku")
    assert cart(added(by_id, 1), added(by_sku, 2, NOON + 1)) == {"S1": 3}
    assert cart(added(by_sku, 2), added(by_id, 1, NOON + 1)) == {"p1": 3}
    assert cart(added(by_sku, 2, NOON + 1), added(by_id, 1)) == {"S1": 3}
    assert cart(added(by_id, 1), added(Product(product_id="p2"), 1)) == {"p1": 1, "p2": 1}
    assert cart(added(by_id), added(Product(product_id="p2", id="p1"), 1, NOON + 1)) == {"p2": 2}


def test_three_names_of_one_product_are_one_line() -> None:
    first, second = Product(product_id="a"), Product(product_id="b")
    both = Product(product_id="c", sku="a", id="b")
    assert cart(added(first), added(second, 1, NOON + 1), added(both, 1, NOON + 2)) == {"c": 3}
    assert cart(added(first), removed(Product(product_id="c", sku="a"), "x", name="c")) == {}
    assert cart(added(first), added(both, 1, NOON + 1), added(second, 1, NOON + 2)) == {"b": 3}
    assert cart(added(first), added(both, 1, NOON + 1), removed(first, "-1", NOON + 2)) == {"c": 1}


def test_a_removal_counts_from_the_first_addition_under_any_name() -> None:
    by_id, by_sku = Product(product_id="p1", sku="S1"), Product(product_id="S1")
    assert cart(added(by_id, 2), added(by_sku, 1, NOON + 5), removed(by_id, "-1", NOON + 2)) == {"S1": 2}


def test_an_addition_whose_product_is_not_known_is_no_line_and_adds_to_none() -> None:
    changes = {"n:p1": f"{at(NOON + 1)}+5 {at(NOON + 2, REMOVE)}-1", "-p1": at(NOON + 2, REMOVE) + text(LAMP)}
    assert cart(changes) == {}
    assert cart(changes | added(Product(product_id="S1", id="p1"), 3)) == {"S1": 2}


def test_variants_are_lines_of_their_own() -> None:
    red, blue = Product(product_id="p1", variant="red"), Product(product_id="p1", variant="blue")
    assert cart(added(red, 1), added(blue, 2)) == {"p1/red": 1, "p1/blue": 2}
    assert cart(added(red, 1), added(blue, 2), removed(red, "x")) == {"p1/blue": 2}
    assert cart(added(red, 1), added(blue, 2), removed(LAMP, "x")) == {}
    assert cart(added(red, 1), added(blue, 2), removed(LAMP, "-1")) == {"p1/blue": 2}
    assert cart(added(red, 3), added(LAMP, 3), removed(LAMP, "-1")) == {"p1/red": 3, "p1": 2}
    by_sku = added(Product(product_id="S1"), 1, NOON + 1)
    known = Product(product_id="p1", sku="S1")
    assert cart(added(red, 3), added(known, 3), by_sku, removed(LAMP, "-1", NOON + 2)) == {"p1/red": 3, "S1": 3}
    assert cart(added(red, 3), removed(Product(product_id="p2"), "x")) == {"p1/red": 3}


def test_a_removed_variant_is_the_line_whose_variant_nobody_named() -> None:
    red, blue = Product(product_id="p1", variant="red"), Product(product_id="p1", variant="blue")
    for amount, quantity in (("x", 0), ("-1", 1), ("-2", 0)):
        assert cart(added(LAMP, 2), removed(red, amount)) == ({"p1": quantity} if quantity else {})
    by_sku = Product(product_id="p1", sku="S1")
    assert cart(added(by_sku), removed(Product(product_id="S1", variant="red"), "-1")) == {}
    # Where that variant is in the cart, it is meant; another variant is never.
    assert cart(added(LAMP), added(red), removed(red, "x")) == {"p1": 1}
    assert cart(added(blue), removed(red, "x")) == {"p1/blue": 1}


def test_lines_come_oldest_first_with_their_newest_product() -> None:
    first, second = Product(product_id="z"), Product(product_id="a")
    assert list(cart(added(second, 1, NOON + 1), added(first, 1))) == ["z", "a"]
    view = PersonView("r0", [("r0", added(LAMP)), ("r1", added(Product(product_id="p1", name="Lamp 2"), 1, NOON + 1))])
    assert [(line.product.name, line.product.quantity, line.stamp) for line in view.cart] == [
        ("Lamp 2", 2, at(NOON + 1))
    ]
    assert view.facts() == {"+p1": f"{at(NOON + 1)} 2"}


def test_an_unreadable_removal_removes_no_line() -> None:
    assert cart(added(LAMP, 1), {"-?": at(NOON + 1) + "{}", "n:?": at(NOON + 1) + "x"}) == {"p1": 1}


def test_a_line_whose_changes_were_cleared_is_none_and_connects_no_others() -> None:
    bridge = added(Product(product_id="c", sku="a", id="b"), 1)
    lines = added(Product(product_id="a"), 1, NOON + 2) | added(Product(product_id="b"), 1, NOON + 2)
    assert cart(bridge | lines | {"cc": at(NOON + 1)}) == {"a": 1, "b": 1}
    removal = {"n:c": f"{at(NOON)}+1 {at(NOON + 2, REMOVE)}-1", "cc": at(NOON + 1)}
    later = added(Product(product_id="a"), 1, NOON + 3) | added(Product(product_id="b"), 1, NOON + 3)
    assert cart(bridge | later | removal) == {"a": 1, "b": 1}
    line = added(LAMP, 1) | {"cc": at(NOON + 1)}
    assert cart(line, {"n:p1": f"{at(NOON + 2, REMOVE)}-1"}) == {}


def order(**fields: str) -> OrderView:
    return OrderView("o1", {name.replace("_", ":", 1): value for name, value in fields.items()})


FIRST = Order(order_id="1", total="10.00", currency="EUR", products=(LAMP,))


def test_the_first_telling_is_the_purchase_and_the_newest_adds_what_it_left_out() -> None:
    later = Order(order_id="1", total="99.00", currency="USD", products=(Product(product_id="p2"),))

    def merged(first: Order) -> Order | None:
        return order(F_order=at(NOON) + text(first), m_order=at(NOON + 9) + text(later)).order

    assert merged(FIRST) == FIRST
    assert merged(Order(order_id="1")) == later
    assert merged(Order(order_id="1", total="10.00")) == Order("1", "10.00", "USD", later.products)
    assert merged(Order(order_id="1", currency="EUR")) == Order("1", "99.00", "USD", later.products)
    no_currency = order(
        F_order=at(NOON) + text(Order("1", currency="EUR")), m_order=at(NOON + 9) + text(Order("1", "9"))
    )
    assert no_currency.order == Order("1", "9", "EUR")
    assert order(F_order=at(NOON) + text(FIRST)).order == FIRST
    assert order(m_order=at(NOON) + text(FIRST)).order == FIRST
    assert order(F_order=at(NOON) + text(FIRST), m_order=at(NOON + 9)).order == FIRST
    assert order().order is None


def test_an_order_is_read_with_what_stands_in_place_of_its_fields() -> None:
    for tellings in ({"F_order": FIRST}, {"F_order": Order("1"), "m_order": FIRST}):
        view = order(**{name: at(NOON) + text(telling) for name, telling in tellings.items()})
        answered = view.with_answers({"order.total": "12.00", "order.currency": None, "profile.city": "Linz"})
        assert answered.order == replace(FIRST, total="12.00", currency="")
        assert view.with_answers({"order.products": None}).order == replace(FIRST, products=())
        assert view.order == FIRST


def test_when_an_order_was_completed_and_for_whom() -> None:
    view = order(
        F_order=at(NOON) + "{}", m_order=at(NOON + 9) + "{}", F_email=at(NOON) + "a@x.org", m_cancelled=at(NOON)
    )
    assert (view.owner, view.completed, view.mark("order")) == ("o:o1", Mark(at(NOON), NOON, "{}"), view.completed)
    assert (view.email, view.cancelled, view.mark("cancelled")) == ("a@x.org", Mark(at(NOON), NOON, ""), view.cancelled)
    assert (order().email, order().cancelled, order().completed, order().mark("order")) == (None, None, None, None)
    assert view.as_of(NOON - 1).completed is None
    assert view.as_of(NOON).completed == view.completed
    assert list(order(m_refunded="", m_x="", F_order="").fields("m:")) == ["m:refunded", "m:x"]


@pytest.mark.parametrize(
    ("refunds", "refunded_at"),
    [
        ({}, None),
        ({"m:refunded": NOON}, NOON),
        ({"m:refunded:9.99": NOON}, None),
        ({"m:refunded:10.00": NOON}, NOON),
        ({"m:refunded:10.01": NOON}, NOON),
        ({"m:refunded:10.0": NOON, "m:refunded": NOON + 1}, NOON + 1),
        ({"m:refunded:10.0": NOON + 2, "m:refunded": NOON + 1, "m:refunded:1": NOON + 9}, NOON + 2),
        ({"m:refunded:all": NOON}, None),
    ],
)
def test_only_a_refund_of_everything_counts(refunds: dict[str, int], refunded_at: int | None) -> None:
    fields = {name: at(moment) for name, moment in refunds.items()}
    refunded = OrderView("o1", fields | {"F:order": at(NOON) + text(FIRST)}).refunded
    assert (refunded.at if refunded else None) == refunded_at


def test_a_refund_of_an_order_without_a_total_is_partial() -> None:
    for known in ({}, {"F:order": at(NOON) + '{"o":"1"}'}):
        assert OrderView("o1", known | {"m:refunded:10": at(NOON)}).refunded is None
        assert OrderView("o1", known | {"m:refunded": at(NOON)}).refunded


@pytest.mark.parametrize(
    ("products", "refunds", "is_full"),
    [
        ((replace(LAMP, quantity=2),), ['[[["p1"],1]]'], False),
        ((replace(LAMP, quantity=2),), ['[[["p1"],1]]', '[[["p1"],1]]'], True),
        ((replace(LAMP, sku="S1"),), ['[[["S1"],1]]'], True),
        ((LAMP, Product(product_id="p2")), ['[[["p2"],1]]'], False),
        # It may have had other items as well.
        ((), ['[[["p1"],1]]'], False),
    ],
)
def test_refunds_of_items_are_full_once_every_one_is_given_back(
    products: tuple[Product, ...], refunds: list[str], is_full: bool
) -> None:
    fields = {f"m:returned:{number}": at(NOON + number) + items for number, items in enumerate(refunds, 1)}
    completed = Order(order_id="1", total="10.00", products=products)
    refunded = OrderView("o1", fields | {"F:order": at(NOON) + text(completed)}).refunded
    assert (refunded.at if refunded else None) == (NOON + len(refunds) if is_full else None)

"""Products in every form in which plugins list them, and what is named of those that cannot be read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.sources.reading.product_lines import LineRules, read_unusual_line, read_usual_line
from adapter.sources.reading.product_lists import read_product, read_products
from freshgate.events import Product

CART, ORDER, REMOVAL = LineRules(needs_id=True), LineRules(), LineRules(needs_id=True, removes=True)
MUG = {"product_id": "mug", "name": "Mug", "price": 9.9, "quantity": 2}
LAMP = {"product_id": "lamp", "name": "Lamp", "price": "39.95", "quantity": "1"}
READ = (Product("mug", name="Mug", price="9.9", quantity=2), Product("lamp", name="Lamp", price="39.95"))


def lines(value: Any, rules: LineRules = ORDER, page: Any = None) -> tuple[tuple[Product, ...] | None, list[str]]:
    unreadable: list[str] = []
    return read_products(value, "products", unreadable, rules._replace(page_url=lambda element: page), {}), unreadable


def line(member: str, value: Any, rules: LineRules = ORDER, page: Any = None) -> tuple[Any, list[str]]:
    unreadable: list[str] = []
    product = read_product(
        {**MUG, member: value}, "product", unreadable, rules._replace(page_url=lambda element: page), {}
    )
    assert product is not None
    return getattr(product, member), unreadable


@pytest.mark.parametrize(
    "products",
    [
        [MUG, LAMP],
        # PHP writes an array with gaps as an object, by number; carts are keyed by the line.
        {"0": MUG, "2": LAMP},
        {"10": LAMP, "9": MUG},
        {"9b04d152": MUG, "c1f3aa07": LAMP},
        {"items": [MUG, LAMP]},
        {"id": "cart-1", "name": "My cart", "line_items": [MUG, LAMP], "count": 2},
        json.dumps([MUG, LAMP]),
        json.dumps({"0": MUG, "2": LAMP}),
        [json.dumps(MUG), json.dumps(LAMP)],
    ],
    ids=repr,
)
@pytest.mark.parametrize("rules", [CART, ORDER])
def test_each_form_of_a_list_is_read_as_its_lines(products: Any, rules: LineRules) -> None:
    assert lines(products, rules) == (READ, [])


@pytest.mark.parametrize("product", [MUG, [MUG], json.dumps(MUG), {"0": MUG}], ids=repr)
def test_a_single_product_is_a_list_of_one(product: Any) -> None:
    assert lines(product) == (READ[:1], [])


@pytest.mark.parametrize("empty", [[], {}, "[]", "{}", " [ ] "], ids=repr)
def test_an_empty_list_in_any_form_is_empty_and_not_unreadable(empty: Any) -> None:
    assert lines(empty) == ((), [])


@pytest.mark.parametrize(
    "value",
    [
        7,
        True,
        "mug",
        "null",
        "a:1:{i:0;s:3:",
        "[{",
        "[" * 9999,
        {"count": 2},
        {"count": 2, "sum": 9},
        ["mug", "lamp"],
        [None],
        [[]],
    ]
    + [{"0": MUG, "count": 1}, [{"price": 9}], [{"product_id": {}}]],
    ids=lambda value: repr(value)[:40],
)
def test_what_lists_no_product_is_named_and_nothing_is_read(value: Any) -> None:
    assert lines(value) == (None, ["products"])


def test_a_line_without_an_id_stays_in_an_order_and_is_named_in_a_cart() -> None:
    gift_card = {"name": "Gift card", "price": 50, "quantity": 1}
    assert lines([MUG, gift_card], ORDER) == ((READ[0], Product(name="Gift card", price="50")), [])
    assert lines([MUG, gift_card], CART) == (READ[:1], ["products.1"])
    assert lines([MUG, {"price": 50}, None, "lamp"], ORDER) == (READ[:1], ["products.1", "products.2", "products.3"])


@pytest.mark.parametrize("nothing", [0, "0", None, "", "null", "undefined", "NULL", " ", "nan", {}, [], True])
def test_lines_whose_ids_name_nothing_are_told_apart_by_their_skus(nothing: Any) -> None:
    sent = [{"product_id": nothing, "id": nothing, "sku": sku, "name": sku, "quantity": 1} for sku in ("S-1", "S-2")]
    assert lines(sent, CART) == ((Product("S-1", name="S-1"), Product("S-2", name="S-2")), [])


def test_the_other_ids_of_a_line_are_kept_beside_its_product_id() -> None:
    sent = {**MUG, "sku": "M-1", "id": 778}
    assert lines([sent]) == ((Product("mug", name="Mug", price="9.9", quantity=2, sku="M-1", id="778"),), [])
    assert lines([{"sku": "M-1", "id": "778", "name": "Mug", "quantity": 1}])[0] == (
        Product("M-1", name="Mug", id="778"),
    )
    assert lines([{"productId": "mug", "sku": "mug", "quantity": 1}])[0] == (Product("mug"),)


@pytest.mark.parametrize(
    ("quantity", "pieces", "has_quantity"),
    [(3, 3, True), ("3", 3, True), (3.0, 3, True), ("3.0", 3, True), (0, 0, True), (None, 1, False), ("", 1, False)],
)
def test_whole_pieces_are_read_and_a_missing_quantity_is_known_as_missing(
    quantity: Any, pieces: int, has_quantity: bool
) -> None:
    assert lines([{**MUG, "quantity": quantity}]) == (
        (Product("mug", name="Mug", price="9.9", quantity=pieces, has_quantity=has_quantity),),
        [],
    )


@pytest.mark.parametrize("quantity", [1.5, "1.5", "two", "2 pcs", -1, "-1", True, [], {}, "1,5", 10**13, float("nan")])
def test_a_quantity_that_cannot_be_read_is_named(quantity: Any) -> None:
    product = Product("mug", name="Mug", price="9.9", has_quantity=False)
    assert lines([{**MUG, "quantity": quantity}]) == ((product,), ["products.0.quantity"])


def test_a_removal_of_minus_two_pieces_is_one_of_two() -> None:
    for quantity in (-2, "-2", 2):
        assert line("quantity", quantity, REMOVAL) == (2, [])


@pytest.mark.parametrize("price", ["1,299", "free", {}, [], True, {"amount": 1299, "currency": "usd"}])
def test_a_price_that_cannot_be_read_is_named_with_its_line(price: Any) -> None:
    read, unreadable = lines([LAMP, {**MUG, "price": price}])
    assert read is not None
    assert [product.price for product in read] == ["39.95", ""]
    assert unreadable == ["products.1.price"]


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"image_url": "", "imageUrl": "https://x.example/1.jpg"}, {"image_url": "https://x.example/1.jpg"}),
        ({"image_url": False, "imageUrl": "//x.example/1.jpg"}, {"image_url": "https://x.example/1.jpg"}),
        ({"variant": "42.0"}, {"variant": "42"}),
        ({"variant": "red\ufeff"}, {"variant": "red"}),
        ({"sku": "", "id": ""}, {"sku": "", "id": ""}),
        ({"price": -0.0}, {"price": "0.0"}),
    ],
    ids=repr,
)
def test_a_line_says_the_same_whatever_else_it_has(sent: dict[str, Any], read: dict[str, Any]) -> None:
    for other in ({}, {"price": 5}, {"url": "/lamps/1"}, {"id": 778}):
        product, _ = lines([{**MUG, **other, **sent}])
        assert product is not None
        assert {name: getattr(product[0], name) for name in read} == read


@pytest.mark.parametrize(
    "sent",
    [
        {"SKU": "s-1", "Name": "Mug", "Price": 5, "Quantity": 2, "Image URL": "//x.example/1.jpg", "Variant": "red"},
        {"sku": "s-1", "name": "Mug", "Price": 5, "QUANTITY": "2", "imageURL": "//x.example/1.jpg", "Variant": "red"},
        {
            "ProductID": "s-1",
            "name": "Mug",
            "price": 5,
            "quantity": 2,
            "image-url": "//x.example/1.jpg",
            "VARIANT": "red",
        },
        {"sku": "s-1", "SKU": "no", "name": "Mug", "Name": "no", "price": 5, "quantity": 2, "variant": "red"}
        | {"image_url": "", "ImageUrl": "//x.example/1.jpg"},
    ],
    ids=repr,
)
def test_members_of_a_line_are_read_in_any_case_and_the_declared_spelling_wins(sent: dict[str, Any]) -> None:
    read = Product("s-1", "red", "Mug", "5", 2, image_url="https://x.example/1.jpg")
    assert lines([sent], CART) == ((read,), [])
    assert lines(sent, CART) == ((read,), [])
    unreadable: list[str] = []
    assert read_product(sent, "product", unreadable, CART, {}) == read
    assert not unreadable


IDS: st.SearchStrategy[Any] = st.sampled_from(
    ["", "mug", "m-1", "0", "null", " mug", "mug\ufeff", "4711.0", "a" * 300, 7, 7.0, None, True, [], {}]
)
LINKS: st.SearchStrategy[Any] = st.sampled_from(
    ["", "https://x.example/1", "//x.example/1", "http://", "/1", "www.x.example", "a" * 501, None, False, True, 7, {}]
)
USUAL_AND_NOT: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"name": st.sampled_from(["Mug", "", "n" * 201, None, 7, {}])},
    optional={
        **dict.fromkeys(("product_id", "productId", "sku", "id", "variant"), IDS),
        **dict.fromkeys(("url", "image_url", "URL"), LINKS),
        **dict.fromkeys(("SKU", "Variant"), IDS),
        "imageUrl": st.sampled_from(["", "https://x.example/2", None, False]),
        "price": st.sampled_from(
            [0, 5, 5.0, -0.0, 9.9, "9.90", "$1,299.00", "1,299", "", None, True, float("nan"), {}]
        ),
        "quantity": st.sampled_from([0, 1, 2.0, 1.5, "3", "3.0", "", -1, None, True, 10**13, "1" * 10, "\u0663", {}]),
    },
)


@settings(deadline=None, max_examples=500)
@given(USUAL_AND_NOT, st.sampled_from([CART, ORDER]))
def test_a_line_that_is_read_at_little_cost_is_read_as_any_other(sent: dict[str, Any], rules: LineRules) -> None:
    usual = read_usual_line(sent)
    if usual is not None:
        faults: list[str] = []
        assert (read_unusual_line(sent, "product", faults, rules, {}), faults) == (usual, [])


def test_lines_as_cdps_send_them_are_read_at_little_cost() -> None:
    for sent in (MUG, LAMP, {"sku": "s-1", "variant": "", "url": False, "imageUrl": "//x.example/1"}):
        assert read_usual_line(sent) is not None


PAGE = "https://shop.example.com/lamps/index.html"


@pytest.mark.parametrize(
    ("link", "url"),
    [
        ("https://shop.example.com/1?a=b&c=d#e", "https://shop.example.com/1?a=b&c=d#e"),
        ("HTTP://shop.example.com/1", "HTTP://shop.example.com/1"),
        ("//cdn.example.com/1.jpg", "https://cdn.example.com/1.jpg"),
        ("www.example.com/1", "https://www.example.com/1"),
        ("/lamps/1", "https://shop.example.com/lamps/1"),
        ("../1.jpg", "https://shop.example.com/1.jpg"),
        ("./1.jpg", "https://shop.example.com/lamps/1.jpg"),
        (" https://shop.example.com/a lamp ", "https://shop.example.com/a%20lamp"),
        ("https://bücher.example/größe", "https://bücher.example/größe"),
    ],
)
@pytest.mark.parametrize("member", ["url", "image_url"])
def test_each_form_of_a_link_is_read_as_a_whole_link(link: str, url: str, member: str) -> None:
    assert line(member, link, page=PAGE) == (url, [])


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://example.com/1",
        "lamps/1",
        "1.jpg",
        "https://",
        "https:///1",
        "//",
    ]
    + ['https://x.example/"><script>', "https://x.example/\u202e", 7, {}, [], True, "https://x.example/" + "a" * 500],
    ids=lambda link: repr(link)[:30],
)
@pytest.mark.parametrize("member", ["url", "image_url"])
def test_a_link_that_a_mail_must_not_have_is_named(link: Any, member: str) -> None:
    assert line(member, link, page=PAGE) == ("", [f"product.{member}"])


@pytest.mark.parametrize("page", [None, "", 7, "app://shop", "not a page"])
def test_a_relative_link_without_a_page_is_named(page: Any) -> None:
    assert line("url", "/lamps/1", page=page) == ("", ["product.url"])


def test_lines_beyond_250_are_named_and_so_are_at_most_ten_faults_of_a_field() -> None:
    read, unreadable = lines([MUG] * 251)
    assert (len(read or ()), unreadable) == (250, ["products.250 and later"])
    read, unreadable = lines([MUG, *[None] * 40])
    assert (read, len(unreadable), unreadable[-1]) == (READ[:1], 11, "products: more")


@pytest.mark.parametrize("rules", [CART, ORDER])
@pytest.mark.parametrize("value", [{"price": 5}, {"name": "Mug"}, {"product_id": 0, "name": "Mug"}, [], 7, "mug"])
def test_a_product_alone_without_an_id_is_named_by_its_field(rules: LineRules, value: Any) -> None:
    unreadable: list[str] = []
    assert read_product(value, "product", unreadable, rules, {}) is None
    assert unreadable == ["product"]


def spoiled(draw: st.DrawFn, sent: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The line with one member that means nothing, and that member; or as it was."""
    member = draw(st.sampled_from([None, "price", "quantity", "url", "variant", "line"]))
    if member == "line":
        return draw(st.sampled_from([None, [], "lamp", 7, {"price": 5}])), ""
    if member is None:
        return sent, None
    return {
        **sent,
        member: draw(st.sampled_from([{}, [], True, "\x00", "1.2.3", "?"] if member != "variant" else [{}, []])),
    }, member


@settings(deadline=None)
@given(st.data())
def test_each_line_is_as_it_was_sent_but_for_what_is_named(data: st.DataObject) -> None:
    """What was spoiled is known: it is named, with its place, and all else is read as it was."""
    count = data.draw(st.integers(1, 5))
    sent = [
        {"product_id": f"p{n}", "name": f"P{n}", "price": n, "quantity": n, "url": f"https://x.example/{n}"}
        for n in range(count)
    ]
    mixed = [data.draw(st.composite(spoiled)(line)) for line in sent]
    form = data.draw(st.sampled_from(["list", "map", "text"]))
    value: Any = [line for line, _ in mixed]
    if form == "map" and all(type(line) is dict for line in value):
        value = {str(3 * index): line for index, line in enumerate(value)}
    elif form == "text":
        value = json.dumps(value)
    read, unreadable = lines(value)
    wanted = []
    for index, (_, member) in enumerate(mixed):
        whole = {"price": str(index), "quantity": index, "url": f"https://x.example/{index}", "variant": ""}
        defaults = {"price": "", "quantity": 1, "url": "", "variant": ""}
        if member != "":
            members: dict[str, Any] = {**whole, **({member: defaults[member]} if member else {})}
            wanted.append(Product(f"p{index}", name=f"P{index}", has_quantity=member != "quantity", **members))
    if wanted:
        assert read == tuple(wanted)
        named = [
            f"products.{index}" + (f".{member}" if member else "")
            for index, (_, member) in enumerate(mixed)
            if member is not None
        ]
        assert unreadable == named
    else:
        assert (read, unreadable) == (None, ["products"])


LAMP_READ = Product(
    "lamp", "brass", "Desk lamp", "79.5", 2, "https://x.example/lamp", "https://x.example/lamp.jpg", "L-1"
)


@pytest.mark.parametrize(
    "sent",
    [
        # RudderStack's Shopify source; WooCommerce; Google's data layer; Klaviyo.
        {
            "product_id": "lamp",
            "title": "Desk lamp",
            "price": 79.5,
            "variant_id": "brass",
            "image": LAMP_READ.image_url,
        },
        {"product_id": "lamp", "product_name": "Desk lamp", "price": "79.5", "variation_id": "brass", "qty": 2}
        | {"permalink": LAMP_READ.url},
        {"item_id": "lamp", "item_name": "Desk lamp", "price": 79.5, "item_variant": "brass"},
        {"ProductID": "lamp", "ProductName": "Desk lamp", "ItemPrice": 79.5, "variant": "brass", "SKU": "L-1"}
        | {"ProductURL": LAMP_READ.url, "ImageURL": LAMP_READ.image_url},
        # Carts that nest the product, or the variant, and the product in that.
        {"product": {"id": "lamp", "name": "Desk lamp", "price": 79.5, "sku": "L-1"}, "variant": "brass"},
        {"product_id": "lamp", "name": "Desk lamp", "variant": {"id": "brass", "title": "Brass", "price": "79.5"}},
        {"id": "line-1", "merchandise": {"id": "brass", "price": {"amount": "79.5", "currencyCode": "EUR"}}}
        | {"product": {"id": "lamp", "title": "Desk lamp"}},
        {"variant": {"id": "brass", "price": 79.5, "product": {"id": "lamp", "title": "Desk lamp"}}},
    ],
    ids=repr,
)
def test_a_line_is_read_under_the_names_that_shops_give_its_members(sent: dict[str, Any]) -> None:
    read, unreadable = lines([{"quantity": 2, **sent}], CART)
    assert read is not None and not unreadable
    known = {name for name in ("product_id", "variant", "name", "price", "quantity")}
    assert {name: getattr(read[0], name) for name in known} == {name: getattr(LAMP_READ, name) for name in known}
    for name in ("url", "image_url"):
        assert getattr(read[0], name) in ("", getattr(LAMP_READ, name))


def test_the_declared_name_of_a_member_wins_over_a_shops_own() -> None:
    sent = {**MUG, "title": "Blue mug | Shop", "unit_price": 7, "qty": 5, "variant": "blue", "variant_id": "4711"}
    assert lines([sent], CART) == ((Product("mug", "blue", "Mug", "9.9", 2),), [])
    assert lines([{**MUG, "product": {"id": "other", "name": "Other"}}], CART)[0] == READ[:1]
    # An empty object is not a variant, and nothing stands in it.
    assert lines([{**MUG, "variant": {}}], CART) == (READ[:1], ["products.0.variant"])


def test_two_variants_of_a_product_are_two_lines() -> None:
    sent = [{**MUG, "variant_id": variant} for variant in ("red", "blue")]
    read, _ = lines(sent, CART)
    assert read is not None and [product.line for product in read] == ["mug/red", "mug/blue"]


@pytest.mark.parametrize("value", [{"products": [MUG]}, {"items": json.dumps([MUG])}, {"product": MUG}], ids=repr)
def test_one_product_in_a_list_in_place_of_ids_is_that_product(value: Any) -> None:
    unreadable: list[str] = []
    assert read_product(value, "product", unreadable, CART, {}) == READ[0]
    assert not unreadable
    two = {"products": [MUG, LAMP]}
    assert read_product(two, "product", unreadable, CART, {}) is None
    assert unreadable == ["product"]

"""What a page's key may put into a mail of the shop: no stranger's link, no stranger's text with one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from redis import Redis

from adapter.ingest.page_data import allowed_hosts, bound_page_data, is_allowed_link
from adapter.ingest.receive import WebhookRequest
from catalog import EVENTS
from freshgate.declare import EventType
from freshgate.events import Event, Product
from freshgate.settings import SourceSettings
from tests.engine.test_browser_trust import Page
from tests.engine.world import HOUR, World

PAGE = SourceSettings(kind="tracking", trust="browser", allowed_origins=("https://Shop.example:8443",))
TYPES = {event_type.name: event_type for event_type in EVENTS}
PRODUCT_PAGE = "https://shop.example/p/1"


def bound(event: Event, settings: SourceSettings = PAGE) -> Event:
    return bound_page_data(event, TYPES[event.name], settings)


def event(name: str = "Product Added", **fields: Any) -> Event:
    return Event(
        source="page", id_space="main", name=name, message_id="m", occurred_at=1, received_at=1, anonymous_id="x",
        fields=fields,
    )  # fmt: skip


def bound_name(text: str) -> str:
    return str(bound(event(product=Product(product_id="1", name=text))).fields["product"].name)


@pytest.mark.parametrize(
    "text",
    [
        "Open https://evil.example",
        "Open //evil.example",
        "open evil.example now",
        "EVIL.EXAMPLE",
        "evil\u3002example",
        "evil\uff0eexample",
        "evil.\u200bexample",
        "ｅｖｉｌ.ｅｘａｍｐｌｅ",
        "evil.рф",
        "www.evil",
        "mailto:eve",
        "javascript:alert(1)",
        "write to eve@evil",
        "call +1 555 010 0199",
        "call (555) 010-0199",
        "<b>free</b>",
        "{{unsubscribe}}",
        "${7*7}",
    ],
)
def test_a_text_with_a_link_or_a_number_to_call_is_left_out(text: str) -> None:
    assert bound_name(text) == ""
    person = bound(event("Identify", first_name=text, locale="en_US"))
    assert person.fields == {"locale": "en_US"}
    assert person.unreadable == ("first_name",)


@pytest.mark.parametrize(
    "text",
    ["Mug", "Café crème, 250 g", "iPhone 15 Pro 128 GB", "J. R. Hartley", "Mehr & Meer: Band 2", "日本茶", "3.5 mm"],
)
def test_a_products_name_stays(text: str) -> None:
    assert bound_name(text) == text


def test_a_text_is_cut_and_cannot_turn_the_direction_of_writing() -> None:
    assert bound_name("a\u202eb\x00\n  c") == "ab c"
    assert len(bound_name("long " * 100)) <= 120
    assert len(bound(event("Identify", first_name="a" * 400)).fields["first_name"]) == 50


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/login",
        "https://shop.example@evil.example/",
        "https://shop.example:443@evil.example/",
        "https://evil.example\\@shop.example/",
        "https://shop.example\\.evil.example/",
        "https://evil.example#shop.example",
        "https://evil.example/?https://shop.example",
        "https://shop.example.evil.example/",
        "https://notshop.example/",
        "https://sub.shop.example/",
        "//shop.example/",
        "javascript:alert(1)//shop.example",
        "https:/shop.example",
        "https://shop.example\t.evil.example/",
        'https://shop.example/" onerror="x',
        "https://shop.example/' onerror='x",
        "https://ѕhop.example/",
    ],
)
def test_a_link_to_another_host_is_left_out(url: str) -> None:
    product = bound(event(product=Product(product_id="1", url=url, image_url=url))).fields["product"]
    assert (product.url, product.image_url) == ("", "")
    assert not is_allowed_link(url, allowed_hosts((), PAGE.allowed_origins))


@pytest.mark.parametrize(
    "url", [PRODUCT_PAGE, "http://SHOP.example", "https://shop.example:8443/a?b=c&d=%20#e", PRODUCT_PAGE + "/ä"]
)
def test_a_link_to_a_page_of_the_source_stays_if_its_form_is_plain(url: str) -> None:
    product = bound(event(product=Product(product_id="1", url=url))).fields["product"]
    assert product.url == (url if url.isascii() else "")


def test_hosts_of_links_are_set_apart_from_those_of_pages() -> None:
    settings = replace(PAGE, link_hosts=("cdn.example", "*.images.example"))
    urls = (
        "https://cdn.example/1.png",
        "https://a.b.images.example/1.png",
        "https://images.example/1.png",
        PRODUCT_PAGE,
    )
    lines = tuple(Product(product_id=str(number), image_url=url) for number, url in enumerate(urls))
    products = bound(event("Cart Viewed", products=lines), settings).fields["products"]
    assert [bool(line.image_url) for line in products] == [True, True, False, False]
    assert (
        bound(event(product=Product(url=PRODUCT_PAGE)), replace(PAGE, allowed_origins=())).fields["product"].url == ""
    )


@pytest.mark.parametrize("field", ["product_id", "sku", "id", "variant"])
def test_a_product_whose_id_holds_a_link_is_left_out(field: str) -> None:
    product = msgspec.convert({"product_id": "1", field: "https://evil.example"}, Product)
    added = bound(event(product=product))
    assert (added.fields, added.unreadable) == ({}, ("product",))
    viewed = bound(event("Cart Viewed", products=(Product(product_id="2"), product)))
    assert (len(viewed.fields["products"]), viewed.unreadable) == (1, ("products.1",))


def test_a_variant_that_is_a_long_text_leaves_the_product_out() -> None:
    assert bound(event(product=Product(product_id="1", variant="your account is locked " * 9))).fields == {}


@pytest.mark.parametrize("identity", ["AB.CD-12", "0123456789012", "550e8400-e29b-41d4-a716-446655440000", "gid:1"])
def test_an_ordinary_id_stays(identity: str) -> None:
    assert bound(event(product=Product(product_id=identity, sku=identity))).fields["product"].product_id == identity


@pytest.mark.parametrize("trust", ["browser", "server"])
def test_a_mail_about_a_pages_cart_holds_nothing_of_a_stranger(redis: Redis, trust: str) -> None:
    world = World(redis)
    world.record(world.event("Identify", user="ada", anon="x", email="ada@example.com"))
    evil = Product(
        product_id="x1", name="URGENT: open evil.example", price="0.01", url="https://evil.example/login",
        image_url="https://evil.example/logo.png",
    )  # fmt: skip
    for name, fields in (
        ("Product Added", {"product": evil}),
        ("Identify", {"first_name": "customer, you were charged. Dispute at https://evil.example"}),
    ):
        source = Page(world.event(name, anon="x", **fields))
        source.settings = replace(PAGE, trust=trust)
        world.receiver.receive(source, WebhookRequest(b"", {}, world.now))
    world.run(world.now + HOUR)
    (mail,) = world.esp.mails
    # A server is believed: it is the shop's own.
    assert ("evil.example" in str(mail.template_data)) == (trust == "server")
    if trust == "browser":
        assert mail.template_data["products"] == [{"product_id": "x1", "price": "0.01", "quantity": 1}]
        assert mail.template_data["first_name"] == ""


def test_any_text_that_a_mark_may_carry_is_bounded() -> None:
    event_type = EventType(
        name="Wanted", fields={"note": "text", "page": "text", "list": "id", "contact_email": "text"}
    )
    fields = {"note": "open evil.example", "page": PRODUCT_PAGE, "list": "a//b", "contact_email": "ada@example.com"}
    wanted = bound_page_data(replace(event(), fields=fields), event_type, PAGE)
    assert wanted.fields == {"page": PRODUCT_PAGE, "contact_email": "ada@example.com"}
    assert wanted.unreadable == ("note", "list")

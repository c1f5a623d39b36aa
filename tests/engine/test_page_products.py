"""Mails about a page's cart show what servers told of its products, and a page's word only of what nobody else told."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from msgspec.structs import replace
from redis import Redis

from adapter.ingest.receive import WebhookRequest
from freshgate.events import Product
from freshgate.settings import SourceSettings
from freshgate.state import keys
from tests.engine.test_browser_trust import Page
from tests.engine.world import HOUR, MINUTE, World

ADA = "ada@example.com"
HOST = "https://shop.example"
MUG = Product(product_id="mug", name="Mug", price="29.95", url=f"{HOST}/mug", image_url=f"{HOST}/mug.png")
FORGED = replace(MUG, name="You won", price="0.01", url=f"{HOST}/redirect", image_url="", quantity=2)
SHOWN = {
    "product_id": "mug",
    "name": "Mug",
    "price": "29.95",
    "quantity": 2,
    "url": f"{HOST}/mug",
    "image_url": f"{HOST}/mug.png",
}


@pytest.fixture
def world(redis: Redis) -> World:
    world = World(redis, has_pages=True)
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    return world


def page_tells(world: World, name: str, product: Product) -> None:
    source = Page(world.event(name, anon="x", product=product))
    source.settings = SourceSettings(kind="tracking", trust="browser", allowed_origins=(HOST,))
    world.receiver.receive(source, WebhookRequest(b"", {}, world.now))


def server_tells(world: World, product: Product, **fields: Any) -> None:
    world.record(world.event("Product Viewed", user="another customer", product=product, **fields))


def products_in_mail(world: World) -> list[dict[str, Any]]:
    world.run(world.now + 2 * HOUR)
    ((mail),) = world.esp.mails
    shown: list[dict[str, Any]] = mail.template_data["products"]
    return shown


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_server_outweighs_a_page_in_whatever_order_they_tell(world: World, order: tuple[int, ...]) -> None:
    tellings = (
        lambda: page_tells(world, "Product Added", FORGED),
        lambda: server_tells(world, MUG, at=world.now - 30 * MINUTE),
        # Newer, and silent about all but the price: what it does not say stays.
        lambda: server_tells(world, Product(product_id="mug", price="29.95"), at=world.now - MINUTE),
    )
    for index in order:
        tellings[index]()
    assert products_in_mail(world) == [SHOWN]


def test_the_newest_word_of_a_server_counts(world: World) -> None:
    server_tells(world, MUG)
    server_tells(world, replace(MUG, price="19.95"), at=world.now - HOUR)
    page_tells(world, "Product Added", FORGED)
    assert products_in_mail(world)[0]["price"] == "29.95"


def test_only_what_a_page_told_is_looked_up(world: World) -> None:
    world.record(world.event("Product Added", user="ada", product=Product("cup")))
    assert world.person("ada").page_products() == set(), "a cart that servers told costs no further trip"
    page_tells(world, "Product Added", FORGED)
    assert world.person("ada").page_products() == {"mug"}


def test_a_viewed_product_too(world: World) -> None:
    server_tells(world, MUG)
    page_tells(world, "Product Viewed", FORGED)
    assert products_in_mail(world) == [SHOWN]


def test_of_a_product_that_no_server_told_the_page_has_a_bounded_word(world: World) -> None:
    server_tells(world, replace(MUG, product_id="another"))
    page_tells(world, "Product Added", replace(FORGED, image_url="https://evil.example/1.png"))
    expected = {"product_id": "mug", "name": "You won", "price": "0.01", "quantity": 2, "url": f"{HOST}/redirect"}
    assert products_in_mail(world) == [expected]


def test_another_variant_is_another_product(world: World) -> None:
    server_tells(world, replace(MUG, variant="blue"))
    page_tells(world, "Product Added", FORGED)
    assert products_in_mail(world)[0]["name"] == "You won"


def test_a_page_tells_no_other_person_of_a_product(world: World) -> None:
    page_tells(world, "Product Viewed", FORGED)
    assert world.client.keys("fg:{main}:product:*") == []
    world.record(world.event("Product Added", user="ada", product=Product(product_id="mug")))
    world.run(world.now + 2 * HOUR)
    assert "name" not in world.esp.mails[0].template_data["products"][0]


def test_what_a_server_told_the_person_itself_is_not_replaced_by_what_it_told_others(world: World) -> None:
    server_tells(world, MUG)
    world.record(world.event("Product Added", user="ada", product=replace(MUG, price="24.95")))
    assert products_in_mail(world)[0]["price"] == "24.95"


def test_it_expires_and_shops_without_pages_keep_nothing(world: World, redis: Redis) -> None:
    server_tells(world, MUG)
    key = keys.product("main", keys.product_id("main", "mug"))
    assert 29 * 24 * HOUR < redis.pttl(key) <= 30 * 24 * HOUR
    redis.flushdb()
    server_tells(World(redis), MUG)
    assert redis.keys("fg:{main}:product:*") == []


def test_the_products_of_a_large_cart_travel_in_several_calls_and_count_as_one_event(
    world: World, redis: Redis
) -> None:
    products = tuple(replace(MUG, product_id=f"p{number}") for number in range(120))
    redis.config_resetstat()
    assert world.record(world.event("Cart Viewed", user="ada", products=products)).accepted == 1
    stats: Any = redis.info("commandstats")
    assert stats["cmdstat_fcall"]["calls"] == 2
    assert len(world.cart("ada")) == 120
    for number in (0, 49, 50, 119):
        assert redis.exists(keys.product("main", keys.product_id("main", f"p{number}")))

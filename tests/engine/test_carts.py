"""A cart adds up to the same lines whatever order its events arrived in, however often, and by whatever key."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from redis import Redis

from freshgate.events import Event, Product
from freshgate.state import keys
from tests.engine.world import HOUR, MINUTE, SECOND, START, World, product

ADA = "ada@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def item(product_id: str, quantity: int | None = 1, **fields: Any) -> Product:
    """A product; None is a quantity that the source did not send."""
    return Product(product_id=product_id, quantity=quantity or 1, has_quantity=quantity is not None, **fields)


def added(world: World, line: Product, after_s: int = 0, **ids: Any) -> Event:
    return world.event("Product Added", at=START + after_s * SECOND, product=line, **(ids or {"user": "ada"}))


def removed(world: World, line: Product, after_s: int = 0) -> Event:
    return world.event("Product Removed", at=START + after_s * SECOND, user="ada", product=line)


def viewed(world: World, *lines: Product, after_s: int = 0) -> Event:
    return world.event("Cart Viewed", at=START + after_s * SECOND, user="ada", products=lines)


def test_quantities_add_and_subtract(world: World) -> None:
    world.record(added(world, item("a", 2)), added(world, item("a", 3), 1), removed(world, item("a", 1), 2))
    assert world.cart("ada") == {"a": 4}


def test_a_removal_without_a_quantity_takes_everything(world: World) -> None:
    world.record(added(world, item("a", 5)), removed(world, item("a", None), 1), added(world, item("a"), 2))
    assert world.cart("ada") == {"a": 1}


def test_more_removed_than_was_there_leaves_no_debt(world: World) -> None:
    world.record(added(world, item("a")), removed(world, item("a", 5), 1), added(world, item("a", 2), 2))
    assert world.cart("ada") == {"a": 2}


def test_a_snapshot_sets_and_later_changes_add_to_it(world: World) -> None:
    world.record(
        added(world, item("gone", 9)), viewed(world, item("a", 3), item("b"), after_s=1), added(world, item("a"), 2)
    )
    assert world.cart("ada") == {"a": 4, "b": 1}


def test_a_snapshot_of_nothing_empties_the_cart(world: World) -> None:
    world.record(added(world, item("a", 9)), viewed(world, after_s=1))
    assert world.cart("ada") == {}


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_the_order_of_arrival_changes_no_quantity(world: World, order: tuple[int, ...]) -> None:
    events = [
        added(world, item("a", 2)),
        viewed(world, item("a", 3), after_s=1),
        removed(world, item("a", 1), 2),
        added(world, item("a", 4), 3),
    ]
    for index in order * 2:
        world.record(events[index])
    assert world.cart("ada") == {"a": 6}


def test_a_repetition_past_the_dedupe_window_counts_once(world: World, redis: Redis) -> None:
    events = [added(world, item("a", 2)), removed(world, item("a", 1), 1)]
    world.record(*events)
    for key in redis.scan_iter("fg:{main}:seen:*"):
        redis.delete(key)
    assert world.record(*events).accepted == 2
    assert world.cart("ada") == {"a": 1}


def test_the_same_addition_told_by_a_device_and_by_its_user_counts_once(world: World) -> None:
    by_device = added(world, item("a", 2), anon="x")
    world.record(by_device, replace(by_device, user_id="ada", source="other"))
    assert world.cart("ada") == {"a": 2}


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_product_known_by_its_id_by_its_sku_and_by_both_is_one_line(world: World, order: tuple[int, ...]) -> None:
    events = [
        added(world, item("p1", 1)),
        added(world, item("s1", 1, sku="s1"), 1),
        added(world, item("p1", 1, sku="s1"), 2),
    ]
    for index in order:
        world.record(events[index])
    assert world.cart("ada") == {"p1": 3}


def test_a_removal_by_sku_reduces_the_line_that_was_added_by_id(world: World) -> None:
    world.record(added(world, item("p1", 3, sku="s1")), removed(world, item("s1", 1, sku="s1"), 1))
    assert world.cart("ada") == {"p1": 2}


def test_two_lines_of_one_event_that_share_a_sku_both_count(world: World) -> None:
    world.record(viewed(world, item("p1", 1, sku="style"), item("p2", 1, sku="style")))
    assert sum(world.cart("ada").values()) == 2


def test_variants_are_lines_of_their_own(world: World) -> None:
    world.record(
        added(world, item("a", variant="red")),
        added(world, item("a", variant="blue"), 1),
        removed(world, item("a", None, variant="red"), 2),
    )
    assert world.cart("ada") == {"a/blue": 1}


def test_a_removal_of_everything_that_names_no_variant_takes_all_variants(world: World) -> None:
    world.record(
        added(world, item("a", variant="red")), added(world, item("a", variant="blue"), 1), added(world, item("b"), 2)
    )
    world.record(removed(world, item("a", None), 3))
    assert world.cart("ada") == {"b": 1}


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_a_removal_of_one_that_names_no_variant_reduces_what_came_last_before_it(
    world: World, order: tuple[int, ...]
) -> None:
    events = [
        added(world, item("a", 2, variant="red")),
        added(world, item("a", 2, variant="blue"), 1),
        removed(world, item("a", 1), 2),
        added(world, item("a", 2, variant="green"), 3),
    ]
    for index in order:
        world.record(events[index])
    assert world.cart("ada") == {"a/red": 2, "a/blue": 1, "a/green": 2}


def test_a_thank_you_page_that_names_what_was_bought_by_another_key_is_no_new_cart(world: World) -> None:
    world.record(added(world, item("p1"), user="ada", email=ADA))
    order = world.event("Order Completed", at=START + MINUTE, user="ada", order_id="1", products=(item("p1"),))
    world.record(order, added(world, item("p1", sku="s1"), 61), added(world, item("s1", sku="s1"), 62))
    assert world.cart("ada") == {}
    world.run(world.now + 2 * HOUR)
    assert [mail for mail in world.mails() if mail[0] == "abandoned_cart"] == []


def test_a_removal_that_cannot_be_read_makes_the_cart_unknown_until_the_next_snapshot(world: World) -> None:
    world.record(
        added(world, item("a"), user="ada", email=ADA), world.event("Product Removed", user="ada", at=START + 1)
    )
    world.run(world.now + HOUR)
    assert world.decisions("ada")[-1]["reason"] == "cart_unknown"
    world.record(world.event("Cart Viewed", user="ada", products=(item("b"),)))
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_an_order_ends_the_uncertainty_too(world: World) -> None:
    world.record(
        added(world, item("a"), user="ada", email=ADA), world.event("Product Removed", user="ada", at=START + 1)
    )
    world.record(world.event("Order Completed", user="ada", at=START + 2, order_id="1", products=(item("a"),)))
    world.now += HOUR
    world.record(world.event("Product Added", user="ada", product=item("b")))
    assert world.cart("ada") == {"b": 1}
    assert not world.person("ada").is_cart_unknown


def test_hundreds_of_changes_of_one_line_stay_exact_and_small(world: World, redis: Redis) -> None:
    for second in range(0, 600, 50):
        world.record(*[added(world, item("a", 2), second + number) for number in range(50)])
    world.record(*[removed(world, item("a", 1), 700 + number) for number in range(50)])
    assert world.cart("ada") == {"a": 1150}
    stored: Any = redis.hget(keys.person("main", keys.person_id("main", "ada")), "n:a")
    assert len(stored) < 2500


def test_removals_of_thousands_of_products_are_bounded_and_make_the_cart_unknown(world: World, redis: Redis) -> None:
    world.record(added(world, item("kept"), user="ada", email=ADA))
    for first in range(0, 2000, 100):
        world.record(*[removed(world, item(f"p{number}"), number) for number in range(first, first + 100)])
    assert int(redis.hlen(keys.person("main", keys.person_id("main", "ada")))) < 1100
    assert world.person("ada").is_cart_unknown
    world.record(viewed(world, item("kept"), after_s=3000))
    assert world.cart("ada") == {"kept": 1}
    # What was removed before the snapshot has left, and takes nobody's room.
    world.record(*[added(world, item(f"q{number}"), 3001 + number) for number in range(240)])
    assert len(world.cart("ada")) == 241


LINES = st.builds(
    item,
    st.sampled_from(["a", "b"]),
    st.one_of(st.none(), st.integers(1, 3)),
    variant=st.sampled_from(["", "red", "blue"]),
    sku=st.sampled_from(["", "s1", "s2"]),
)
CHANGES = st.lists(
    st.tuples(st.sampled_from(["Product Added", "Product Removed", "Cart Viewed"]), LINES, st.integers(0, 6)),
    min_size=1,
    max_size=10,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=CHANGES, data=st.data())
def test_any_order_and_repetition_of_changes_gives_the_same_cart(
    redis: Redis, changes: list[Any], data: st.DataObject
) -> None:
    carts = []
    shuffled = data.draw(st.permutations(list(enumerate(changes)) * 2))
    for order in (list(enumerate(changes)), shuffled):
        redis.flushdb()
        world = World(redis)
        for number, (name, line, tick) in order:
            fields = {"products": (line,)} if name == "Cart Viewed" else {"product": line}
            world.record(world.event(name, at=START + tick, user="ada", message_id=f"m{number}", **fields))
        carts.append(world.cart("ada"))
    assert carts[0] == carts[1]


def test_what_is_in_the_cart_is_mailed_with_its_quantities_and_total(world: World) -> None:
    line = replace(product("a", price="10.00"), quantity=3)
    world.record(world.event("Product Added", user="ada", email=ADA, product=line))
    world.record(world.event("Product Removed", user="ada", at=START + 1, product=replace(line, quantity=1)))
    world.run(world.now + HOUR)
    (mail,) = world.esp.mails
    assert [entry["quantity"] for entry in mail.template_data["products"]] == [2]
    assert mail.template_data["total"] == "20.00"

"""State does not depend on arrival: any order, duplication, split and moment of linking gives the same registers.

Equal registers give equal decisions, which are compared at several moments.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from catalog import EVENTS, TRIGGERS
from freshgate.events import Event
from freshgate.state import keys
from freshgate.state.subjects import subject_key
from tests.engine.subjects import BACK_IN_STOCK, SUBJECT_EVENTS
from tests.engine.world import HOUR, MINUTE, START, World, product
from tests.harness.examples import examples
from workers.decisions import Decision
from workers.gate import decide

PRODUCTS = st.sampled_from(["a", "b", "c"])
STEPS = st.one_of(
    st.tuples(st.just("Product Added"), PRODUCTS, st.sampled_from(["", "red"])),
    st.tuples(st.just("Product Removed"), PRODUCTS, st.sampled_from(["", "red"])),
    st.tuples(st.just("Cart Viewed"), st.lists(PRODUCTS, max_size=2), st.just("")),
    st.tuples(st.just("Product Viewed"), PRODUCTS, st.just("")),
    st.tuples(st.just("Order Completed"), st.lists(PRODUCTS, max_size=2), st.just("")),
    st.tuples(st.just("Checkout Step Viewed"), st.just(""), st.just("")),
    st.tuples(st.just("Identify"), st.sampled_from(["x@example.com", "y@example.com"]), st.just("")),
    st.tuples(st.just("Unsubscribed"), st.just(""), st.just("")),
    st.tuples(st.sampled_from(["Product Restocked", "Product Sold Out"]), PRODUCTS, st.just("")),
)
# Few distinct milliseconds, so that ties are common.
STREAM = st.lists(
    st.tuples(STEPS, st.integers(0, 6), st.sampled_from(["user", "anon", "both"])), min_size=1, max_size=12
)


def to_event(world: World, number: int, step: tuple[str, Any, str], tick: int, ids: str) -> Event:
    name, value, variant = step
    fields: dict[str, Any] = {}
    if name in ("Product Added", "Product Removed", "Product Viewed"):
        fields["product"] = product(value, variant=variant)
    elif name in ("Cart Viewed", "Order Completed"):
        fields["products"] = tuple(product(product_id) for product_id in value)
    elif name == "Identify":
        fields["email"] = value
    elif name in ("Product Restocked", "Product Sold Out"):
        fields |= {"product_id": value, "title": f"{value} by event {number}"}
    return world.event(
        name,
        at=START - HOUR + tick,
        user=None if ids == "anon" else "u",
        anon=None if ids == "user" else "x",
        message_id=f"m{number}",
        **fields,
    )


def decisions(world: World) -> list[Decision]:
    """What each trigger about persons decides about this one at three moments."""
    person = keys.person_id("main", "u", None)
    decided = []
    for trigger in world.triggers.values():
        if trigger.subject == "order":
            continue
        values = [subject_key({"product_id": value}) for value in ("a", "b", "c")]
        for key in values if isinstance(trigger.subject, tuple) else [""]:
            records = world.records(keys.timer(trigger.name, "p", person, key))
            decided += [decide(trigger, records, START + delay) for delay in (2 * HOUR, 20 * HOUR, 40 * HOUR)]
    return decided


@settings(max_examples=examples(370), deadline=None, suppress_health_check=list(HealthCheck))
@given(stream=STREAM, data=st.data())
def test_any_order_duplication_split_and_moment_of_linking_gives_the_same_state(
    redis: Redis, stream: list[Any], data: st.DataObject
) -> None:
    stream = [*stream, (("Checkout Step Viewed", "", ""), 0, "both")]
    outcomes = []
    shuffled = data.draw(st.permutations(list(enumerate(stream)) * 2))
    for order in (list(enumerate(stream)), shuffled):
        redis.flushdb()
        world = World(redis, (*TRIGGERS, BACK_IN_STOCK), events=(*EVENTS, *SUBJECT_EVENTS))
        cut = data.draw(st.integers(1, len(order)))
        events = [to_event(world, number, *element) for number, element in order]
        for at in range(0, len(events), cut):
            world.record(*events[at : at + cut])
        outcomes.append((world.state("u"), decisions(world)))
    assert outcomes[0][0] == outcomes[1][0]
    assert outcomes[0][1] == outcomes[1][1]


def test_what_one_user_did_never_reaches_another_of_the_same_device(redis: Redis) -> None:
    world = World(redis)
    world.record(world.event("Product Added", user="ada", anon="x", product=product("a"), email="ada@example.com"))
    world.record(world.event("Product Added", user="bob", anon="x", product=product("b"), email="bob@example.com"))
    world.run(world.now + 35 * MINUTE)
    mails = {
        message.to: [line["product_id"] for line in message.template_data["products"]] for message in world.esp.mails
    }
    assert mails == {"ada@example.com": ["a"], "bob@example.com": ["b"]}

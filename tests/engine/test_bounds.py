"""Everything in Redis expires or is bounded, and an event costs what it changes, not what a person has done before.

Costs are counted in commands and bytes: both are the same on every machine.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from redis import Redis

from adapter.ingest.record import MAX_WORK
from catalog import EVENTS
from freshgate.declare import EventType
from freshgate.errors import EspError
from freshgate.events import Product
from freshgate.state import keys, store
from freshgate.state.store import fcall
from tests.engine.world import HOUR, MINUTE, SHOP, START, World, product

ADA = "ada@example.com"
# Timers live as long as what they are for, and so do the lists that an operator empties.
ENDLESS = ("timers:", "triggers", "leases", "leased", "begun", "list:")


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def endless_keys(redis: Redis) -> list[str]:
    """The shop's keys without a TTL, but for those that may have none."""
    names = [bytes(key).decode().removeprefix(SHOP) for key in redis.scan_iter(f"{SHOP}*")]
    endless = [name for name in names if redis.pttl(SHOP + name) == -1 and not name.startswith(ENDLESS)]
    refusals = ("m:unsubscribed", "m:bounced", "m:spam", "m:subscribed")
    return [
        name
        for name in endless
        if not (name.startswith("a:") and any(redis.hexists(SHOP + name, field) for field in refusals))
    ]


def commands_of(redis: Redis, action: Callable[[], Any]) -> int:
    """How many commands Redis carried out meanwhile, those of functions counted."""

    def total() -> int:
        stats: Any = redis.info("commandstats")
        return sum(int(stat["calls"]) for name, stat in stats.items() if name != "cmdstat_info")

    before = total()
    action()
    return total() - before


def random_event(world: World, draw: random.Random) -> tuple[Any, bool]:
    name = draw.choice([event.name for event in EVENTS] + ["Subscribed"])
    user, anon = draw.choice(["u1", "u2", "u3", None]), draw.choice(["x", "y", None])
    if not user and not anon:
        anon = "z"
    fields: dict[str, Any] = {}
    if draw.random() < 0.6:
        fields["product"] = product(draw.choice("abc"))
    if draw.random() < 0.5:
        fields |= {"order_id": draw.choice("12"), "products": (product("a"),)}
    if draw.random() < 0.3:
        fields["order_email"] = draw.choice([ADA, "q@example.com"])
    email = draw.choice([None, None, ADA, "p@example.com"])
    trusted = draw.random() < 0.7
    if name == "Alias":
        user, fields = user or "u1", {"previous_id": draw.choice(["x", "y", "old"])}
    if not trusted:
        anon = anon or "x"
        name = "Page" if name in ("Alias", "Delete") else name
    at = world.now - draw.randint(0, 3) * HOUR
    return world.event(name, at=at, user=user, anon=anon, email=email, **fields), trusted


@pytest.mark.parametrize("seed", range(12))
def test_every_key_expires_but_for_timers_lists_and_refusals(redis: Redis, seed: int) -> None:
    world = World(redis, events=(*EVENTS, EventType(name="Subscribed", lifts="unsubscribed")))
    draw = random.Random(seed)  # noqa: S311 - the same streams in every run
    errors = [EspError("503"), EspError("no", permanent=True), EspError("lost", ambiguous=True)]
    for _ in range(40):
        event, trusted = random_event(world, draw)
        world.record(event, trusted=trusted)
        if draw.random() < 0.2:
            world.esp.errors = draw.sample(errors, 1)
            world.run(world.now + draw.randint(0, 40) * MINUTE)
        assert endless_keys(redis) == []
    world.esp.errors = []
    world.run(world.now + 60 * 24 * HOUR)
    assert world.due_timers(world.now + 10**12) == []
    for name in ("leases", "leased", "begun"):
        assert not redis.exists(SHOP + name)


def test_a_persons_5000_past_mails_cost_the_next_one_nothing(world: World, redis: Redis) -> None:
    def order_and_mail(number: int) -> None:
        world.now += HOUR
        world.record(world.event("Order Completed", user="ada", email=ADA, order_id=f"o{number}"))
        world.run()

    # Warm: the bounded lists are full.
    for number in range(250):
        order_and_mail(number)
    cost_before = commands_of(redis, lambda: order_and_mail(1000))
    size_before = int(redis.memory_usage(keys.person("main", keys.person_id("main", "ada"))) or 0)
    for number in range(2000, 2500):
        order_and_mail(number)
    # Once a minute of real time a request makes its shop known.
    costs = [commands_of(redis, partial(order_and_mail, number)) for number in (3000, 3001)]
    assert min(costs) <= cost_before
    assert int(redis.memory_usage(keys.person("main", keys.person_id("main", "ada"))) or 0) <= size_before * 1.1


def test_a_trigger_without_a_cap_remembers_a_bounded_number_of_sends(world: World, redis: Redis) -> None:
    for number in range(40):
        world.now += 25 * HOUR
        world.record(world.event("Product Added", user="ada", email=ADA, product=product(f"p{number}")))
        world.run(world.now + HOUR)
    assert len(world.mails()) == 40
    claims: Any = redis.hget(keys.person("main", keys.person_id("main", "ada")), "c:abandoned_cart")
    assert len(claims.split(b"\n")) == 20


def test_a_cart_of_thousands_of_products_is_cut_and_the_next_event_costs_as_ever(world: World, redis: Redis) -> None:
    def add(count: int, first: int) -> None:
        lines = [world.event("Product Added", user="bot", product=product(f"p{first + n}")) for n in range(count)]
        world.record(*lines)

    add(300, 0)
    before = commands_of(redis, lambda: add(50, 1000))
    size = int(redis.memory_usage(keys.person("main", keys.person_id("main", "bot"))) or 0)
    for first in range(2000, 7000, 500):
        add(500, first)
    assert commands_of(redis, lambda: add(50, 40_000)) <= before
    assert len(world.cart("bot")) == 250
    assert int(redis.memory_usage(keys.person("main", keys.person_id("main", "bot"))) or 0) <= size * 1.1


def test_events_of_250_lines_each_are_recorded_in_calls_of_bounded_work(world: World, redis: Redis) -> None:
    lines = tuple(Product(product_id=f"p{number}", name="An ordinary product" * 5) for number in range(250))
    events = [world.event("Cart Viewed", user=f"u{number % 3}", products=lines) for number in range(30)]
    calls = commands_of(redis, lambda: world.record(*events))
    assert len(world.cart("u0")) == 250
    assert calls < 30 * 60


def test_a_call_records_one_event_or_a_bounded_amount_of_work(world: World) -> None:
    lines = tuple(Product(product_id=f"p{number}", name="An ordinary product" * 5) for number in range(250))
    events = [
        *[world.event("Cart Viewed", user="u", products=lines) for _ in range(5)],
        *[world.event("Page", user=f"n{number}", anon=f"d{number}") for number in range(20)],
        *[world.event("Order Completed", user="u", order_id=f"{number}", products=lines) for number in range(5)],
        *[world.event("Product Added", user="u", product=lines[number]) for number in range(250)],
    ]
    plans = [world.planner.plan(event) for event in events]
    work = [plan.work(len(plan.packed())) for plan in plans]
    calls = [len(arguments) - 3 for arguments in world.receiver.recorder._calls(plans, (), False)]
    assert sum(calls) == len(events)
    ends = [sum(calls[:number]) for number in range(len(calls) + 1)]
    for first, end in itertools.pairwise(ends):
        assert end - first == 1 or sum(work[first:end]) <= MAX_WORK
    # A cart of 250 lines travels alone; of small events as many as find room.
    assert calls[:5] == [1] * 5
    assert 20 <= max(calls) <= MAX_WORK


@pytest.mark.parametrize("ids", [{"user": "ada"}, {"email": ADA}])
def test_the_erasure_of_a_large_person_takes_several_calls_and_leaves_nothing(
    world: World, redis: Redis, ids: dict[str, Any]
) -> None:
    world.record(world.event("Identify", user="ada", email=ADA))
    for device in range(12):
        products = [world.event("Product Added", anon=f"d{device}", product=product(f"p{n}")) for n in range(200)]
        world.record(*products, world.event("Page", user="ada", anon=f"d{device}"))
    world.now += 1
    redis.config_resetstat()
    reply = world.record(world.event("Delete", message_id="erase", **ids))
    assert reply.accepted == 1
    stats: Any = redis.info("commandstats")
    # Three of them fill a call.
    assert stats["cmdstat_fcall"]["calls"] == 5
    for device in range(12):
        key = keys.person("main", keys.person_id("main", None, f"d{device}"))
        fields: Any = redis.hkeys(key)
        assert not [field for field in fields if field[:1] == b"+"]
        assert not redis.exists(f"{key}:ev")
    assert world.record(world.event("Delete", message_id="erase", **ids)).duplicate == 1


def test_many_large_persons_are_read_in_several_calls_and_each_is_decided_on(world: World, redis: Redis) -> None:
    users = [f"u{number}" for number in range(8)]
    for user in users:
        lines = tuple(Product(product_id=f"p{n}", name="A long name " * 160) for n in range(250))
        world.record(world.event("Cart Viewed", user=user, email=f"{user}@example.com", products=lines))
    timers = [keys.timer("abandoned_cart", "p", keys.person_id("main", user)) for user in users]
    redis.config_resetstat()
    _, records, _ = world.lookup().read("main", timers, world.now, held=True)
    assert [each.timer.text for each in records] == timers
    assert [len(each.person.cart) for each in records if each.person] == [250] * 8
    stats: Any = redis.info("commandstats")
    # Half a megabyte each: five fill a call.
    assert stats["cmdstat_fcall"]["calls"] == 2


def test_orders_of_many_large_persons_without_an_address_are_read_in_calls_of_bounded_work(
    world: World, redis: Redis
) -> None:
    tellers = [f"u{number}" for number in range(16)]
    for teller in tellers:
        redis.hset(f"{SHOP}p:{teller}", "ids", " ".join(f"a{teller}-{number}" for number in range(200)))
    orders = [keys.timer("order_confirmation", "o", f"o{number}") for number in range(10)]
    for number in range(10):
        tellings: dict[Any, Any] = {f"w:{teller}": f"mgj6k3cw1{place:06d}" for place, teller in enumerate(tellers)}
        redis.hset(f"{SHOP}o:o{number}", mapping=tellings)
    cost = commands_of(redis, lambda: world.lookup().read("main", orders[:1], world.now))
    # Two hundred of them are the first teller's own records.
    assert 600 < cost < 1000
    redis.config_resetstat()
    _, records, _ = world.lookup().read("main", orders, world.now)
    assert [each.timer.text for each in records] == orders
    stats: Any = redis.info("commandstats")
    assert stats["cmdstat_fcall"]["calls"] == 4


def test_a_link_of_a_full_device_costs_a_bounded_number_of_commands(world: World, redis: Redis) -> None:
    world.record(*[world.event("Product Added", anon="bot", product=product(f"p{n}")) for n in range(250)])
    world.record(world.event("Identify", user="ada", email=ADA))
    cost = commands_of(redis, lambda: world.record(world.event("Page", user="ada", anon="bot")))
    assert cost < 80
    assert len(world.cart("ada")) == 250


def test_an_event_of_a_known_user_costs_the_same_with_one_device_as_with_thirty(world: World, redis: Redis) -> None:
    def cost() -> int:
        return commands_of(redis, lambda: world.record(world.event("Page", user="ada")))

    world.record(world.event("Page", user="ada", anon="d0"))
    cost()
    alone = cost()
    world.record(*[world.event("Page", user="ada", anon=f"d{number}") for number in range(30)])
    assert cost() == alone


def test_a_person_of_200_devices_is_decided_on_in_one_trip_and_the_201st_displaces_the_oldest(
    world: World, redis: Redis
) -> None:
    for first in range(0, 260, 20):
        pages = [world.event("Page", user="ada", anon=f"d{n}", at=START + n) for n in range(first, first + 20)]
        world.record(*pages)
    timer = keys.timer("welcome", "p", keys.person_id("main", "ada"))
    stats: Any = redis.info("commandstats")
    before = int(stats["cmdstat_fcall"]["calls"])
    assert len(world.records(timer).person.records) == 201
    after: Any = redis.info("commandstats")
    assert int(after["cmdstat_fcall"]["calls"]) - before == 1


def test_a_trail_of_a_thousand_events_and_decisions_is_bounded(world: World, redis: Redis) -> None:
    for _ in range(50):
        world.record(*[world.event("Product Viewed", user="ada", product=product("a")) for _ in range(20)])
    for number in range(150):
        world.now += 25 * HOUR
        world.record(world.event("Product Added", user="ada", email=ADA, product=product(str(number))))
        world.run(world.now + HOUR)
    ada = keys.person("main", keys.person_id("main", "ada"))
    assert redis.llen(f"{ada}:ev") == 200
    assert redis.llen(f"{ada}:dec") == 100


def test_libraries_of_two_releases_work_side_by_side(world: World, redis: Redis) -> None:
    prefix, text = store.library()
    older = text.replace(prefix, "fg00000000_").replace(
        "local MAX_LINES, MAX_REMOVED = 250", "local MAX_LINES, MAX_REMOVED = 1"
    )
    redis.function_load(older, replace=True)
    world.record(*[world.event("Product Added", user="ada", email=ADA, product=product(name)) for name in "abc"])
    assert set(world.cart("ada")) == {"a", "b", "c"}
    # A library that no process has loaded for a week goes; younger ones stay.
    redis.zadd(store.LIBRARIES, {"fg00000000_lib": 1})
    store.load(redis)
    names: Any = redis.function_list()
    assert [entry[1] for entry in names] == [f"{prefix}lib".encode()]


def test_a_backlog_of_one_trigger_delays_no_other(world: World, redis: Redis) -> None:
    names = [*(f"busy-{number}" for number in range(5)), "quiet"]
    redis.sadd(f"{SHOP}triggers", *names)
    for name in names[:-1]:
        redis.zadd(f"{SHOP}timers:{name}", {f"{name}|p:{number}": 1 for number in range(500)})
    redis.zadd(f"{SHOP}timers:quiet", {"quiet|p:only": 2})
    _, _, *flat = fcall(redis, "claim_due", SHOP, START, 100, 30_000)
    claimed = [timer.decode().partition("|")[0] for timer in flat[::3]]
    assert "quiet" in claimed
    assert len(claimed) >= 80
    assert max(claimed.count(name) for name in names) <= 25


def test_an_operators_list_holds_the_newest_ten_thousand(world: World, redis: Redis) -> None:
    name = keys.operator_list("main", "rejected")
    redis.zadd(name, {f"o:o{number} t|o:o{number} c:t s{number}": number for number in range(10_000)})
    world.esp.errors = [EspError("no such template", permanent=True, status=400)]
    world.record(world.event("Order Completed", user="ada", email="ada@example.com", order_id="1"))
    world.run()
    assert redis.zcard(name) == 10_000
    newest: Any = redis.zrange(name, -1, -1)
    assert b"order_confirmation" in newest[0]
    assert redis.zscore(name, "o:o0 t|o:o0 c:t s0") is None


def test_a_person_with_many_trails_is_shown_with_a_bounded_part_of_each(redis: Redis) -> None:
    store.load(redis)
    devices = [f"ad{number}" for number in range(24)]
    redis.hset(f"{SHOP}p:uada", "ids", " ".join(devices))
    for record_id in ("uada", *devices):
        redis.hset(f"{SHOP}p:{record_id}", "rev", "1")
        redis.rpush(f"{SHOP}p:{record_id}:ev", *[f"ok\t\t{number}" for number in range(200)])
    entries = fcall(redis, "person", SHOP, "", "", "", "uada")[5]
    # The newest 80 of each, of 25 ids; of one alone all 200.
    assert (len(entries), {entry.split(b"\t")[2] for entry in entries}) == (
        2000,
        {b"%d" % number for number in range(80)},
    )
    redis.hdel(f"{SHOP}p:uada", "ids")
    assert len(fcall(redis, "person", SHOP, "", "", "", "uada")[5]) == 200

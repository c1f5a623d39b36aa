"""What recording one event writes: not too much, not too little."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from freshgate.state import keys
from tests.engine.world import World, product

ADA = "ada@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def test_a_message_that_is_repeated_for_ever_is_one_line_more_on_the_trail(world: World, redis: Redis) -> None:
    event = world.event("Product Viewed", user="ada", product=product("a"))
    for _ in range(5):
        world.record(*[event] * 50)
    assert redis.llen(f"{keys.person('main', keys.person_id('main', 'ada'))}:ev") == 2


def test_a_batch_that_is_repeated_for_ever_is_one_line_more_for_each_of_its_events(world: World, redis: Redis) -> None:
    batch = [world.event("Product Viewed", user="ada", product=product(str(number))) for number in range(60)]
    for _ in range(5):
        world.record(*batch)
    trail: Any = redis.lrange(f"{keys.person('main', keys.person_id('main', 'ada'))}:ev", 0, -1)
    assert sorted(line.partition(b"\t")[0] for line in trail) == [b"dup"] * 60 + [b"ok"] * 60


def test_news_of_the_past_moves_the_revision_and_nothing_else(world: World, redis: Redis) -> None:
    newer = world.event("Product Viewed", user="ada", email=ADA, product=product("a"))
    older = world.event("Product Viewed", user="ada", email=ADA, product=product("a"), at=world.now - 1000)
    ada = keys.person("main", keys.person_id("main", "ada", None))
    world.record(newer)
    before: Any = redis.hgetall(ada)
    world.record(older)
    assert redis.hgetall(ada) == {**before, b"rev": b"2"}
    assert before[b"rev"] == b"1"


def test_everything_that_is_known_of_a_person_expires(world: World, redis: Redis) -> None:
    world.record(world.event("Product Added", user="ada", anon="x", email=ADA, product=product("a")))
    names = [bytes(key).decode() for key in redis.scan_iter("fg:{main}:*")]
    lives = {name: int(redis.pttl(name)) for name in names if not name.startswith("fg:{main}:t")}
    assert lives
    assert [key for key, ms in lives.items() if ms <= 0] == []


def test_a_parked_mail_leaves_no_flag_once_it_is_released(world: World, redis: Redis) -> None:
    ada = keys.person("main", keys.person_id("main", "ada", None))
    world.record(world.event("Order Completed", user="ada", order_id="1"))
    world.run()
    assert redis.hget(ada, "parked") == b"1"
    world.record(world.event("Identify", user="ada", email=ADA))
    assert not redis.hexists(ada, "parked")
    world.run()
    assert world.mails() == [("order_confirmation", ADA)]

"""Holds: a held trigger's mails wait, and a claim that a hold overtook is given back and not counted."""

from __future__ import annotations

import pytest
from redis import Redis

from freshgate.errors import EspError
from freshgate.state import keys
from freshgate.telemetry import metrics
from tests.engine.test_sends import ADA, TIMER, count, due, fail, signed_up, with_welcome
from tests.engine.world import HOUR, MINUTE, SHOP, START, World


@pytest.fixture
def world(redis: Redis) -> World:
    return signed_up(World(redis))


@pytest.mark.parametrize("name", ["welcome", "*"])
def test_a_held_trigger_waits_and_others_leave(world: World, redis: Redis, name: str) -> None:
    before = count(metrics.RETIMED, "welcome", "held")
    world.record(world.event("Order Completed", user="bob", email="bob@x.org", order_id="1"))
    confirmation = keys.timer("order_confirmation", "o", keys.order_id("main", "1"))
    redis.sadd(keys.HOLD, name)
    revision = world.person("ada").revision
    world.deliver(TIMER, confirmation)
    # It was never claimed, so nothing of the person moved on.
    assert world.person("ada").revision == revision
    assert [trigger for trigger, _ in world.mails()] == ([] if name == "*" else ["order_confirmation"])
    assert (due(world), world.person("ada").claims("welcome")) == (START + 30_000, [])
    assert count(metrics.RETIMED, "welcome", "held") == before + 1
    assert not redis.exists(f"{SHOP}begun")


@pytest.mark.parametrize("name", ["welcome", "*"])
def test_a_hold_between_reading_and_claiming_gives_the_claim_back(world: World, redis: Redis, name: str) -> None:
    other = f"s9 replay t 0 0 0@news {START}"
    redis.hset(f"{SHOP}p:{world.root('ada')}", "c:welcome", other)
    world.deliver(TIMER, courier=world.interrupted_courier(lambda: redis.sadd(keys.HOLD, name)))
    assert (world.mails(), due(world)) == ([], START + 30_000)
    assert redis.hget(f"{SHOP}p:{world.root('ada')}", "c:welcome") == other.encode()


def test_a_hold_of_another_trigger_between_reading_and_claiming_holds_nothing(world: World, redis: Redis) -> None:
    world.deliver(TIMER, courier=world.interrupted_courier(lambda: redis.sadd(keys.HOLD, "other")))
    assert world.mails() == [("welcome", ADA)]


def test_a_mail_that_was_given_back_is_not_counted(redis: Redis) -> None:
    world = with_welcome(redis, address_cap=(1, HOUR))
    world.deliver(TIMER, courier=world.interrupted_courier(lambda: redis.sadd(keys.HOLD, "*")))
    (address,) = (key for key in redis.keys(f"{SHOP}a:*"))
    assert redis.hget(address, "mails") is None
    redis.delete(keys.HOLD)
    fail(world, retry_after_s=1)
    assert redis.hget(address, "mails") is None
    world.now += MINUTE
    fail(world, ambiguous=True)
    assert redis.hget(address, "mails") is not None


def test_an_esp_that_cannot_be_reached_is_not_asked_again_when_the_person_moved_on(world: World) -> None:
    opened: list[int] = []

    def refuse() -> None:
        opened.append(world.now)
        raise EspError("refused")

    world.esp.before_connect = refuse
    moves = world.interrupted_courier(lambda: world.record(world.event("Page", user="ada")))
    world.deliver(TIMER, courier=moves)
    assert (len(opened), world.outcomes("ada")) == (1, [("welcome", "retry")])


def test_what_another_worker_sent_meanwhile_is_over_without_a_word(world: World) -> None:
    other = world.new_courier()
    world.deliver(TIMER, courier=world.interrupted_courier(lambda: world.deliver(TIMER, courier=other)))
    assert world.outcomes("ada") == [("welcome", "sent")]


def test_the_age_that_a_replay_allows_holds_for_its_retries(world: World, redis: Redis) -> None:
    send = keys.send_id("welcome", world.root("ada"), "")
    redis.hset(f"{SHOP}p:{world.root('ada')}", "c:welcome", f"{send} replay t 0 0 0+{999 * HOUR} -")
    world.now = START + 900 * HOUR
    fail(world, retry_after_s=60)
    (claim,) = world.person("ada").claims("welcome")
    assert (claim.state, claim.limit) == ("retry", 999 * HOUR)

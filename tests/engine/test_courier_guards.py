"""What the courier does between a decision and its mail: turns, crashes, claims of other versions, calls not made."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from redis import Redis

from catalog import EVENTS, TRIGGERS
from freshgate import Ask, Needs
from freshgate.errors import EspError
from freshgate.queue import Item, Job
from freshgate.settings import AskSettings, EspSettings
from freshgate.state import keys
from freshgate.state.clock import RedisClock
from freshgate.telemetry import metrics
from tests.engine.test_needs import PING, PINGED, PROFILED
from tests.engine.test_needs_in_batches import BatchingEsp
from tests.engine.world import HOUR, MINUTE, SHOP, START, World, product
from tests.harness.truth_server import Reply, TruthServer
from workers import courier as courier_module
from workers.asker import Asker
from workers.courier import Courier
from workers.outlet import Outlet
from workers.pace import Pace

ADA = "ada@example.com"
WELCOME = keys.timer("welcome", "p", keys.person_id("main", "ada"))
CART = keys.timer("abandoned_cart", "p", keys.person_id("main", "ada"))


@pytest.fixture
def world(redis: Redis) -> World:
    """Ada signed up just now; her welcome is due."""
    world = World(redis)
    world.record(world.event("Signed Up", user="ada", email=ADA))
    return world


def observed(metric: Any, *labels: str) -> float:
    """How many values a histogram has."""
    (family,) = (metric.labels(*labels) if labels else metric).collect()
    return float(next(sample.value for sample in family.samples if sample.name.endswith("_count")))


def deliver(world: World, courier: Courier, *items: Item) -> None:
    courier.deliver(Job(sends=items, created=world.now, shop="main"))


def courier_of(
    world: World, settings: EspSettings | None = None, feedback_wait_ms: int | None = None, batch: int = 1
) -> Courier:
    """A worker of the world's account with these settings."""
    return Courier(
        world.client,
        world.triggers,
        world.esp,
        world.lookup(),
        deadline_ms=10_000,
        clock=lambda: world.now,
        feedback_wait_ms=feedback_wait_ms,
        batch=batch,
        oracle=world.oracle,
        outlet=Outlet(world.client, "sendgrid", {"sendgrid": settings or EspSettings()}, RedisClock(lambda: world.now)),
    )


def leave_claim(world: World, field: str, send_id: str, version: str) -> None:
    """A worker claimed that send, and died."""
    owner = f"{SHOP}p:{world.root('ada')}"
    world.client.hset(owner, field, f"{send_id} claimed dead {world.now} {world.now - 5} 0 {version or '-'}")


def test_a_returned_send_that_is_decided_on_anew_counts_as_one_crash(world: World) -> None:
    moving = world.interrupted_courier(lambda: world.record(world.event("Page", user="ada")), times=3)
    world.client.hset(f"{SHOP}begun", WELCOME, 0)
    deliver(world, moving, Item(WELCOME, 1))
    assert world.mails() == [("welcome", ADA)]


def test_a_send_that_the_gate_withholds_is_no_call(world: World) -> None:
    before = observed(metrics.GATE_TO_CALL)
    moving = world.interrupted_courier(lambda: world.record(world.event("Page", user="ada")), times=1)
    world.deliver(WELCOME, courier=moving)
    assert world.mails() == [("welcome", ADA)]
    assert observed(metrics.GATE_TO_CALL) == before + 1


def test_a_send_that_has_ended_is_not_decided_on_once_more(world: World) -> None:
    world.deliver(WELCOME)
    before = observed(metrics.GATE, "welcome")
    world.deliver(WELCOME)
    assert (world.outcomes("ada"), observed(metrics.GATE, "welcome")) == ([("welcome", "sent")], before)


def test_a_claim_names_its_account_only_where_another_one_may_get_the_send(world: World) -> None:
    claimed: list[str] = []
    world.esp.before_send = lambda _: claimed.append(world.person("ada").claims("welcome")[0].account)
    world.deliver(WELCOME)
    assert claimed == [""]


def paced_world(redis: Redis) -> tuple[World, Courier, Pace]:
    settings = EspSettings(pace=(10, HOUR))
    world = World(redis)
    return world, courier_of(world, settings), Pace(redis, "sendgrid", settings)


def test_the_turn_of_a_mail_that_left_is_used_up(redis: Redis) -> None:
    world, courier, pace = paced_world(redis)
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("mug")))
    world.now += HOUR
    assert pace.take(1) == 1
    deliver(world, courier, Item(CART, 0, 1))
    assert world.mails() == [("abandoned_cart", ADA)]
    assert pace.take(1) == 0


def test_a_mail_without_a_turn_gives_none_back(redis: Redis) -> None:
    world, courier, pace = paced_world(redis)
    world.record(world.event("Signed Up", user="ada", email=ADA))
    deliver(world, courier, Item(WELCOME, 0, 0))
    assert world.mails() == [("welcome", ADA)]
    slot = redis.hget(f"{keys.account('sendgrid')}pace", "slot")
    assert (slot, pace.take(1)) == (None, 1)


class SetAside:
    """The sends that were set aside, and whether their answers are in."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.is_answered = threading.Event()

    def resume(self, item: Item) -> Callable[[], object]:
        return self.is_answered.set

    def add(self, item: Item) -> None:
        self.items.append(item)


def test_a_send_that_waits_for_its_answers_keeps_its_turn(redis: Redis) -> None:
    settings = EspSettings(pace=(10, HOUR))
    ask = Ask(name="profile_api", url="https://cdp.example/people/{profile.email}", timeout="5s", answer="city")
    trigger = replace(PINGED, needs=(Needs("profile.city", ask=ask),))
    with TruthServer() as truth:
        truth.reply = Reply({"city": "Graz"})
        asker = Asker(redis, [ask], {"profile_api": AskSettings(base_url=truth.url)})
        world = World(redis, (trigger,), events=(*EVENTS, PROFILED, PING), oracle=asker)
        world.record(world.event("Pinged", user="ada", email=ADA))
        courier, pace, aside = courier_of(world, settings), Pace(redis, "sendgrid", settings), SetAside()
        assert pace.take(1) == 1
        item = Item(world.due_timers(START + HOUR)[0][0], 0, 1)
        job = Job(sends=(item,), created=START, shop="main")
        courier.carry_out(job, [(item, float("inf"))], aside=aside)
        assert aside.items == [item]
        assert pace.take(1) == 0, "it is the send's, which leaves once its answers are in"
        assert aside.is_answered.wait(20)
        courier.carry_out(job, [(item, float("inf"))], aside=aside)
    assert (world.mails(), aside.items) == ([("pinged", ADA)], [item])
    assert pace.take(1) == 0


def test_a_batch_that_was_claimed_too_slowly_gives_its_place_to_its_halves(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(redis, esp=BatchingEsp())
    for user in ("ada", "bob"):
        world.record(world.event("Signed Up", user=user, email=f"{user}@example.com"))
    limits = [-1.0, 9.0, 9.0]
    world.esp.before_connect = lambda: monkeypatch.setattr(courier_module, "MAX_CLAIM_TO_CALL_S", limits.pop(0))
    courier = courier_of(world, EspSettings(max_in_flight=1), batch=10)
    deliver(world, courier, *(Item(timer, 0) for timer, _ in world.due_timers(START + HOUR)))
    assert sorted(world.mails()) == [("welcome", ADA), ("welcome", "bob@example.com")]
    assert limits == []


class TestOrphanOfAnOlderVersion:
    """A worker died on the mail of an older version; the cart has moved on since."""

    @pytest.fixture
    def resending(self, redis: Redis) -> World:
        triggers = [replace(t, unknown="resend") if t.name == "abandoned_cart" else t for t in TRIGGERS]
        return self.with_orphan(World(redis, triggers))

    def with_orphan(self, world: World, *, is_outdated: bool = True) -> World:
        world.record(world.event("Product Added", user="ada", email=ADA, product=product("mug")))
        version = world.person("ada").mark("cart")
        assert version
        if is_outdated:
            world.now += MINUTE
            world.record(world.event("Product Added", user="ada", email=ADA, product=product("cup")))
        leave_claim(
            world, "c:abandoned_cart", keys.send_id("abandoned_cart", world.root("ada"), version.stamp), version.stamp
        )
        world.now += 10 * HOUR
        return world

    def test_an_esp_that_knows_the_send_is_not_asked_about_the_older_one(self, redis: Redis) -> None:
        world = self.with_orphan(World(redis))
        world.esp.idempotency_s = 48 * 3600  # type: ignore[attr-defined]
        deliver(world, world.new_courier(), Item(CART, 0))
        assert world.mails() == []
        assert [claim.state for claim in world.person("ada").claims("abandoned_cart")] == ["unknown"]
        assert dict(world.due_timers(world.now))[CART] == world.now, "the newer one is decided on by itself"

    def test_what_is_unknown_is_over(self, redis: Redis) -> None:
        world = self.with_orphan(World(redis), is_outdated=False)
        deliver(world, world.new_courier(), Item(CART, 0))
        assert (world.mails(), world.due_timers(world.now + 99 * HOUR)) == ([], [])

    def test_the_newer_one_does_not_wait_for_the_report_of_the_older(self, resending: World) -> None:
        deliver(resending, courier_of(resending, feedback_wait_ms=11 * HOUR), Item(CART, 0))
        assert resending.mails() == [("abandoned_cart", ADA)]

    def test_the_same_one_waits_for_its_report(self, redis: Redis) -> None:
        triggers = [replace(t, unknown="resend") if t.name == "abandoned_cart" else t for t in TRIGGERS]
        world = self.with_orphan(World(redis, triggers), is_outdated=False)
        deliver(world, courier_of(world, feedback_wait_ms=11 * HOUR), Item(CART, 0))
        assert world.mails() == []
        assert dict(world.due_timers(START + 99 * HOUR))[CART] == START + 11 * HOUR
        world.now = START + 11 * HOUR
        deliver(world, courier_of(world, feedback_wait_ms=11 * HOUR), Item(CART, 0))
        assert world.mails() == [("abandoned_cart", ADA)]


@pytest.mark.parametrize(("knows_sends", "waits"), [(True, False), (False, True)])
def test_an_esp_that_knows_sends_is_asked_again_without_waiting_for_its_report(
    redis: Redis, knows_sends: bool, waits: bool
) -> None:
    triggers = [replace(t, unknown="resend") if t.name == "abandoned_cart" else t for t in TRIGGERS]
    world = World(redis, triggers)
    world.esp.idempotency_s = 48 * 3600 if knows_sends else 0  # type: ignore[attr-defined]
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("mug")))
    world.now += 30 * MINUTE
    world.esp.errors = [EspError("dropped", ambiguous=True)]
    deliver(world, courier_of(world, feedback_wait_ms=11 * HOUR), Item(CART, 0))
    assert (dict(world.due_timers(START + 99 * HOUR))[CART] == world.now + 11 * HOUR) is waits


@pytest.mark.parametrize(("ms", "state"), [(2000, "sent"), (2001, "stale")])
def test_a_field_that_is_too_old_once_the_connection_stands_is_not_mailed(redis: Redis, ms: int, state: str) -> None:
    trigger = replace(PINGED, needs=(Needs("profile.city", fresh_for="1h"),))
    world = World(redis, (trigger,), events=(*EVENTS, PROFILED, PING))
    world.record(world.event("Profile Updated", user="ada", email=ADA, city="Linz", at=START - HOUR))
    world.record(world.event("Pinged", user="ada"))
    world.esp.before_connect = lambda: setattr(world, "now", START + ms)
    world.run()
    assert world.outcomes("ada") == [("pinged", state)]
    assert len(world.mails()) == (state == "sent")

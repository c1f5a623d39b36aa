"""Outcomes on their way from Redis to a shop's CDP: each arrives, under the same id each time, whoever dies when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from freshgate.errors import EspError
from freshgate.outcomes import rules_of
from freshgate.settings import OutcomeSettings, Settings
from freshgate.state.store import fcall
from freshgate.telemetry import metrics
from tests.engine.test_crash_points import Death, Dying, DyingRedis
from tests.engine.world import MINUTE, SECOND, SHOP, World
from workers.outcomes import build_destination
from workers.outcomes.sender import OutcomeSender
from workers.sandbox.server import Sandbox

Deliveries = list[str]


class Cdp:
    """A destination that remembers the message ids of each call, or raises the next of `errors`.

    refuses  message ids for which a call is refused
    """

    def __init__(self) -> None:
        self.calls: list[Deliveries] = []
        self.errors: list[EspError] = []
        self.refuses: set[str] = set()
        self.before: Callable[[], object] = lambda: None
        self.users: dict[str, str] = {}

    def deliver(self, deliveries: Any) -> None:
        self.before()
        ids = [delivery.message_id for delivery in deliveries]
        self.calls.append(ids)
        if self.errors:
            raise self.errors.pop(0)
        if self.refuses & set(ids):
            raise EspError("400", permanent=True, status=400)
        self.users |= {delivery.message_id: delivery.user_id for delivery in deliveries}

    @property
    def arrived(self) -> list[str]:
        return list(self.users)


class DyingCdp(Cdp):
    def __init__(self, dying: Dying) -> None:
        super().__init__()
        self.dying = dying

    def deliver(self, deliveries: Any) -> None:
        self.dying.call(lambda: Cdp.deliver(self, deliveries))


class TellingShop:
    """A world with `count` outcomes that wait, and its sender."""

    def __init__(self, client: Redis, **settings: Any) -> None:
        self.wish = OutcomeSettings(url="http://127.0.0.1:9", **settings)
        self.world = World(client, outcomes=rules_of(Settings(outcomes={"main": self.wish})))
        self.cdp = Cdp()
        self.client = client
        self.sender = self.new_sender()
        self._orders = 0

    def new_sender(self, client: Redis | None = None) -> OutcomeSender:
        cdp: Any = self.cdp
        return OutcomeSender(client or self.client, "main", self.wish, cdp, clock=lambda: self.world.now)

    def order(self, count: int = 1, user: str = "ada") -> None:
        for _ in range(count):
            self._orders += 1
            self.world.record(
                self.world.event(
                    "Order Completed", user=user, email=f"u{self._orders}@x.example", order_id=str(self._orders)
                )
            )
        self.world.run()

    @property
    def waiting(self) -> int:
        count: Any = self.client.xlen(f"{SHOP}outcomes")
        return int(count)


@pytest.fixture
def shop(redis: Redis) -> TellingShop:
    return TellingShop(redis)


def test_what_waits_leaves_in_batches_oldest_first(shop: TellingShop) -> None:
    shop.order(103)
    assert [shop.sender.tick(), shop.sender.tick()] == [0.0, 0.0]
    assert [len(call) for call in shop.cdp.calls] == [100, 3]
    assert shop.waiting == 0
    assert shop.sender.tick() > 0


def test_an_outcome_is_sent_with_the_user_id_of_its_person(shop: TellingShop) -> None:
    shop.order()
    shop.sender.tick()
    assert list(shop.cdp.users.values()) == ["ada"]


@pytest.mark.parametrize(("asked", "user_id"), [(False, ""), (True, "ada@x.example")])
def test_a_user_id_that_is_an_address_leaves_only_if_that_was_asked_for(
    redis: Redis, asked: bool, user_id: str
) -> None:
    shop = TellingShop(redis, include_address=asked)
    shop.order(user="ada@x.example")
    shop.sender.tick()
    assert list(shop.cdp.users.values()) == [user_id]


@pytest.mark.parametrize(
    "error",
    [
        EspError("503", status=503),
        EspError("out of time", ambiguous=True),
        EspError("401", blocked=True, status=401),
    ],
)
def test_what_did_not_arrive_is_sent_again_under_the_same_id_after_a_pause(shop: TellingShop, error: EspError) -> None:
    shop.order(2)
    shop.cdp.errors = [error]
    shop.sender.tick()
    assert shop.waiting == 2
    # Whoever asks: the pause is everybody's.
    shop.new_sender().tick()
    assert len(shop.cdp.calls) == 1
    shop.world.now += MINUTE
    shop.sender.tick()
    # After a 401 one of them tries first.
    shop.sender.tick()
    assert shop.cdp.calls[0] == [message_id for call in shop.cdp.calls[1:] for message_id in call]
    assert shop.waiting == 0


def test_the_pause_grows_and_is_as_long_as_was_asked_for(shop: TellingShop) -> None:
    shop.order()
    shop.cdp.errors = [EspError("429", status=429, retry_after_s=120.0), *[EspError("503", status=503)] * 3]
    shop.sender.tick()
    shop.world.now += 119 * SECOND
    shop.sender.tick()
    assert len(shop.cdp.calls) == 1
    for _ in range(3):
        shop.world.now += 6 * MINUTE
        shop.sender.tick()
    assert len(shop.cdp.calls) == 4
    shop.world.now += 5 * SECOND
    shop.sender.tick()
    assert len(shop.cdp.calls) == 4


def test_failures_in_a_row_open_the_breaker_and_a_probe_closes_it(shop: TellingShop) -> None:
    shop.order()
    shop.cdp.errors = [EspError("503", status=503)] * 5
    for _ in range(5):
        shop.sender.tick()
        shop.world.now += 6 * MINUTE
    state: Any = shop.client.hgetall("fg:account:{outcomes.main}:state")
    assert state[b"breaker"] == b"open"
    shop.sender.tick()
    assert (shop.waiting, shop.client.hget("fg:account:{outcomes.main}:state", "breaker")) == (0, None)


def test_one_outcome_that_is_refused_costs_no_other(shop: TellingShop) -> None:
    shop.order(9)
    shop.cdp.errors = [EspError("503", status=503)]
    shop.sender.tick()
    shop.cdp.refuses = {shop.cdp.calls[0][4]}
    shop.world.now += MINUTE
    refused = metrics.OUTCOMES_SENT.labels("main", "Email Sent", "refused")._value.get()
    shop.sender.tick()
    assert (len(shop.cdp.arrived), shop.waiting) == (8, 0)
    assert metrics.OUTCOMES_SENT.labels("main", "Email Sent", "refused")._value.get() == refused + 1


def test_a_failure_among_the_halves_keeps_what_did_not_arrive_and_pauses(shop: TellingShop) -> None:
    shop.order(4)
    shop.cdp.errors = [EspError("413", permanent=True, status=413)]
    shop.cdp.before = lambda: shop.cdp.errors.append(EspError("503", status=503)) if len(shop.cdp.calls) == 2 else None
    shop.sender.tick()
    assert (len(shop.cdp.arrived), shop.waiting) == (2, 2)
    shop.sender.tick()
    assert len(shop.cdp.calls) == 3


def test_a_rate_is_kept(redis: Redis) -> None:
    shop = TellingShop(redis, rate=(10, SECOND))
    shop.order(30)
    shop.sender.tick()
    assert 0 < len(shop.cdp.arrived) < 30
    assert shop.waiting == 30 - len(shop.cdp.arrived)


def test_two_processes_do_not_send_the_same_outcome(shop: TellingShop) -> None:
    shop.order(3)
    shop.cdp.before = lambda: shop.new_sender().tick() if not shop.cdp.calls else None
    shop.sender.tick()
    assert [len(call) for call in shop.cdp.calls] == [3]


def test_no_mail_waits_for_a_destination_that_hangs(shop: TellingShop) -> None:
    shop.order()
    mails = len(shop.world.mails())
    shop.cdp.before = lambda: shop.order() if not shop.cdp.calls else None
    shop.sender.tick()
    assert len(shop.world.mails()) == mails + 1
    assert shop.waiting == 1


def send_and_die(redis: Redis, server: str, at: int, after: bool) -> tuple[TellingShop, Dying]:
    """Sends three outcomes by a process that dies at its command or call number `at`, and lets another one follow."""
    redis.flushdb()
    shop, dying = TellingShop(redis), Dying(at, after)
    shop.order(3)
    client: Any = DyingRedis.from_url(server)
    client.dying = dying
    cdp: Any = DyingCdp(dying)
    shop.cdp = cdp
    try:
        sender = shop.new_sender(client)
        while shop.waiting:
            sender.tick()
    except Death:
        shop.world.now += 16 * SECOND
    shop.new_sender().tick()
    return shop, dying


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_dying_at_any_step_loses_no_outcome_and_repeats_it_under_its_id(
    redis: Redis, redis_server: str, after: bool
) -> None:
    _, dying = send_and_die(redis, redis_server, 0, after)
    assert dying.count > 3
    for at in range(1, dying.count + 1):
        shop, _ = send_and_die(redis, redis_server, at, after)
        assert (len(shop.cdp.arrived), shop.waiting) == (3, 0), f"died at {at} of {dying.count}"


def test_redis_that_lost_its_functions_gets_them_again(shop: TellingShop) -> None:
    shop.order()
    shop.client.function_flush()
    shop.sender.tick()
    assert shop.waiting == 0


@pytest.mark.parametrize(
    ("kind", "path", "user"), [("segment", "", "userId"), ("webhook", "/hooks/outcomes", "user_id")]
)
def test_the_sandbox_takes_what_is_sent_to_it(shop: TellingShop, kind: Any, path: str, user: str) -> None:
    shop.order()
    with Sandbox() as sandbox:
        wish = OutcomeSettings(kind=kind, url=sandbox.url + path)
        destination = build_destination("main", wish)
        OutcomeSender(shop.client, "main", wish, destination, clock=lambda: shop.world.now).tick()
        assert shop.waiting == 0
        assert [entry[user] for entry in sandbox.memory["outcomes"]] == ["ada"]
        destination.close()


def test_how_many_wait_and_for_how_long_is_counted(shop: TellingShop) -> None:
    shop.order(2)
    count: Any = fcall(shop.client, "count_outcomes", SHOP)
    assert (count[0], count[1].isdigit(), count[2]) == (2, True, 0)

"""Several ESP accounts: which one a send leaves through, and when: breaker, failover, limits and pace in the worker."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY
from redis import Redis
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from adapter.ingest.receive import Receiver
from catalog import TRIGGERS
from freshgate.errors import EspError
from freshgate.queue import Item, Job
from freshgate.routing import Routes
from freshgate.settings import EspSettings
from freshgate.state import keys
from freshgate.state.clock import RedisClock
from freshgate.state.store import fcall
from tests.engine.world import SECOND, RememberingEsp, World, product
from workers.courier import Courier
from workers.outlet import Outlet
from workers.pace import Pace

# The confirmations leave through `shop`, everything else through `news`.
ACCOUNTS = {trigger.name: "shop" if trigger.name == "order_confirmation" else "news" for trigger in TRIGGERS}


@pytest.fixture
def world(redis: Redis) -> World:
    """A shop whose worker serves the account `shop`."""
    esp = RememberingEsp()
    esp.name = "shop"
    world = World(redis, [replace(trigger, esp=ACCOUNTS[trigger.name]) for trigger in TRIGGERS], esp)
    world.receiver = Receiver(redis, world.planner, Routes(["news", "shop"], ACCOUNTS), clock=lambda: world.now)
    return world


def queued(redis: Redis, account: str) -> list[str]:
    """The triggers of the sends that wait in the queue of an account."""
    jobs: Any = redis.lrange(f"rq:queue:freshgate-{account}", 0, -1)
    payloads = [RqJob.fetch(job.decode(), connection=redis, serializer=JSONSerializer).args[0] for job in jobs]
    return [timer.partition("|")[0] for payload in payloads for timer, _ in payload["sends"]]


def test_the_receiver_enqueues_each_send_for_the_account_of_its_trigger(redis: Redis, world: World) -> None:
    signed_up = world.event("Signed Up", user="ada", email="ada@example.com")
    ordered = world.event("Order Completed", user="ada", email="ada@example.com", order_id="o1")
    assert world.record(signed_up, ordered).accepted == 2
    assert queued(redis, "news") == ["welcome"]
    assert queued(redis, "shop") == ["order_confirmation"]


def test_a_send_in_the_queue_of_another_account_goes_back_to_the_timers_and_is_not_sent(world: World) -> None:
    world.record(world.event("Product Added", user="ada", email="ada@example.com", product=product("mug")))
    ((timer, due),) = world.due_timers(world.now + 10 * 3600 * SECOND)
    world.now = due
    fcall(world.client, "claim_due", keys.shop("main"), due, 10, 30_000, "")
    assert world.due_timers(world.now) == [], "a job has it"
    world.deliver(timer)
    assert world.mails() == []
    assert world.due_timers(world.now) == [(timer, due)], "due at once, for the queue of its own account"
    assert world.outcomes("ada") == []
    other = RememberingEsp()
    other.name = "news"
    world.esp = other
    world.deliver(timer, courier=world.new_courier())
    assert world.mails() == [("abandoned_cart", "ada@example.com")]


class Account:
    """The worker of an account of the world, with an ESP of its own, and what it knows always fresh."""

    def __init__(self, world: World, name: str, **accounts: EspSettings) -> None:
        self.world = world
        self.esp = RememberingEsp()
        self.esp.name = name
        settings = {"shop": EspSettings(), "news": EspSettings()} | accounts
        outlet = Outlet(world.client, name, settings, RedisClock(lambda: world.now))
        self.courier = Courier(
            world.client,
            world.triggers,
            self.esp,
            world.lookup(),
            deadline_ms=10_000,
            clock=lambda: world.now,
            outlet=outlet,
        )
        for account in (outlet._account, outlet._failover, *outlet._covered.values()):
            if account:
                account._sync_interval_s = 0.0

    def deliver(self, *timers: str, paced: int = 0) -> None:
        items = tuple(Item(timer, 0, paced) for timer in timers)
        self.courier.deliver(Job(sends=items, created=self.world.now, shop="main"))


def order(world: World, number: int = 1) -> str:
    """An order of somebody; its timer."""
    user = f"user-{number}"
    world.record(world.event("Order Completed", user=user, email=f"{user}@example.com", order_id=f"o{number}"))
    return keys.timer("order_confirmation", "o", keys.order_id("main", f"o{number}"))


def due_of(world: World, timer: str) -> int:
    return dict(world.due_timers(world.now + 24 * 3600 * SECOND))[timer]


def allow_repeats(*accounts: Account) -> None:
    """A confirmation whose answer was lost may be sent again."""
    for account in accounts:
        confirmation = account.courier._intake._triggers["order_confirmation"]
        account.courier._intake._triggers = {"order_confirmation": replace(confirmation, unknown="resend")}


BLOCKED = EspError("401", blocked=True, status=401)
LOST = EspError("connection lost", ambiguous=True)


def test_sends_wait_in_their_timers_while_the_breaker_is_open_and_leave_once(world: World) -> None:
    shop = Account(world, "shop")
    shop.esp.errors = [BLOCKED]
    shop.deliver(order(world, 1))
    waiting = [order(world, number) for number in range(2, 5)]
    shop.deliver(*waiting)
    assert shop.esp.mails == []
    assert {due_of(world, timer) for timer in waiting} == {world.now + 5 * SECOND}
    assert world.outcomes("user-2") == [("order_confirmation", "waiting")]
    assert world.decisions("user-2")[0]["reason"] == "breaker_open"
    world.now += 5 * SECOND
    for timer in waiting * 2:
        shop.deliver(timer)
    assert [mail.to for mail in shop.esp.mails] == [f"user-{number}@example.com" for number in range(2, 5)]


def test_what_waits_is_gated_once_more(world: World) -> None:
    shop = Account(world, "shop")
    shop.esp.errors = [BLOCKED]
    shop.deliver(order(world, 1))
    shop.deliver(timer := order(world, 2))
    world.now += SECOND
    world.record(world.event("Order Cancelled", user="user-2", order_id="o2"))
    world.now += 5 * SECOND
    shop.deliver(timer)
    assert shop.esp.mails == []
    assert world.outcomes("user-2")[-1] == ("order_confirmation", "superseded")


def test_an_open_breaker_makes_nothing_dead_and_what_is_too_old_ends_as_stale(world: World) -> None:
    shop = Account(world, "shop")
    fcall(world.client, "breaker", keys.account("shop"), world.now, "open", "operator")
    timer, started = order(world), world.now
    while dict(world.due_timers(started + 25 * 3600 * SECOND)):
        world.now = due_of(world, timer)
        shop.deliver(timer)
        # An hour a time is enough for a test.
        world.now += 3600 * SECOND
    assert {state for _, state in world.outcomes("user-1")} == {"waiting", "stale"}


def test_a_probe_that_the_gate_withholds_leaves_the_next_send_to_probe(world: World) -> None:
    shop = Account(world, "shop")
    shop.esp.errors = [BLOCKED]
    shop.deliver(order(world, 1))
    world.now += 5 * SECOND
    shop.deliver(order(world, 2), order(world, 3))
    assert len(shop.esp.mails) == 2


class TestFailover:
    SETTINGS = {"shop": EspSettings(failover="news")}

    @pytest.fixture
    def shop(self, world: World) -> Account:
        return Account(world, "shop", **self.SETTINGS)

    @pytest.fixture
    def news(self, world: World) -> Account:
        return Account(world, "news", **self.SETTINGS)

    def open(self, world: World, shop: Account) -> None:
        shop.esp.errors = [BLOCKED]
        shop.deliver(order(world, 99))

    def test_it_sends_while_the_breaker_is_open_and_not_before_or_after(
        self, world: World, shop: Account, news: Account
    ) -> None:
        timers = [order(world, number) for number in range(3)]
        news.deliver(timers[0])
        assert news.esp.mails == []
        self.open(world, shop)
        shop.deliver(timers[1])
        assert due_of(world, timers[1]) == world.now + 300, "the timers route it at once"
        news.deliver(timers[1])
        assert [mail.to for mail in news.esp.mails] == ["user-1@example.com"]
        fcall(world.client, "breaker", keys.account("shop"), world.now, "close", "")
        news.deliver(timers[2])
        assert len(news.esp.mails) == 1
        shop.deliver(*timers)
        assert len(shop.esp.mails) == 2

    def test_what_it_sends_in_place_of_the_other_is_counted_and_nothing_else(
        self, world: World, shop: Account, news: Account
    ) -> None:
        def counted() -> float:
            labels = {"trigger": "order_confirmation", "esp": "shop"}
            return REGISTRY.get_sample_value("freshgate_failed_over_total", labels) or 0

        before = counted()
        shop.deliver(order(world, 1))
        assert (len(shop.esp.mails), counted()) == (1, before)
        self.open(world, shop)
        news.deliver(order(world, 2))
        assert (len(news.esp.mails), counted()) == (1, before + 1)

    def test_an_account_that_is_nobodys_failover_sends_nothing_of_others(self, world: World, shop: Account) -> None:
        bulk = Account(world, "bulk", bulk=EspSettings(), **self.SETTINGS)
        self.open(world, shop)
        bulk.deliver(timer := order(world))
        assert bulk.esp.mails == []
        assert due_of(world, timer) == world.now

    def test_the_claim_of_a_mail_of_others_names_the_account(self, world: World, shop: Account, news: Account) -> None:
        self.open(world, shop)
        timer, accounts = order(world), []

        def note(_: Any) -> None:
            (claim,) = world.records(timer).subject.claims("order_confirmation")
            accounts.append(claim.account)

        news.esp.before_send = note
        news.deliver(timer)
        assert accounts == ["news"]

    def test_a_limit_is_waited_for_and_is_no_reason_to_fail_over(self, world: World) -> None:
        shop = Account(world, "shop", shop=EspSettings(failover="news", rate=(2, 60 * SECOND)))
        timers = [order(world, number) for number in range(2)]
        shop.deliver(*timers)
        assert due_of(world, timers[1]) == world.now + 30 * SECOND

    def test_its_own_account_asks_again_about_what_the_other_lost(
        self, world: World, shop: Account, news: Account
    ) -> None:
        allow_repeats(shop, news)
        self.open(world, shop)
        news.esp.errors = [LOST]
        news.deliver(timer := order(world))
        fcall(world.client, "breaker", keys.account("shop"), world.now, "close", "")
        world.now = due_of(world, timer)
        shop.deliver(timer)
        assert [mail.to for mail in shop.esp.mails] == ["user-1@example.com"]

    def test_a_send_that_its_own_account_refused_leaves_through_the_other(
        self, world: World, shop: Account, news: Account
    ) -> None:
        timer = order(world)
        shop.esp.errors = [BLOCKED]
        shop.deliver(timer)
        world.now = due_of(world, timer)
        news.deliver(timer)
        assert len(news.esp.mails) == 1

    def test_a_send_that_is_unknown_never_leaves_through_the_other(
        self, world: World, shop: Account, news: Account
    ) -> None:
        timer = order(world)
        shop.esp.errors = [LOST]
        shop.deliver(timer)
        self.open(world, shop)
        world.record(world.event("Order Completed", user="user-1", email="user-1@example.com", order_id="o1"))
        news.deliver(timer)
        assert news.esp.mails == []
        assert ("order_confirmation", "unknown") in world.outcomes("user-1")

    def test_a_send_whose_answer_was_lost_waits_for_its_own_account_even_if_it_may_be_repeated(
        self, world: World, shop: Account, news: Account
    ) -> None:
        allow_repeats(shop, news)
        timer = order(world)
        shop.esp.errors = [LOST]
        shop.deliver(timer)
        self.open(world, shop)
        world.now = due_of(world, timer)
        news.deliver(timer)
        assert news.esp.mails == []
        assert world.outcomes("user-1")[-1] == ("order_confirmation", "waiting")
        fcall(world.client, "breaker", keys.account("shop"), world.now, "close", "")
        world.now = due_of(world, timer)
        shop.deliver(timer)
        assert len(shop.esp.mails) == 1

    def test_a_clear_answer_after_a_lost_one_does_not_make_it_the_others(
        self, world: World, shop: Account, news: Account
    ) -> None:
        allow_repeats(shop, news)
        timer = order(world)
        for error in (LOST, EspError("503", status=503)):
            shop.esp.errors = [error]
            shop.deliver(timer)
            world.now = due_of(world, timer)
        self.open(world, shop)
        news.deliver(timer)
        assert news.esp.mails == []
        assert world.outcomes("user-1")[-1] == ("order_confirmation", "waiting")

    def test_a_claim_that_is_given_back_leaves_it_with_its_account(
        self, world: World, shop: Account, news: Account
    ) -> None:
        allow_repeats(shop, news)
        timer = order(world)
        shop.esp.errors = [LOST]
        shop.deliver(timer)
        world.now = due_of(world, timer)

        def hold() -> None:
            world.client.sadd(keys.HOLD, "order_confirmation")

        # Between the reading and the claim.
        shop.esp.before_connect = hold
        shop.deliver(timer)
        world.client.delete(keys.HOLD)
        self.open(world, shop)
        world.now = due_of(world, timer)
        news.deliver(timer)
        assert news.esp.mails == []

    def test_a_send_whose_worker_died_never_leaves_through_the_other(
        self, world: World, shop: Account, news: Account
    ) -> None:
        allow_repeats(shop, news)
        timer = order(world)
        shop.esp.errors = [SystemExit()]
        with pytest.raises(SystemExit):
            shop.deliver(timer)
        self.open(world, shop)
        world.now += 60 * SECOND
        news.deliver(timer)
        assert news.esp.mails == []
        assert world.outcomes("user-1")[-1] == ("order_confirmation", "waiting")

    def test_sends_wait_if_both_are_open(self, world: World, shop: Account, news: Account) -> None:
        self.open(world, shop)
        fcall(world.client, "breaker", keys.account("news"), world.now, "open", "operator")
        shop.deliver(timer := order(world))
        assert due_of(world, timer) == world.now + 5 * SECOND
        news.deliver(timer)
        assert news.esp.mails == []


class TestPace:
    SETTINGS = {"news": EspSettings(pace=(10, 3600 * SECOND)), "shop": EspSettings(pace=(10, 3600 * SECOND))}

    def cart(self, world: World) -> str:
        world.record(world.event("Product Added", user="ada", email="ada@example.com", product=product("mug")))
        ((timer, due),) = world.due_timers(world.now + 10 * 3600 * SECOND)
        world.now = due
        return timer

    def next_turns(self, world: World) -> int:
        return Pace(world.client, "news", self.SETTINGS["news"]).take(5)

    def test_a_marketing_mail_without_a_turn_goes_back_to_the_timers(self, world: World) -> None:
        news, timer = Account(world, "news", **self.SETTINGS), self.cart(world)
        news.deliver(timer)
        assert news.esp.mails == []
        assert world.due_timers(world.now) == [(timer, world.now)]
        assert world.decisions("ada")[-1]["reason"] == "paced"
        news.deliver(timer, paced=1)
        assert len(news.esp.mails) == 1

    def test_a_mail_that_keeps_to_its_pace_is_not_late(self, world: World) -> None:
        def observed() -> float:
            labels = {"trigger": "abandoned_cart", "esp": "news"}
            return REGISTRY.get_sample_value("freshgate_received_to_accepted_seconds_count", labels) or 0.0

        news, timer, before = Account(world, "news", **self.SETTINGS), self.cart(world), observed()
        world.now += 3600 * SECOND
        news.deliver(timer, paced=1)
        assert len(news.esp.mails) == 1
        assert observed() == before

    def test_transactional_mail_is_never_paced(self, world: World) -> None:
        shop = Account(world, "shop", **self.SETTINGS)
        for number in range(5):
            shop.deliver(order(world, number))
        assert len(shop.esp.mails) == 5

    def test_the_turn_of_a_mail_that_does_not_leave_is_given_back(self, world: World) -> None:
        news, timer = Account(world, "news", **self.SETTINGS), self.cart(world)
        assert self.next_turns(world) == 1
        assert self.next_turns(world) == 0
        world.record(world.event("Order Completed", user="ada", order_id="a1", products=[product("mug")]))
        news.deliver(timer, paced=1)
        assert news.esp.mails == []
        assert self.next_turns(world) == 1


def test_a_mail_waits_for_its_turn_and_only_then(world: World) -> None:
    settings = {"shop": EspSettings(rate=(10, SECOND))}
    outlet = Outlet(world.client, "shop", settings, RedisClock(lambda: world.now))
    slept: list[float] = []
    confirmation = world.triggers["order_confirmation"]
    outlet.enter(confirmation, 1, slept.append)
    assert slept == []
    outlet.enter(confirmation, 2, slept.append)
    assert slept == [pytest.approx(0.2)]


def test_a_limited_account_takes_no_more_than_its_rate_and_the_rest_comes_again(world: World) -> None:
    shop = Account(world, "shop", shop=EspSettings(rate=(2, 60 * SECOND)))
    timers = [order(world, number) for number in range(3)]
    shop.deliver(*timers)
    assert len(shop.esp.mails) == 1
    assert sorted(due_of(world, timer) - world.now for timer in timers[1:]) == [30 * SECOND, 30 * SECOND]
    assert world.outcomes("user-1")[-1] == ("order_confirmation", "waiting")


def test_a_turn_that_the_gate_does_not_need_is_given_back(world: World) -> None:
    shop = Account(world, "shop", shop=EspSettings(rate=(2, 60 * SECOND), max_in_flight=1))
    timer = order(world)

    def cancel() -> None:
        world.record(world.event("Order Cancelled", user="user-1", order_id="o1"))

    shop.esp.before_connect = cancel
    shop.deliver(timer)
    assert shop.esp.mails == []
    shop.esp.before_connect = None
    shop.deliver(order(world, 2))
    assert len(shop.esp.mails) == 1

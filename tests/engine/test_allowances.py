"""What the timers may claim while an account is open, limited or paced: what waits keeps its place in its timers."""

from __future__ import annotations

import time
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY
from redis import Redis
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from catalog import TRIGGERS
from freshgate.errors import EspError
from freshgate.queue import queue_name, queue_names
from freshgate.routing import Routes
from freshgate.settings import EspSettings
from freshgate.state import keys, store
from freshgate.state.clock import RedisClock
from freshgate.state.store import fcall
from workers.account import Account
from workers.allowances import MAX_QUEUED, MAX_QUEUED_LIMITED
from workers.timers import Timers

# The confirmations leave through `shop`, the marketing mails through `news`.
KINDS = {trigger.name: trigger.kind for trigger in TRIGGERS}
ACCOUNTS = {name: "shop" if kind == "transactional" else "news" for name, kind in KINDS.items()}


class Shop:
    """Timers that are due, and a timers process whose knowledge of the accounts is always fresh."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        store.load(redis)
        store.add_shops(redis, ["main"])

    def timers(self, **accounts: EspSettings) -> Timers:
        accounts = {"shop": EspSettings(), "news": EspSettings()} | accounts
        routes = Routes(list(accounts), ACCOUNTS, [name for name, kind in KINDS.items() if kind == "marketing"])
        triggers = [replace(trigger, esp=ACCOUNTS[trigger.name]) for trigger in TRIGGERS]
        timers = Timers(self.redis, routes, 0, triggers, accounts)
        for account in timers._allowances.accounts.values():
            account._sync_interval_s = 0.0
        return timers

    def add_due(self, trigger: str, count: int, shop: str = "main") -> None:
        now: Any = self.redis.time()
        for number in range(count):
            timer = keys.timer(trigger, "p", keys.person_id(shop, f"{trigger} {number}", None))
            self.redis.zadd(keys.timers(shop, trigger), {timer: now[0] * 1000 - 1000})
        self.redis.sadd(f"{keys.shop(shop)}triggers", trigger)

    def fill(self, account: str, count: int = MAX_QUEUED, *, marketing: bool = True) -> None:
        """So many jobs wait in the account's queue of timers."""
        queue = queue_name(account, marketing=marketing, timers=True)
        self.redis.rpush(f"rq:queue:{queue}", *[f"job-{number}" for number in range(count)])

    def items(self, account: str) -> list[tuple[Any, ...]]:
        """trigger, returned and, if it has its turn at the pace, 1: of each send in the account's queues."""
        jobs: list[Any] = []
        for queue in queue_names(account):
            entries: Any = self.redis.lrange(f"rq:queue:{queue}", 0, -1)
            jobs += entries
        payloads = [RqJob.fetch(job.decode(), connection=self.redis, serializer=JSONSerializer).args[0] for job in jobs]
        return [(timer.partition("|")[0], *rest) for payload in payloads for timer, *rest in payload["sends"]]

    def take_jobs(self, account: str) -> None:
        self.redis.delete(*[f"rq:queue:{queue}" for queue in queue_names(account)])

    def open(self, account: str, seconds: float = 60.0) -> None:
        settings = EspSettings(breaker_wait=int(seconds * 1000))
        worker = Account(self.redis, account, settings, RedisClock(), sync_interval_s=0.0)
        worker.report(worker.admit(1, "transactional"), 0, EspError("401", blocked=True, status=401))
        while seconds < 1.0 and worker.state.breaker == "open":
            time.sleep(0.001)

    def waiting(self, trigger: str) -> int:
        count: Any = self.redis.zcard(keys.timers("main", trigger))
        return int(count)


@pytest.fixture
def shop(redis: Redis) -> Shop:
    return Shop(redis)


def test_timers_of_an_open_account_wait_and_others_go(shop: Shop) -> None:
    shop.add_due("abandoned_cart", 3)
    shop.add_due("order_confirmation", 3)
    timers = shop.timers()
    shop.open("news")
    assert timers.tick() > 0.01
    assert shop.items("news") == []
    assert shop.waiting("abandoned_cart") == 3
    assert len(shop.items("shop")) == 3


def test_one_timer_goes_as_the_probe(shop: Shop) -> None:
    shop.add_due("abandoned_cart", 3)
    shop.add_due("browse_abandonment", 3)
    timers = shop.timers()
    shop.open("news", seconds=0.001)
    for _ in range(3):
        timers.tick()
    assert len(shop.items("news")) == 1


def test_an_operators_opening_stops_all_timers_of_the_account(shop: Shop) -> None:
    shop.add_due("abandoned_cart", 3)
    timers = shop.timers()
    fcall(shop.redis, "breaker", keys.account("news"), "", "open", "maintenance")
    timers.tick()
    assert shop.items("news") == []
    fcall(shop.redis, "breaker", keys.account("news"), "", "close", "")
    timers.tick()
    assert len(shop.items("news")) == 3


@pytest.mark.parametrize("is_marketing", [True, False])
def test_a_full_queue_of_one_kind_of_mail_does_not_stop_the_other(shop: Shop, is_marketing: bool) -> None:
    marketing = [name for name, kind in KINDS.items() if kind == "marketing"]
    timers = Timers(shop.redis, Routes(["shop"], dict.fromkeys(KINDS, "shop"), marketing), 0, TRIGGERS)
    for trigger in ("abandoned_cart", "order_confirmation"):
        shop.add_due(trigger, 1)
    shop.fill("shop", marketing=is_marketing)
    timers.tick()
    assert (shop.waiting("abandoned_cart"), shop.waiting("order_confirmation")) == (is_marketing, not is_marketing)


def test_an_account_that_makes_one_call_at_a_time_has_two_jobs_at_most(shop: Shop) -> None:
    shop.add_due("abandoned_cart", 1)
    timers = shop.timers(news=EspSettings(concurrency=1))
    shop.fill("news", 2)
    timers.tick()
    assert shop.waiting("abandoned_cart") == 1
    shop.take_jobs("news")
    shop.fill("news", 1)
    timers.tick()
    assert shop.waiting("abandoned_cart") == 0


class TestFailover:
    NEWS = EspSettings(failover="shop")

    def test_timers_go_to_the_other_account_while_the_breaker_is_open(self, shop: Shop) -> None:
        shop.add_due("abandoned_cart", 3)
        timers = shop.timers(news=self.NEWS)
        shop.open("news")
        timers.tick()
        assert shop.items("news") == []
        assert len(shop.items("shop")) == 3
        fcall(shop.redis, "breaker", keys.account("news"), "", "close", "")
        shop.add_due("browse_abandonment", 2)
        timers.tick()
        assert shop.items("news") == [("browse_abandonment", 0)] * 2

    def test_they_wait_if_the_other_account_is_open_too(self, shop: Shop) -> None:
        shop.add_due("abandoned_cart", 3)
        timers = shop.timers(news=self.NEWS)
        shop.open("news")
        shop.open("shop")
        timers.tick()
        assert shop.items("news") == shop.items("shop") == []

    def test_they_wait_while_two_accounts_that_stand_in_for_each_other_are_open(self, shop: Shop) -> None:
        shop.add_due("abandoned_cart", 3)
        timers = shop.timers(news=self.NEWS, shop=EspSettings(failover="news"))
        shop.open("news")
        shop.open("shop")
        timers.tick()
        assert shop.waiting("abandoned_cart") == 3

    def test_one_goes_to_the_open_account_as_the_probe_and_the_rest_does_not_wait_for_it(self, shop: Shop) -> None:
        shop.add_due("abandoned_cart", 5)
        timers = shop.timers(news=self.NEWS)
        shop.open("news", seconds=0.001)
        timers.tick()
        timers.tick()
        assert len(shop.items("news")) == 1
        assert len(shop.items("shop")) == 4

    def test_they_keep_to_the_pace_of_the_account_that_sends(self, shop: Shop) -> None:
        shop.add_due("abandoned_cart", 5)
        timers = shop.timers(news=self.NEWS, shop=EspSettings(pace=(10, 3_600_000)))
        shop.open("news")
        timers.tick()
        assert shop.items("shop") == [("abandoned_cart", 0, 1)]


class TestPace:
    PACED = EspSettings(pace=(10, 3_600_000))

    def test_marketing_timers_go_one_after_the_other_and_say_so(self, shop: Shop) -> None:
        shop.add_due("abandoned_cart", 5)
        timers = shop.timers(news=self.PACED)
        for _ in range(3):
            timers.tick()
        assert shop.items("news") == [("abandoned_cart", 0, 1)]
        assert shop.waiting("abandoned_cart") == 4

    def test_any_number_of_timers_processes_shares_the_pace(self, shop: Shop) -> None:
        shop.add_due("abandoned_cart", 5)
        for _ in range(3):
            shop.timers(news=self.PACED).tick()
        assert len(shop.items("news")) == 1

    def test_transactional_mail_is_never_paced(self, shop: Shop) -> None:
        shop.add_due("order_confirmation", 5)
        timers = shop.timers(shop=EspSettings(pace=(1, 86_400_000)))
        timers.tick()
        assert shop.items("shop") == [("order_confirmation", 0)] * 5

    def test_a_turn_that_nothing_needed_is_there_for_the_next(self, shop: Shop) -> None:
        timers = shop.timers(news=self.PACED)
        timers.tick()
        shop.add_due("abandoned_cart", 1)
        timers.tick()
        assert len(shop.items("news")) == 1

    def test_a_turn_whose_timer_another_process_claimed_is_there_for_the_next(self, shop: Shop) -> None:
        shop.add_due("abandoned_cart", 1)
        allowances = shop.timers(news=self.PACED)._allowances
        allowances.refresh(["main"])
        shop.redis.delete(keys.timers("main", "abandoned_cart"))
        allowances.finish()
        shop.add_due("abandoned_cart", 1)
        shop.timers(news=self.PACED).tick()
        assert shop.items("news") == [("abandoned_cart", 0, 1)]

    def test_a_turn_whose_timer_has_a_job_already_is_there_for_the_next(self, shop: Shop) -> None:
        shop.add_due("abandoned_cart", 1)
        fcall(shop.redis, "claim_due", keys.shop("main"), "", 100, 60_000, "")
        # Due once more, while its job is on its way.
        shop.add_due("abandoned_cart", 1)
        timers = shop.timers(news=self.PACED)
        timers.tick()
        assert shop.items("news") == []
        shop.add_due("browse_abandonment", 1)
        timers.tick()
        assert shop.items("news") == [("browse_abandonment", 0, 1)]

    def test_they_wait_for_a_full_queue_too(self, shop: Shop) -> None:
        shop.add_due("abandoned_cart", 1)
        shop.fill("news")
        timers = shop.timers(news=self.PACED)
        timers.tick()
        assert shop.waiting("abandoned_cart") == 1
        shop.take_jobs("news")
        timers.tick()
        assert shop.items("news") == [("abandoned_cart", 0, 1)]

    def test_they_wait_for_the_rate_of_the_account_too(self, shop: Shop) -> None:
        shop.add_due("abandoned_cart", 1)
        shop.fill("news", MAX_QUEUED_LIMITED)
        shop.timers(news=EspSettings(pace=(10, 3_600_000), rate=(10, 1000))).tick()
        assert shop.waiting("abandoned_cart") == 1

    def test_each_trigger_of_the_account_gets_its_turn(self, shop: Shop) -> None:
        for trigger in ("abandoned_cart", "browse_abandonment"):
            shop.add_due(trigger, 40)
        timers = shop.timers(news=EspSettings(pace=(100, 1000)))
        for _ in range(200):
            timers.tick()
            shop.take_jobs("news")
            if all(shop.waiting(trigger) < 40 for trigger in ("abandoned_cart", "browse_abandonment")):
                return
        raise AssertionError("one trigger took all turns")

    def test_a_ramp_holds_the_first_day_back(self, shop: Shop) -> None:
        shop.add_due("abandoned_cart", 5)
        timers = shop.timers(news=EspSettings(ramp=(50, 2.0, 20_000)))
        timers.tick()
        timers.tick()
        assert len(shop.items("news")) == 1


def test_timers_of_a_limited_account_come_in_small_jobs(shop: Shop) -> None:
    shop.add_due("abandoned_cart", 90)
    timers = shop.timers(news=EspSettings(rate=(10, 1000)))
    for _ in range(5):
        timers.tick()
    assert len(shop.items("news")) == 5 * MAX_QUEUED_LIMITED
    shop.take_jobs("news")
    timers.tick()
    assert len(shop.items("news")) == 5


def test_a_stream_of_webhooks_holds_no_timer_of_a_limited_account_back(shop: Shop) -> None:
    shop.add_due("abandoned_cart", 5)
    shop.redis.rpush(f"rq:queue:{queue_name('news', marketing=True)}", *[f"job-{number}" for number in range(50)])
    shop.timers(news=EspSettings(rate=(10, 1000))).tick()
    assert shop.waiting("abandoned_cart") == 0


def test_timers_wait_while_an_account_pauses(shop: Shop) -> None:
    shop.add_due("abandoned_cart", 5)
    timers = shop.timers()
    worker = Account(shop.redis, "news", EspSettings(), RedisClock())
    worker.report(worker.admit(1, "marketing"), 0, EspError("429", status=429, retry_after_s=60.0))
    timers.tick()
    assert shop.items("news") == []


def test_shops_share_what_an_account_may_send(shop: Shop) -> None:
    store.add_shops(shop.redis, ["other"])
    for name in ("main", "other"):
        shop.add_due("abandoned_cart", 3, name)
    shop.timers(news=EspSettings(rate=(10, 1000))).tick()
    assert len(shop.items("news")) == 5


def test_what_a_429_taught_holds_beside_a_higher_rate(shop: Shop) -> None:
    shop.add_due("abandoned_cart", 5)
    now: Any = shop.redis.time()
    # A mail a second at first, and no second of growth yet.
    shop.redis.hset(f"{keys.account('news')}state", mapping={"learned_at": now[0] * 1000, "peak": 1})
    shop.timers(news=EspSettings(rate=(10, 1000))).tick()
    assert len(shop.items("news")) < 5


@pytest.mark.parametrize(("settings", "observed"), [(EspSettings(), 2), (EspSettings(rate=(10, 1000)), 0)])
def test_a_timer_that_may_have_waited_for_its_account_is_not_late(
    shop: Shop, settings: EspSettings, observed: int
) -> None:
    def lateness(part: str) -> float:
        return REGISTRY.get_sample_value(f"freshgate_timer_lateness_seconds_{part}") or 0.0

    shop.add_due("abandoned_cart", 2)
    count, seconds = lateness("count"), lateness("sum")
    shop.timers(news=settings).tick()
    assert (lateness("count") - count, len(shop.items("news"))) == (observed, 2)
    assert observed <= lateness("sum") - seconds < 60

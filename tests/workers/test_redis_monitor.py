"""What the monitor reads from Redis for the boards: queues, workers, timers, sends to review, and Redis itself.

`tests/dashboards/` tests the expressions that use it.
"""

from __future__ import annotations

import time
import tomllib
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from redis import Redis
from redis.exceptions import RedisError

from adapter.ingest import quarantine
from catalog import TRIGGERS
from freshgate.errors import EspError
from freshgate.queue import push
from freshgate.routing import Routes
from freshgate.settings import EspSettings
from freshgate.state import keys
from freshgate.state.clock import RedisClock
from freshgate.state.operations import count_operation
from freshgate.state.store import add_shops, fcall, load, open_shops
from freshgate.telemetry import metrics
from freshgate.telemetry.polled import PolledMetrics
from freshgate.version import VERSION
from workers.account import Account
from workers.account_monitor import AccountMonitor
from workers.redis_monitor import RedisMonitor

QUEUE = "freshgate-test"


def served() -> dict[str, float]:
    """Everything that the timers process would serve: name and labels → value."""
    registry = CollectorRegistry()
    registry.register(PolledMetrics(metrics.POLLED_METRICS))
    lines = generate_latest(registry).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def poll(redis: Redis) -> dict[str, float]:
    RedisMonitor(redis, [QUEUE], shops_with_outcomes=["main"]).poll()
    return served()


def test_an_empty_redis_is_healthy_and_nobody_works(redis: Redis) -> None:
    figures = poll(redis)
    assert figures["freshgate_redis_up"] == 1
    assert figures["freshgate_redis_used_memory_bytes"] > 0
    assert figures["freshgate_redis_noeviction"] == figures["freshgate_redis_aof_enabled"] == 1
    assert figures[f'freshgate_queue_oldest_job_age_seconds{{queue="{QUEUE}"}}'] == 0
    assert figures[f'freshgate_workers{{queue="{QUEUE}",state="idle"}}'] == 0
    assert figures["freshgate_timers_oldest_overdue_seconds"] == figures["freshgate_timers_overdue"] == 0


def test_every_polled_metric_is_served_after_one_poll(redis: Redis) -> None:
    redis.hset(keys.BACKUP, mapping={"at": now_ms(), "interval": 1000})
    names = {name.partition("{")[0] for name in poll(redis)}
    assert names == {metric._name for metric in metrics.POLLED_METRICS}


def test_the_age_is_that_of_the_oldest_job(redis: Redis) -> None:
    for _ in range(3):
        pipe = redis.pipeline()
        push(pipe, QUEUE, "main", [("welcome|p:u01", 0)], now_ms())
        pipe.execute()
    first = redis.lindex(f"rq:queue:{QUEUE}", 0)
    assert isinstance(first, bytes)
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    redis.hset(f"rq:job:{first.decode()}", "created_at", hour_ago)
    figures = poll(redis)
    assert figures[f'freshgate_queue_jobs{{queue="{QUEUE}"}}'] == 3
    assert 3599 <= figures[f'freshgate_queue_oldest_job_age_seconds{{queue="{QUEUE}"}}'] < 3900


def test_workers_are_distinguished_by_heartbeat_and_state(redis: Redis) -> None:
    for name, state, age_s in (("first", "idle", 1), ("second", "busy", 1), ("third", "busy", 90)):
        heartbeat = (datetime.now(UTC) - timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        redis.hset(f"rq:worker:{name}", mapping={"last_heartbeat": heartbeat, "state": state})
        redis.sadd(f"rq:workers:{QUEUE}", f"rq:worker:{name}")
    figures = poll(redis)
    for state in ("idle", "busy", "silent"):
        assert figures[f'freshgate_workers{{queue="{QUEUE}",state="{state}"}}'] == 1


def test_a_worker_that_hangs_until_its_key_expires_stays_silent(redis: Redis) -> None:
    redis.sadd(f"rq:workers:{QUEUE}", "rq:worker:hung")
    assert poll(redis)[f'freshgate_workers{{queue="{QUEUE}",state="silent"}}'] == 1


def test_what_operators_did_is_counted_from_the_first_on(redis: Redis) -> None:
    assert poll(redis)['freshgate_operations{operation="hold"}'] == 0
    count_operation(redis, "hold")
    assert poll(redis)['freshgate_operations{operation="hold"}'] == 1
    with pytest.raises(ValueError, match="dance"):
        count_operation(redis, "dance")


def test_sends_that_are_due_and_not_sent_count_as_late_whoever_holds_them(redis: Redis) -> None:
    add_shops(redis, ["main"])
    shop = keys.shop("main")
    redis.sadd(f"{shop}triggers", "welcome", "lookback")
    now = now_ms()
    redis.zadd(keys.timers("main", "welcome"), {"welcome|p:u01": now - 9_000, "welcome|p:u02": now - 1_000})
    redis.zadd(keys.timers("main", "lookback"), {"lookback|p:u01": now - 90_000})
    redis.hset(f"{shop}leased", mapping={"welcome|p:u03": now - 60_000, "welcome|p:u04": now, "lookback|p:u05": 1})
    assert poll(redis)["freshgate_sends_late"] == 2


def poll_gaps(redis: Redis) -> tuple[float, float]:
    """For how long mails of the catalog wait after a gap (s), and how many."""
    RedisMonitor(redis, [QUEUE], triggers=TRIGGERS).poll()
    figures = served()
    return figures["freshgate_gap_wait_seconds"], figures["freshgate_gap_mails"]


def test_mails_that_wait_after_a_gap_are_counted_with_the_time_that_is_left(redis: Redis) -> None:
    load(redis)
    cart = next(trigger for trigger in TRIGGERS if trigger.name == "abandoned_cart")
    for shop in ("main", "other"):
        redis.zadd(keys.timers(shop, cart.name), {"soon": now_ms() + 10_000, "later": now_ms() + cart.settle_ms * 2})
        # Leaves at once, whatever was refused.
        redis.zadd(keys.timers(shop, "order_confirmation"), {"soon": now_ms() + 10_000})
    open_shops(redis, ["main"])
    wait_s, mails = poll_gaps(redis)
    assert cart.settle_ms / 1000 - 60 < wait_s <= cart.settle_ms / 1000
    assert mails == 1


def test_nothing_waits_once_a_gap_has_settled(redis: Redis) -> None:
    load(redis)
    add_overdue(redis, "abandoned_cart", 3)
    assert poll_gaps(redis) == (0, 0)
    at = now_ms() - max(trigger.settle_ms for trigger in TRIGGERS)
    redis.set(f"{keys.shop('main')}gap", f"{at} {at}")
    assert poll_gaps(redis) == (0, 0)


def test_timers_sends_to_review_and_quarantined_elements_are_counted(redis: Redis) -> None:
    add_shops(redis, ["main", "other"])
    for shop in ("main", "other"):
        redis.sadd(f"{keys.shop(shop)}triggers", "welcome")
    redis.zadd(keys.timers("main", "welcome"), {"welcome|p:u01": now_ms() - 90_000, "welcome|p:u02": now_ms() + 90_000})
    redis.zadd(keys.timers("other", "welcome"), {"welcome|p:u03": now_ms() - 30_000})
    redis.zadd(f"{keys.shop('other')}leases", {"welcome|p:u04": now_ms()})
    redis.zadd(keys.operator_list("main", "unknown"), {"a": 1, "b": 2})
    redis.zadd(keys.operator_list("other", "dead"), {"c": 3})
    redis.zadd(keys.operator_list("other", "rejected"), {"d": 3})
    redis.sadd(keys.HOLD, "welcome")
    quarantine.add_elements(redis, [quarantine.QuarantinedElement("segment", b"{}", 1)])
    figures = poll(redis)
    assert figures["freshgate_timers_waiting"] == 3
    assert figures["freshgate_timers_overdue"] == 2
    assert 90 <= figures["freshgate_timers_oldest_overdue_seconds"] < 390
    assert (
        figures["freshgate_leases_open"] == figures["freshgate_holds"] == figures["freshgate_quarantined_elements"] == 1
    )
    assert figures['freshgate_desk_sends{state="unknown"}'] == 2
    assert figures['freshgate_desk_sends{state="dead"}'] == 1
    assert figures['freshgate_desk_sends{state="rejected"}'] == 1


def test_without_redis_only_redis_up_is_served(redis: Redis) -> None:
    poll(redis)
    unreachable = Redis.from_url("unix:///nowhere/redis.sock")
    with pytest.raises(RedisError):
        RedisMonitor(unreachable, [QUEUE]).poll()
    assert served() == {"freshgate_redis_up": 0}


def test_what_a_process_says_it_runs_is_the_version_of_the_project() -> None:
    setup = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, name = setup["tool"]["setuptools"]["dynamic"]["version"]["attr"].rpartition(".")
    assert "version" in setup["project"]["dynamic"]
    assert getattr(import_module(module), name) == VERSION


def poll_accounts(redis: Redis, **accounts: EspSettings) -> dict[str, float]:
    """What the monitor serves where `shop` has the confirmations and `news` the cart's mails."""
    routes = Routes(list(accounts), {"order_confirmation": "shop", "abandoned_cart": "news"})
    RedisMonitor(redis, [QUEUE], AccountMonitor(redis, routes, TRIGGERS, accounts)).poll()
    return served()


def add_overdue(redis: Redis, trigger: str, count: int) -> None:
    add_shops(redis, ["main"])
    redis.sadd(f"{keys.shop('main')}triggers", trigger)
    timers = {f"{trigger}|p:u{number}": now_ms() - 60_000 for number in range(count)}
    redis.zadd(keys.timers("main", trigger), timers)


def test_mails_that_wait_for_their_account_are_counted_apart(redis: Redis) -> None:
    load(redis)
    add_overdue(redis, "order_confirmation", 3)
    add_overdue(redis, "abandoned_cart", 5)
    fcall(redis, "breaker", keys.account("shop"), "", "open", "operator")
    figures = poll_accounts(redis, shop=EspSettings(), news=EspSettings(pace=(1, 3_600_000)))
    assert figures['freshgate_breaker_open{esp="shop"}'] == 1
    assert figures['freshgate_breaker_open{esp="news"}'] == 0
    assert figures['freshgate_mails_waiting{esp="shop",reason="breaker_open"}'] == 3
    assert figures['freshgate_mails_waiting{esp="news",reason="paced"}'] == 5
    # They say nothing about the timers processes; and what keeps to its pace is not late.
    assert figures["freshgate_timers_overdue"] == figures["freshgate_timers_oldest_overdue_seconds"] == 0
    assert figures["freshgate_sends_late"] == 3


def test_mails_whose_failover_sends_do_not_wait_for_their_account(redis: Redis) -> None:
    load(redis)
    add_overdue(redis, "order_confirmation", 3)
    fcall(redis, "breaker", keys.account("shop"), "", "open", "operator")
    figures = poll_accounts(redis, shop=EspSettings(failover="news"), news=EspSettings())
    assert figures['freshgate_mails_waiting{esp="shop",reason="breaker_open"}'] == 0
    assert figures["freshgate_timers_overdue"] == 3


def test_a_learned_limit_and_the_calls_at_once_are_served(redis: Redis) -> None:
    load(redis)
    account = Account(redis, "news", EspSettings(max_in_flight=2), RedisClock())
    admission = account.admit(1, "marketing")
    for _ in range(25):
        account.report(admission, 0, EspError("429", status=429))
    figures = poll_accounts(redis, shop=EspSettings(), news=EspSettings(max_in_flight=2))
    assert 0.5 < figures['freshgate_learned_limit{esp="news"}'] < 1
    assert figures['freshgate_calls_at_once{esp="news"}'] == 0
    fcall(redis, "breaker", keys.account("news"), "", "close", "")
    redis.delete(f"{keys.account('news')}state")
    account._synced_at = float("-inf")
    account.admit(1, "transactional")
    assert poll_accounts(redis, shop=EspSettings(), news=EspSettings())['freshgate_calls_at_once{esp="news"}'] == 1

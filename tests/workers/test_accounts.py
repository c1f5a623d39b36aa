"""`python -m workers accounts`: what an operator sees of each account, and the switch."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from redis import Redis

from freshgate.errors import EspError, SettingsError
from freshgate.settings import EspSettings, OutcomeSettings, Settings
from freshgate.state import store
from freshgate.state.clock import RedisClock
from workers import accounts
from workers.account import Account

Command = Callable[..., int]
ESPS = {
    "shop": EspSettings(failover="news", rate=(100, 1000), max_in_flight=10, breaker_wait=60_000),
    "news": EspSettings(),
}


@pytest.fixture
def run(redis: Redis, redis_server: str) -> Command:
    """Runs a command line; returns its exit code."""
    store.load(redis)
    settings = Settings(redis_url=redis_server, pii_key="k", esps=ESPS, outcomes={"main": OutcomeSettings()})

    def call(*words: str) -> int:
        parser = argparse.ArgumentParser()
        accounts.add_command(parser.add_subparsers(dest="command"))
        return accounts.run(settings, parser.parse_args(["accounts", *words]))

    return call


def report(redis: Redis, name: str, error: EspError) -> None:
    account = Account(redis, name, ESPS[name], RedisClock())
    account.report(account.admit(1, "transactional"), 0, error)


def test_it_lists_each_account_with_breaker_limits_and_queue(
    redis: Redis, run: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    redis.rpush("rq:queue:freshgate-news.marketing.timers", "job")
    assert run() == 0
    assert capsys.readouterr().out.splitlines() == [
        "shop (sendgrid)  breaker closed; rate 100/1s; 0 of 10 calls at once; 0 jobs queued",
        "news (sendgrid)  breaker closed; 1 jobs queued",
        "outcomes.main (segment)  breaker closed; 0 jobs queued",
    ]


def test_it_says_why_a_breaker_is_open_and_who_sends(
    redis: Redis, run: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    report(redis, "shop", EspError("401", blocked=True, status=401))
    assert run("list", "shop") == 0
    (line,) = capsys.readouterr().out.splitlines()
    since = re.search(r"breaker open since ([-\d: ]+) \(", line)
    assert since
    opened_at = datetime.fromisoformat(since[1]).replace(tzinfo=UTC).timestamp()
    assert opened_at == pytest.approx(time.time(), abs=3600)
    assert "(blocked; probe at 20" in line
    assert "news sends in its place" in line


def test_no_other_account_sends_in_place_of_one_without_a_failover(
    redis: Redis, run: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    report(redis, "news", EspError("401", blocked=True, status=401))
    assert run("list", "news") == 0
    assert "in its place" not in capsys.readouterr().out


def test_it_shows_a_learned_limit_and_a_pause(redis: Redis, run: Command, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(25):
        report(redis, "news", EspError("429", status=429, retry_after_s=30.0))
    run("list", "news")
    (line,) = capsys.readouterr().out.splitlines()
    # It grows again meanwhile.
    assert re.search(r"learned limit 0\.7\d*/s; pauses until 20", line)


def test_an_operator_closes_and_opens_a_breaker(redis: Redis, run: Command, capsys: pytest.CaptureFixture[str]) -> None:
    report(redis, "shop", EspError("401", blocked=True, status=401))
    assert run("close", "shop") == 0
    assert "breaker closed" in capsys.readouterr().out
    assert run("open", "shop") == 0
    assert "(operator; until an operator closes it)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("close", "shopp"), "there is no account 'shopp'; known: shop, news"),
        (("list", "shopp"), "there is no account 'shopp'; known: shop, news"),
        (("open",), "accounts: name one of shop, news"),
    ],
)
def test_an_account_that_does_not_exist_is_named(run: Command, words: tuple[str, ...], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        run(*words)

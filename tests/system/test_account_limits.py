"""An account that is blocked, hangs or limits us, with the whole product: what its mails do, and what others' do.

Times are compressed by settings: a breaker probes after 0.3 s.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.harness.esp_server import ACCEPTED, HANGS, Answer, EspServer, Mail
from tests.harness.ports import free_ports
from tests.harness.system import ROOT
from tests.system.accounts import Accounts
from tests.system.conftest import Shopper, counter_total, run_workers

WAIT = {"FRESHGATE_ESPS__SHOP__BREAKER_WAIT": "300ms", "FRESHGATE_ESPS__NEWS__BREAKER_WAIT": "300ms"}


@contextmanager
def running(**settings: str) -> Iterator[Accounts]:
    with EspServer() as shop, EspServer() as news:
        accounts = Accounts(shop, news, **WAIT, **settings)
        with accounts.system:
            yield accounts


def order_all(accounts: Accounts, count: int) -> set[str]:
    """Confirmations to so many new shoppers, through the account `shop`; their addresses."""
    shoppers = [Shopper() for _ in range(count)]
    for start in range(0, count, 50):
        accounts.system.post([shopper.ordered() for shopper in shoppers[start : start + 50]])
    return {shopper.email for shopper in shoppers}


def greet_all(accounts: Accounts, count: int) -> set[str]:
    """Welcomes to so many new shoppers, through the account `news`; their addresses."""
    shoppers = [Shopper() for _ in range(count)]
    accounts.system.post([shopper.signed_up() for shopper in shoppers])
    return {shopper.email for shopper in shoppers}


def wait_for_mails(accounts: Accounts, server: EspServer, addresses: set[str], timeout: float = 30.0) -> None:
    accounts.system.wait_for(lambda: addresses <= {mail.to for mail in server.mails}, timeout)


def doubled(*servers: EspServer) -> list[str]:
    counts = Counter(mail.send for server in servers for mail in server.mails)
    return [send for send, count in counts.items() if count > 1]


@pytest.mark.parametrize("answer", [Answer(401), Answer(503)], ids=["blocked", "failing"])
def test_an_account_that_cannot_send_is_left_alone_until_a_probe_succeeds_and_each_mail_leaves_once(
    answer: Answer,
) -> None:
    with running() as accounts:
        system, news = accounts.system, accounts.news
        news.answer = answer
        addresses = greet_all(accounts, 20)
        system.wait_for(lambda: "breaker open" in run_workers(system, "accounts", "list", "news"))
        assert "breaker closed" in run_workers(system, "accounts", "list", "shop")
        calls = news.calls
        addresses |= greet_all(accounts, 20)
        # While it is open, only probes call: about one in each of 0.3, 0.6, 1.2 … seconds.
        wait_for_mails(accounts, accounts.shop, order_all(accounts, 20), timeout=15)
        assert news.calls - calls < 12
        assert counter_total(system, "freshgate_sends_retimed_total", trigger="welcome", reason="breaker_open") > 0
        news.answer = ACCEPTED
        wait_for_mails(accounts, news, addresses)
        assert "breaker closed" in run_workers(system, "accounts", "list", "news")
        assert doubled(accounts.shop, news) == []


def test_an_account_that_hangs_is_left_alone_and_others_send_as_before() -> None:
    with running() as accounts:
        system, news = accounts.system, accounts.news
        news.answer = HANGS
        system.wait_for(
            lambda: greet_all(accounts, 1) and "breaker open" in run_workers(system, "accounts", "list", "news")
        )
        wait_for_mails(accounts, accounts.shop, order_all(accounts, 50), timeout=15)
        news.answer = ACCEPTED
        wait_for_mails(accounts, news, greet_all(accounts, 10))
        assert doubled(accounts.shop, news) == []


def test_an_account_that_answers_429_gets_fewer_mails_until_it_takes_them() -> None:
    with running() as accounts:
        system, news = accounts.system, accounts.news
        news.answer = Answer(429, {"Retry-After": "1"})
        addresses = greet_all(accounts, 30)
        system.wait_for(lambda: "learned limit" in run_workers(system, "accounts", "list", "news"))
        assert "breaker closed" in run_workers(system, "accounts", "list", "news")
        wait_for_mails(accounts, accounts.shop, order_all(accounts, 20), timeout=15)
        news.answer = ACCEPTED
        wait_for_mails(accounts, news, addresses, timeout=60)
        assert doubled(accounts.shop, news) == []


def test_failover_sends_what_the_open_account_does_not_have_and_never_what_it_may_have() -> None:
    with running(FRESHGATE_ESPS__SHOP__FAILOVER="news") as accounts:
        system, shop, news = accounts.system, accounts.shop, accounts.news
        shop.answer = HANGS
        first: set[str] = set()
        # The series is there before the first of them, or FailoverInUse would fire at the second.
        begins = re.compile(
            r'^freshgate_failed_over_total\{esp="shop",trigger="order_confirmation"\} 0.0$', re.MULTILINE
        )
        system.wait_for(lambda: begins.search(system.request("WORKER_METRICS_PORT", "GET", "/metrics").json))

        def has_failed_over() -> bool:
            first.update(order_all(accounts, 2))
            return "news sends in its place" in run_workers(system, "accounts")

        system.wait_for(has_failed_over)
        hung = set(shop.sends("order_confirmation"))
        assert hung
        addresses = first | order_all(accounts, 20)
        # One account or the other took each: `shop` those that hung, probes among them, `news` the rest.
        system.wait_for(lambda: addresses <= {mail.to for server in (shop, news) for mail in server.mails})
        system.wait_for(lambda: counter_total(system, "freshgate_sends_total", outcome="unknown") >= len(hung))
        assert doubled(shop, news) == []
        assert counter_total(system, "freshgate_failed_over_total", esp="shop") >= 10
        shop.answer = ACCEPTED
        run_workers(system, "accounts", "close", "shop")
        system.wait_for(
            lambda: order_all(accounts, 1) and "breaker closed" in run_workers(system, "accounts", "list", "shop")
        )
        before = len(news.mails)
        wait_for_mails(accounts, shop, order_all(accounts, 10))
        assert len(news.mails) == before
        assert doubled(shop, news) == []


@contextmanager
def second_worker(accounts: Accounts) -> Iterator[None]:
    (port,) = free_ports(1)
    url = (accounts.system.var / "redis" / "url").read_text(encoding="utf-8").strip()
    secret = accounts.system.var / "secrets" / "pii_key"
    environ = accounts.environ(
        FRESHGATE_REDIS_URL=url, FRESHGATE_PII_KEY_FILE=str(secret), FRESHGATE_WORKER_METRICS_PORT=str(port)
    )
    command = [sys.executable, "-m", "workers", "deliver", "--esp", "shop"]
    with (accounts.system.var / "second.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)
    try:
        accounts.system.wait_for(lambda: b"worker_ready" in (accounts.system.var / "second.log").read_bytes())
        yield
    finally:
        process.terminate()
        process.wait(30)


def test_two_worker_processes_share_the_calls_at_once() -> None:
    settings = {"FRESHGATE_ESPS__SHOP__MAX_IN_FLIGHT": "3", "FRESHGATE_ESPS__SHOP__BATCH": "1"}
    with running(**settings) as accounts, second_worker(accounts):
        accounts.shop.answer = Answer(delay_s=0.05)
        wait_for_mails(accounts, accounts.shop, order_all(accounts, 150))
        assert 1 < accounts.shop.max_in_flight <= 3
        assert doubled(accounts.shop) == []


def test_two_worker_processes_share_a_rate() -> None:
    with (
        running(FRESHGATE_ESPS__SHOP__RATE="20/s", FRESHGATE_ESPS__SHOP__BATCH="1") as accounts,
        second_worker(accounts),
    ):
        wait_for_mails(accounts, accounts.shop, order_all(accounts, 100), timeout=60)
        arrivals = sorted(mail.at for mail in accounts.shop.mails)
        # Never faster, whatever the machine does: 100 mails at 20 a second.
        assert arrivals[-1] - arrivals[0] > 99 / 20 * 0.9
        assert doubled(accounts.shop) == []


def test_marketing_mails_leave_at_their_pace_and_transactional_ones_at_once() -> None:
    settings = {"FRESHGATE_ESPS__NEWS__PACE": "2/s"}
    with running(**settings) as accounts:
        shoppers = [Shopper() for _ in range(6)]
        accounts.system.post([event for shopper in shoppers for event in (shopper.identify(), shopper.added())])
        addresses = {shopper.email for shopper in shoppers}
        wait_for_mails(accounts, accounts.news, addresses)
        arrivals = sorted(mail.at for mail in accounts.news.mails if is_cart(mail))
        assert arrivals[-1] - arrivals[0] > 5 / 2 * 0.8
        wait_for_mails(accounts, accounts.news, greet_all(accounts, 20), timeout=10)


def is_cart(mail: Mail) -> bool:
    return mail.trigger == "abandoned_cart"

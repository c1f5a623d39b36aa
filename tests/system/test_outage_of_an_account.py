"""An account whose ESP takes nothing for a minute, in real time, beside one that works: what each mail becomes."""

from __future__ import annotations

import time

import pytest

from tests.harness.esp_server import ACCEPTED, Answer
from tests.system.accounts import Accounts
from tests.system.conftest import run_workers
from tests.system.test_account_limits import doubled, greet_all, order_all, running, wait_for_mails

pytestmark = [pytest.mark.tools, pytest.mark.timeout(300)]
MINUTE_S = 60.0


def both_ordered_for_a_minute(accounts: Accounts) -> tuple[set[str], set[str]]:
    """Sign-ups and orders, until a minute is over; the addresses that `news` and `shop` owe a mail."""
    ends_at = time.monotonic() + MINUTE_S
    greeted: set[str] = set()
    ordered: set[str] = set()
    while time.monotonic() < ends_at:
        greeted |= greet_all(accounts, 5)
        latest = order_all(accounts, 5)
        # The account that works owes none of them while the other one fails.
        wait_for_mails(accounts, accounts.shop, latest)
        ordered |= latest
    return greeted, ordered


@pytest.mark.parametrize(
    "answer",
    [Answer(429, {"Retry-After": "2"}), Answer(429), Answer(401)],
    ids=["429_retry_after", "429", "401"],
)
def test_a_minute_without_mails_delays_those_of_its_account_and_no_others(answer: Answer) -> None:
    with running() as accounts:
        accounts.news.answer = answer
        greeted, ordered = both_ordered_for_a_minute(accounts)
        assert accounts.news.mails == []
        # It was asked by few: at most what a breaker of 0.3 s or a pause of a second lets through.
        assert accounts.news.calls < 300, accounts.news.calls
        accounts.news.answer = ACCEPTED
        wait_for_mails(accounts, accounts.news, greeted, timeout=120)
        accounts.system.wait_for(lambda: "breaker closed" in run_workers(accounts.system, "accounts", "list", "news"))
        assert doubled(accounts.shop, accounts.news) == []
        assert {mail.to for mail in accounts.shop.mails} == ordered

"""Several ESP accounts, with the whole product: each trigger's mails leave through its account, whatever others do."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.esp_server import HANGS, Answer, EspServer
from tests.system.accounts import Accounts
from tests.system.conftest import Shopper, counter_total


@pytest.fixture(scope="module")
def accounts() -> Iterator[Accounts]:
    with EspServer() as shop, EspServer() as news:
        accounts = Accounts(shop, news)
        with accounts.system:
            yield accounts


def test_each_trigger_sends_through_its_account(accounts: Accounts) -> None:
    ada, system = Shopper(), accounts.system
    assert system.post([ada.ordered(), ada.signed_up()]).status == 200
    system.wait_for(lambda: accounts.shop.mails and accounts.news.mails)
    assert [mail.trigger for mail in accounts.shop.mails if mail.to == ada.email] == ["order_confirmation"]
    assert [mail.trigger for mail in accounts.news.mails if mail.to == ada.email] == ["welcome"]


def test_one_metrics_port_has_the_counts_of_all_accounts(accounts: Accounts) -> None:
    bob, system = Shopper(), accounts.system

    def sent() -> list[float]:
        return [counter_total(system, "freshgate_sends_total", esp=esp, outcome="sent") for esp in ("shop", "news")]

    before = sent()
    system.post([bob.ordered(), bob.signed_up()])
    system.wait_for(lambda: sent() == [count + 1 for count in before])


@pytest.mark.parametrize("answer", [HANGS, Answer(500)], ids=["hangs", "fails"])
def test_an_account_that_hangs_or_fails_delays_no_mail_of_another(accounts: Accounts, answer: Answer) -> None:
    system = accounts.system
    accounts.news.answer = answer
    calls = accounts.news.calls
    shoppers = [Shopper() for _ in range(5)]
    system.post([shopper.signed_up() for shopper in shoppers])
    system.wait_for(lambda: accounts.news.calls > calls)
    for shopper in shoppers:
        system.post(shopper.ordered())
    addresses = {shopper.email for shopper in shoppers}
    # The timers would take 20 seconds.
    system.wait_for(lambda: addresses <= {mail.to for mail in accounts.shop.mails}, timeout=10)


def workers_of(supervisor: int) -> dict[str, int]:
    """account -> pid of its worker process."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text(encoding="ascii").split()
    command_lines = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in children}
    return {words[words.index(b"--esp") + 1].decode(): pid for pid, words in command_lines.items() if b"--esp" in words}


def test_a_worker_that_dies_is_started_again_and_its_supervisor_takes_all_along(accounts: Accounts) -> None:
    system = accounts.system
    workers = workers_of(system.pid("worker"))
    assert set(workers) == {"shop", "news"}
    os.kill(workers["shop"], signal.SIGKILL)
    system.wait_for(lambda: workers_of(system.pid("worker")).get("shop", workers["shop"]) != workers["shop"])
    assert workers_of(system.pid("worker"))["news"] == workers["news"]
    carl = Shopper()
    system.post(carl.ordered())
    system.wait_for(lambda: [mail for mail in accounts.shop.mails if mail.to == carl.email], timeout=10)
    old = workers_of(system.pid("worker"))
    killed = system.kill("worker")
    system.wait_for(lambda: system.pid("worker") != killed and set(workers_of(system.pid("worker"))) == set(old))
    system.wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in old.values()))

"""Several worker processes of one account, with the whole product: one supervisor, one metrics port, exact counts."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.system import System
from tests.system.conftest import SHORT, Shopper, counter_total, is_quiet

ORDERS = 60


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with System({**SHORT, "FRESHGATE_WORKER_PROCESSES": "2"}) as system:
        yield system


def workers_of(system: System) -> set[int]:
    supervisor = system.pid("worker")
    return set(map(int, Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text(encoding="ascii").split()))


def sent(system: System) -> float:
    return counter_total(system, "freshgate_sends_total", trigger="order_confirmation", outcome="sent")


def starts(system: System) -> dict[str, float]:
    """When each process started, by its name."""
    text = str(system.request("WORKER_METRICS_PORT", "GET", "/metrics").json)
    lines = re.findall(r'^freshgate_process_start_time_seconds\{process="(.*)"\} (\S+)$', text, re.MULTILINE)
    return {name: float(value) for name, value in lines}


def test_orders_are_each_confirmed_once_and_one_port_has_the_exact_count(system: System) -> None:
    assert len(workers_of(system)) == 2
    shoppers = [Shopper() for _ in range(ORDERS)]
    for shopper in shoppers:
        assert system.post(shopper.ordered()).status == 200
    system.wait_for(lambda: is_quiet(system))
    system.wait_for(lambda: sent(system) == ORDERS)
    assert {len(shopper.mails(system, "order_confirmation")) for shopper in shoppers} == {1}


def test_a_process_that_dies_is_started_again_and_what_it_counted_stays(system: System) -> None:
    before, old, started = sent(system), workers_of(system), starts(system)
    assert set(started) == {"worker", "worker-sendgrid-1", "worker-sendgrid-2"}
    os.kill(min(old), signal.SIGKILL)
    system.wait_for(lambda: len(workers_of(system)) == 2 and workers_of(system) != old)
    assert sent(system) == before
    assert set(starts(system)) == set(started)
    assert len(set(starts(system).items()) - set(started.items())) == 1
    ada = Shopper()
    system.post(ada.ordered())
    system.wait_for(lambda: ada.mails(system, "order_confirmation"))
    system.wait_for(lambda: sent(system) == before + 1)


def test_stopping_the_product_ends_all_of_them(system: System) -> None:
    workers = workers_of(system)
    assert system.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)

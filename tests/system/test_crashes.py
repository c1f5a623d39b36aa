"""Any process is killed: the launcher starts it again, no event is lost, and nobody gets a mail twice.

Only processes that the product under test started are killed.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.harness.system import System
from tests.system.conftest import SHORT, Shopper, is_quiet, post_until_accepted, run_workers

CONFIRMATION = "order_confirmation"
ORDERS = 40


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """The product with three seconds for the ESP to answer, so that its call can be interrupted."""
    with System({**SHORT, "FRESHGATE_ESPS__SENDGRID__TIMEOUT_S": "3"}) as system:
        yield system


def wait_for_restart(system: System, name: str, killed: int) -> None:
    """Return once the launcher has started the killed process again."""
    system.wait_for(lambda: system.pid(name) != killed and is_running(system.pid(name)))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def is_ready(system: System) -> bool:
    with suppress(OSError, HTTPException):
        return system.request("PORT", "GET", "/readyz").status == 200
    return False


def test_a_worker_killed_in_mid_send_leaves_unknown_and_others_go_out_meanwhile(system: System) -> None:
    ada, bob = Shopper(), Shopper()
    system.faults(kind="hang", seconds=10, accept=True)
    assert system.post(ada.ordered()).status == 200
    # The fault is used up once the sandbox has the call.
    system.wait_for(lambda: system.request("SANDBOX_PORT", "GET", "/faults").json == [], timeout=2.5)
    killed = system.kill("worker")
    assert system.post(bob.ordered()).status == 200
    wait_for_restart(system, "worker", killed)
    # The worker that was killed had lanes to spare. If Redis still handed it Bob's job, the timers bring his send back.
    system.wait_for(lambda: bob.mails(system, CONFIRMATION), timeout=45)
    # The retry comes within 30 s of the event; `why` and the polling take time themselves.
    (decision,) = system.wait_for(lambda: ada.decisions(system, CONFIRMATION), timeout=32)
    assert decision.startswith("unknown (worker_died)")
    assert decision.rpartition("send ")[2] in run_workers(system, "unknown", "list")
    system.wait_for(lambda: is_quiet(system))
    assert len(ada.mails(system, CONFIRMATION)) == 1
    assert len(bob.mails(system, CONFIRMATION)) == 1


def test_a_timers_process_that_is_killed_comes_back_and_what_waits_is_sent(system: System, ada: Shopper) -> None:
    assert system.post([ada.identify(), ada.added()]).json["accepted"] == 2
    killed = system.kill("timers")
    wait_for_restart(system, "timers", killed)
    system.wait_for(lambda: ada.mails(system, "abandoned_cart"))
    system.wait_for(lambda: is_quiet(system))
    assert len(ada.mails(system, "abandoned_cart")) == 1


def test_a_receiver_that_is_killed_comes_back_and_takes_events_again(system: System, ada: Shopper) -> None:
    killed = system.kill("receiver")
    wait_for_restart(system, "receiver", killed)
    # Workers of the dead master may have accepted or refused the event before.
    assert post_until_accepted(system, ada.ordered()).json["accepted"] == 1
    system.wait_for(lambda: ada.mails(system, CONFIRMATION))


def test_a_gunicorn_worker_that_is_killed_is_replaced_and_events_are_taken(system: System, ada: Shopper) -> None:
    master = system.pid("receiver")
    children_file = Path(f"/proc/{master}/task/{master}/children")
    children = system.wait_for(lambda: children_file.read_text(encoding="ascii").split())
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)
    assert post_until_accepted(system, ada.ordered()).json["accepted"] == 1
    system.wait_for(lambda: ada.mails(system, CONFIRMATION))
    assert system.pid("receiver") == master


def test_orders_acknowledged_while_redis_is_killed_are_each_confirmed_once_or_unknown(system: System) -> None:
    shoppers = [Shopper() for _ in range(ORDERS)]
    accepted: list[Shopper] = []
    half_way = threading.Event()

    def post_orders() -> None:
        for number, shopper in enumerate(shoppers):
            if number == ORDERS // 2:
                half_way.set()
            response = post_until_accepted(system, shopper.ordered())
            assert response.status == 200, response
            assert response.json["refused"] == 0
            accepted.append(shopper)

    shopping = threading.Thread(target=post_orders)
    shopping.start()
    assert half_way.wait(30)
    killed = system.kill("redis")
    wait_for_restart(system, "redis", killed)
    shopping.join(60)
    assert len(accepted) == ORDERS
    system.wait_for(lambda: is_quiet(system), timeout=45)
    unknown = run_workers(system, "unknown", "list")
    counts = {shopper: len(shopper.mails(system, CONFIRMATION)) for shopper in shoppers}
    assert max(counts.values()) == 1
    for shopper in [shopper for shopper, mails in counts.items() if mails == 0]:
        (decision,) = shopper.decisions(system, CONFIRMATION)
        assert decision.startswith("unknown")
        assert decision.rpartition("send ")[2] in unknown


def test_a_cart_that_waits_while_everything_is_stopped_is_mailed_after_the_next_start(
    tmp_path_factory: pytest.TempPathFactory, ada: Shopper
) -> None:
    var = tmp_path_factory.mktemp("var")
    with System({**SHORT, "FRESHGATE_TRIGGERS__ABANDONED_CART__DELAY": "4s"}, var=var) as system:
        assert system.post([ada.identify(), ada.added()]).json["accepted"] == 2
        assert system.stop() == 0
    with System({**SHORT, "FRESHGATE_TRIGGERS__ABANDONED_CART__DELAY": "4s"}, var=var) as system:
        system.wait_for(lambda: ada.mails(system, "abandoned_cart"))
        system.wait_for(lambda: is_quiet(system))
        assert len(ada.mails(system, "abandoned_cart")) == 1


def test_all_that_was_killed_has_come_back(system: System) -> None:
    system.wait_for(lambda: is_ready(system))
    assert all(is_running(pid) for pid in system.pids().values())

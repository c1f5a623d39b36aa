"""A process stands still for longer than a lease, the ESP answers 429: each mail leaves once when all is well again.

Four products run side by side, and in each another process is stopped, so that the file takes as long as one pause.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import pytest

from tests.harness.system import System
from tests.system.conftest import SHORT, Shopper, is_quiet, post_until_accepted, run_workers
from workers.timers import LEASE_MS

CONFIRMATION, CART = "order_confirmation", "abandoned_cart"
STOPPED = ("worker", "timers", "redis", "sandbox")
PAUSE_S = LEASE_MS / 1000 + 3
ORDERS_BEFORE, ORDERS_WITHIN = 3, 2
MANY = 1_000_000
# So many calls are answered 429 after the pause, before the ESP is well again.
REFUSED_AFTER = 3
SETTINGS = SHORT | {
    "FRESHGATE_TRIGGERS__ABANDONED_CART__DELAY": "5s",
    # Four products share the machine.
    "FRESHGATE_ESPS__SENDGRID__TIMEOUT_S": "4",
    "FRESHGATE_ESPS__SENDGRID__BREAKER_WAIT": "300ms",
}


class Aftermath(NamedTuple):
    """What there is once nothing is waiting any more.

    mails  for each shopper, how many mails are in the outbox
    """

    mails: dict[str, int]
    trails: list[list[dict[str, object]]]
    dead: str
    unknown: str


@pytest.fixture(scope="module")
def aftermaths() -> Iterator[dict[str, Future[Aftermath]]]:
    """What a pause of each process left; all pauses take place at the same time."""
    with ThreadPoolExecutor(len(STOPPED)) as pool:
        yield {name: pool.submit(live_through_pause, name) for name in STOPPED}


def live_through_pause(name: str) -> Aftermath:
    with System(SETTINGS) as system:
        before = [Shopper() for _ in range(ORDERS_BEFORE)]
        within = [Shopper() for _ in range(ORDERS_WITHIN)]
        leaver = Shopper()
        system.faults(kind="status", status=429, headers={"Retry-After": "1"}, count=MANY)
        post_until_accepted(system, [leaver.identify(), leaver.added(), *(shopper.ordered() for shopper in before)])
        system.wait_for(lambda: refused(system) > 0)
        with ThreadPoolExecutor(1) as cdp, system.stopped(name):
            ends_at = time.monotonic() + PAUSE_S
            orders = [shopper.ordered() for shopper in within]
            # Without Redis the receiver refuses them, and the CDP repeats them.
            posting = cdp.submit(lambda: [post_until_accepted(system, order, 2 * PAUSE_S) for order in orders])
            time.sleep(ends_at - time.monotonic())
        assert [response.json["refused"] for response in posting.result()] == [0] * ORDERS_WITHIN
        refused_before = refused(system)
        # Where the ESP itself stood still, each send may be in doubt, so that there is nothing to refuse.
        system.wait_for(
            lambda: refused(system) >= refused_before + REFUSED_AFTER or (name == "sandbox" and is_quiet(system)),
            timeout=60,
        )
        system.request("SANDBOX_PORT", "DELETE", "/faults")
        system.wait_for(lambda: is_quiet(system), timeout=90)
        if name == "sandbox":
            resend_what_the_esp_does_not_have(system)
        system.wait_for(lambda: is_quiet(system), timeout=60)
        return Aftermath(
            {shopper.user: len(shopper.mails(system, CONFIRMATION)) for shopper in before + within}
            | {leaver.user: len(leaver.mails(system, CART))},
            [system.trail(shopper.user) for shopper in (leaver, before[0], within[0])],
            run_workers(system, "dead", "list"),
            run_workers(system, "unknown", "list"),
        )


def refused(system: System) -> int:
    """How many calls were answered 429."""
    (fault,) = system.request("SANDBOX_PORT", "GET", "/faults").json
    return MANY - int(fault["count"])


def resend_what_the_esp_does_not_have(system: System) -> None:
    """As an operator does who has looked at the ESP's activity."""
    taken = {mail["custom_args"]["freshgate_send"] for mail in system.outbox()}
    for send in filter(is_send_id, run_workers(system, "unknown", "list").split()):
        run_workers(system, "unknown", "close" if send in taken else "resend", "--send", send)


def is_send_id(word: str) -> bool:
    return len(word) == 24 and set(word) <= set("0123456789abcdef")


@pytest.mark.parametrize("name", STOPPED)
def test_what_was_due_while_a_process_stood_still_is_sent_once(
    aftermaths: dict[str, Future[Aftermath]], name: str
) -> None:
    aftermath = aftermaths[name].result()
    assert set(aftermath.mails.values()) == {1}, (aftermath, name)
    assert "poison" not in aftermath.dead
    assert len(aftermath.dead.splitlines()) <= 1, aftermath.dead
    for trail in aftermath.trails:
        states = [entry.get("state") for entry in trail if entry.get("trigger") in (CONFIRMATION, CART)]
        assert states.count("sent") == 1 or name == "sandbox", trail
        assert "poison" not in [entry.get("reason") for entry in trail]


@pytest.mark.parametrize("name", [name for name in STOPPED if name != "sandbox"])
def test_a_pause_of_our_own_leaves_no_send_in_doubt(aftermaths: dict[str, Future[Aftermath]], name: str) -> None:
    aftermath = aftermaths[name].result()
    assert not [word for word in aftermath.unknown.split() if is_send_id(word)], aftermath.trails

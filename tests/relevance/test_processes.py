"""No wrong mail, no missing mail: hundreds of shoppers at once over HTTP, with real receiver, worker and timers.

The events of each shopper come from three CDPs and an SDK at random (`cdps.py`). No event arrives near a moment at
which a mail is due, so that one result is right.
"""

from __future__ import annotations

import heapq
import json
import threading
import time
from collections import defaultdict
from typing import Any

import pytest

from tests.harness.system import System
from tests.relevance import cdps
from tests.relevance.cdps import to_request
from tests.relevance.oracle import Mail, Oracle, Rules
from tests.relevance.shoppers import Arrival, Shopper, build_shopper

SHOPPERS = 500
APART_MS = 1500
CALLERS = 4
SPREAD_MS = 14_000
RULES = Rules(cart_delay=4000, cart_settle=2000, browse_delay=5000, browse_settle=2000, order_grace=1000)
ENVIRON = {
    "FRESHGATE_TRIGGERS__ABANDONED_CART__DELAY": "4s",
    "FRESHGATE_TRIGGERS__ABANDONED_CART__SETTLE": "2s",
    "FRESHGATE_TRIGGERS__BROWSE_ABANDONMENT__DELAY": "5s",
    "FRESHGATE_TRIGGERS__BROWSE_ABANDONMENT__SETTLE": "2s",
    "FRESHGATE_ORDER_GRACE": "1s",
    **cdps.ENVIRON,
}


def pick_shoppers() -> dict[int, Shopper]:
    """Seed → shopper, for the first seeds without an arrival that is a race."""
    shoppers: dict[int, Shopper] = {}
    seed = 100_000
    while len(shoppers) < SHOPPERS:
        seed += 1
        shopper = build_shopper(seed, second=1000)
        oracle = Oracle(shopper, RULES)
        if not any(is_racing(arrival, oracle) for arrival in shopper.arrivals):
            shoppers[seed] = shopper
    return shoppers


def is_racing(arrival: Arrival, oracle: Oracle) -> bool:
    """Whether it arrives near a due moment, or cancels an order whose confirmation is on its way."""
    if any(abs(arrival.arrives_at - moment) < APART_MS for moment in oracle.moments):
        return True
    free_at = oracle.free_at.get(arrival.fields.get("order_id", "")) if arrival.name == "cancel" else None
    return free_at is not None and 0 <= arrival.arrives_at - free_at < APART_MS


def post_all(system: System, shoppers: dict[int, Shopper]) -> None:
    """Post each event at its time, from a few threads; those of one shopper come from one thread, in order."""
    origin = time.time_ns() // 1_000_000 + 500
    schedules: list[list[tuple[int, int, int, Arrival]]] = [[] for _ in range(CALLERS)]
    for seed, shopper in shoppers.items():
        start = origin + seed % SPREAD_MS
        for number, arrival in enumerate(shopper.arrivals):
            heapq.heappush(schedules[seed % CALLERS], (start + arrival.arrives_at, seed, number, arrival))
    refused: list[Any] = []

    def call(schedule: list[tuple[int, int, int, Arrival]]) -> None:
        while schedule:
            at, seed, _, arrival = heapq.heappop(schedule)
            time.sleep(max(0.0, at / 1000 - time.time()))
            path, body, headers = to_request(arrival, origin + seed % SPREAD_MS)
            response = system.request("PORT", "POST", path, body, {"content-type": "application/json"} | headers)
            # The tracking API does not say what became of an event.
            if response.status != 200 or response.json.get("refused") or response.json.get("ignored"):
                refused.append((arrival, response))

    threads = [threading.Thread(target=call, args=(schedule,)) for schedule in schedules]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not refused


def mails_by_address(system: System) -> dict[str, list[Mail]]:
    mails: dict[str, list[Mail]] = defaultdict(list)
    for message in system.outbox():
        data = message["template_data"]
        trigger = message["custom_args"]["freshgate_trigger"]
        about = (
            (data["order_id"],)
            if trigger == "order_confirmation"
            else tuple(sorted(line["product_id"] for line in data.get("products", ())))
        )
        mails[message["to"]].append(Mail(trigger, message["to"], about))
    return {address: sorted(received) for address, received in mails.items()}


@pytest.mark.timeout(200)
def test_every_shopper_gets_exactly_the_mails_of_the_oracle_over_http() -> None:
    shoppers = pick_shoppers()
    expected = {shopper.email: sorted(Oracle(shopper, RULES).mails) for shopper in shoppers.values()}
    expected = {address: mails for address, mails in expected.items() if mails}
    assert sum(map(len, expected.values())) > SHOPPERS / 2
    with System(ENVIRON) as system:
        post_all(system, shoppers)
        quiet_since = [time.monotonic(), len(system.outbox())]

        def is_quiet() -> bool:
            count = len(system.outbox())
            if count != quiet_since[1]:
                quiet_since[:] = [time.monotonic(), count]
            # Longer than the longest delay, so all mails were sent.
            return time.monotonic() - quiet_since[0] > 9

        system.wait_for(is_quiet, timeout=90)
        actual = mails_by_address(system)
        wrong = {
            address: (expected.get(address), actual.get(address))
            for address in expected.keys() | actual.keys()
            if expected.get(address) != actual.get(address)
        }
        if wrong:
            address, (wanted, received) = next(iter(wrong.items()))
            shopper = next(shopper for shopper in shoppers.values() if shopper.email == address)
            arrivals = json.dumps([arrival._asdict() for arrival in shopper.arrivals], default=str)
            pytest.fail(
                f"{len(wrong)} shoppers got wrong mails; seed {shopper.seed}: wanted {wanted}, got {received}\n"
                f"{system.why(f'u{shopper.seed}')}\n{arrivals}"
            )

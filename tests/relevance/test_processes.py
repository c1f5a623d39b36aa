"""No wrong mail, no missing mail: hundreds of shoppers at once over HTTP, with real receiver, worker and timers.

Each shopper's life is told by three CDPs and an SDK, an event here and an event there (`cdps.py`). Every arrival
keeps well away from any moment at which a mail is due, so that there is one right answer.
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
from tests.relevance.cdps import request
from tests.relevance.oracle import Mail, Oracle, Rules
from tests.relevance.shoppers import Shopper, Told, shopper

SHOPPERS = 500
APART_MS = 1500
CALLERS = 4
SPREAD_MS = 14_000
RULES = Rules(cart_wait=4000, cart_settle=2000, browse_wait=5000, browse_settle=2000, order_grace=1000)
ENVIRON = {
    "FRESHGATE_TRIGGERS__ABANDONED_CART__DELAY": "4s",
    "FRESHGATE_TRIGGERS__ABANDONED_CART__SETTLE": "2s",
    "FRESHGATE_TRIGGERS__BROWSE_ABANDONMENT__DELAY": "5s",
    "FRESHGATE_TRIGGERS__BROWSE_ABANDONMENT__SETTLE": "2s",
    "FRESHGATE_ORDER_GRACE": "1s",
    **cdps.ENVIRON,
}


def shoppers() -> dict[int, Shopper]:
    """The first so many seeds whose arrivals keep away from every due moment."""
    found: dict[int, Shopper] = {}
    seed = 100_000
    while len(found) < SHOPPERS:
        seed += 1
        one = shopper(seed, second=1000)
        oracle = Oracle(one, RULES)
        apart = all(abs(told.arrives - moment) >= APART_MS for told in one.told for moment in oracle.moments)
        if apart and not any(overtakes(told, oracle) for told in one.told):
            found[seed] = one
    return found


def overtakes(told: Told, oracle: Oracle) -> bool:
    """Whether it is a cancellation that arrives while the order's confirmation is on its way."""
    free = oracle.at_once.get(told.fields.get("order_id", "")) if told.name == "cancel" else None
    return free is not None and 0 <= told.arrives - free < APART_MS


def tell(system: System, found: dict[int, Shopper]) -> None:
    """Post everything at its time, from a few callers; a shopper's events always by the same one, in order."""
    origin = time.time_ns() // 1_000_000 + 500
    schedules: list[list[tuple[int, int, int, Told]]] = [[] for _ in range(CALLERS)]
    for seed, one in found.items():
        start = origin + seed % SPREAD_MS
        for number, told in enumerate(one.told):
            heapq.heappush(schedules[seed % CALLERS], (start + told.arrives, seed, number, told._replace()))
    refused: list[Any] = []

    def call(schedule: list[tuple[int, int, int, Told]]) -> None:
        while schedule:
            at, seed, _, told = heapq.heappop(schedule)
            time.sleep(max(0.0, at / 1000 - time.time()))
            path, body, headers = request(told, origin + seed % SPREAD_MS)
            answer = system.request("PORT", "POST", path, body, {"content-type": "application/json"} | headers)
            # The tracking API does not say what became of an event.
            if answer.status != 200 or answer.json.get("refused") or answer.json.get("ignored"):
                refused.append((told, answer))

    threads = [threading.Thread(target=call, args=(schedule,)) for schedule in schedules]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not refused


def mails(system: System) -> dict[str, list[Mail]]:
    by_address: dict[str, list[Mail]] = defaultdict(list)
    for message in system.outbox():
        data = message["template_data"]
        trigger = message["custom_args"]["freshgate_trigger"]
        about = (
            (data["order_id"],)
            if trigger == "order_confirmation"
            else tuple(sorted(line["product_id"] for line in data.get("products", ())))
        )
        by_address[message["to"]].append(Mail(trigger, message["to"], about))
    return {address: sorted(found) for address, found in by_address.items()}


@pytest.mark.timeout(200)
def test_every_shopper_gets_exactly_the_mails_of_the_oracle_over_http() -> None:
    found = shoppers()
    expected = {one.email: sorted(Oracle(one, RULES).mails) for one in found.values()}
    expected = {address: wanted for address, wanted in expected.items() if wanted}
    assert sum(map(len, expected.values())) > SHOPPERS / 2
    with System(ENVIRON) as system:
        tell(system, found)
        quiet_since = [time.monotonic(), len(system.outbox())]

        def is_quiet() -> bool:
            count = len(system.outbox())
            if count != quiet_since[1]:
                quiet_since[:] = [time.monotonic(), count]
            # Longer than the longest delay: whoever is to be mailed has been.
            return time.monotonic() - quiet_since[0] > 9

        system.wait_for(is_quiet, timeout=90)
        got = mails(system)
        wrong = {
            address: (expected.get(address), got.get(address))
            for address in expected.keys() | got.keys()
            if expected.get(address) != got.get(address)
        }
        if wrong:
            address, (wanted, came) = next(iter(wrong.items()))
            one = next(one for one in found.values() if one.email == address)
            pytest.fail(
                f"{len(wrong)} shoppers; seed {one.seed}: wanted {wanted}, got {came}\n{system.why(f'u{one.seed}')}"
                f"\n{json.dumps([told._asdict() for told in one.told], default=str)}"
            )

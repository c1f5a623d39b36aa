"""What became of the mails goes back out, with real processes: to a CDP's tracking API, and never in front of mail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.harness.system import System
from tests.system.conftest import SHORT, Shopper, counter_total

pytestmark = pytest.mark.slow
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    environ = SHORT | {
        "FRESHGATE_OUTCOMES__MAIN__KIND": "segment",
        "FRESHGATE_OUTCOMES__MAIN__TIMEOUT_S": "1",
        "FRESHGATE_SANDBOX_REPORTS": "true",
    }
    with System(environ) as system:
        yield system


def outcomes(system: System, shopper: Shopper) -> list[dict[str, Any]]:
    response = system.request("SANDBOX_PORT", "GET", "/outcomes")
    return [call for call in response.json if call.get("userId") == shopper.user]


def events(system: System, shopper: Shopper) -> list[str]:
    return [call["event"] for call in outcomes(system, shopper)]


def is_known(system: System, shopper: Shopper) -> bool:
    return {"Email Sent", "Email Delivered"} <= set(events(system, shopper))


def has_repetition(system: System) -> bool:
    ids = [call["messageId"] for call in system.request("SANDBOX_PORT", "GET", "/outcomes").json]
    return len(set(ids)) < len(ids)


def test_a_mail_that_left_and_arrived_is_told_with_the_shops_own_id(system: System, ada: Shopper) -> None:
    system.post(ada.ordered())
    system.wait_for(lambda: events(system, ada) == ["Email Sent", "Email Delivered"])
    assert ada.email not in json.dumps(outcomes(system, ada))


def test_a_mail_that_is_withheld_is_told_with_its_reason(system: System, ada: Shopper) -> None:
    system.post(ada.added())
    system.post(ada.ordered())
    system.wait_for(lambda: "Email Skipped" in events(system, ada))
    [skipped] = [call for call in outcomes(system, ada) if call["event"] == "Email Skipped"]
    assert skipped["properties"]["freshgate_trigger"] == "abandoned_cart"
    assert skipped["properties"]["reason"] == "ordered"


def test_what_comes_back_by_the_cdp_triggers_nothing_and_is_not_told_again(system: System, ada: Shopper) -> None:
    ada.email = f"bounced+{ada.user}@example.com"
    system.post(ada.ordered())
    system.wait_for(lambda: "Email Bounced" in events(system, ada))
    before = outcomes(system, ada)
    assert system.post(before).json == {
        "accepted": 0,
        "duplicate": 0,
        "ignored": len(before),
        "refused": 0,
        "refusals": [],
    }
    bob = Shopper()
    system.post(bob.ordered())
    system.wait_for(lambda: events(system, bob))
    assert outcomes(system, ada) == before


def test_mails_leave_while_the_cdp_hangs_and_everything_is_told_afterwards(system: System, ada: Shopper) -> None:
    fault = {"kind": "hang", "seconds": 5, "provider": "outcomes", "count": 2, "accept": True}
    assert system.request("SANDBOX_PORT", "POST", "/faults", json.dumps(fault).encode(), JSON).status == 200
    bob = Shopper()
    for shopper in (ada, bob):
        system.post(shopper.ordered())
        system.wait_for(partial(shopper.mails, system, "order_confirmation"), timeout=5)
    for shopper in (ada, bob):
        system.wait_for(partial(is_known, system, shopper))
    # The calls that hung had arrived, and were repeated under the same ids.
    system.wait_for(lambda: has_repetition(system))


def test_the_timers_process_counts_what_leaves_and_what_waits(system: System, ada: Shopper) -> None:
    system.post(ada.ordered())
    system.wait_for(lambda: "Email Sent" in events(system, ada))
    port = "TIMERS_METRICS_PORT"
    system.wait_for(
        lambda: counter_total(system, "freshgate_outcomes_total", port, shop="main", result="taken", event="Email Sent")
    )
    text = system.request(port, "GET", "/metrics").json
    assert 'freshgate_outcomes_waiting{shop="main"}' in text
    assert 'freshgate_outcomes_dropped_total{shop="main"} 0.0' in text


def test_nothing_is_lost_when_the_process_that_sends_is_killed(system: System, ada: Shopper) -> None:
    fault = {"kind": "hang", "seconds": 5, "provider": "outcomes", "count": 1}
    assert system.request("SANDBOX_PORT", "POST", "/faults", json.dumps(fault).encode(), JSON).status == 200
    system.post(ada.ordered())
    system.wait_for(lambda: ada.mails(system, "order_confirmation"))
    system.kill("timers")
    system.wait_for(lambda: "Email Sent" in events(system, ada), timeout=40)

"""The ESP misbehaves: a mail that may have arrived is never repeated, one that did not arrive is sent later, once.

Outcomes are read from the person's trail and from the worker's metrics.
"""

from __future__ import annotations

import time

import pytest

from tests.harness.system import System
from tests.system.conftest import Shopper, counter_total, is_quiet, run_workers

CONFIRMATION = "order_confirmation"


def order_with_fault(system: System, ada: Shopper, outcome: str, **fault: object) -> list[str]:
    """Post Ada's order while the ESP has this fault; once `outcome` is counted, returns her decisions."""
    before = counter_total(system, "freshgate_sends_total", trigger=CONFIRMATION, outcome=outcome)
    assert system.faults(**fault).status == 200
    assert system.post(ada.ordered(order=f"{ada.user}-1")).json["accepted"] == 1
    metric = "freshgate_sends_total"
    system.wait_for(lambda: counter_total(system, metric, trigger=CONFIRMATION, outcome=outcome) == before + 1)
    system.wait_for(lambda: is_quiet(system))
    assert counter_total(system, metric, trigger=CONFIRMATION, outcome=outcome) == before + 1
    return ada.decisions(system, CONFIRMATION)


def assert_unknown(system: System, ada: Shopper, decisions: list[str], in_outbox: int) -> None:
    (decision,) = decisions
    assert decision.startswith("unknown")
    send = decision.rpartition("send ")[2]
    assert send in run_workers(system, "unknown", "list")
    # The same order posted once more does not send the mail either.
    assert system.post(ada.ordered(order=f"{ada.user}-1")).json["accepted"] == 1
    system.wait_for(lambda: ada.decisions(system, CONFIRMATION)[-1].startswith("duplicate"))
    assert len(ada.mails(system, CONFIRMATION)) == in_outbox


def test_a_slow_answer_is_waited_for(system: System, ada: Shopper) -> None:
    (decision,) = order_with_fault(system, ada, "sent", kind="slow", seconds=0.5)
    assert decision.startswith("sent")
    assert len(ada.mails(system, CONFIRMATION)) == 1


def test_a_hanging_esp_makes_the_send_unknown_and_the_mail_is_not_repeated(system: System, ada: Shopper) -> None:
    decisions = order_with_fault(system, ada, "unknown", kind="hang", seconds=3, accept=False)
    assert_unknown(system, ada, decisions, in_outbox=0)


def test_an_answer_that_dribbles_is_cut_off_and_the_mail_is_not_repeated(system: System, ada: Shopper) -> None:
    decisions = order_with_fault(system, ada, "unknown", kind="dribble")
    assert_unknown(system, ada, decisions, in_outbox=1)


def test_a_connection_lost_after_the_mail_was_taken_makes_it_unknown_and_leaves_one_mail(
    system: System, ada: Shopper
) -> None:
    decisions = order_with_fault(system, ada, "unknown", kind="drop", accept=True)
    assert_unknown(system, ada, decisions, in_outbox=1)


@pytest.mark.parametrize("status", [400, 413])
def test_a_refusal_for_good_is_rejected_and_not_tried_again(system: System, ada: Shopper, status: int) -> None:
    (decision,) = order_with_fault(system, ada, "rejected", kind="status", status=status)
    assert decision.startswith("rejected")
    assert f"sendgrid answered {status}" in decision
    assert ada.mails(system, CONFIRMATION) == []


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_a_refusal_that_may_pass_is_tried_again_later_and_sent_once(system: System, ada: Shopper, status: int) -> None:
    headers = {"X-RateLimit-Reset": str(int(time.time()) + 2)} if status == 429 else {}
    decisions = order_with_fault(system, ada, "sent", kind="status", status=status, headers=headers)
    # With the faults of the tests before it, this one may have opened the account's breaker: then the retry waits.
    first, last = [decision for decision in decisions if not decision.startswith(("moved", "waiting"))]
    assert first.startswith("retry")
    assert f"sendgrid answered {status}" in first
    assert last.startswith("sent")
    assert len(ada.mails(system, CONFIRMATION)) == 1

"""The ESP misbehaves: what may have arrived is never repeated, what did not arrive is sent later, once.

Outcomes are read from the person's trail, and from the worker's own figures.
"""

from __future__ import annotations

import time

import pytest

from tests.harness.system import System
from tests.system.conftest import Shopper, count, is_quiet, workers

CONFIRMATION = "order_confirmation"


def order(system: System, ada: Shopper, outcome: str, **fault: object) -> list[str]:
    """Orders "1" of Ada's while the ESP has this fault; returns the trail's lines once the outcome is this."""
    before = count(system, "freshgate_sends_total", trigger=CONFIRMATION, outcome=outcome)
    assert system.faults(**fault).status == 200
    assert system.post(ada.ordered(order=f"{ada.user}-1")).json["accepted"] == 1
    metric = "freshgate_sends_total"
    system.wait_for(lambda: count(system, metric, trigger=CONFIRMATION, outcome=outcome) == before + 1)
    system.wait_for(lambda: is_quiet(system))
    assert count(system, metric, trigger=CONFIRMATION, outcome=outcome) == before + 1
    return ada.said(system, CONFIRMATION)


def assert_unknown(system: System, ada: Shopper, said: list[str], in_outbox: int) -> None:
    (only,) = said
    assert only.startswith("unknown")
    send = only.rpartition("send ")[2]
    assert send in workers(system, "unknown", "list")
    # Told once more, the order does not bring the mail back either.
    assert system.post(ada.ordered(order=f"{ada.user}-1")).json["accepted"] == 1
    system.wait_for(lambda: ada.said(system, CONFIRMATION)[-1].startswith("duplicate"))
    assert len(ada.mails(system, CONFIRMATION)) == in_outbox


def test_a_slow_answer_is_waited_for(system: System, ada: Shopper) -> None:
    (said,) = order(system, ada, "sent", kind="slow", seconds=0.5)
    assert said.startswith("sent")
    assert len(ada.mails(system, CONFIRMATION)) == 1


def test_a_hanging_esp_makes_the_send_unknown_and_the_mail_is_not_repeated(system: System, ada: Shopper) -> None:
    said = order(system, ada, "unknown", kind="hang", seconds=3, accept=False)
    assert_unknown(system, ada, said, in_outbox=0)


def test_an_answer_that_dribbles_is_cut_off_and_the_mail_is_not_repeated(system: System, ada: Shopper) -> None:
    said = order(system, ada, "unknown", kind="dribble")
    assert_unknown(system, ada, said, in_outbox=1)


def test_a_connection_lost_after_the_mail_was_taken_makes_it_unknown_and_leaves_one_mail(
    system: System, ada: Shopper
) -> None:
    said = order(system, ada, "unknown", kind="drop", accept=True)
    assert_unknown(system, ada, said, in_outbox=1)


@pytest.mark.parametrize("status", [400, 413])
def test_a_refusal_for_good_is_rejected_and_not_tried_again(system: System, ada: Shopper, status: int) -> None:
    (said,) = order(system, ada, "rejected", kind="status", status=status)
    assert said.startswith("rejected")
    assert f"sendgrid answered {status}" in said
    assert ada.mails(system, CONFIRMATION) == []


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_a_refusal_that_may_pass_is_tried_again_later_and_sent_once(system: System, ada: Shopper, status: int) -> None:
    headers = {"X-RateLimit-Reset": str(int(time.time()) + 2)} if status == 429 else {}
    first, last = order(system, ada, "sent", kind="status", status=status, headers=headers)
    assert first.startswith("retry")
    assert f"sendgrid answered {status}" in first
    assert last.startswith("sent")
    assert len(ada.mails(system, CONFIRMATION)) == 1

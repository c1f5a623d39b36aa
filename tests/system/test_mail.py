"""What a shop sees: events go in over HTTP in any order, and each right mail comes out once.

The product runs as its user runs it; mails are read from the sandbox.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from adapter.sources.segment.signature import sign
from tests.harness.system import SECRET, System
from tests.system.conftest import SHORT, Shopper, counter_total, run_workers


@pytest.fixture(scope="module", autouse=True)
def held(system: System) -> Iterator[Shopper]:
    """A shopper whose welcome was held and released before the other tests, since sending it takes half a minute."""
    bob = Shopper()
    run_workers(system, "hold", "welcome")
    assert system.post(bob.signed_up()).status == 200
    system.wait_for(
        lambda: counter_total(system, "freshgate_sends_retimed_total", trigger="welcome", reason="held") == 1
    )
    assert bob.mails(system, "welcome") == []
    run_workers(system, "release", "welcome")
    yield bob


def test_an_order_is_confirmed_at_once(system: System, ada: Shopper) -> None:
    assert system.post(ada.ordered()).json["accepted"] == 1
    # Ten times the usual time, and far below what the timers take, so the mail came by the queue.
    system.wait_for(lambda: ada.mails(system, "order_confirmation"), timeout=5)
    system.wait_for(lambda: ada.decisions(system, "order_confirmation"))
    (decision,) = ada.decisions(system, "order_confirmation")
    assert decision.startswith("sent")
    assert "sendgrid answered 202" in decision


def test_a_duplicate_post_is_answered_as_duplicate_and_sends_no_second_mail(system: System, ada: Shopper) -> None:
    order = ada.ordered()
    replies = [system.post(order).json for _ in range(3)]
    assert [(reply["accepted"], reply["duplicate"]) for reply in replies] == [(1, 0), (0, 1), (0, 1)]
    # The same order under another message id is a decision, and the last entry of the trail.
    system.wait_for(lambda: ada.mails(system, "order_confirmation"))
    repeated = order | {"messageId": f"again-{order['messageId']}"}
    assert system.post(repeated).json["accepted"] == 1
    system.wait_for(
        lambda: any(decision.startswith("duplicate") for decision in ada.decisions(system, "order_confirmation"))
    )
    assert len(ada.mails(system, "order_confirmation")) == 1


def test_a_quiet_cart_is_mailed(system: System, ada: Shopper) -> None:
    system.post([ada.identify(), ada.added()])
    (mail,) = system.wait_for(lambda: ada.mails(system, "abandoned_cart"))
    assert [line["product_id"] for line in mail["template_data"]["products"]] == ["mug"]


def test_a_purchase_that_arrives_before_the_cart_event_still_cancels_the_mail(system: System, ada: Shopper) -> None:
    bought, added = ada.ordered(at_s=-1), ada.added(at_s=-3)
    assert system.post(ada.identify(at_s=-4)).status == 200
    assert system.post(bought).status == 200
    assert system.post(added).status == 200
    (decision,) = system.wait_for(lambda: ada.decisions(system, "abandoned_cart"))
    assert decision.startswith("cancelled (ordered)")
    assert ada.mails(system, "abandoned_cart") == []


def test_a_batch_without_its_token_is_401_and_nothing_is_recorded(system: System, ada: Shopper) -> None:
    batch = [ada.ordered(), ada.identify()]
    first = json.dumps(batch[0], separators=(",", ":")).encode()
    headers = {"content-type": "application/json", "x-signature": sign(SECRET, first)}
    body = json.dumps(batch, separators=(",", ":")).encode()
    response = system.request("PORT", "POST", "/webhooks/segment", body, headers)
    assert (response.status, response.json) == (401, {"error": "signature rejected"})
    # Not duplicates, so the 401 recorded nothing.
    assert system.post(batch).json["accepted"] == 2


def test_the_trail_is_found_by_user_id_anonymous_id_and_address(system: System, ada: Shopper) -> None:
    system.post([ada.identify(anonymousId=ada.anonymous), ada.added(userId=None, anonymousId=ada.anonymous)])
    by_user = system.why(ada.user)
    assert "Identify from segment: accepted" in by_user
    assert "Product Added from segment: accepted" in by_user
    first_line = by_user.splitlines()[0]
    assert system.why(ada.anonymous).splitlines()[0] == first_line
    assert system.why(ada.email).splitlines()[0] == first_line
    system.wait_for(lambda: ada.mails(system, "abandoned_cart"))


def test_a_trigger_that_the_settings_switch_off_sends_nothing(ada: Shopper) -> None:
    with System({**SHORT, "FRESHGATE_TRIGGERS__ORDER_CONFIRMATION__ENABLED": "false"}) as system:
        assert system.post([ada.ordered(), ada.signed_up()]).json["accepted"] == 2
        # The welcome stands after the order in the batch, so there was time for the confirmation.
        system.wait_for(lambda: ada.mails(system, "welcome"))
        assert ada.mails(system, "order_confirmation") == []
        assert ada.decisions(system, "order_confirmation") == []


def test_what_was_held_back_is_sent_once_after_the_release(system: System, held: Shopper) -> None:
    system.wait_for(lambda: held.mails(system, "welcome"), timeout=60)
    system.wait_for(lambda: held.decisions(system, "welcome"))
    assert [decision.partition(" ")[0] for decision in held.decisions(system, "welcome")] == ["sent"]
    assert len(held.mails(system, "welcome")) == 1

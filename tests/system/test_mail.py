"""What a shop sees: events go in over HTTP, in any order, and the right mails come out, once.

The product is running as its user runs it; the outbox is the sandbox's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from adapter.sources.segment.signature import sign
from tests.harness.system import SECRET, System
from tests.system.conftest import SHORT, Shopper, count, workers


@pytest.fixture(scope="module", autouse=True)
def held(system: System) -> Iterator[Shopper]:
    """Somebody whose welcome was held back and released before the other tests, while half a minute passes."""
    bob = Shopper()
    workers(system, "hold", "welcome")
    assert system.post(bob.signed_up()).status == 200
    system.wait_for(lambda: count(system, "freshgate_sends_retimed_total", trigger="welcome", reason="held") == 1)
    assert bob.mails(system, "welcome") == []
    workers(system, "release", "welcome")
    yield bob


def test_an_order_is_confirmed_at_once(system: System, ada: Shopper) -> None:
    assert system.post(ada.ordered()).json["accepted"] == 1
    # Ten times what is to be expected, and far below what the timers would need.
    system.wait_for(lambda: ada.mails(system, "order_confirmation"), timeout=5)
    system.wait_for(lambda: ada.said(system, "order_confirmation"))
    (said,) = ada.said(system, "order_confirmation")
    assert said.startswith("sent")
    assert "sendgrid answered 202" in said


def test_a_duplicate_post_is_answered_as_duplicate_and_sends_no_second_mail(system: System, ada: Shopper) -> None:
    order = ada.ordered()
    answers = [system.post(order).json for _ in range(3)]
    assert [(answer["accepted"], answer["duplicate"]) for answer in answers] == [(1, 0), (0, 1), (0, 1)]
    # What happens to the same order under another message id is a decision, and the last word on the trail.
    system.wait_for(lambda: ada.mails(system, "order_confirmation"))
    again = order | {"messageId": f"again-{order['messageId']}"}
    assert system.post(again).json["accepted"] == 1
    system.wait_for(lambda: any(said.startswith("duplicate") for said in ada.said(system, "order_confirmation")))
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
    (said,) = system.wait_for(lambda: ada.said(system, "abandoned_cart"))
    assert said.startswith("cancelled (ordered)")
    assert ada.mails(system, "abandoned_cart") == []


def test_a_batch_without_its_token_is_401_and_nothing_is_recorded(system: System, ada: Shopper) -> None:
    batch = [ada.ordered(), ada.identify()]
    first = json.dumps(batch[0], separators=(",", ":")).encode()
    headers = {"content-type": "application/json", "x-signature": sign(SECRET, first)}
    body = json.dumps(batch, separators=(",", ":")).encode()
    answer = system.request("PORT", "POST", "/webhooks/segment", body, headers)
    assert (answer.status, answer.json) == (401, {"error": "signature rejected"})
    # Had anything been recorded, this would be a duplicate.
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
        # The welcome came in later, and so proves that there was time for the other.
        system.wait_for(lambda: ada.mails(system, "welcome"))
        assert ada.mails(system, "order_confirmation") == []
        assert ada.said(system, "order_confirmation") == []


def test_what_was_held_back_is_sent_once_after_the_release(system: System, held: Shopper) -> None:
    system.wait_for(lambda: held.mails(system, "welcome"), timeout=60)
    system.wait_for(lambda: held.said(system, "welcome"))
    assert [said.partition(" ")[0] for said in held.said(system, "welcome")] == ["sent"]
    assert len(held.mails(system, "welcome")) == 1

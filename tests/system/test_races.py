"""Events arrive at a named point of a send, in a real worker: before its claim, between claim and settle, or while the
worker stands still.

Before the claim a send waits for its connection to the ESP, which the ESP of these tests can hold up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tests.harness.esp_server import Answer, EspServer, Mail
from tests.harness.system import Response, System
from tests.system.conftest import SHORT, Shopper, is_quiet, run_workers

CONFIRMATION, CART, WELCOME = "order_confirmation", "abandoned_cart", "welcome"
TIMEOUT_S = 8
# The connection is not used again, so that each send opens one.
TAKEN = Answer(202, {"Connection": "close"})
PAIRS = 4
# Calls at once: of one alone, the answer may be read before the deadline is noticed.
IN_FLIGHT = 12


@pytest.fixture(scope="module")
def esp() -> Iterator[EspServer]:
    with EspServer() as server:
        server.answer = TAKEN
        yield server


@pytest.fixture(scope="module")
def system(esp: EspServer) -> Iterator[System]:
    # One mail a call, so that each is held by itself.
    settings = {"BASE_URL": esp.url, "TIMEOUT_S": str(TIMEOUT_S), "BATCH": "1"}
    with System(SHORT | {f"FRESHGATE_ESPS__SENDGRID__{name}": value for name, value in settings.items()}) as system:
        yield system


@contextmanager
def before_the_claim(system: System, esp: EspServer, events: list[dict[str, Any]]) -> Iterator[None]:
    """The events are recorded, and a worker has decided to send a mail: it claims it once this ends."""
    with esp.connecting_held():
        assert system.post(events).json["accepted"] == len(events)
        system.wait_for(esp.is_awaited)
        yield


@contextmanager
def calls_held(system: System, esp: EspServer, events: list[dict[str, Any]], *shoppers: Shopper) -> Iterator[None]:
    """The events are recorded, and the ESP has a call with a mail to each of the shoppers. It answers at the end, or a
    second before the timeout.
    """
    addresses = {shopper.email for shopper in shoppers}
    held: set[str] = set()
    ended = threading.Event()

    def answer(mail: Mail) -> Answer:
        if mail.to in addresses:
            held.add(mail.to)
            ended.wait(TIMEOUT_S - 1)
        return TAKEN

    esp.answer = answer
    try:
        assert system.post(events).json["accepted"] == len(events)
        system.wait_for(lambda: held == addresses)
        yield
    finally:
        ended.set()
        esp.answer = TAKEN


def post_at_once(system: System, *events: dict[str, Any]) -> None:
    """Posts each event by a thread of its own, all at the same moment."""
    barrier = threading.Barrier(len(events))

    def post(event: dict[str, Any]) -> Response:
        barrier.wait()
        return system.post(event)

    with ThreadPoolExecutor(len(events)) as pool:
        assert [response.status for response in pool.map(post, events)] == [200] * len(events)


def alias(old: Shopper, new: Shopper) -> dict[str, Any]:
    return new._event(0, type="alias", previousId=old.user)


def order_without_address(shopper: Shopper) -> dict[str, Any]:
    products = [{"product_id": "mug", "name": "Mug", "price": 9.5}]
    properties = {"order_id": f"order-{shopper.user}", "total": 9.5, "products": products}
    return shopper._event(0, type="track", event="Order Completed", properties=properties)


def delete(shopper: Shopper) -> dict[str, Any]:
    return shopper._event(0, type="delete")


def mails(esp: EspServer, trigger: str, *shoppers: Shopper) -> int:
    addresses = [shopper.email for shopper in shoppers]
    return sum(mail.to in addresses and mail.trigger == trigger for mail in esp.mails)


def outcomes(system: System, shopper: Shopper, trigger: str) -> list[tuple[str, str]]:
    """(state, reason) of each decision on the trigger, oldest first; without the looks at which it had to wait."""
    return [
        (entry["state"], entry.get("reason", ""))
        for entry in system.trail(shopper.user)
        if entry.get("trigger") == trigger and entry["state"] not in ("moved", "waiting")
    ]


def wait_until_quiet(system: System) -> None:
    system.wait_for(lambda: is_quiet(system), timeout=45)


def test_an_unsubscribe_before_the_claim_withholds_the_mail(system: System, esp: EspServer, ada: Shopper) -> None:
    with before_the_claim(system, esp, [ada.identify(), ada.added()]):
        assert system.post(ada.track("Unsubscribed", email=ada.email)).json["accepted"] == 1
    wait_until_quiet(system)
    assert mails(esp, CART, ada) == 0
    assert outcomes(system, ada, CART) == [("suppressed", "unsubscribed")]


def test_an_unsubscribe_after_the_claim_withholds_the_next_mail(system: System, esp: EspServer, ada: Shopper) -> None:
    with calls_held(system, esp, [ada.identify(), ada.added()], ada):
        system.post(ada.track("Unsubscribed", email=ada.email))
    wait_until_quiet(system)
    assert system.post(ada.added()).json["accepted"] == 1
    wait_until_quiet(system)
    assert mails(esp, CART, ada) == 1
    assert outcomes(system, ada, CART) == [("sent", ""), ("suppressed", "unsubscribed")]


def test_a_link_and_an_order_at_once_before_the_claim_withhold_the_cart_of_the_device(
    system: System, esp: EspServer, ada: Shopper
) -> None:
    device: dict[str, Any] = {"userId": None, "anonymousId": ada.anonymous}
    with before_the_claim(system, esp, [ada.identify(**device), ada.added(**device)]):
        post_at_once(system, ada.identify(anonymousId=ada.anonymous), order_without_address(ada))
    wait_until_quiet(system)
    assert mails(esp, CART, ada) == 0
    assert mails(esp, CONFIRMATION, ada) == 1
    assert [state for state, _ in outcomes(system, ada, CART)] == ["cancelled"]


def test_two_opposite_aliases_at_once_before_the_claim_leave_one_person_who_has_ordered(
    system: System, esp: EspServer
) -> None:
    pairs = [(Shopper(), Shopper()) for _ in range(PAIRS)]
    with before_the_claim(
        system, esp, [event for pair in pairs for shopper in pair for event in (shopper.identify(), shopper.added())]
    ):
        for first, second in pairs:
            post_at_once(system, alias(first, second), alias(second, first))
        system.post([order_without_address(first) for first, _ in pairs])
    wait_until_quiet(system)
    for pair in pairs:
        assert mails(esp, CART, *pair) == 0
        assert mails(esp, CONFIRMATION, *pair) == 1
        assert system.trail(pair[0].user) == system.trail(pair[1].user)


def test_two_opposite_aliases_between_claim_and_settle_bring_no_second_mail(system: System, esp: EspServer) -> None:
    first, second = Shopper(), Shopper()
    with calls_held(system, esp, [second.identify(), first.signed_up()], first):
        post_at_once(system, alias(first, second), alias(second, first))
    wait_until_quiet(system)
    assert system.post([first.signed_up(), second.signed_up()]).json["accepted"] == 2
    wait_until_quiet(system)
    assert mails(esp, WELCOME, first, second) == 1
    assert outcomes(system, second, WELCOME)[0] == ("sent", "")
    assert {state for state, _ in outcomes(system, second, WELCOME)[1:]} == {"duplicate"}


def test_an_erasure_before_the_claim_withholds_the_mail(system: System, esp: EspServer, ada: Shopper) -> None:
    with before_the_claim(system, esp, [ada.identify(), ada.added()]):
        assert system.post(delete(ada)).json["accepted"] == 1
    wait_until_quiet(system)
    assert mails(esp, CART, ada) == 0


def test_an_erasure_between_claim_and_settle_leaves_one_mail_and_no_way_to_a_second(
    system: System, esp: EspServer, ada: Shopper
) -> None:
    cart, order = ada.added(), ada.ordered(order=f"order-{ada.user}")
    with calls_held(system, esp, [order], ada):
        assert system.post(delete(ada)).json["accepted"] == 1
    wait_until_quiet(system)
    # The CDP repeats what it told before the erasure, under other message ids too.
    system.post([cart, order, {**order, "messageId": "repeated"}])
    wait_until_quiet(system)
    assert mails(esp, CONFIRMATION, ada) == 1
    assert mails(esp, CART, ada) == 0
    assert listed(system) == []


def test_a_worker_that_stood_still_while_the_esp_answered_knows_that_the_mails_left(
    system: System, esp: EspServer
) -> None:
    erased, bought, *others = shoppers = [Shopper() for _ in range(IN_FLIGHT)]
    with calls_held(system, esp, [shopper.signed_up() for shopper in shoppers], *shoppers), system.stopped("worker"):
        system.post([delete(erased), order_without_address(bought)])
        stood_still_until = time.monotonic() + TIMEOUT_S + 1
        system.wait_for(lambda: mails(esp, WELCOME, *shoppers) == IN_FLIGHT)
        time.sleep(max(0.0, stood_still_until - time.monotonic()))
    wait_until_quiet(system)
    assert mails(esp, WELCOME, *shoppers) == IN_FLIGHT
    assert listed(system) == []
    assert outcomes(system, others[0], WELCOME) == [("sent", "")]


def listed(system: System) -> list[str]:
    """The sends that wait for an operator."""
    lines = [run_workers(system, name, "list").splitlines() for name in ("unknown", "dead", "rejected")]
    return [line for rows in lines for line in rows if any(len(word) == 24 for word in line.split())]

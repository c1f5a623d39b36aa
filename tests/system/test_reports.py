"""The whole loop on one machine: mails leave, the sandbox reports what became of them, and the next decision knows.

`tests/workers/sandbox/test_reports.py` has every kind; here are one with a key pair, and one with a shared key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.system import System
from tests.system.conftest import SHORT, Shopper

KINDS = ("mailchimp_transactional", "sendgrid")


@pytest.fixture(scope="module", params=KINDS)
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    kind = request.param
    environ = SHORT | {
        "FRESHGATE_CONFIG": "/dev/null",
        "FRESHGATE_SOURCES__SEGMENT__KIND": "segment",
        f"FRESHGATE_ESPS__{kind.upper()}__TIMEOUT_S": "1",
        "FRESHGATE_SANDBOX_REPORTS": "true",
    }
    if kind != "sendgrid":
        del environ["FRESHGATE_ESPS__SENDGRID__TIMEOUT_S"]
    with System(environ) as system:
        yield system


def report(system: System, mail: dict[str, Any], event: str) -> Any:
    body = json.dumps({"send": mail["custom_args"]["freshgate_send"], "event": event}).encode()
    return system.request("SANDBOX_PORT", "POST", "/reports", body, {"content-type": "application/json"})


def order(system: System, shopper: Shopper) -> dict[str, Any]:
    before = len(shopper.mails(system, "order_confirmation"))
    assert system.post(shopper.ordered()).status == 200
    mails = system.wait_for(lambda: shopper.mails(system, "order_confirmation")[before:])
    return dict(mails[-1])


def test_a_mail_is_reported_as_delivered_by_itself(system: System) -> None:
    ada = Shopper()
    order(system, ada)
    system.wait_for(lambda: any(line.startswith("delivered") for line in ada.decisions(system, "order_confirmation")))


@pytest.mark.parametrize("event", ["bounced", "complained"])
def test_what_is_reported_stops_the_next_mail(system: System, event: str) -> None:
    ada = Shopper()
    assert report(system, order(system, ada), event).json == {"status": 200}
    assert system.post(ada.ordered()).status == 200
    system.wait_for(lambda: any(line.startswith("suppressed") for line in ada.decisions(system, "order_confirmation")))
    assert len(ada.mails(system, "order_confirmation")) == 1


def test_a_send_of_which_no_answer_came_is_sent_when_the_esp_reports_it(system: System) -> None:
    ada = Shopper()
    system.request("SANDBOX_PORT", "DELETE", "/faults")
    assert system.faults(kind="drop", accept=True, count=1).status == 200
    assert system.post(ada.ordered()).status == 200
    system.wait_for(lambda: any(line.startswith("sent") for line in ada.decisions(system, "order_confirmation")))
    assert len(ada.mails(system, "order_confirmation")) == 1


def test_an_address_says_what_becomes_of_its_mail(system: System) -> None:
    ada = Shopper()
    ada.email = f"bounced+{ada.user}@example.com"
    order(system, ada)
    system.wait_for(lambda: any(line.startswith("bounced") for line in ada.decisions(system, "order_confirmation")))


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"[]", 400), (b'{"send": "x", "event": "opened"}', 409), (b'{"event": "opened"}', 400)],
)
def test_a_report_of_nothing_is_refused(system: System, body: bytes, status: int) -> None:
    assert system.request("SANDBOX_PORT", "POST", "/reports", body).status == status


def test_an_event_that_does_not_exist_is_refused(system: System) -> None:
    response = report(system, order(system, Shopper()), "exploded")
    assert response.status == 409
    assert "delivered, bounced" in str(response.json)

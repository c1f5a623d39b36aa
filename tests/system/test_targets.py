"""Accounts of several kinds side by side, by their settings alone: each trigger's mail arrives at its provider.

Nothing but the kinds is set: without a `base_url` every kind sends to the sandbox.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.system import System
from tests.system.conftest import SHORT, Shopper, run_workers

KINDS = ("resend", "mailchimp_transactional", "webhook")
TRIGGERS = {"ORDER_CONFIRMATION": "resend", "WELCOME": "mailchimp_transactional", "ABANDONED_CART": "webhook"}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    environ = SHORT | {
        "FRESHGATE_CONFIG": "/dev/null",
        **{f"FRESHGATE_SOURCES__{name}__KIND": name.lower() for name in ("SEGMENT", "TEALIUM", "MPARTICLE")},
        **{f"FRESHGATE_ESPS__{kind.upper()}__KIND": kind for kind in KINDS},
        "FRESHGATE_ESPS__RESEND__TIMEOUT_S": "1",
        **{f"FRESHGATE_TRIGGERS__{trigger}__ESP": kind for trigger, kind in TRIGGERS.items()},
    }
    del environ["FRESHGATE_ESPS__SENDGRID__TIMEOUT_S"]
    with System(environ) as system:
        yield system


def providers(system: System, shopper: Shopper) -> dict[str, str]:
    """trigger → provider of the mails to this person."""
    mails = [mail for mail in system.outbox() if mail["to"] == shopper.email]
    return {mail["custom_args"]["freshgate_trigger"]: mail["provider"] for mail in mails}


def test_each_triggers_mail_arrives_at_its_provider(system: System) -> None:
    ada, bob = Shopper(), Shopper()
    assert system.post([ada.signed_up(), ada.ordered()]).status == 200
    assert system.post([bob.identify(), bob.added()]).status == 200
    expected = {"order_confirmation": "resend", "welcome": "mailchimp_transactional"}
    system.wait_for(lambda: providers(system, ada) == expected)
    system.wait_for(lambda: providers(system, bob) == {"abandoned_cart": "webhook"})


@pytest.mark.parametrize("fault", ["drop", "hang"])
@pytest.mark.parametrize("accept", [True, False])
def test_a_lost_answer_of_resend_is_settled_under_its_key_and_one_mail_arrives(
    system: System, fault: str, accept: bool
) -> None:
    ada = Shopper()
    assert system.faults(kind=fault, accept=accept, seconds=3, provider="resend").status == 200
    system.post(ada.ordered(order=f"{ada.user}-1"))
    system.wait_for(lambda: any(line.startswith("sent") for line in ada.decisions(system, "order_confirmation")))
    states = [line.split()[0] for line in ada.decisions(system, "order_confirmation")]
    assert states == ["retry", "sent"]
    assert [mail["provider"] for mail in ada.mails(system, "order_confirmation")] == ["resend"]
    assert "0 unknown" in run_workers(system, "unknown", "list")

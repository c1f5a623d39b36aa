"""The first minutes with `make run`: what it prints can be pasted, and a cart mail comes as soon as its delay says."""

from __future__ import annotations

import re
import subprocess

from tests.harness.system import ROOT, System

VARIABLE = "FRESHGATE_TRIGGERS__ABANDONED_CART__DELAY"


def printed_lines(system: System) -> list[str]:
    system.wait_for(lambda: "Ctrl-C stops everything" in system.console())
    return re.findall(r"^curl .*$", system.console(), re.MULTILINE)


def test_the_printed_order_and_the_printed_cart_are_mailed() -> None:
    with System({VARIABLE: "1s"}) as system:
        order, cart = printed_lines(system)
        assert "after 1s of quiet" in system.console()
        assert f"{VARIABLE}=10s" not in system.console()
        for line in (order, cart):
            done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True, timeout=30)
            assert done.stdout.startswith('{"accepted":1,')
        system.wait_for(lambda: len(system.outbox()) == 2)
        mails = {mail["custom_args"]["freshgate_trigger"]: mail["to"] for mail in system.outbox()}
        address = re.search(r"cart-\w+@example\.com", cart)
        assert address
        assert mails == {"order_confirmation": "ada@example.com", "abandoned_cart": address[0]}


def test_with_the_usual_delay_it_says_how_to_see_the_cart_mail_within_seconds() -> None:
    with System() as system:
        assert len(printed_lines(system)) == 2
        line = re.search(rf"{VARIABLE}=\S+ make run", system.console())
        assert line
        assert line[0] in (ROOT / "README.md").read_text(encoding="utf-8")


def test_without_a_trigger_that_waits_no_cart_is_offered() -> None:
    with System({"FRESHGATE_TRIGGERS__ABANDONED_CART__ENABLED": "false"}) as system:
        assert len(printed_lines(system)) == 1

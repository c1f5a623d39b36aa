"""`make run` with an account of kind `smtp`: mails by the catalog's templates, and readers who leave by their links.

Mails are taken from the sandbox's outbox as a mailbox would have them, and their links are called over HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.harness.ports import free_ports
from tests.harness.system import System
from tests.system.conftest import SHORT, Shopper, counter_total

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    (port,) = free_ports(1)
    environ = {name: value for name, value in SHORT.items() if "SENDGRID" not in name}
    environ |= {
        # Without the shipped file, whose account is SendGrid's.
        "FRESHGATE_CONFIG": "/dev/null",
        "FRESHGATE_ESPS__MAIL__KIND": "smtp",
        "FRESHGATE_SANDBOX_SMTP_PORT": str(port),
        # One cart mail after another.
        "FRESHGATE_TRIGGERS__ABANDONED_CART__CAP": "9/1h",
    }
    with System(environ) as system:
        yield system


def cart_mail(system: System, shopper: Shopper) -> dict[str, Any]:
    """Leaves a cart, and waits for its mail."""
    count = len(shopper.mails(system, "abandoned_cart"))
    assert system.post([shopper.identify(), shopper.added()]).status == 200
    system.wait_for(lambda: len(shopper.mails(system, "abandoned_cart")) > count)
    return shopper.mails(system, "abandoned_cart")[-1]


def link_of(mail: dict[str, Any]) -> str:
    """The path of the mail's link, which its text has, too."""
    url = str(mail["raw"]["headers"]["list-unsubscribe"]).strip("<>")
    assert url in mail["raw"]["text"]
    assert mail["raw"]["headers"]["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    return urlsplit(url).path


def test_an_account_of_kind_smtp_sends_what_the_catalogs_templates_say(system: System, ada: Shopper) -> None:
    event = ada.track("Signed Up", email=ada.email, first_name="Ada")
    assert system.post(event).status == 200
    (mail,) = system.wait_for(lambda: ada.mails(system, "welcome"))
    assert (mail["provider"], mail["to"], mail["raw"]["subject"]) == ("smtp", ada.email, "Welcome, Ada")
    assert "<h1" in mail["raw"]["html"]
    assert "list-unsubscribe" not in mail["raw"]["headers"]
    assert f"SMTP: 127.0.0.1:{system.environ['FRESHGATE_SANDBOX_SMTP_PORT']}" in system.console()


def test_one_click_ends_marketing_mail_and_orders_are_still_confirmed(system: System, ada: Shopper) -> None:
    path = link_of(cart_mail(system, ada))
    # A scanner of the mailbox looks first.
    page = system.request("PORT", "GET", path)
    assert (page.status, "<button" in page.json) == (200, True)
    assert system.request("PORT", "POST", path, b"List-Unsubscribe=One-Click", FORM).status == 200
    assert system.post(ada.added()).status == 200
    system.wait_for(lambda: any("suppressed" in line for line in ada.decisions(system, "abandoned_cart")))
    assert system.post(ada.ordered()).status == 200
    system.wait_for(lambda: ada.mails(system, "order_confirmation"))
    assert len(ada.mails(system, "abandoned_cart")) == 1
    assert counter_total(system, "freshgate_unsubscribes_total", "METRICS_PORT", result="all") == 1
    assert "unsubscribed by link" in system.why(ada.user)


def test_who_only_looked_gets_the_next_mail(system: System, ada: Shopper) -> None:
    path = link_of(cart_mail(system, ada))
    for method in ("GET", "HEAD"):
        assert system.request("PORT", method, path).status == 200
    cart_mail(system, ada)


def test_a_boundary_and_a_chunked_form_of_a_mailbox_are_read(system: System, ada: Shopper) -> None:
    path = link_of(cart_mail(system, ada))
    body = b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Transfer-Encoding": "chunked"}
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    assert system.request("PORT", "POST", path, chunked, headers).status == 200
    assert "unsubscribed by link" in system.why(ada.user)


def test_a_large_form_and_a_forged_link_change_nothing(system: System, ada: Shopper) -> None:
    path = link_of(cart_mail(system, ada))
    assert system.request("PORT", "POST", path, b"x=" + b"y" * 100_000, FORM).status in (400, 413)
    forged = path[:-4] + ("AAAA" if path[-4:] != "AAAA" else "BBBB")
    assert system.request("PORT", "POST", forged, b"List-Unsubscribe=One-Click", FORM).status == 404
    cart_mail(system, ada)

"""`make run` with an account of kind `smtp`: mails leave by the catalog's templates, and stand in the sandbox."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.harness.ports import free_ports
from tests.harness.system import System


def signed_up(user: str, locale: str = "") -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Signed Up",
        "messageId": f"signed-up-{user}-{time.time_ns()}",
        "userId": user,
        "timestamp": datetime.now(UTC).isoformat(),
        "properties": {"email": f"{user}@example.com", "first_name": user.title(), "locale": locale},
    }


@pytest.fixture(scope="module")
def system() -> Any:
    port = free_ports(1)[0]
    environ = {
        # Without the shipped file, whose account is SendGrid's.
        "FRESHGATE_CONFIG": "/dev/null",
        "FRESHGATE_ESPS__MAIL__KIND": "smtp",
        "FRESHGATE_SANDBOX_SMTP_PORT": str(port),
    }
    with System(environ) as system:
        yield system


def test_an_account_of_kind_smtp_sends_what_the_catalogs_templates_say(system: System) -> None:
    assert system.post(signed_up("ada")).status == 200
    system.wait_for(lambda: len(system.outbox()) == 1)
    (mail,) = system.outbox()
    assert (mail["provider"], mail["to"], mail["raw"]["subject"]) == ("smtp", "ada@example.com", "Welcome, Ada")
    assert "<h1" in mail["raw"]["html"]
    assert mail["custom_args"]["freshgate_trigger"] == "welcome"
    assert f"SMTP: 127.0.0.1:{system.environ['FRESHGATE_SANDBOX_SMTP_PORT']}" in system.console()

"""Mailchimp Transactional: the contract of all ESPs, its statuses of a recipient, its named errors."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from freshgate.errors import EspError
from freshgate.settings import EspSettings
from tests.workers.esp.contract import BATCH, MESSAGE, BatchContract, EspContract, ScriptedServer, answers
from workers.esp import ESPS
from workers.esp.base import Esp, SendResult
from workers.esp.mailchimp_transactional import MailchimpTransactional
from workers.sandbox.mailchimp_transactional_api import VALIDATOR


def replies(*recipients: dict[str, Any]) -> bytes:
    return json.dumps(recipients).encode()


ACCEPTED = replies(
    *({"email": message.to.upper(), "status": "queued", "_id": "mc-1", "reject_reason": None} for message in BATCH)
)


class TestMailchimpTransactional(BatchContract, EspContract):
    accepted = staticmethod(answers(200, ACCEPTED))
    provider_id = "mc-1"
    reset_in_7_s = staticmethod(answers(429, Retry_After="7"))
    validator = VALIDATOR
    may_be_empty = ("template_content",)

    def make(self, base_url: str, timeout_s: float, key: str) -> Esp:
        settings = EspSettings(api_key=key, base_url=base_url + "/api/1.4", timeout_s=timeout_s)
        return ESPS["mailchimp_transactional"]("mailchimp", settings)

    @pytest.mark.parametrize(
        ("status", "reason"), [("rejected", "hard-bounce"), ("rejected", "unsigned"), ("invalid", None)]
    )
    def test_a_rejected_recipient_is_permanent_and_says_why(
        self, esp: Esp, server: ScriptedServer, status: str, reason: str | None
    ) -> None:
        body = replies({"email": MESSAGE.to, "status": status, "reject_reason": reason})
        error = self.failure(esp, server, answers(200, body))
        assert error.permanent
        assert str(error) == f"mailchimp: {status} {reason or ''}".rstrip()

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("Invalid_Key", "blocked"),
            ("PaymentRequired", "blocked"),
            ("ValidationError", "permanent"),
            ("Unknown_Template", "permanent"),
            ("GeneralError", "retry"),
            ("ServiceUnavailable", "retry"),
            ("RequestLimitExceeded", "retry"),
        ],
    )
    @pytest.mark.parametrize("status", [500, 401, 429])
    def test_an_error_means_what_its_name_says_whatever_its_status(
        self, esp: Esp, server: ScriptedServer, name: str, kind: str, status: int
    ) -> None:
        body = json.dumps({"status": "error", "code": -1, "name": name, "message": "no ada@example.com"}).encode()
        error = self.failure(esp, server, answers(status, body))
        assert (error.blocked, error.permanent) == (kind == "blocked", kind == "permanent")
        assert str(error) == f"mailchimp: {status} {name}: no <address>"

    def test_each_recipient_of_a_batch_has_an_answer_of_its_own(
        self, esp: MailchimpTransactional, server: ScriptedServer
    ) -> None:
        server.steps = [
            answers(
                200,
                replies(
                    {"email": "edsger@example.com", "status": "sent", "_id": "mc-3"},
                    {"email": "ada@example.com", "status": "rejected", "reject_reason": "spam"},
                ),
            )
        ]
        rejected, missing, accepted = esp.send_batch(BATCH)
        assert isinstance(rejected, EspError) and rejected.permanent
        assert isinstance(missing, EspError) and missing.ambiguous
        assert accepted == SendResult("mc-3", 200)

    def test_two_mails_to_an_address_do_not_share_a_call(
        self, esp: MailchimpTransactional, server: ScriptedServer
    ) -> None:
        server.steps = [self.accepted]
        second = msgspec.structs.replace(
            BATCH[0], send_id="s-9", to="ADA@example.com", template_data={"x": "of the second"}
        )
        first, waits, _ = esp.send_batch([BATCH[0], second, BATCH[1]])
        assert isinstance(first, SendResult)
        assert isinstance(waits, EspError) and not (waits.permanent or waits.ambiguous or waits.blocked)
        assert b"of the second" not in server.requests[0][1]

    def test_data_and_send_id_belong_to_their_recipient(self, esp: Esp) -> None:
        message = esp.batch_body(BATCH)["message"]  # type: ignore[attr-defined]
        assert message["preserve_recipients"] is False
        assert message["merge_vars"][1] == {
            "rcpt": "grace@example.com",
            "vars": [{"name": "first_name", "content": "grace"}],
        }
        assert message["recipient_metadata"][2] == {
            "rcpt": "edsger@example.com",
            "values": {"freshgate_send": "s-2"},
        }

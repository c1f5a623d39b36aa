"""Mailchimp Marketing: the contract of all ESPs behind a member's upsert, the throttle without a document, journeys."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from freshgate.errors import EspError, SettingsError
from freshgate.settings import EspSettings, Settings
from tests.workers.esp.contract import MESSAGE, EspContract, ScriptedServer, answers, at_the_deadline, sends
from workers.esp import ESPS
from workers.esp.base import Esp
from workers.esp.mailchimp_marketing import MailchimpMarketing
from workers.main import esp_accounts
from workers.sandbox.mailchimp_marketing_api import EVENTS, MEMBER

PROBLEM = json.dumps({"type": "x", "title": "Forbidden", "status": 403, "detail": "no", "instance": "x"}).encode()
HASH = hashlib.md5(b"ada@example.com", usedforsecurity=False).hexdigest()
URL = "https://us19.api.mailchimp.com/3.0"


class TestMailchimpMarketing(EspContract):
    before = (staticmethod(answers(200, b"{}")),)
    accepted = staticmethod(answers(204))
    provider_id = ""
    reset_in_7_s = staticmethod(answers(429, Retry_After="7"))
    validator = EVENTS

    def make(self, base_url: str, timeout_s: float, key: str) -> Esp:
        settings = EspSettings(api_key=key, base_url=f"{base_url}/3.0", timeout_s=timeout_s, list_id="abc")
        return ESPS["mailchimp_marketing"]("mailchimp", settings)

    def member_failure(self, esp: Esp, server: ScriptedServer, step: Any) -> EspError:
        server.steps = [step]
        with pytest.raises(EspError) as raised:
            esp.send(MESSAGE)
        assert len(server.requests) == 1
        return raised.value

    @pytest.mark.parametrize(("status", "body"), [(401, b""), (403, PROBLEM)])
    def test_a_refused_account_is_blocked_and_not_the_mails_fault(  # type: ignore[override]
        self, esp: Esp, server: ScriptedServer, status: int, body: bytes
    ) -> None:
        assert self.failure(esp, server, answers(status, body)).blocked

    @pytest.mark.parametrize("body", [b"", b"<html>Forbidden</html>"])
    def test_a_403_without_a_document_is_a_throttle(self, esp: Esp, server: ScriptedServer, body: bytes) -> None:
        error = self.failure(esp, server, answers(403, body))
        assert (error.blocked, error.permanent, error.ambiguous) == (False, False, False)

    def test_the_member_is_written_before_the_event_and_never_subscribed_anew(
        self, esp: Esp, server: ScriptedServer
    ) -> None:
        head, event = self.sent(esp, server, msgspec.structs.replace(MESSAGE, to="Ada@Example.com"))
        (_, first), (_, _) = server.requests
        assert first.startswith(f"PUT /3.0/lists/abc/members/{HASH} HTTP/1.1\r\n".encode())
        member = json.loads(first.partition(b"\r\n\r\n")[2])
        Draft202012Validator(MEMBER).validate(member)
        assert member == {"email_address": "Ada@Example.com", "status_if_new": "transactional"}
        assert head.startswith(f"POST /3.0/lists/abc/members/{HASH}/events HTTP/1.1\r\n")
        assert event == {
            "name": "welcome",
            "properties": {"first_name": "Ada", "freshgate_send": "s-1", "freshgate_trigger": "welcome"},
        }

    @at_the_deadline
    @pytest.mark.parametrize("step", ["silent", "drop", "redirect"])
    def test_a_lost_answer_to_the_member_is_no_doubt_since_no_mail_follows_from_it(
        self, esp: Esp, server: ScriptedServer, step: str
    ) -> None:
        steps = {"silent": server.silent, "drop": sends(b""), "redirect": answers(302, Location="https://x.example/")}
        error = self.member_failure(esp, server, steps[step])
        assert (error.ambiguous, error.permanent, error.blocked) == (False, False, False)

    def test_a_member_who_may_not_be_written_is_rejected(self, esp: Esp, server: ScriptedServer) -> None:
        problem = {"title": "Member In Compliance State", "detail": "ada@example.com has left", "status": 400}
        error = self.member_failure(esp, server, answers(400, json.dumps(problem).encode()))
        assert error.permanent
        assert str(error) == "mailchimp: 400 Member In Compliance State: <address> has left"

    def test_a_template_id_can_name_a_step_of_a_journey(self, esp: Esp, server: ScriptedServer) -> None:
        head, body = self.sent(esp, server, msgspec.structs.replace(MESSAGE, template_id="journeys/12/steps/34"))
        assert head.startswith("POST /3.0/customer-journeys/journeys/12/steps/34/actions/trigger HTTP/1.1\r\n")
        assert body == {"email_address": "ada@example.com"}


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("list_id", {"live": True, "base_url": URL, "api_key": "k-us19"}),
        ("base_url", {"live": True, "base_url": "https://us1.api.mailchimp.com/3.0", "api_key": "k-us19"}),
        ("api_key", {"live": True, "base_url": URL, "list_id": "abc"}),
    ],
)
def test_unsafe_settings_do_not_start_and_name_the_key(key: str, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=rf"^esps\.mailchimp\.{key} "):
        MailchimpMarketing("mailchimp", EspSettings(**settings))
    MailchimpMarketing("mailchimp", EspSettings(live=True, base_url=URL, api_key="k-us19", list_id="abc")).close()


def test_a_worker_makes_ten_calls_at_once_with_all_others_unless_the_settings_say_fewer() -> None:
    esps = {
        "mailchimp_marketing": EspSettings(kind="mailchimp_marketing"),
        "few": EspSettings(kind="mailchimp_marketing", max_in_flight=3),
        "sendgrid": EspSettings(),
    }
    accounts = esp_accounts(Settings(esps=esps))
    assert {name: account.max_in_flight for name, account in accounts.items()} == {
        "mailchimp_marketing": 10,
        "few": 3,
        "sendgrid": None,
    }

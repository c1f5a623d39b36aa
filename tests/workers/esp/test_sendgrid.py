"""SendGrid: the contract of all ESPs, the body against SendGrid's own helper, its error texts, its settings."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from sendgrid.helpers.mail import Asm, CustomArg, From, GroupId, Mail, Personalization, To

from freshgate.errors import EspError, SettingsError
from freshgate.settings import EspSettings
from tests.workers.esp.contract import BATCH, MESSAGE, BatchContract, EspContract, ScriptedServer, answers
from workers.esp import ESPS
from workers.esp.base import BatchOnlyTo, Esp, limit_recipients, max_batch
from workers.esp.sendgrid import Sendgrid
from workers.sandbox.sendgrid_schema import MAIL_SEND


class TestSendgrid(BatchContract, EspContract):
    accepted = staticmethod(answers(202, X_Message_Id="sg-1"))
    provider_id = "sg-1"
    validator = Draft202012Validator(MAIL_SEND)
    # Computed at the call, since an import may be minutes earlier.
    reset_in_7_s = staticmethod(lambda sock: answers(429, X_RateLimit_Reset=str(int(time.time()) + 7))(sock))  # noqa: PLW0108

    def make(self, base_url: str, timeout_s: float, key: str) -> Esp:
        return ESPS["sendgrid"]("sendgrid", EspSettings(api_key=key, base_url=base_url, timeout_s=timeout_s))

    @pytest.mark.parametrize(
        ("headers", "wait_s"),
        [({"Retry_After": "9"}, 9), ({"Retry_After": "0"}, 1), ({"X_RateLimit_Reset": "1000"}, 1)],
    )
    def test_a_wait_is_one_second_or_more(
        self, esp: Esp, server: ScriptedServer, headers: dict[str, str], wait_s: float
    ) -> None:
        assert self.failure(esp, server, answers(429, b"", **headers)).retry_after_s == wait_s

    def test_sendgrids_own_words_are_reported_without_address_and_key(self, esp: Esp, server: ScriptedServer) -> None:
        reason = {"message": "bad ada@example.com the-secret-key", "field": "personalizations.0.to"}
        error = self.failure(esp, server, answers(400, json.dumps({"errors": [reason]}).encode()))
        assert str(error) == "sendgrid: 400 bad <address> <key> (personalizations.0.to)"

    @pytest.mark.parametrize(
        "body", [b"[]", b'{"errors": []}', b'{"errors": [1]}', b'{"errors": {}}', b"\xff", b"[" * 9999]
    )
    def test_an_odd_error_body_keeps_the_statuss_meaning(self, esp: Esp, server: ScriptedServer, body: bytes) -> None:
        assert self.failure(esp, server, answers(400, body)).permanent

    def test_the_request_carries_key_and_body(self, esp: Esp, server: ScriptedServer) -> None:
        server.steps = [answers(200)]
        esp.send(MESSAGE)
        head, _, body = server.requests[0][1].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v3/mail/send HTTP/1.1\r\n")
        assert b"\r\nAuthorization: Bearer the-secret-key\r\n" in head
        assert json.loads(body) == sendgrid().body([MESSAGE])

    def test_debug_logging_prints_neither_key_nor_payload(
        self, esp: Esp, server: ScriptedServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        server.steps = [answers(202)]
        esp.send(MESSAGE)
        assert "the-secret-key" not in caplog.text
        assert MESSAGE.to not in caplog.text


def sendgrid(**settings: Any) -> Sendgrid:
    return Sendgrid("sendgrid", EspSettings(**settings))


def test_the_body_equals_what_sendgrids_own_helper_builds() -> None:
    message = msgspec.structs.replace(MESSAGE, asm_group_id=7)
    mail = Mail(from_email=From("shop@example.com", "The Shop"))
    personalization = Personalization()
    personalization.add_to(To("ada@example.com"))
    personalization.dynamic_template_data = {"first_name": "Ada"}
    personalization.add_custom_arg(CustomArg("freshgate_send", "s-1"))
    personalization.add_custom_arg(CustomArg("freshgate_trigger", "welcome"))
    mail.add_personalization(personalization)
    mail.template_id = "d-1"
    mail.asm = Asm(GroupId(7))
    assert sendgrid(from_name="The Shop").body([message]) == mail.get()


@pytest.mark.parametrize("message", [MESSAGE, msgspec.structs.replace(MESSAGE, template_data={}, asm_group_id=3)])
def test_the_body_fits_the_schema(message: Any) -> None:
    Draft202012Validator.check_schema(MAIL_SEND)
    Draft202012Validator(MAIL_SEND).validate(sendgrid().body([message]))


@pytest.mark.parametrize(
    "change",
    [
        {"from": None},
        {"personalizations": []},
        {"personalizations": [{"to": []}]},
        {"personalizations": [{"to": [{"email": "nobody"}]}]},
        {"personalizations": [{"to": [{"email": "a@example.com"}], "custom_args": {"n": 1}}]},
        {"personalizations": [{"to": [{"email": "a@example.com"}], "substitutions": {"n": "1"}}]},
        {"template_id": None},
        {"template_id": ""},
        {"asm": {}},
        {"unheard_of": 1},
    ],
)
def test_the_schema_refuses_what_sendgrid_would(change: dict[str, Any]) -> None:
    body = {key: value for key, value in {**sendgrid().body([MESSAGE]), **change}.items() if value is not None}
    assert not Draft202012Validator(MAIL_SEND).is_valid(body)


def test_a_recipient_outside_only_to_is_not_written_to() -> None:
    with pytest.raises(EspError, match="recipient not in only_to") as raised:
        limit_recipients(sendgrid(), ["*@test.example"]).send(MESSAGE)
    assert raised.value.permanent


def test_categories_tracking_and_sandbox_mode_are_the_settings() -> None:
    body = sendgrid(categories=("shop",), click_tracking=False, open_tracking=True, sandbox_mode=True).body([MESSAGE])
    Draft202012Validator(MAIL_SEND).validate(body)
    assert (body["categories"], body["mail_settings"], body["tracking_settings"]) == (
        ["shop"],
        {"sandbox_mode": {"enable": True}},
        {"click_tracking": {"enable": False}, "open_tracking": {"enable": True}},
    )


def test_a_batch_has_a_personalization_for_each_mail_and_fits_the_schema() -> None:
    body = sendgrid().body(BATCH)
    Draft202012Validator(MAIL_SEND).validate(body)
    assert [
        (part["to"], part["dynamic_template_data"], part["custom_args"]["freshgate_send"])
        for part in body["personalizations"]
    ] == [([{"email": message.to}], message.template_data, message.send_id) for message in BATCH]


@pytest.mark.parametrize(
    ("patterns", "addressed"),
    [(["*@example.com"], 3), (["grace@*", "ADA@*"], 2), (["ada@*"], 1), (["*@test.example"], 0)],
)
def test_only_to_takes_out_of_a_batch_whom_it_does_not_allow(patterns: list[str], addressed: int) -> None:
    server = ScriptedServer()
    server.steps = [answers(202)]
    esp = limit_recipients(sendgrid(base_url=server.url), patterns)
    assert isinstance(esp, BatchOnlyTo) and max_batch(esp) == 1000
    results = esp.send_batch(BATCH)
    refused = [result for result in results if isinstance(result, EspError)]
    assert len(results) == 3 and len(refused) == 3 - addressed
    assert all(error.permanent for error in refused)
    named = [message.to for message in BATCH if any(message.to.encode() in request for _, request in server.requests)]
    assert named == [message.to for message, result in zip(BATCH, results, strict=True) if result not in refused]
    server.close()


def test_a_body_that_cannot_be_json_is_permanent() -> None:
    with pytest.raises(EspError) as raised:
        sendgrid().send(msgspec.structs.replace(MESSAGE, template_data={"x": object()}))
    assert raised.value.permanent


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("live", {"base_url": "https://api.sendgrid.com"}),
        ("api_key", {"live": True}),
        ("api_key", {"api_key": "two\nlines"}),
        ("base_url", {"base_url": "http://api.sendgrid.com", "live": True, "api_key": "k"}),
        ("base_url", {"base_url": "https://user:secret@127.0.0.1"}),
        ("base_url", {"base_url": "ftp://127.0.0.1"}),
        ("base_url", {"base_url": "http://127.0.0.1:port"}),
        ("base_url", {"base_url": "http://localhost.example.com"}),
        ("base_url", {"base_url": "http://sandbox.example.com", "live": True, "api_key": "k"}),
        ("live", {"base_url": "https://sandbox"}),
    ],
)
def test_unsafe_settings_do_not_start_and_name_the_key(key: str, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=rf"^esps\.sendgrid\.{key} "):
        sendgrid(**settings)


def test_the_sandbox_of_docker_compose_is_reached_without_live() -> None:
    sendgrid(base_url="http://sandbox:8025").close()


def test_a_live_account_over_https_starts() -> None:
    sendgrid(base_url="https://api.eu.sendgrid.com", live=True, api_key="k").close()

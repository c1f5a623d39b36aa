"""Resend: the contract of all ESPs, the key that makes asking again safe, and its named errors."""

from __future__ import annotations

import json

import pytest

from freshgate.settings import EspSettings
from tests.workers.esp.contract import (
    BATCH,
    MESSAGE,
    TEMPLATE_DATA,
    BatchContract,
    EspContract,
    ScriptedServer,
    answers,
    at_the_deadline,
)
from workers.esp import ESPS
from workers.esp.base import Esp, SendResult, max_batch
from workers.esp.resend import variable
from workers.sandbox.resend_api import BATCH as BATCH_VALIDATOR
from workers.sandbox.resend_api import SINGLE


def named(status: int, name: str, message: str = "no") -> tuple[int, bytes]:
    return status, json.dumps({"statusCode": status, "name": name, "message": message}).encode()


class ResendContract(EspContract):
    accepted = staticmethod(answers(200, b'{"id": "re-1"}'))
    provider_id = "re-1"
    reset_in_7_s = staticmethod(answers(429, RateLimit_Reset="7"))
    validator = SINGLE
    idempotent = True

    def make(self, base_url: str, timeout_s: float, key: str) -> Esp:
        settings = EspSettings(api_key=key, base_url=base_url, timeout_s=timeout_s, idempotent=self.idempotent)
        return ESPS["resend"]("resend", settings)


class TestResend(ResendContract):
    @at_the_deadline
    def test_the_send_id_is_the_key_of_each_try(self, esp: Esp, server: ScriptedServer) -> None:
        assert self.failure(esp, server, server.silent).ambiguous
        head, _ = self.sent(esp, server, MESSAGE)
        assert all(b"\r\nIdempotency-Key: s-1\r\n" in request for _, request in server.requests)
        assert head.startswith("POST /emails HTTP/1.1")

    def test_a_key_with_another_body_means_that_resend_has_the_mail(self, esp: Esp, server: ScriptedServer) -> None:
        server.steps = [answers(*named(409, "invalid_idempotent_request"))]
        assert esp.send(MESSAGE) == SendResult("", 409)

    def test_a_key_that_is_being_worked_on_is_asked_for_again(self, esp: Esp, server: ScriptedServer) -> None:
        error = self.failure(esp, server, answers(*named(409, "concurrent_idempotent_requests")))
        assert (error.permanent, error.ambiguous) == (False, False)

    def test_a_wrong_key_under_a_400_blocks_the_account(self, esp: Esp, server: ScriptedServer) -> None:
        assert self.failure(esp, server, answers(*named(400, "validation_error", "API key is invalid"))).blocked

    def test_an_idempotent_account_sends_no_batches(self, esp: Esp) -> None:
        assert max_batch(esp) == 1


class TestResendInBatches(BatchContract, ResendContract):
    accepted = staticmethod(answers(200, b'{"id": "re-1", "data": [{"id": "a"}, {"id": "b"}, {"id": "c"}]}'))
    idempotent = False

    def test_the_ids_of_a_batch_come_in_its_order(self, esp: Esp, server: ScriptedServer) -> None:
        server.steps = [self.accepted]
        results = esp.send_batch(BATCH)  # type: ignore[attr-defined]
        assert [result.provider_id for result in results] == ["a", "b", "c"]
        head, _, body = server.requests[0][1].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /emails/batch ") and b"Idempotency-Key" not in head
        BATCH_VALIDATOR.validate(json.loads(body))

    @pytest.mark.parametrize("body", [b"", b"[]", b'{"data": 1}', b'{"data": [{"id": "a"}]}'])
    def test_a_batch_whose_reply_cannot_be_read_is_sent(self, esp: Esp, server: ScriptedServer, body: bytes) -> None:
        server.steps = [answers(200, body)]
        results = esp.send_batch(BATCH)  # type: ignore[attr-defined]
        assert [type(result) for result in results] == [SendResult] * 3


def test_variables_are_texts_and_numbers() -> None:
    assert {name: variable(value) for name, value in TEMPLATE_DATA.items()} == {
        "first_name": "Zoë",
        "total": 12.5,
        "vip": "true",
        "products": '[{"name": "A \\"lamp\\"", "quantity": 2}]',
    }

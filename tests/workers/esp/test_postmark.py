"""Postmark: the contract of all ESPs, its error codes, batches with an answer for each mail."""

from __future__ import annotations

import json

import msgspec
import pytest

from freshgate.errors import EspError
from freshgate.settings import EspSettings
from tests.workers.esp.contract import BATCH, MESSAGE, BatchContract, EspContract, ScriptedServer, answers
from workers.esp import ESPS
from workers.esp.base import Esp, SendResult
from workers.esp.postmark import Postmark
from workers.sandbox.postmark_api import BATCH as BATCH_VALIDATOR
from workers.sandbox.postmark_api import SINGLE

OK = {"ErrorCode": 0, "Message": "OK", "MessageID": "pm-1"}


class TestPostmark(EspContract):
    accepted = staticmethod(answers(200, json.dumps(OK).encode()))
    provider_id = "pm-1"
    reset_in_7_s = staticmethod(answers(429, Retry_After="7"))
    validator = SINGLE
    may_be_empty = ("TemplateModel",)

    def make(self, base_url: str, timeout_s: float, key: str) -> Esp:
        return ESPS["postmark"]("postmark", EspSettings(api_key=key, base_url=base_url, timeout_s=timeout_s))

    @pytest.mark.parametrize(
        ("code", "kind"),
        [(406, "permanent"), (300, "permanent"), (1101, "permanent"), (405, "blocked"), (413, "blocked"),
         (100, "retry"), (429, "retry")],
    )  # fmt: skip
    def test_a_422_means_what_its_code_says(self, esp: Esp, server: ScriptedServer, code: int, kind: str) -> None:
        body = json.dumps({"ErrorCode": code, "Message": "no ada@example.com"}).encode()
        error = self.failure(esp, server, answers(422, body))
        assert (error.blocked, error.permanent) == (kind == "blocked", kind == "permanent")
        assert str(error) == f"postmark: 422 {code} no <address>"

    def test_the_token_stands_in_its_header(self, esp: Esp, server: ScriptedServer) -> None:
        head, _ = self.sent(esp, server, MESSAGE)
        assert "\r\nX-Postmark-Server-Token: the-secret-key\r\n" in head


class TestPostmarkInBatches(BatchContract, TestPostmark):
    accepted = staticmethod(answers(200, json.dumps([OK] * 3).encode()))
    provider_id = ""

    def test_a_mail_of_a_batch_may_be_refused_alone(self, esp: Postmark, server: ScriptedServer) -> None:
        inactive = {"ErrorCode": 406, "Message": "inactive ada@example.com"}
        server.steps = [answers(200, json.dumps([inactive, OK, OK]).encode())]
        refused, *accepted = esp.send_batch(BATCH)
        assert isinstance(refused, EspError) and refused.permanent and "<address>" in str(refused)
        assert accepted == [SendResult("pm-1", 200)] * 2
        BATCH_VALIDATOR.validate(json.loads(server.requests[0][1].partition(b"\r\n\r\n")[2]))

    @pytest.mark.parametrize("body", [b"", b"{}", b"[1]", json.dumps([OK]).encode()])
    def test_a_reply_that_does_not_fit_the_batch_is_ambiguous(
        self, esp: Postmark, server: ScriptedServer, body: bytes
    ) -> None:
        assert self.batch_failure(esp, server, answers(200, body)).ambiguous


@pytest.mark.parametrize(("template_id", "field"), [("123", "TemplateId"), ("welcome", "TemplateAlias")])
def test_a_template_is_an_id_or_an_alias(template_id: str, field: str) -> None:
    body = Postmark("postmark", EspSettings()).body(msgspec.structs.replace(MESSAGE, template_id=template_id))
    assert str(body[field]) == template_id
    SINGLE.validate(body)


def test_the_message_stream_is_the_settings() -> None:
    body = Postmark("postmark", EspSettings(message_stream="broadcasts")).body(MESSAGE)
    assert body["MessageStream"] == "broadcasts"

"""Amazon SES and Lambda: the contract of all ESPs, bodies, signatures held against botocore's model and signer."""

from __future__ import annotations

import json
import logging
from typing import Any

import botocore.session
import msgspec
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.validate import ParamValidator

from freshgate.errors import EspError, SettingsError
from freshgate.settings import EspSettings
from freshgate.templates import Content
from tests.workers.esp.contract import BATCH, MESSAGE, BatchContract, EspContract, ScriptedServer, answers
from tests.workers.esp.test_hooks import HookContract
from workers.esp import ESPS
from workers.esp.base import Esp, SendResult, max_batch
from workers.esp.lambda_function import LambdaFunction
from workers.esp.ses import Ses
from workers.sandbox.ses_api import BULK, SINGLE

ARN = "arn:aws:lambda:eu-central-1:123456789012:function:mail"


def named(status: int, name: str) -> Any:
    return answers(status, b'{"message": "no ada@example.com"}', x_amzn_ErrorType=f"{name}:http://example.com/")


def faults_of(service: str, operation: str, params: dict[str, Any]) -> str:
    """What botocore's model of the service says against these parameters."""
    model = botocore.session.get_session().get_service_model(service).operation_model(operation)
    return str(ParamValidator().validate(params, model.input_shape).generate_report())


class SesContract(EspContract):
    accepted = staticmethod(answers(200, b'{"MessageId": "ses-1"}'))
    provider_id = "ses-1"
    reset_in_7_s = staticmethod(answers(429, Retry_After="7"))
    validator = SINGLE

    def make(self, base_url: str, timeout_s: float, key: str) -> Esp:
        return ESPS["ses"]("ses", EspSettings(api_key=key, base_url=base_url, timeout_s=timeout_s))


class TestSes(SesContract):
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("AccountSuspendedException", "blocked"),
            ("SendingPausedException", "blocked"),
            ("TooManyRequestsException", "retry"),
            ("ThrottlingException", "retry"),
            ("MessageRejected", "permanent"),
            ("NotFoundException", "permanent"),
        ],
    )
    def test_a_400_means_what_its_name_says(self, esp: Esp, server: ScriptedServer, name: str, kind: str) -> None:
        error = self.failure(esp, server, named(400, name))
        assert (error.blocked, error.permanent) == (kind == "blocked", kind == "permanent")
        assert "no <address>" in str(error)

    def test_the_request_is_signed_as_botocore_signs_it(self, esp: Esp, server: ScriptedServer) -> None:
        server.steps = [self.accepted]
        esp.send(MESSAGE)
        head, _, body = server.requests[0][1].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v2/email/outbound-emails HTTP/1.1\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        request = AWSRequest(
            "POST",
            f"{server.url}/v2/email/outbound-emails",
            {"Content-Type": headers["Content-Type"], "X-Amz-Date": headers["X-Amz-Date"]},
            body,
        )
        request.context["timestamp"] = headers["X-Amz-Date"]
        signer = SigV4Auth(Credentials("the-secret-key", "sandbox"), "ses", "us-east-1")
        signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        assert headers["Authorization"].endswith(f"Signature={signature}")

    def test_a_debug_log_does_not_show_what_is_signed(
        self, esp: Esp, server: ScriptedServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        self.sent(esp, server, MESSAGE)
        assert "CanonicalRequest" not in caplog.text


class TestSesInBulk(BatchContract, SesContract):
    accepted = staticmethod(
        answers(
            200,
            json.dumps(
                {"MessageId": "ses-1", "BulkEmailEntryResults": [{"Status": "SUCCESS", "MessageId": "ses-1"}] * 3}
            ).encode(),
        )
    )

    def test_each_mail_of_a_bulk_call_has_a_result_of_its_own(self, esp: Ses, server: ScriptedServer) -> None:
        results = [
            {"Status": "MESSAGE_REJECTED", "Error": "no ada@example.com"},
            {"Status": "ACCOUNT_THROTTLED"},
            {"Status": "SUCCESS", "MessageId": "ses-3"},
        ]
        server.steps = [answers(200, json.dumps({"BulkEmailEntryResults": results}).encode())]
        rejected, throttled, accepted = esp.send_batch(BATCH)
        assert isinstance(rejected, EspError) and rejected.permanent and "<address>" in str(rejected)
        assert isinstance(throttled, EspError) and not (throttled.permanent or throttled.blocked or throttled.ambiguous)
        assert accepted == SendResult("ses-3", 200)

    @pytest.mark.parametrize("body", [b"", b"[]", b'{"BulkEmailEntryResults": [{"Status": "SUCCESS"}]}'])
    def test_a_reply_that_does_not_fit_the_batch_is_ambiguous(
        self, esp: Ses, server: ScriptedServer, body: bytes
    ) -> None:
        assert self.batch_failure(esp, server, answers(200, body)).ambiguous


HEADERS = {"List-Unsubscribe": "<https://shop.example.com/u/1>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


@pytest.mark.parametrize("headers", [{}, HEADERS])
@pytest.mark.parametrize("from_name", ["", "The Shop", 'The "Ö" Shop'])
def test_bodies_fit_botocores_model_and_the_sandboxs(headers: dict[str, str], from_name: str) -> None:
    content = Content(subject="Hello", text="Hello Ada", html="<p>Hello Ada</p>")
    message = msgspec.structs.replace(MESSAGE, headers=headers, render=lambda: content)
    settings = EspSettings(kind="ses", from_name=from_name, configuration_set="shop")
    for templates in ("stored", "catalog"):
        ses = Ses("ses", msgspec.structs.replace(settings, templates=templates))
        body = ses.body(message)
        assert faults_of("sesv2", "SendEmail", body) == ""
        SINGLE.validate(body)
        assert max_batch(ses) == (50 if templates == "stored" else 1)
    bulk = ses.bulk_body([msgspec.structs.replace(mail, headers=headers) for mail in BATCH])
    assert faults_of("sesv2", "SendBulkEmail", bulk) == ""
    BULK.validate(bulk)


def test_a_sender_that_is_not_ascii_is_encoded() -> None:
    body = Ses("ses", EspSettings(kind="ses", from_name="Café")).body(MESSAGE)
    assert body["FromEmailAddress"] == "=?utf-8?b?Q2Fmw6k=?= <shop@example.com>"


class TestLambda(HookContract):
    kind = "lambda"
    accepted = staticmethod(answers(202))

    def make(self, base_url: str, timeout_s: float, key: str) -> Esp:
        settings = EspSettings(kind="lambda", api_key=key, base_url=base_url, function=ARN, timeout_s=timeout_s)
        return ESPS["lambda"]("lambda", settings)

    def test_the_function_is_invoked_by_an_event(self, esp: Esp, server: ScriptedServer) -> None:
        head, _ = self.sent(esp, server, MESSAGE)
        path = ARN.replace(":", "%3A")
        assert head.startswith(f"POST /2015-03-31/functions/{path}/invocations HTTP/1.1\r\n")
        assert "\r\nX-Amz-Invocation-Type: Event\r\n" in head
        assert "/us-east-1/lambda/aws4_request" in head

    @pytest.mark.parametrize(
        ("status", "name", "kind"),
        [(404, "ResourceNotFoundException", "blocked"), (429, "TooManyRequestsException", "retry"),
         (413, "RequestTooLargeException", "permanent")],
    )  # fmt: skip
    def test_an_error_means_what_its_name_says(
        self, esp: Esp, server: ScriptedServer, status: int, name: str, kind: str
    ) -> None:
        error = self.failure(esp, server, named(status, name))
        assert (error.blocked, error.permanent) == (kind == "blocked", kind == "permanent")


class TestFunctionUrl(HookContract):
    kind = "lambda"

    def make(self, base_url: str, timeout_s: float, key: str) -> Esp:
        settings = EspSettings(kind="lambda", api_key=key, url=f"{base_url}/", timeout_s=timeout_s)
        return ESPS["lambda"]("lambda", settings)

    def test_the_function_url_is_called_with_a_signature(self, esp: Esp, server: ScriptedServer) -> None:
        head, _ = self.sent(esp, server, MESSAGE)
        assert head.startswith("POST / HTTP/1.1\r\n")
        assert "X-Amz-Invocation-Type" not in head
        assert "\r\nAuthorization: AWS4-HMAC-SHA256 Credential=the-secret-key/" in head


def test_the_invocation_fits_botocores_model() -> None:
    assert faults_of("lambda", "Invoke", {"FunctionName": ARN, "InvocationType": "Event", "Payload": b"{}"}) == ""


@pytest.mark.parametrize(
    ("kind", "key", "settings"),
    [
        ("ses", "live", {"base_url": "https://email.eu-central-1.amazonaws.com", "live": True}),
        ("ses", "region", {"base_url": "https://email.example.com", "live": True}),
        ("lambda", "function", {"base_url": "https://lambda.eu-central-1.amazonaws.com", "live": True}),
    ],
)
def test_unsafe_settings_do_not_start_and_name_the_key(
    kind: str, key: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match=rf"^esps\.account\.{key} "):
        ESPS[kind]("account", EspSettings(kind=kind, **settings))


def test_credentials_of_the_environment_sign_in_the_region_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-token")
    url = "https://abc.lambda-url.eu-west-3.on.aws/"
    account = LambdaFunction("lambda", EspSettings(kind="lambda", live=True, url=url))
    headers = account.headers(MESSAGE, b"{}")
    assert "Credential=AKIDEXAMPLE/" in headers["Authorization"]
    assert "/eu-west-3/lambda/aws4_request" in headers["Authorization"]
    assert headers["X-Amz-Security-Token"] == "the-token"

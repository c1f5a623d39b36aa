"""The sandbox's APIs: every kind of ESP sends to it by its settings alone, and finds what its vendor would refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from freshgate.errors import EspError
from freshgate.settings import EspSettings
from freshgate.templates import Content
from tests.workers.esp.contract import BATCH, MESSAGE, TEMPLATE_DATA
from tests.workers.sandbox.calls import call
from workers.esp import ESPS
from workers.esp.base import Message, SendResult, max_batch
from workers.sandbox.server import Sandbox

# Kinds whose variables are texts and numbers, so that anything nested arrives as JSON.
FLAT = {"resend", "mailchimp_marketing"}
# `test_smtp.py` has the one that is not called by HTTP.
KINDS = [kind for kind in ESPS if kind != "smtp"]
# An event of an audience has a name, and no template.
EVENT_NAMES = {"mailchimp_marketing": "welcome"}
HEADERS = {"List-Unsubscribe": "<https://shop.example.com/u/1>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
WITH_HEADERS = [name for name in KINDS if ESPS[name].capabilities.headers]
RENDERING = [name for name in KINDS if ESPS[name].capabilities.templates == "by id or ours"]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def make(kind: str, sandbox: Sandbox, **settings: Any) -> Any:
    return ESPS[kind](kind, EspSettings(kind=kind, base_url=sandbox.url, timeout_s=2, **settings))


def mail(**changes: Any) -> Message:
    return Message(**{"send_id": "s-1", "trigger": "welcome", "to": "ada@example.com", "template_id": "d-1",
                      "template_data": TEMPLATE_DATA, **changes})  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_sends_to_the_sandbox_by_its_base_url_alone(sandbox: Sandbox, kind: str) -> None:
    esp = make(kind, sandbox)
    assert isinstance(esp.send(mail()), SendResult)
    esp.close()
    (message,) = json.loads(call(sandbox, "GET", "/messages")[2])
    assert set(message) == {
        "received_at_ms", "provider", "to", "template_id", "template_data", "custom_args", "raw"
    }  # fmt: skip
    assert (message["provider"], message["to"], message["template_id"]) == (
        kind,
        "ada@example.com",
        EVENT_NAMES.get(kind, "d-1"),
    )
    assert message["custom_args"] == {"freshgate_send": "s-1", "freshgate_trigger": "welcome"}
    if kind not in FLAT:
        assert message["template_data"] == TEMPLATE_DATA
    assert "sandbox" not in json.dumps(message["raw"])
    page = call(sandbox, "GET", "/")[2]
    assert kind.encode() in page


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_leaves_a_mail_for_each_recipient(sandbox: Sandbox, kind: str) -> None:
    esp = make(kind, sandbox, idempotent=False)
    if max_batch(esp) > 1:
        assert [type(result) for result in esp.send_batch(BATCH)] == [SendResult] * 3
        assert [
            (message["to"], message["template_data"], message["custom_args"]["freshgate_send"])
            for message in sandbox.messages
        ] == [(message.to, message.template_data, message.send_id) for message in BATCH]
    esp.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_mail_that_the_vendor_would_refuse_is_refused(sandbox: Sandbox, kind: str) -> None:
    esp = make(kind, sandbox)
    with pytest.raises(EspError) as raised:
        esp.send(mail(to="nobody"))
    assert raised.value.permanent
    assert "nobody" not in str(raised.value)
    assert sandbox.messages == []
    esp.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_of_a_provider_concerns_that_provider_alone(sandbox: Sandbox, kind: str) -> None:
    esp, other = make(kind, sandbox), make("sendgrid" if kind != "sendgrid" else "resend", sandbox)
    fault = {"kind": "status", "status": 429, "headers": {"Retry-After": "7"}, "provider": kind}
    assert call(sandbox, "POST", "/faults", fault)[0] == 200
    assert isinstance(other.send(mail()), SendResult)
    with pytest.raises(EspError) as raised:
        esp.send(mail())
    assert (raised.value.retry_after_s, raised.value.permanent, raised.value.ambiguous) == (7, False, False)
    assert isinstance(esp.send(mail()), SendResult)
    esp.close()
    other.close()


@pytest.mark.parametrize("kind", WITH_HEADERS)
def test_headers_of_a_mail_travel_along(sandbox: Sandbox, kind: str) -> None:
    esp = make(kind, sandbox)
    esp.send(mail(headers=HEADERS))
    esp.close()
    raw = json.dumps(sandbox.messages[0]["raw"])
    assert all(text in raw for text in (*HEADERS, *HEADERS.values()))


@pytest.mark.parametrize("kind", RENDERING)
def test_a_template_of_the_catalog_is_rendered_where_the_settings_say_so(sandbox: Sandbox, kind: str) -> None:
    content = Content(subject="Hello", text="Hello Ada", html="<p>Hello Ada</p>")
    esp = make(kind, sandbox, templates="catalog")
    esp.send(mail(render=lambda: content, headers=HEADERS))
    (message,) = sandbox.messages
    assert message["template_id"] == ""
    raw = json.dumps(message["raw"])
    assert all(text in raw for text in ("Hello Ada", "<p>Hello Ada</p>", *HEADERS))
    page = call(sandbox, "GET", "/")[2].decode()
    assert "<strong>Hello</strong></p><pre>Hello Ada</pre>" in page
    (path,) = re.findall(r'<iframe sandbox src="([^"]+)"', page)
    assert call(sandbox, "GET", path)[2] == b"<p>Hello Ada</p>"

    def lacks_data() -> Content:
        raise EspError("template welcome: no first_name", permanent=True)

    with pytest.raises(EspError, match="no first_name"):
        esp.send(mail(render=lacks_data))
    esp.close()
    assert len(sandbox.messages) == 1


def test_a_step_of_a_journey_is_a_mail_too(sandbox: Sandbox) -> None:
    esp = make("mailchimp_marketing", sandbox)
    esp.send(mail(template_id="journeys/1/steps/2"))
    esp.close()
    assert sandbox.messages[0]["template_id"] == "journeys/1/steps/2"


def test_a_function_url_is_a_hook_of_the_sandbox(sandbox: Sandbox) -> None:
    esp = make("lambda", sandbox, url=f"{sandbox.url}/hooks/lambda")
    assert esp.send(mail()).status == 204
    esp.close()
    assert sandbox.messages[0]["provider"] == "lambda"


def test_sendgrids_sandbox_mode_checks_a_mail_and_sends_none(sandbox: Sandbox) -> None:
    esp = make("sendgrid", sandbox, sandbox_mode=True)
    assert esp.send(mail()).status == 200
    esp.close()
    assert sandbox.messages == []


def test_a_fault_of_an_unknown_provider_is_refused(sandbox: Sandbox) -> None:
    status, _, body = call(sandbox, "POST", "/faults", {"kind": "drop", "provider": "pigeon"})
    assert (status, b"mailchimp_transactional" in body) == (400, True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_key_is_refused_where_the_sandbox_has_a_password(kind: str) -> None:
    secret = "whsec_" + "c2FuZGJv" * 4
    with Sandbox(password="opens") as sandbox:
        for key in ("wrong", "opens"):
            esp = make(kind, sandbox, api_key=key, signing_secret=secret if kind == "webhook" else "")
            if key == "opens":
                assert isinstance(esp.send(mail()), SendResult)
            else:
                with pytest.raises(EspError) as raised:
                    esp.send(mail())
                assert raised.value.blocked
            esp.close()
        assert len(sandbox.messages) == 1


def test_resends_key_brings_no_second_mail_and_the_same_id(sandbox: Sandbox) -> None:
    esp = make("resend", sandbox)
    first = esp.send(mail())
    assert esp.send(mail()) == first
    # Composed anew from newer data: Resend knows the key with another body, so the mail is there.
    assert esp.send(mail(template_data={"first_name": "Grace"})) == SendResult("", 409)
    assert esp.send(mail(send_id="s-2")).provider_id != first.provider_id
    assert [message["custom_args"]["freshgate_send"] for message in sandbox.messages] == ["s-1", "s-2"]
    esp.close()


def test_an_answer_of_resend_that_was_lost_is_settled_by_asking_again(sandbox: Sandbox) -> None:
    esp = make("resend", sandbox)
    call(sandbox, "POST", "/faults", {"kind": "drop", "accept": True})
    with pytest.raises(EspError) as raised:
        esp.send(MESSAGE)
    assert raised.value.ambiguous
    assert isinstance(esp.send(MESSAGE), SendResult)
    assert len(sandbox.messages) == 1
    esp.close()


BY_HAND: list[tuple[str, str, dict[str, str], Any]] = [
    (
        "resend",
        "/emails",
        {"Authorization": "Bearer re_1"},
        {
            "from": "S <s@example.com>",
            "to": "ada@example.com",
            "subject": "s",
            "html": "x",
            "reply_to": "r@example.com",
        },
    ),
    (
        "mailchimp_transactional",
        "/api/1.4/messages/send-template",
        {},
        {
            "key": "k",
            "template_name": "t",
            "template_content": [],
            "message": {"to": [{"email": "ada@example.com"}], "track_opens": True, "subaccount": "news"},
        },
    ),
    (
        "postmark",
        "/email",
        {"X-Postmark-Server-Token": "t"},
        {"From": "s@example.com", "To": "ada@example.com", "Cc": "bob@example.com", "Subject": "s", "HtmlBody": "x"},
    ),
    (
        "ses",
        "/v2/email/outbound-emails",
        {"Authorization": "AWS4-HMAC-SHA256 Credential=AKID/20261130/eu-west-1/ses/aws4_request"},
        {
            "FromEmailAddress": "s@example.com",
            "Destination": {"ToAddresses": ["ada@example.com"], "CcAddresses": ["bob@example.com"]},
            "Content": {"Simple": {"Subject": {"Data": "s"}, "Body": {"Html": {"Data": "x"}}}},
            "ReplyToAddresses": ["r@example.com"],
        },
    ),
]


@pytest.mark.parametrize(("kind", "path", "headers", "body"), BY_HAND, ids=[row[0] for row in BY_HAND])
def test_whoever_uses_the_sandbox_alone_may_send_what_freshgate_does_not(
    sandbox: Sandbox, kind: str, path: str, headers: dict[str, str], body: Any
) -> None:
    status, _, reply = call(sandbox, "POST", path, body, **headers)
    assert status == 200, reply
    assert [(message["provider"], message["to"]) for message in sandbox.messages] == [(kind, "ada@example.com")]
    # What the vendor does not know is refused all the same.
    assert call(sandbox, "POST", path, {**body, "sendAt": 1}, **headers)[0] in (400, 422)

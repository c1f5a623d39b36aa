"""The SDKs of ESPs as a second opinion: for the same mail, they send to a server of ours what our own code sends.

They are used here only: several repeat a POST by themselves, and so the mail.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import botocore.session
import mailchimp_transactional
import pytest
import resend
from botocore.config import Config
from msgspec.structs import replace
from sendgrid import SendGridAPIClient

from freshgate.settings import EspSettings
from freshgate.templates import Content
from tests.workers.esp.contract import ScriptedServer, answers
from workers.esp import ESPS
from workers.esp.base import Message

DATA = {"first_name": "Zoë", "products": [{"name": 'A "lamp"', "quantity": 2}]}
UNSUBSCRIBE = {"List-Unsubscribe": "<https://mails.shop.example/unsubscribe/t>", "List-Unsubscribe-Post": "One-Click"}
MAIL = Message(
    send_id="s-1",
    trigger="welcome",
    to="ada@example.com",
    template_id="d-1",
    template_data=DATA,
    headers=UNSUBSCRIBE,
)
SENDER = '"The Shop" <shop@example.com>'


class Request(NamedTuple):
    """One request as the server saw it; header names in lower case."""

    line: str
    headers: dict[str, str]
    body: Any


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


def request(server: ScriptedServer, number: int) -> Request:
    head, _, body = server.requests[number][1].partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    return Request(line, {k.lower(): v for k, v in (header.split(": ", 1) for header in headers)}, json.loads(body))


def compare(
    server: ScriptedServer,
    account: tuple[str, dict[str, Any]],
    answer: bytes,
    sdk: Callable[[], object],
    *,
    mail: Message = MAIL,
    calls: int = 1,
    proof: str = "authorization",
    is_typed: bool = True,
    extras: Mapping[str, Any] | None = None,
) -> tuple[Request, Request]:
    """The last request of our code and of the SDK: same line, same proof of identity, same body.

    account   kind and settings beside the URL and the key
    proof     the header that proves who calls, where it is the same in each call
    is_typed  whether the SDK says a content type
    extras    what the SDK writes out of the API's own defaults
    """
    kind, settings = account
    step = answers(200, answer, Content_Type="application/json")
    server.steps = [step] * (2 * calls)
    fields: dict[str, Any] = {"base_url": server.url, "api_key": "the-key", "from_name": "The Shop", **settings}
    esp = ESPS[kind](kind, EspSettings(kind=kind, **fields))
    esp.send(mail)
    esp.close()
    sdk()
    assert len(server.requests) == 2 * calls
    for number in range(calls):
        sent, wanted = request(server, number), request(server, calls + number)
        assert (sent.line, sent.body) == (wanted.line, leave_out(wanted.body, extras))
        assert sent.headers.get(proof) == wanted.headers.get(proof)
        content_types = {each.headers.get("content-type", "").partition(";")[0] for each in (sent, wanted)}
        assert len(content_types) == 1 or not is_typed
    return sent, wanted


def leave_out(body: Any, extras: Mapping[str, Any] | None) -> Any:
    return {name: body[name] for name in body if (extras or {}).get(name, ...) != body[name]} if extras else body


def test_sendgrid(server: ScriptedServer) -> None:
    mail = replace(MAIL, asm_group_id=7)
    body = {
        "from": {"email": "shop@example.com", "name": "The Shop"},
        "template_id": "d-1",
        "personalizations": [
            {
                "to": [{"email": "ada@example.com"}],
                "dynamic_template_data": DATA,
                "custom_args": {"freshgate_send": "s-1", "freshgate_trigger": "welcome"},
                "headers": UNSUBSCRIBE,
            }
        ],
        "asm": {"group_id": 7},
    }
    client = SendGridAPIClient("the-key", host=server.url)
    compare(server, ("sendgrid", {}), b"", lambda: client.send(body), mail=mail)


def test_mailchimp_transactional(server: ScriptedServer) -> None:
    client = mailchimp_transactional.Client("the-key")
    client.api_client.host = f"{server.url}/api/1.4"
    client.api_client.default_output_format = ""
    body = {
        "template_name": "d-1",
        "template_content": [],
        "message": {
            "to": [{"email": "ada@example.com", "type": "to"}],
            "preserve_recipients": False,
            "from_email": "shop@example.com",
            "from_name": "The Shop",
            "headers": UNSUBSCRIBE,
            "metadata": {"freshgate_trigger": "welcome"},
            "recipient_metadata": [{"rcpt": "ada@example.com", "values": {"freshgate_send": "s-1"}}],
            "tags": ["welcome"],
            "merge_language": "handlebars",
            "merge_vars": [
                {"rcpt": "ada@example.com", "vars": [{"name": name, "content": DATA[name]} for name in DATA]}
            ],
        },
    }
    answer = b'[{"email": "ada@example.com", "status": "sent", "_id": "m-1"}]'
    account = ("mailchimp_transactional", {"base_url": f"{server.url}/api/1.4"})
    compare(server, account, answer, lambda: client.messages.send_template(body))


@pytest.mark.tools
def test_mailchimp_marketing(server: ScriptedServer) -> None:
    client = importlib.import_module("mailchimp_marketing").Client()
    client.set_config({"api_key": "the-key-us1", "server": "us1"})
    client.lists.api_client.host = f"{server.url}/3.0"
    properties = {
        "first_name": "Zoë",
        "products": '[{"name": "A \\"lamp\\"", "quantity": 2}]',
        "freshgate_send": "s-1",
        "freshgate_trigger": "welcome",
    }

    def call() -> None:
        member = {"email_address": "ada@example.com", "status_if_new": "transactional"}
        digest = hashlib.md5(b"ada@example.com", usedforsecurity=False).hexdigest()
        client.lists.set_list_member("l-1", digest, member)
        client.lists.create_list_member_event("l-1", digest, {"name": "welcome", "properties": properties})

    settings = {"base_url": f"{server.url}/3.0", "list_id": "l-1", "api_key": "the-key-us1"}
    requests = compare(server, ("mailchimp_marketing", settings), b"{}", call, calls=2, proof="")
    # Mailchimp takes any user name beside the key.
    credentials = [base64.b64decode(each.headers["authorization"].removeprefix("Basic ")) for each in requests]
    assert {text.partition(b":")[2] for text in credentials} == {b"the-key-us1"}


def test_resend_with_a_stored_template(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resend, "api_key", "the-key")
    monkeypatch.setattr(resend, "api_url", server.url)
    params: Any = {
        "from": SENDER,
        "to": ["ada@example.com"],
        "template": {
            "id": "d-1",
            "variables": {"first_name": "Zoë", "products": '[{"name": "A \\"lamp\\"", "quantity": 2}]'},
        },
        "tags": [{"name": "freshgate_send", "value": "s-1"}, {"name": "freshgate_trigger", "value": "welcome"}],
        "headers": UNSUBSCRIBE,
    }
    requests = compare(
        server, ("resend", {}), b'{"id": "r-1"}', lambda: resend.Emails.send(params, {"idempotency_key": "s-1"})
    )
    assert [each.headers["idempotency-key"] for each in requests] == ["s-1", "s-1"]


def aws_client(service: str, url: str) -> Any:
    """As boto3 makes it."""
    return botocore.session.get_session().create_client(
        service,
        region_name="eu-central-1",
        endpoint_url=url,
        aws_access_key_id="AKID",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}),
    )


def test_aws_lambda(server: ScriptedServer) -> None:
    payload = {
        "type": "freshgate.mail",
        "freshgate_send": "s-1",
        "freshgate_trigger": "welcome",
        "to": "ada@example.com",
        "template_id": "d-1",
        "template_data": DATA,
    }
    client = aws_client("lambda", server.url)

    def call() -> None:
        client.invoke(FunctionName="mail", InvocationType="Event", Payload=json.dumps(payload))

    settings = {"region": "eu-central-1", "function": "mail"}
    requests = compare(server, ("lambda", settings), b"", call, proof="x-amz-invocation-type", is_typed=False)
    assert requests[0].headers["x-amz-invocation-type"] == "Event"


def test_amazon_ses(server: ScriptedServer) -> None:
    client = aws_client("sesv2", server.url)

    def call() -> None:
        client.send_email(
            FromEmailAddress=SENDER,
            ConfigurationSetName="shop",
            Destination={"ToAddresses": ["ada@example.com"]},
            Content={
                "Template": {
                    "TemplateName": "d-1",
                    "TemplateData": json.dumps(DATA, ensure_ascii=False),
                    "Headers": [{"Name": name, "Value": value} for name, value in UNSUBSCRIBE.items()],
                }
            },
            EmailTags=[
                {"Name": "freshgate_send", "Value": "s-1"},
                {"Name": "freshgate_trigger", "Value": "welcome"},
            ],
        )

    settings = {"region": "eu-central-1", "configuration_set": "shop"}
    compare(server, ("ses", settings), b'{"MessageId": "ses-1"}', call, proof="")


@pytest.mark.tools
@pytest.mark.parametrize("templates", ["stored", "catalog"])
def test_postmark(server: ScriptedServer, templates: str) -> None:
    content = Content(subject="Hello", text="Hello, Zoë", html="<p>Hello, Zoë</p>")
    shared = {
        "From": SENDER,
        "To": "ada@example.com",
        "Tag": "welcome",
        "Metadata": {"freshgate_send": "s-1", "freshgate_trigger": "welcome"},
        "Headers": [{"Name": name, "Value": value} for name, value in UNSUBSCRIBE.items()],
        "MessageStream": "broadcast",
    }

    async def call() -> None:
        client = importlib.import_module("postmark").ServerClient("the-key", retries=0, base_url=server.url)
        if templates == "stored":
            await client.outbound.send_with_template({**shared, "TemplateAlias": "d-1", "TemplateModel": DATA})
        else:
            await client.outbound.send(
                {**shared, "Subject": "Hello", "TextBody": "Hello, Zoë", "HtmlBody": "<p>Hello, Zoë</p>"}
            )

    reply = {"ErrorCode": 0, "Message": "OK", "MessageID": "p-1", "SubmittedAt": "2026-11-30T12:00:00Z"}
    settings = {"message_stream": "broadcast", "templates": templates}
    mail = replace(MAIL, render=lambda: content)
    compare(
        server,
        ("postmark", settings),
        json.dumps(reply | {"To": "ada@example.com"}).encode(),
        lambda: asyncio.run(call()),
        mail=mail,
        proof="x-postmark-server-token",
        extras={"Attachments": []},
    )

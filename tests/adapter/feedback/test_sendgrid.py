from __future__ import annotations

import pytest
from sendgrid.helpers.eventwebhook import EventWebhook

from adapter.feedback.sendgrid import SendgridFeedback
from freshgate.errors import NotAuthentic, RequestError, SettingsError
from freshgate.settings import EspSettings
from tests.adapter.feedback.signers import NOW, SEND, SendgridSigner, request, sendgrid_body

SIGNER = SendgridSigner()
BODY = sendgrid_body({"event": "delivered", "email": "ada@example.com", "timestamp": NOW, "freshgate_send": SEND})


def reader(*keys: str) -> SendgridFeedback:
    return SendgridFeedback("mail", EspSettings(feedback_secrets=keys or (SIGNER.verification_key,)))


def test_a_signed_request_is_taken() -> None:
    reader().verify(request(BODY, SIGNER.headers(BODY)))


def test_sendgrids_own_helper_agrees_with_the_signature_of_these_tests() -> None:
    headers = SIGNER.headers(BODY)
    key = EventWebhook().convert_public_key_to_ecdsa(SIGNER.verification_key)
    signature, timestamp = headers.values()
    assert EventWebhook().verify_signature(BODY.decode(), signature, timestamp, key)


def test_each_of_several_keys_is_valid() -> None:
    reader(SendgridSigner().verification_key, SIGNER.verification_key).verify(request(BODY, SIGNER.headers(BODY)))


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(BODY, {}, id="no signature"),
        pytest.param(BODY.replace(b"ada", b"adb"), SIGNER.headers(BODY), id="a byte altered"),
        pytest.param(BODY, SendgridSigner().headers(BODY), id="another key"),
        pytest.param(BODY, SIGNER.headers(BODY) | {"X-Twilio-Email-Event-Webhook-Signature": "%%"}, id="not base64"),
        pytest.param(
            BODY, SIGNER.headers(BODY) | {"X-Twilio-Email-Event-Webhook-Timestamp": str(NOW + 1)}, id="time altered"
        ),
        pytest.param(BODY, SIGNER.headers(BODY, NOW - 301), id="captured five minutes ago"),
        pytest.param(BODY, SIGNER.headers(BODY, NOW + 301), id="of the future"),
        pytest.param(BODY, SIGNER.headers(BODY, "soon"), id="no time"),
    ],
)
def test_what_is_not_provably_from_sendgrid_is_refused(body: bytes, headers: dict[str, str]) -> None:
    with pytest.raises(NotAuthentic) as error:
        reader().verify(request(body, headers))
    assert error.value.hint.startswith("mail: ")


def test_without_a_key_nothing_starts() -> None:
    with pytest.raises(SettingsError, match="FRESHGATE_ESPS__MAIL__FEEDBACK_SECRETS.*Event Webhook"):
        SendgridFeedback("mail", EspSettings())


def test_what_is_no_key_is_named() -> None:
    with pytest.raises(SettingsError, match="FRESHGATE_ESPS__MAIL__FEEDBACK_SECRETS.*MFkw"):
        reader("SG.this-is-the-api-key")


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"event": "processed"}, "accepted"),
        ({"event": "delivered"}, "delivered"),
        ({"event": "deferred"}, "deferred"),
        ({"event": "bounce", "type": "bounce"}, "bounced"),
        ({"event": "bounce", "type": "blocked"}, "soft_bounced"),
        ({"event": "blocked"}, "soft_bounced"),
        ({"event": "dropped", "reason": "Bounced Address"}, "bounced"),
        ({"event": "dropped", "reason": "Spam Reporting Address"}, "complained"),
        ({"event": "dropped", "reason": "Unsubscribed Address"}, "unsubscribed"),
        ({"event": "dropped", "reason": "Spam Content (if Spam Checker app is enabled)"}, "dropped"),
        ({"event": "spamreport"}, "complained"),
        ({"event": "unsubscribe"}, "unsubscribed"),
        ({"event": "group_unsubscribe"}, "unsubscribed"),
        ({"event": "group_resubscribe"}, "resubscribed"),
        ({"event": "open"}, "opened"),
        ({"event": "click"}, "clicked"),
    ],
)
def test_each_event_has_its_word(event: dict[str, object], kind: str) -> None:
    element = {"email": "ada@example.com", "timestamp": NOW, "freshgate_send": SEND, **event}
    (read_event,) = reader().read(request(sendgrid_body(element)))
    assert (read_event.kind, read_event.at, read_event.email, read_event.send_id) == (
        kind,
        NOW * 1000,
        "ada@example.com",
        SEND,
    )


def test_the_reason_is_on_one_line_without_an_address() -> None:
    (event,) = reader().read(
        request(sendgrid_body({"event": "bounce", "reason": "550 5.1.1\n<ada@example.com> no such user"}))
    )
    assert event.reason == "550 5.1.1 <address> no such user"


@pytest.mark.parametrize("send", [None, 7, "", "x" * 24, ["a"], "A1B2C3D4E5F60718293A4B5C"])
def test_what_is_not_an_id_of_ours_is_none(send: object) -> None:
    (event,) = reader().read(request(sendgrid_body({"event": "open", "freshgate_send": send})))
    assert event.send_id == ""


def test_what_says_nothing_about_a_mail_is_left_out() -> None:
    body = b'[{"event": "account_status_change"}, 7, null, {"event": ["open"]}, {"event": "open"}]'
    assert len(reader().read(request(body))) == 1


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b'"open"', b"\xff", b"[" * 100_000])
def test_a_broken_body_is_the_callers_fault(body: bytes) -> None:
    with pytest.raises(RequestError):
        reader().read(request(body))


@pytest.mark.parametrize("timestamp", [None, "soon", -1, True, [], 10**30, "9" * 40])
def test_a_time_that_cannot_be_used_is_none(timestamp: object) -> None:
    (event,) = reader().read(request(sendgrid_body({"event": "open", "timestamp": timestamp})))
    assert event.at == 0 or timestamp == 10**30

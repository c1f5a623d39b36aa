from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from adapter.feedback.postmark import PostmarkFeedback
from adapter.feedback.resend import ResendFeedback
from freshgate.errors import NotAuthentic, SettingsError
from freshgate.settings import EspSettings
from tests.adapter.feedback.signers import NOW, SEND, request, standard_webhook

SECRET = "whsec_" + base64.b64encode(b"a key of the tests").decode()
POSTMARK = PostmarkFeedback("mail", EspSettings(feedback_secrets=("long random text",)))
RESEND = ResendFeedback("mail", EspSettings(feedback_secrets=(SECRET,)))


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_postmark_is_proved_by_password_or_header() -> None:
    POSTMARK.verify(request(b"", basic("freshgate", "long random text")))
    POSTMARK.verify(request(b"", {"X-Freshgate-Token": "long random text"}))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("long random text", ""),
        basic("freshgate", "wrong"),
        {"Authorization": "Basic %%%"},
        {"Authorization": "Bearer long random text"},
        {"X-Freshgate-Token": ""},
    ],
)
def test_whoever_does_not_know_postmarks_secret_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(NotAuthentic):
        POSTMARK.verify(request(b"", headers))


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"RecordType": "Delivery", "DeliveredAt": "2025-10-09T08:53:20Z"}, "delivered"),
        ({"RecordType": "Bounce", "Type": "HardBounce", "BouncedAt": "2025-10-09T10:53:20.0000000+02:00"}, "bounced"),
        ({"RecordType": "Bounce", "Type": "SoftBounce", "BouncedAt": "2025-10-09T08:53:20Z"}, "soft_bounced"),
        ({"RecordType": "Bounce", "Type": "Transient", "BouncedAt": "2025-10-09T08:53:20Z"}, "soft_bounced"),
        ({"RecordType": "SpamComplaint", "BouncedAt": "2025-10-09T08:53:20Z"}, "complained"),
        ({"RecordType": "Open", "ReceivedAt": "2025-10-09T08:53:20Z"}, "opened"),
        ({"RecordType": "Click", "ReceivedAt": "2025-10-09T08:53:20Z"}, "clicked"),
        (
            {
                "RecordType": "SubscriptionChange",
                "SuppressSending": True,
                "SuppressionReason": "ManualSuppression",
                "ChangedAt": "2025-10-09T08:53:20Z",
            },
            "unsubscribed",
        ),
        (
            {
                "RecordType": "SubscriptionChange",
                "SuppressSending": True,
                "SuppressionReason": "HardBounce",
                "ChangedAt": "2025-10-09T08:53:20Z",
            },
            "bounced",
        ),
        (
            {"RecordType": "SubscriptionChange", "SuppressSending": False, "ChangedAt": "2025-10-09T08:53:20Z"},
            "resubscribed",
        ),
    ],
)
def test_each_record_of_postmark_has_its_word(record: dict[str, Any], kind: str) -> None:
    body = msgspec.json.encode({"Recipient": "ada@example.com", "Metadata": {"freshgate_send": SEND}, **record})
    (event,) = POSTMARK.read(request(body))
    assert (event.kind, event.at, event.email, event.send_id) == (kind, NOW * 1000, "ada@example.com", SEND)


def test_a_bounce_of_postmark_names_its_address_elsewhere() -> None:
    (event,) = POSTMARK.read(request(b'{"RecordType": "Bounce", "Type": "HardBounce", "Email": "ada@example.com"}'))
    assert (event.email, event.at) == ("ada@example.com", 0)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"7", b'{"RecordType": "Inbound"}', b'{"RecordType": ["Open"]}'])
def test_what_postmark_says_of_no_mail_is_left_out(body: bytes) -> None:
    assert POSTMARK.read(request(body)) == []


def test_the_published_example_of_a_signature_is_verified() -> None:
    # https://docs.svix.com/receiving/verifying-payloads/how-manual
    reader = ResendFeedback("mail", EspSettings(feedback_secrets=("whsec_plJ3nmyCDGBKInavdOK15jsl",)))
    headers = {
        "svix-id": "msg_loFOjxBNrRLzqYUf",
        "svix-timestamp": "1731705121",
        "svix-signature": "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    }
    body = b'{"event_type":"ping","data":{"success":true}}'
    reader.verify(request(body, headers, now=1731705121))
    with pytest.raises(NotAuthentic):
        reader.verify(request(body + b" ", headers, now=1731705121))
    with pytest.raises(NotAuthentic, match="signature rejected"):
        reader.verify(request(body, headers, now=1731705121 + 301))


def test_the_standards_own_header_names_are_read_too() -> None:
    RESEND.verify(request(b"{}", standard_webhook(SECRET, b"{}", prefix="webhook-")))


def test_a_request_without_resends_headers_is_refused() -> None:
    with pytest.raises(NotAuthentic):
        RESEND.verify(request(b"{}"))


def test_what_is_no_signing_secret_is_named() -> None:
    with pytest.raises(SettingsError, match="FRESHGATE_ESPS__MAIL__FEEDBACK_SECRETS.*whsec_"):
        ResendFeedback("mail", EspSettings(feedback_secrets=("re_123_api_key",)))


@pytest.mark.parametrize(
    ("name", "bounce", "kind"),
    [
        ("email.sent", None, "accepted"),
        ("email.delivered", None, "delivered"),
        ("email.delivery_delayed", None, "deferred"),
        ("email.bounced", {"type": "Permanent", "subType": "General"}, "bounced"),
        ("email.bounced", {"type": "Transient"}, "soft_bounced"),
        ("email.complained", None, "complained"),
        ("email.opened", None, "opened"),
        ("email.clicked", None, "clicked"),
        ("email.failed", None, "dropped"),
    ],
)
@pytest.mark.parametrize("tags", [{"freshgate_send": SEND}, [{"name": "freshgate_send", "value": SEND}]])
def test_each_type_of_resend_has_its_word(name: str, bounce: Any, kind: str, tags: Any) -> None:
    email = {"to": ["ada@example.com"], "tags": tags, "bounce": bounce}
    body = msgspec.json.encode({"type": name, "created_at": "2025-10-09T08:53:20.000Z", "data": email})
    (event,) = RESEND.read(request(body))
    assert (event.kind, event.at, event.email, event.send_id) == (kind, NOW * 1000, "ada@example.com", SEND)


@pytest.mark.parametrize(
    "body", [b"{}", b'{"type": "contact.created"}', b'{"type": 7}', b'{"type": "email.opened", "data": 7}']
)
def test_what_resend_sends_beside_harms_nothing(body: bytes) -> None:
    assert all(event.send_id == "" for event in RESEND.read(request(body)))

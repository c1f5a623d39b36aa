from __future__ import annotations

from typing import Any

import msgspec
import pytest

from adapter.feedback.ses import SesFeedback
from adapter.feedback.sns import CERTIFICATE_PATH, is_url_of_sns
from freshgate.errors import NotAuthentic, RequestError, SettingsError, StoreUnavailable
from freshgate.settings import EspSettings
from tests.adapter.feedback.signers import NOW, SEND, SnsSigner, request

TOPIC = "arn:aws:sns:eu-west-1:123456789012:mail"
SIGNER = SnsSigner()


@pytest.fixture
def signer() -> SnsSigner:
    SIGNER.fetched.clear()
    return SIGNER


def reader(signer: SnsSigner, topic: str = TOPIC) -> SesFeedback:
    return SesFeedback("mail", EspSettings(feedback_topic=topic), signer.fetch)


def notification(record: Any, **fields: str) -> dict[str, str]:
    text = msgspec.json.encode(record).decode()
    return {
        "Type": "Notification",
        "MessageId": "1",
        "TopicArn": TOPIC,
        "Timestamp": "2025-10-09T08:53:20.000Z",
        "Message": text,
        **fields,
    }


def encode(message: Any) -> Any:
    return request(msgspec.json.encode(message))


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("fields", [{}, {"Subject": "Amazon SES Email Event Notification"}])
def test_a_message_that_sns_signed_is_taken(signer: SnsSigner, version: str, fields: dict[str, str]) -> None:
    ses = reader(signer)
    for _ in range(2):
        ses.verify(encode(signer.message(notification({}, **fields), version)))
    assert signer.fetched == [signer.certificate_url]


@pytest.mark.parametrize(
    "change",
    [
        {"Message": "{}"},
        {"Timestamp": "2025-10-09T08:53:21.000Z"},
        {"Signature": "%%"},
        {"Signature": ""},
        {"SignatureVersion": "3"},
        {"Type": "SubscriptionConfirmation"},
        {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-0123.pem"},
        {"SigningCertURL": "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"},
        {"SigningCertURL": "https://evil@sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"},
        {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-0123456789abcdef.pem"},
        {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com/bucket/forged.pem"},
        {"SigningCertURL": "https://[sns.eu-west-1.amazonaws.com/x"},
        # A bucket of the name sns.
        {"SigningCertURL": "https://sns.s3.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"},
        {"SigningCertURL": "https://sns.s3-us-west-2.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"},
        {"SigningCertURL": "https://sns.us-west-2-s3.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"},
    ],
)
def test_what_sns_did_not_sign_is_refused(signer: SnsSigner, change: dict[str, str]) -> None:
    message = signer.message(notification({"eventType": "Bounce"})) | change
    with pytest.raises(NotAuthentic):
        reader(signer).verify(encode(message))


@pytest.mark.parametrize(
    "host",
    ["sns.us-east-1.amazonaws.com", "sns.us-gov-west-1.amazonaws.com", "sns.cn-north-1.amazonaws.com.cn"]
    + ["sns.ap-southeast-2.amazonaws.com", "sns.il-central-1.amazonaws.com", "sns.mx-central-1.amazonaws.com"],
)
def test_every_region_is_one_of_sns(host: str) -> None:
    assert is_url_of_sns(f"https://{host}/SimpleNotificationService-0123456789abcdef.pem", CERTIFICATE_PATH)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
def test_what_is_no_message_is_refused(signer: SnsSigner, body: bytes) -> None:
    with pytest.raises(NotAuthentic):
        reader(signer).verify(request(body))


def test_another_topic_is_refused_before_anything_is_fetched(signer: SnsSigner) -> None:
    message = signer.message(notification({}, TopicArn="arn:aws:sns:eu-west-1:999999999999:forged"))
    with pytest.raises(NotAuthentic):
        reader(signer).verify(encode(message))
    assert signer.fetched == []


def test_certificates_that_strangers_invent_are_not_fetched_one_after_the_other(signer: SnsSigner) -> None:
    ses = reader(signer)
    forged = signer.message(notification({})) | {"Message": "forged"}
    for number in range(5):
        url = f"https://{signer.host}/SimpleNotificationService-{number:032x}.pem"
        with pytest.raises((NotAuthentic, StoreUnavailable)):
            ses.verify(encode(forged | {"SigningCertURL": url}))
    assert len(signer.fetched) == 1


def test_a_subscription_of_the_topic_is_confirmed(signer: SnsSigner) -> None:
    ses = reader(signer)
    url = f"https://{signer.host}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=t"
    fields = notification({}, Type="SubscriptionConfirmation", SubscribeURL=url, Token="t")
    message = encode(signer.message(fields))
    ses.verify(message)
    assert ses.read(message) == []
    assert signer.fetched[-1] == url


def test_a_subscription_elsewhere_is_not_confirmed(signer: SnsSigner) -> None:
    url = "https://169.254.169.254/latest/meta-data"
    fields = notification({}, Type="SubscriptionConfirmation", SubscribeURL=url, Token="t")
    with pytest.raises(RequestError):
        reader(signer).read(encode(signer.message(fields)))
    assert url not in signer.fetched


def test_what_is_no_topic_is_named(signer: SnsSigner) -> None:
    with pytest.raises(SettingsError, match="FRESHGATE_ESPS__MAIL__FEEDBACK_TOPIC.*arn:aws:sns"):
        reader(signer, "mail")


MAIL = {"timestamp": "2025-10-09T08:53:20.000Z", "destination": ["ada@example.com"], "tags": {"freshgate_send": [SEND]}}


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"eventType": "Send"}, "accepted"),
        ({"eventType": "Delivery", "delivery": {"recipients": ["ada@example.com"]}}, "delivered"),
        ({"notificationType": "Delivery", "delivery": {"recipients": ["ada@example.com"]}}, "delivered"),
        ({"eventType": "DeliveryDelay"}, "deferred"),
        (
            {
                "eventType": "Bounce",
                "bounce": {"bounceType": "Permanent", "bouncedRecipients": [{"emailAddress": "ada@example.com"}]},
            },
            "bounced",
        ),
        ({"eventType": "Bounce", "bounce": {"bounceType": "Transient"}}, "soft_bounced"),
        (
            {
                "eventType": "Complaint",
                "complaint": {"complainedRecipients": [{"emailAddress": "ada@example.com"}]},
            },
            "complained",
        ),
        ({"eventType": "Reject", "reject": {"reason": "Bad content"}}, "dropped"),
        ({"eventType": "Rendering Failure"}, "dropped"),
        ({"eventType": "Open"}, "opened"),
        ({"eventType": "Click"}, "clicked"),
        (
            {"eventType": "Subscription", "subscription": {"newTopicPreferences": {"unsubscribeAll": True}}},
            "unsubscribed",
        ),
        (
            {"eventType": "Subscription", "subscription": {"newTopicPreferences": {"unsubscribeAll": False}}},
            "resubscribed",
        ),
    ],
)
def test_each_event_of_ses_has_its_word(signer: SnsSigner, record: dict[str, Any], kind: str) -> None:
    (event,) = reader(signer).read(encode(notification({"mail": MAIL, **record})))
    assert (event.kind, event.at, event.email, event.send_id) == (kind, NOW * 1000, "ada@example.com", SEND)


def test_each_recipient_of_a_message_is_an_event(signer: SnsSigner) -> None:
    bounce = {
        "bounceType": "Permanent",
        "bouncedRecipients": [{"emailAddress": "a@x.org"}, {"emailAddress": "b@x.org"}],
    }
    events = reader(signer).read(encode(notification({"eventType": "Bounce", "mail": MAIL, "bounce": bounce})))
    assert [event.email for event in events] == ["a@x.org", "b@x.org"]

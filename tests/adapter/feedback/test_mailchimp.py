from __future__ import annotations

from urllib.parse import urlencode

import pytest

from adapter.feedback.mailchimp_marketing import MailchimpMarketingFeedback
from adapter.feedback.mailchimp_transactional import MailchimpTransactionalFeedback
from freshgate.errors import NotAuthentic, RequestError, SettingsError
from freshgate.settings import EspSettings
from tests.adapter.feedback.signers import NOW, SEND, mandrill, request

URL = "https://mail.example.com/feedback/mail"
KEY = "webhook-key"
MESSAGE = {"email": "ada@example.com", "metadata": {"freshgate_send": SEND}}


def transactional(url: str = URL, *keys: str) -> MailchimpTransactionalFeedback:
    return MailchimpTransactionalFeedback("mail", EspSettings(feedback_secrets=keys or (KEY,), feedback_url=url))


def marketing() -> MailchimpMarketingFeedback:
    return MailchimpMarketingFeedback("news", EspSettings(feedback_secrets=("long random text",)))


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("send", "accepted"),
        ("delivered", "delivered"),
        ("deferral", "deferred"),
        ("hard_bounce", "bounced"),
        ("soft_bounce", "soft_bounced"),
        ("reject", "dropped"),
        ("spam", "complained"),
        ("unsub", "unsubscribed"),
        ("open", "opened"),
        ("click", "clicked"),
    ],
)
def test_each_event_of_transactional_has_its_word(event: str, kind: str) -> None:
    body, headers = mandrill(KEY, URL, [{"event": event, "ts": NOW, "msg": MESSAGE}])
    transactional().verify(request(body, headers))
    (read_event,) = transactional().read(request(body))
    assert (read_event.kind, read_event.at, read_event.email, read_event.send_id) == (
        kind,
        NOW * 1000,
        "ada@example.com",
        SEND,
    )


def test_letters_beyond_ascii_are_verified_and_read() -> None:
    message = MESSAGE | {"diag": "Empfänger unbekannt"}
    body, headers = mandrill(KEY, URL, [{"event": "hard_bounce", "ts": NOW, "msg": message}])
    transactional(URL, "old", KEY).verify(request(body, headers))
    (event,) = transactional().read(request(body))
    assert event.reason == "Empfänger unbekannt"


def test_transactionals_signature_covers_url_key_and_body() -> None:
    body, headers = mandrill(KEY, URL, [])
    for reader, sent, signature in (
        (transactional(URL + "/"), body, headers),
        (transactional(URL, "another"), body, headers),
        (transactional(), body + b"&more=1", headers),
        (transactional(), body, {}),
        (transactional(), b"\xff\xfe", headers),
    ):
        with pytest.raises(NotAuthentic):
            reader.verify(request(sent, signature))


def test_transactional_needs_the_url_that_is_signed() -> None:
    with pytest.raises(SettingsError, match="FRESHGATE_ESPS__MAIL__FEEDBACK_URL"):
        transactional("")


@pytest.mark.parametrize("body", [b"", b"mandrill_events=%5B", b"mandrill_events=%7B%7D", b"&" * 10_000])
def test_a_broken_form_is_the_callers_fault(body: bytes) -> None:
    with pytest.raises(RequestError):
        transactional().read(request(body))


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"type": "unsubscribe", "data[reason]": "manual"}, "unsubscribed"),
        ({"type": "subscribe"}, "resubscribed"),
        ({"type": "cleaned", "data[reason]": "hard"}, "bounced"),
        ({"type": "cleaned", "data[reason]": "abuse"}, "complained"),
    ],
)
def test_each_type_of_marketing_has_its_word(fields: dict[str, str], kind: str) -> None:
    body = urlencode({**fields, "fired_at": "2025-10-09 08:53:20", "data[email]": "ada@example.com"}).encode()
    (event,) = marketing().read(request(body))
    assert (event.kind, event.at, event.email) == (kind, NOW * 1000, "ada@example.com")


def test_what_marketing_reports_beside_is_left_out() -> None:
    assert marketing().read(request(urlencode({"type": "profile", "data[email]": "a@b.c"}).encode())) == []


def test_marketing_is_proved_by_the_key_in_its_url() -> None:
    marketing().verify(request(b"", query={"key": "long random text"}))
    for query in ({}, {"key": ""}, {"key": "wrong"}, {"key": "\udcff"}):
        with pytest.raises(NotAuthentic):
            marketing().verify(request(b"", query=query))

"""The URLs of feedback over HTTP; what a report changes is in `tests/engine/test_feedback.py`."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from redis import Redis
from structlog.testing import capture_logs

from adapter.app import check
from adapter.feedback.base import MAX_BYTES
from adapter.feedback.sns import MAX_ENVELOPE_BYTES
from freshgate.errors import SettingsError
from freshgate.settings import EspSettings, Settings, SourceSettings
from freshgate.state import keys
from freshgate.telemetry.metrics import UNAUTHENTIC_FEEDBACK
from tests.adapter.feedback.signers import SEND, SendgridSigner, sendgrid_body
from tests.harness.receiver import serving

SIGNER = SendgridSigner()
PII_KEY = "for tests"
SETTINGS = Settings(
    pii_key=PII_KEY,
    sources={"shop": SourceSettings(kind="segment", secrets=("abc123",))},
    esps={
        "mail": EspSettings(kind="sendgrid", feedback_secrets=(SIGNER.verification_key,)),
        "silent": EspSettings(kind="sendgrid"),
        "aws": EspSettings(kind="ses", feedback_topic="arn:aws:sns:eu-west-1:123456789012:mail"),
    },
)
BOUNCE = sendgrid_body({"event": "bounce", "email": "ada@example.com", "timestamp": 1, "freshgate_send": SEND})


@pytest.fixture
def client(redis: Redis) -> Iterator[FlaskClient]:
    with serving(redis) as serve:
        yield serve(SETTINGS)


def signed(body: bytes) -> dict[str, str]:
    return SIGNER.headers(body, int(time.time()))


def test_a_signed_bounce_suppresses_its_address_and_the_repetition_is_a_duplicate(
    client: FlaskClient, redis: Redis
) -> None:
    for accepted, duplicate in ((0, 0), (0, 1)):
        response = client.post("/feedback/mail", data=BOUNCE, headers=signed(BOUNCE))
        assert (response.status_code, response.get_json()) == (
            200,
            {"accepted": accepted, "duplicate": duplicate, "unmatched": 1 - duplicate},
        )
    address = keys.address("main", keys.address_id(PII_KEY.encode(), "ada@example.com"))
    assert redis.hexists(address, "m:bounced")


@pytest.mark.parametrize(("account", "max_bytes"), [("aws", MAX_ENVELOPE_BYTES), ("mail", MAX_BYTES)])
def test_a_body_larger_than_its_esp_sends_is_refused_unread(client: FlaskClient, account: str, max_bytes: int) -> None:
    largest = client.post(f"/feedback/{account}", data=b" " * max_bytes)
    assert (largest.status_code, largest.get_json()) == (401, {"error": "signature rejected"})
    larger = client.post(f"/feedback/{account}", data=b" " * (max_bytes + 1))
    assert (larger.status_code, larger.get_json()) == (413, {"error": f"more than {max_bytes} bytes"})


def test_whoever_cannot_sign_changes_nothing(client: FlaskClient, redis: Redis) -> None:
    before = redis.dbsize()
    response = client.post("/feedback/mail", data=BOUNCE, headers=SendgridSigner().headers(BOUNCE, int(time.time())))
    assert (response.status_code, response.get_json()) == (401, {"error": "signature rejected"})
    assert redis.dbsize() == before


@pytest.mark.parametrize("account", ["silent", "nobody"])
def test_an_account_without_feedback_does_not_exist(client: FlaskClient, account: str) -> None:
    assert client.post(f"/feedback/{account}", data=BOUNCE, headers=signed(BOUNCE)).status_code == 404
    assert client.head(f"/feedback/{account}").status_code == 404


def test_an_esp_that_asks_whether_the_url_exists_is_answered(client: FlaskClient) -> None:
    assert [client.open("/feedback/mail", method=method).status_code for method in ("HEAD", "GET")] == [200, 200]


@pytest.mark.parametrize(
    ("body", "status"), [(b"{}", 400), (b"[", 400), (b" " * (4 * 1024 * 1024 + 1), 413)], ids=["map", "cut", "large"]
)
def test_a_body_that_cannot_be_read_is_the_callers_fault(client: FlaskClient, body: bytes, status: int) -> None:
    assert client.post("/feedback/mail", data=body, headers=signed(body)).status_code == status


def test_an_outage_asks_the_esp_to_come_again(client: FlaskClient, redis: Redis) -> None:
    # A reply that is an error of Redis, whichever it is.
    redis.set("fg:shops", "not a set")
    response = client.post("/feedback/mail", data=BOUNCE, headers=signed(BOUNCE))
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")


def test_neither_address_nor_key_is_logged(client: FlaskClient) -> None:
    with capture_logs() as lines:
        client.post("/feedback/mail", data=BOUNCE, headers=signed(BOUNCE))
        client.post("/feedback/mail", data=BOUNCE)
    assert [line["event"] for line in lines] == ["suppressed_by_feedback", "feedback_refused"]
    assert "ada@" not in str(lines)
    assert SIGNER.verification_key not in str(lines)


def test_a_flood_of_strangers_is_counted_and_is_not_a_flood_of_lines(client: FlaskClient) -> None:
    before = UNAUTHENTIC_FEEDBACK.labels("mail")._value.get()
    with capture_logs() as lines:
        for age_s in range(0, 2000, 160):
            headers = SIGNER.headers(BOUNCE, int(time.time()) - age_s)
            client.post("/feedback/mail", data=BOUNCE if age_s else b"[]", headers=headers)
        client.post("/feedback/aws", data=b"{}")
    assert UNAUTHENTIC_FEEDBACK.labels("mail")._value.get() - before == 12
    # One for each thing that the operator could mend.
    refused = [
        (line["esp"], line["hint"].partition(": ")[2][:6]) for line in lines if line["event"] == "feedback_refused"
    ]
    assert refused == [("mail", "bad si"), ("mail", "signed"), ("aws", "anothe")]


def test_a_kind_that_reports_nothing_does_not_start_with_a_secret() -> None:
    esps = {"hook": EspSettings(kind="zapier", feedback_secrets=("x",))}
    with pytest.raises(SettingsError, match="FRESHGATE_ESPS__HOOK__FEEDBACK_SECRETS.*: zapier reports nothing back"):
        check(Settings(pii_key=PII_KEY, sources=SETTINGS.sources, esps=esps))

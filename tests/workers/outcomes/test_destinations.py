"""What a shop's CDP or webhook is told, and what its answers mean: bodies, proofs, and where a URL may lead."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from freshgate.errors import EspError, SettingsError
from freshgate.outcomes import Outcome
from freshgate.settings import OutcomeSettings
from tests.workers.esp.contract import ScriptedServer, answers, empty_fields
from workers.outcomes import build_destination
from workers.outcomes.destination import Delivery, Destination

SECRET = "whsec_" + base64.b64encode(b"a secret of at least 24 bytes").decode()
AT = 1_760_000_000_123
SENT = Outcome("Email Sent", "sent", "", "welcome", "5e" * 12, "sendgrid", "u3f", AT)
BOUNCED = Outcome(
    "Email Bounced", "bounced", "550 no such user", "welcome", "5f" * 12, "sendgrid", "a9", AT, "ada@x.example"
)


def delivery(outcome: Outcome, user_id: str = "") -> Delivery:
    return Delivery(outcome, outcome.message_id("main"), user_id)


DELIVERIES = [delivery(SENT, "ada"), delivery(BOUNCED)]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


def deliver(settings: OutcomeSettings, times: int = 1) -> None:
    destination: Destination = build_destination("main", settings)
    with closing(destination):
        for _ in range(times):
            destination.deliver(DELIVERIES)


def segment(url: str) -> OutcomeSettings:
    return OutcomeSettings(url=url, write_key="the-key", timeout_s=2.0)


def request(server: ScriptedServer, number: int = -1) -> tuple[str, dict[str, str], bytes]:
    """The request line, the headers in lower case, and the body."""
    head, _, body = server.requests[number][1].partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    return line, {name.lower(): value for name, value in (header.split(": ", 1) for header in headers)}, body


def test_a_cdp_gets_track_calls_under_the_write_key(server: ScriptedServer) -> None:
    server.steps = [answers(200, b'{"success": true}')]
    deliver(segment(server.url))
    line, headers, body = request(server)
    assert line == "POST /v1/batch HTTP/1.1"
    assert headers["authorization"] == "Basic " + base64.b64encode(b"the-key:").decode()
    document = json.loads(body)
    first, second = document["batch"]
    library = first["context"].pop("library")
    assert library["name"] == "freshgate"
    assert first == {
        "type": "track",
        "event": "Email Sent",
        "userId": "ada",
        "messageId": SENT.message_id("main"),
        "timestamp": "2025-10-09T08:53:20.123Z",
        "properties": {
            "freshgate_send": "5e" * 12,
            "freshgate_trigger": "welcome",
            "outcome": "sent",
            "esp": "sendgrid",
        },
        "context": {},
    }
    assert (second["anonymousId"], "userId" in second) == ("freshgate-a9", False)
    assert (second["properties"]["email"], second["context"]["traits"]) == ("ada@x.example", {"email": "ada@x.example"})
    assert set(document) == {"batch", "sentAt"}
    del first["context"]
    assert empty_fields(document) == []


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v1/batch"])
def test_the_url_may_have_the_path_or_not(server: ScriptedServer, path: str) -> None:
    server.steps = [answers(200)]
    deliver(segment(server.url + path))
    assert request(server)[0] == "POST /v1/batch HTTP/1.1"


def test_a_webhook_is_signed_as_standard_webhooks_says_and_has_the_same_id_for_each_try(server: ScriptedServer) -> None:
    server.steps = [answers(204), answers(204)]
    deliver(OutcomeSettings(kind="webhook", url=f"{server.url}/freshgate?tenant=1", signing_secret=SECRET), times=2)
    bodies = []
    for number in range(2):
        line, headers, body = request(server, number)
        assert line == "POST /freshgate?tenant=1 HTTP/1.1"
        Verifier(SECRET).verify(body, headers)
        bodies.append((headers["webhook-id"], json.loads(body)["data"]))
    assert bodies[0] == bodies[1]
    assert bodies[0][1][0] == {
        "id": SENT.message_id("main"),
        "event": "Email Sent",
        "timestamp": "2025-10-09T08:53:20.123Z",
        "user_id": "ada",
        "freshgate_send": "5e" * 12,
        "freshgate_trigger": "welcome",
        "outcome": "sent",
        "esp": "sendgrid",
    }
    assert bodies[0][1][1]["anonymous_id"] == "freshgate-a9"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "permanent"),
        (413, "permanent"),
        (422, "permanent"),
        # About the URL or the key: it passes once they are right, and nothing is lost until then.
        (401, "blocked"),
        (403, "blocked"),
        (404, "blocked"),
        (410, "blocked"),
        (301, "ambiguous"),
        (429, "retry"),
        (503, "retry"),
    ],
)
def test_only_what_is_wrong_with_the_body_is_given_up(server: ScriptedServer, status: int, kind: str) -> None:
    server.steps = [
        answers(status, b'{"message": "no, the-key is wrong"}', Retry_After="7", Location="http://x.example")
    ]
    with pytest.raises(EspError) as raised:
        deliver(segment(server.url))
    error = raised.value
    assert (error.permanent, error.blocked, error.ambiguous) == tuple(
        kind == name for name in ("permanent", "blocked", "ambiguous")
    )
    if kind == "retry":
        assert error.retry_after_s == 7
    assert "the-key" not in str(error)
    assert len(server.requests) == 1


def test_a_webhook_that_quotes_its_url_does_not_write_it_into_the_log(server: ScriptedServer) -> None:
    server.steps = [answers(404, b'{"message": "POST /hooks/abcdef?code=ghijkl: no such route"}')]
    with pytest.raises(EspError) as raised:
        deliver(
            OutcomeSettings(kind="webhook", url=f"{server.url}/hooks/abcdef?code=ghijkl", signing_secret=SECRET),
            times=1,
        )
    assert str(raised.value) == "outcomes.main: 404 POST <key>?<key>: no such route"


@pytest.mark.parametrize("kind", ["segment", "webhook"])
@pytest.mark.parametrize(
    "url",
    [
        "http://cdp.example.com",
        "https://user:key@cdp.example.com",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://cdp.example.com/#x",
        "https://cdp.example.com:25",
        "ftp://cdp.example.com",
        "https://cdp.example.com\r\nX: y",
    ],
)
def test_a_url_that_leads_somewhere_else_is_refused_at_the_start(kind: Any, url: str) -> None:
    with pytest.raises(SettingsError, match=r"outcomes\.main\.url \(FRESHGATE_OUTCOMES__MAIN__URL\)"):
        build_destination("main", OutcomeSettings(kind=kind, url=url, write_key="k", signing_secret=SECRET))


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "[::ffff:127.0.0.1]", "[fd00::1]"])
def test_an_address_that_is_not_of_the_internet_is_not_connected_to(address: str) -> None:
    with pytest.raises(EspError, match="ForbiddenAddress"):
        deliver(segment(f"https://{address}"))


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (OutcomeSettings(url="https://api.segment.io"), "WRITE_KEY"),
        (OutcomeSettings(kind="webhook", url="https://x.example"), "SIGNING_SECRET"),
        (OutcomeSettings(kind="webhook", url="https://x.example", signing_secret="short"), "SIGNING_SECRET"),
    ],
)
def test_without_its_secret_it_does_not_start_and_names_the_key(settings: OutcomeSettings, key: str) -> None:
    with pytest.raises(SettingsError, match=f"FRESHGATE_OUTCOMES__MAIN__{key}"):
        build_destination("main", settings)

"""Links to unsubscribe over HTTP: a GET changes nothing, a POST without cookies does, and strangers learn nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from redis import Redis

from adapter.app import create_app
from adapter.routes.unsubscribe_page import HEADERS, STYLE, TEXTS, Page, render
from freshgate.links import LinkToken, LinkTokens
from freshgate.settings import Settings, SourceSettings
from freshgate.state import keys
from freshgate.state.store import connect
from tests.harness.ports import free_ports
from tests.harness.receiver import serving

PII_KEY = "for tests"
SETTINGS = Settings(
    pii_key=PII_KEY,
    sources={"shop": SourceSettings(kind="mparticle", secrets=("Basic eDp4",))},
    unsubscribe_secrets=("a long text, for tests",),
)
TOKENS = LinkTokens(PII_KEY.encode(), SETTINGS.unsubscribe_secrets)
ADDRESS = keys.address_id(PII_KEY.encode(), "ada@example.com")
KEY = keys.address("main", ADDRESS)
FAR = 4_000_000_000_000
MAILBOX_FORM = {"List-Unsubscribe": "One-Click"}


def url(expires_at: int = FAR, topic: str = "marketing") -> str:
    token = LinkToken(shop="main", address=ADDRESS, send_id="5e" * 12, topic=topic, expires_at=expires_at)
    return f"/unsubscribe/{TOKENS.seal(token)}"


@pytest.fixture
def client(redis: Redis) -> Iterator[FlaskClient]:
    with serving(redis) as serve:
        yield serve(SETTINGS)


def count(result: str) -> float:
    return REGISTRY.get_sample_value("freshgate_unsubscribes_total", {"result": result}) or 0.0


def test_a_get_shows_a_button_and_changes_nothing(client: FlaskClient, redis: Redis) -> None:
    for method in ("GET", "HEAD", "GET"):
        response = client.open(url(), method=method)
        assert response.status_code == 200
    assert '<button class="all" name="leave" value="all">' in response.text
    assert not redis.exists(KEY)


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data"])
def test_one_click_of_a_mailbox_needs_no_cookie_and_no_page(client: FlaskClient, redis: Redis, kind: str) -> None:
    before = count("all")
    response = client.post(url(), data=MAILBOX_FORM, content_type=kind)
    assert (response.status_code, response.headers.get("Location")) == (200, None)
    assert "Set-Cookie" not in response.headers
    assert redis.hexists(KEY, "m:unsubscribed")
    assert redis.ttl(KEY) == -1
    assert count("all") == before + 1


def test_a_second_post_answers_the_same(client: FlaskClient, redis: Redis) -> None:
    first = client.post(url(), data=MAILBOX_FORM)
    stored = redis.hgetall(KEY)
    second = client.post(url(), data=MAILBOX_FORM)
    assert (first.status_code, first.text) == (second.status_code, second.text)
    assert redis.hgetall(KEY) == stored


def test_the_buttons_of_the_page_leave_what_they_say(client: FlaskClient, redis: Redis) -> None:
    page = client.get(url(topic="product_reminders")).text
    values = re.findall(r'name="leave" value="([^"]+)"', page)
    assert values == ["product_reminders", "cart_reminders", "all"]
    for value in values[:2]:
        assert client.post(url(), data={"leave": value}).status_code == 200
    stored: Any = redis.hkeys(KEY)
    assert {field for field in stored if field[:2] == b"m:"} == {
        b"m:topic_product_reminders",
        b"m:topic_cart_reminders",
    }


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"List-Unsubscribe": "one-click"},
        {"List-Unsubscribe": ""},
        {"other": "x"},
        {"leave": ""},
        {"leave": "x" * 5000},
        {f"f{number}": "x" for number in range(50)},
    ],
)
def test_a_post_that_asks_for_nothing_changes_nothing(client: FlaskClient, redis: Redis, body: dict[str, str]) -> None:
    """Such as a scanner's, that posts what it finds."""
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
        assert client.post(url(), data=body, content_type=kind).status_code == 400
    for raw in (b"", b"List-Unsubscribe=One-Click"):
        assert client.post(url(), data=raw, content_type="text/plain").status_code == 400
    assert not redis.exists(KEY)


def test_a_topic_that_does_not_exist_is_not_left(client: FlaskClient, redis: Redis) -> None:
    assert client.post(url(), data={"leave": "who"}).status_code == 404
    assert not redis.exists(KEY)


@pytest.mark.parametrize("token", ["x", "A" * 90, "A" * 9000, "%00", "ü" * 80, "null"])
def test_a_link_that_nobody_made_is_a_clear_page_and_reads_nothing(
    client: FlaskClient, redis: Redis, token: str
) -> None:
    before = count("refused")
    for method in ("GET", "POST"):
        response = client.open(f"/unsubscribe/{token}", method=method, data=MAILBOX_FORM if method == "POST" else None)
        assert response.status_code == 404
        assert TEXTS["en"]["unknown"][0] in response.text
    assert count("refused") == before + 2
    assert not redis.exists(KEY)


def test_another_keys_link_is_not_ours(client: FlaskClient, redis: Redis) -> None:
    token = LinkToken(shop="main", address=ADDRESS, send_id="5e" * 12, topic="marketing", expires_at=FAR)
    forged = LinkTokens(b"another", ["another long secret"]).seal(token)
    assert client.post(f"/unsubscribe/{forged}", data=MAILBOX_FORM).status_code == 404
    assert not redis.exists(KEY)


def test_an_expired_link_says_so_and_changes_nothing(client: FlaskClient, redis: Redis) -> None:
    for method in ("GET", "POST"):
        response = client.open(url(1), method=method, data=MAILBOX_FORM if method == "POST" else None)
        assert response.status_code == 410
        assert TEXTS["en"]["expired"][0] in response.text
    assert not redis.exists(KEY)


def test_a_link_that_is_used_too_often_is_asked_to_wait(client: FlaskClient, redis: Redis) -> None:
    statuses = [client.post(url(), data=MAILBOX_FORM).status_code for _ in range(25)]
    assert statuses == [200] * 20 + [429] * 5
    assert client.post(url(), data=MAILBOX_FORM).headers["Retry-After"] == "3600"
    assert client.get(url()).status_code == 200


def test_without_redis_the_wish_is_asked_for_later() -> None:
    gone = connect(f"redis://127.0.0.1:{free_ports(1)[0]}/0")
    client = create_app(SETTINGS, gone).test_client()
    assert client.get(url()).status_code == 200
    response = client.post(url(), data=MAILBOX_FORM)
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert TEXTS["en"]["later"][0] in response.text


def test_the_page_loads_nothing_and_hands_its_url_to_nobody(client: FlaskClient) -> None:
    for path in (url(), url(1), "/unsubscribe/x"):
        response = client.get(path)
        assert response.mimetype == "text/html"
        assert {name: response.headers[name] for name in HEADERS} == HEADERS
        assert not re.search(r"<(script|img|link|iframe)\b|https?://|url\(", response.text)
        assert path.rpartition("/")[2] not in response.text or path.endswith("/x")
    assert "default-src 'none'" in HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("accepted", "language"), [("de-AT,de;q=0.9,en;q=0.5", "de"), ("fr", "en"), ("", "en"), ("en,de", "en")]
)
def test_the_page_speaks_the_readers_language(client: FlaskClient, accepted: str, language: str) -> None:
    response = client.get(url(), headers={"Accept-Language": accepted})
    assert f'<html lang="{language}">' in response.text
    assert TEXTS[language]["ask"][0] in response.text


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("page", TEXTS["en"])
def test_every_page_is_there_in_every_language(page: Page, language: str) -> None:
    text = render(page, language, ["cart_reminders"], "cart_reminders")
    assert STYLE in text
    assert "{topic}" not in text
    assert ("cart reminders" in text) == (page in ("ask", "done_topic"))


def test_a_topic_cannot_write_into_the_page() -> None:
    assert "<script" not in render("done_topic", "en", [], "<script>alert(1)</script>")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_are_not_taken(client: FlaskClient, method: str) -> None:
    assert client.open(url(), method=method).status_code == 405


def test_the_route_is_one_series_however_many_tokens(client: FlaskClient) -> None:
    for number in range(5):
        client.get(f"/unsubscribe/{'A' * (90 + number)}")
    rules = {
        sample.labels["url_rule"]
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if "url_rule" in sample.labels and "unsubscribe" in sample.labels["url_rule"]
    }
    assert rules <= {"/unsubscribe/<token>"}

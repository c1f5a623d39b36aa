"""The Tracking API's routes over HTTP: what an SDK sees of us, and what a page of a browser does.

The app is Flask's own client on a real Valkey; bodies are the subject of `tests/adapter/sources/test_tracking.py`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from redis import Redis

from adapter.routes.tracking_api import ALLOWED_HEADERS
from freshgate.settings import Settings, SourceSettings
from freshgate.state import keys
from tests.adapter.sources.test_tracking import VIEWED, basic
from tests.harness.receiver import serving

SHOP = "https://shop.example.com"
SETTINGS = Settings(
    pii_key="for tests",
    sources={
        "server": SourceSettings(kind="tracking", write_keys=("server-key",)),
        "page": SourceSettings(kind="tracking", write_keys=("page-key",), trust="browser", allowed_origins=(SHOP,)),
        "segment": SourceSettings(kind="segment", secrets=("abc123",)),
    },
)
SERVER, PAGE, WRONG = basic("server-key:"), basic("page-key:"), basic("wrong:")
DONE = {"success": True}


@pytest.fixture
def client(redis: Redis) -> Iterator[FlaskClient]:
    with serving(redis) as serve:
        yield serve(SETTINGS)


def accepted(source: str, verdict: str = "accepted") -> float:
    return REGISTRY.get_sample_value("freshgate_events_total", {"source": source, "verdict": verdict}) or 0.0


@pytest.mark.parametrize("call", ["track", "t", "identify", "i", "page", "p", "screen", "s", "group", "g"])
def test_every_call_is_taken_at_its_long_and_its_short_url(client: FlaskClient, call: str) -> None:
    body = {**VIEWED, "type": None, "messageId": f"m-{call}"}
    before = accepted("server") + accepted("server", "ignored")
    answer = client.post(f"/v1/{call}", json=body, headers=SERVER)
    assert (answer.status_code, answer.get_json()) == (200, DONE)
    assert accepted("server") + accepted("server", "ignored") == before + 1


def test_an_alias_of_a_server_and_a_batch_in_both_spellings(client: FlaskClient) -> None:
    before = accepted("server")
    assert client.post("/v1/alias", json={"userId": "ada", "previousId": "old"}, headers=SERVER).get_json() == DONE
    for number, call in enumerate(("batch", "b")):
        batch = {"batch": [{**VIEWED, "messageId": f"{number}-{n}"} for n in range(3)], "writeKey": "server-key"}
        assert client.post(f"/v1/{call}", json=batch).get_json() == DONE
    assert accepted("server") == before + 7


def test_the_source_is_found_by_the_key(client: FlaskClient, redis: Redis) -> None:
    before = accepted("page"), accepted("server")
    client.post("/v1/track", json={**VIEWED, "userId": None}, headers=PAGE)
    assert (accepted("page"), accepted("server")) == (before[0] + 1, before[1])
    assert redis.exists(keys.person("main", keys.person_id("main", None, "x")))


def test_text_plain_and_gzip_are_read(client: FlaskClient) -> None:
    before = accepted("server")
    text = json.dumps({**VIEWED, "writeKey": "server-key"})
    assert client.post("/v1/t", data=text, content_type="text/plain").status_code == 200
    packed = gzip.compress(json.dumps({**VIEWED, "messageId": "m-2", "writeKey": "server-key"}).encode())
    headers = {"Content-Encoding": "gzip"}
    assert client.post("/v1/t", data=packed, content_type="application/json", headers=headers).status_code == 200
    assert accepted("server") == before + 2


def test_the_sdks_measurements_of_itself_are_dropped(client: FlaskClient) -> None:
    assert client.post("/v1/m", data="whatever").get_json() == DONE


# With the time in them, the tests' names would differ from one process to the next.
CUT_OFF = gzip.compress(b'{"a": 1}', mtime=0)[:-9]
BOMB = gzip.compress(b" " * 50_000_000, mtime=0)


@pytest.mark.parametrize(
    ("call", "body", "headers", "status", "code"),
    [
        ("track", b"{}", {}, 401, "unauthorized"),
        ("track", b"{}", basic("nobody:"), 401, "unauthorized"),
        ("track", b"{", SERVER, 400, "invalid_request"),
        ("batch", b"{}", SERVER, 400, "invalid_request"),
        ("track", b" " * 600_000, SERVER, 413, "too_large"),
        ("track", BOMB, {**SERVER, "Content-Encoding": "gzip"}, 413, "too_large"),
        ("track", b"no gzip", {**SERVER, "Content-Encoding": "gzip"}, 400, "invalid_request"),
        (
            "track",
            gzip.compress(b'{"a": 1}', mtime=0)[:-9],
            {**SERVER, "Content-Encoding": "gzip"},
            400,
            "invalid_request",
        ),
        ("track", b"{}", {**SERVER, "Content-Encoding": "br"}, 415, "unsupported_media_type"),
        ("nothing", b"{}", SERVER, 404, "not_found"),
    ],
)
def test_a_refusal_has_a_code_and_a_message(
    client: FlaskClient, call: str, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = client.post(f"/v1/{call}", data=body, headers=headers)
    assert answer.status_code == status
    assert answer.get_json()["code"] == code
    assert answer.get_json()["message"]


def test_a_broken_item_is_no_reason_to_send_the_others_again(client: FlaskClient) -> None:
    before = accepted("server"), accepted("server", "refused")
    batch = {"batch": [VIEWED, {"type": "track", "event": "Product Viewed"}, 7]}
    assert client.post("/v1/batch", json=batch, headers=SERVER).get_json() == DONE
    assert (accepted("server"), accepted("server", "refused")) == (before[0] + 1, before[1] + 2)


def test_our_own_fault_asks_for_a_retry(client: FlaskClient, redis: Redis) -> None:
    redis.config_set("maxmemory", 1)
    try:
        answer = client.post("/v1/track", json=VIEWED, headers=SERVER)
    finally:
        redis.config_set("maxmemory", 0)
    assert (answer.status_code, answer.get_json()["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0


def test_a_preflight_is_answered_for_the_pages_that_are_allowed(client: FlaskClient) -> None:
    asked = {"Origin": SHOP, "Access-Control-Request-Method": "POST"}
    answer = client.options("/v1/batch", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    for header in ("authorization", "content-type", "x-retry-count"):
        assert header in answer.headers["Access-Control-Allow-Headers"]
    other = client.options("/v1/batch", headers={**asked, "Origin": "https://other.example"})
    assert "Access-Control-Allow-Origin" not in other.headers


def test_a_preflight_allows_the_headers_of_every_sdk(client: FlaskClient) -> None:
    asked = {"Origin": SHOP, "Access-Control-Request-Method": "POST"}
    wanted = "anonymousid,authorization,content-type"
    answer = client.options("/v1/batch", headers={**asked, "Access-Control-Request-Headers": wanted})
    assert "anonymousid" in answer.headers["Access-Control-Allow-Headers"]
    for odd in ("a b", "a\tb", "\u00e9", "a" * 50, ", "):
        answer = client.options("/v1/batch", headers={**asked, "Access-Control-Request-Headers": odd})
        assert answer.headers["Access-Control-Allow-Headers"] == ALLOWED_HEADERS


@pytest.mark.parametrize("url", ["/beacon/v1/batch", "/v1/batch", "/beacon//v1/batch/"])
def test_a_beacon_has_its_key_in_the_url(client: FlaskClient, url: str) -> None:
    """A beacon of RudderStack's browser SDK: as text, without headers of its own."""
    body = json.dumps({"batch": [{**VIEWED, "messageId": url}]})
    headers = {"Origin": SHOP, "Content-Type": "text/plain"}
    before = accepted("page")
    answer = client.post(f"{url}?writeKey=page-key", data=body, headers=headers)
    assert (answer.status_code, answer.get_json()) == (200, DONE)
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert accepted("page") == before + 1
    assert client.post(f"{url}?writeKey=wrong", data=body, headers=headers).status_code == 401
    assert client.post(f"{url}?writeKey=page-key", data=body, headers={**headers, **WRONG}).status_code == 401


def test_without_a_list_every_page_may_call_and_none_with_credentials(redis: Redis) -> None:
    page = SourceSettings(kind="tracking", write_keys=("k",), trust="browser")
    with serving(redis) as serve:
        client = serve(Settings(pii_key="for tests", sources={"page": page}))
        answer = client.post("/v1/t", json={**VIEWED, "writeKey": "k"}, headers={"Origin": "https://any.example"})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    ("key", "origin", "status"),
    [(PAGE, SHOP, 200), (PAGE, "https://other.example", 403), (SERVER, SHOP, 403), (SERVER, None, 200)],
)
def test_a_key_works_where_it_belongs_only(
    client: FlaskClient, key: dict[str, str], origin: str | None, status: int
) -> None:
    headers = {**key, "Origin": origin} if origin else key
    answer: Any = client.post("/v1/track", json={**VIEWED, "messageId": f"m-{status}-{origin}"}, headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize(("name", "key"), [("server", SERVER), ("page", PAGE)])
def test_a_tracking_source_is_not_reachable_as_a_webhook(
    client: FlaskClient, method: str, name: str, key: dict[str, str]
) -> None:
    before = accepted(name)
    headers = {**key, "Origin": "https://other.example"}
    answer = client.open(f"/webhooks/{name}", method=method, json={"batch": [VIEWED]}, headers=headers)
    assert answer.status_code == 404
    assert "/v1/batch" in answer.get_json()["error"]
    assert accepted(name) == before
    assert "/v1" not in client.post("/webhooks/nobody", json={}).get_json()["error"]


@pytest.mark.parametrize(
    ("tokens", "token", "verdict"),
    [(("t",), {"X-Freshgate-Token": "t"}, "accepted"), ((), {"X-Freshgate-Token": "t"}, "duplicate")],
)
def test_a_replay_is_recorded_once_more_only_where_a_token_proves_it(
    redis: Redis, tokens: tuple[str, ...], token: dict[str, str], verdict: str
) -> None:
    source = SourceSettings(kind="tracking", write_keys=("server-key",), tokens=tokens)
    with serving(redis) as serve:
        client = serve(Settings(pii_key="for tests", sources={"server": source}))
        steps = [({}, "accepted"), ({}, "duplicate"), ({"X-Freshgate-Replay": "1"}, verdict)]
        for replay, expected in steps:
            before = accepted("server", expected)
            answer = client.post("/v1/track", json=VIEWED, headers={**SERVER, **token, **replay})
            assert (answer.status_code, accepted("server", expected)) == (200, before + 1)


def test_neither_a_body_nor_a_key_is_logged(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {**VIEWED, "context": {"traits": {"email": "ada@example.com"}}}
    # A flood of requests is not a flood of lines.
    for _ in range(5):
        client.post("/v1/track", json={**body, "writeKey": "nobodys-key"})
        client.post("/v1/track", json=body, headers={**SERVER, "Origin": SHOP})
    logged = caplog.text + "".join(capsys.readouterr())
    assert (logged.count("not_authentic"), logged.count("key_in_a_page")) == (1, 1)
    for secret in ("ada@", "nobodys-key", "server-key", "page-key"):
        assert secret not in logged

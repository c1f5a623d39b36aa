"""The receiver as a Lambda function and an Azure Function, by event documents of the platforms' forms.

The app and Valkey are the real ones. What a CDP signed must reach the signature's check byte for byte.
"""

from __future__ import annotations

import base64
import hmac
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
from prometheus_client import REGISTRY
from redis import Redis

from freshgate.state.connections import FailoverPool

ROOT = Path(__file__).parents[2]
SECRET = "the-secret"
# Of the public internet: addresses of documentation have no limits, as private ones have none.
CALLER = "8.8.4.4"
EVENT = {"type": "track", "event": "Order Completed", "messageId": "m-1", "userId": "u-1", "properties": {}}
# One document, in bytes that a careless bridge would change: spaces, line ends, escapes, letters beyond ASCII, a tail.
BODIES = {
    "compact": json.dumps(EVENT, separators=(",", ":")).encode(),
    "spaced": b"\r\n  " + json.dumps(EVENT, indent=2).encode() + b"\r\n\t",
    "escaped": json.dumps({**EVENT, "properties": {"name": "\u00e9\u2028\U0001f600"}}).encode(),
    "utf8": json.dumps({**EVENT, "properties": {"name": "é\u2028😀 \u00ad"}}, ensure_ascii=False).encode(),
    "byte order mark": b"\xef\xbb\xbf" + json.dumps(EVENT).encode(),
}
# (body, headers, path, query) → (status, headers, body)
Send = Callable[..., tuple[int, Mapping[str, str], bytes]]


def headers_for(body: bytes) -> dict[str, str]:
    signed = hmac.new(SECRET.encode(), body, "sha1").hexdigest()
    return {"content-type": "application/json", "x-signature": signed, "host": "receiver.example.com"}


def lambda_event(
    body: bytes, headers: Mapping[str, str], path: str, query: str = "", *, method: str, encoded: bool, url: bool
) -> dict[str, Any]:
    """A document of version 2.0, as an HTTP API or a function URL sends it."""
    context = {
        "accountId": "anonymous" if url else "123456789012",
        "apiId": "abcdefghij",
        "domainName": f"abcdefghij.{'lambda-url' if url else 'execute-api'}.eu-central-1.on.aws",
        "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": CALLER, "userAgent": "cdp"},
        "requestId": "id",
        "routeKey": "$default",
        "stage": "$default",
        "time": "30/Nov/2026:12:00:00 +0000",
        "timeEpoch": 1796040000000,
    }
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        # The platform adds the caller to what the caller claims.
        "headers": {**headers, "x-forwarded-for": f"198.51.100.1, {CALLER}", "x-forwarded-proto": "https"},
        "requestContext": context,
        "body": base64.b64encode(body).decode() if encoded else body.decode(),
        "isBase64Encoded": encoded,
    }


@pytest.fixture
def environ(redis: Redis, redis_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    settings = {
        "REDIS_URL": redis_server,
        "PII_KEY": "pii",
        "SOURCES__SEGMENT__SECRETS": SECRET,
        "SOURCES__SHOP__KIND": "segment",
        "SOURCES__SHOP__SECRETS": SECRET,
        "SOURCES__SHOP__RATE_PER_IP": "2/1m",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"FRESHGATE_{name}", value)
    # The handlers set it; other tests of this process get it back.
    monkeypatch.setattr(FailoverPool, "recent_s", FailoverPool.recent_s)
    registered = set(REGISTRY._collector_to_names)
    yield
    for collector in set(REGISTRY._collector_to_names) - registered:
        REGISTRY.unregister(collector)


def load(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("serverless", ROOT / "deploy" / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(
    params=["api gateway, text", "api gateway, base64", "function url, text", "function url, base64", "azure"]
)
def send(request: pytest.FixtureRequest, environ: None) -> Send:
    if request.param == "azure":
        return azure_sender(load("azure/function_app.py"))
    handler = load("lambda/handler.py").handler
    encoded, url = "base64" in request.param, "url" in request.param

    def call(body: bytes, headers: Mapping[str, str], path: str, query: str = "", method: str = "POST") -> Any:
        event = lambda_event(body, headers, path, query, method=method, encoded=encoded, url=url)
        reply = handler(json.loads(json.dumps(event)), None)
        text = reply["body"]
        return (
            reply["statusCode"],
            reply["headers"],
            base64.b64decode(text) if reply["isBase64Encoded"] else text.encode(),
        )

    return call


def lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def azure_sender(module: Any) -> Send:
    def call(body: bytes, headers: Mapping[str, str], path: str, query: str = "", method: str = "POST") -> Any:
        url = f"https://shop.azurewebsites.net{path}" + (f"?{query}" if query else "")
        forwarded = {"X-Forwarded-For": f"198.51.100.1, {CALLER}:50123"}
        request = func.HttpRequest(method, url, headers={**headers, **forwarded}, params={}, body=body)
        reply = module.receiver.build().get_user_function()(request)
        return reply.status_code, lower(reply.headers), reply.get_body()

    return call


@pytest.mark.parametrize("name", BODIES)
def test_what_the_cdp_signed_is_verified_and_recorded(send: Send, name: str) -> None:
    body = BODIES[name]
    status, headers, reply = send(body, headers_for(body), "/webhooks/segment")
    assert (status, json.loads(reply)["accepted"]) == (200, 1)
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_was_altered_by_one_byte_is_refused(send: Send, name: str) -> None:
    body = BODIES[name]
    altered = body.replace(b"u-1", b"u-2")
    assert send(altered, headers_for(body), "/webhooks/segment")[0] == 401
    assert send(body + b" ", headers_for(body), "/webhooks/segment")[0] == 401


def test_paths_queries_and_methods_arrive(send: Send) -> None:
    assert send(b"", {}, "/webhooks/no%20such", "a=b", "POST")[0] == 404
    assert send(b"", {}, "/webhooks/segment", "", "GET")[0] == 405
    status, headers, script = send(b"", {}, "/freshgate.js", "", "GET")
    assert (status, b"freshgate" in script) == (200, True)
    assert "javascript" in headers["content-type"]
    assert send(b"", {}, "/healthz", "", "GET")[0] == 200


def test_the_caller_is_who_the_platform_says_and_not_what_the_caller_claims(send: Send, redis: Redis) -> None:
    def order(number: int) -> tuple[bytes, dict[str, str]]:
        body = json.dumps({**EVENT, "messageId": f"m-{number}"}).encode()
        return body, {**headers_for(body), "x-forwarded-for": f"192.0.2.{number}"}

    statuses = [send(*order(number), "/webhooks/shop")[0] for number in range(5)]
    assert statuses[0] == 200
    assert 429 in statuses


def test_without_redis_a_cdp_is_asked_to_come_again(
    environ: None, monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]
) -> None:
    monkeypatch.setenv("FRESHGATE_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    send = azure_sender(load("azure/function_app.py"))
    body = BODIES["compact"]
    status, headers, _ = send(body, headers_for(body), "/webhooks/segment")
    assert status == 503
    assert int(headers["retry-after"]) > 0


def test_a_connection_that_died_while_the_function_was_frozen_is_replaced(send: Send, redis: Redis) -> None:
    for number in range(2):
        body = json.dumps({**EVENT, "messageId": f"m-{number}"}).encode()
        assert send(body, headers_for(body), "/webhooks/segment")[0] == 200
        redis.client_kill_filter(_type="normal", skipme=True)


def test_azure_asks_for_no_key_of_its_own_and_has_no_prefix(environ: None) -> None:
    (function,) = load("azure/function_app.py").app.get_functions()
    assert function.get_trigger().auth_level == func.AuthLevel.ANONYMOUS
    host = json.loads((ROOT / "deploy" / "azure" / "host.json").read_text())
    assert host["extensions"]["http"]["routePrefix"] == ""


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.7:50123", "203.0.113.7"),
        ("203.0.113.7", "203.0.113.7"),
        ("[2001:db8::1]:50123", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("", ""),
    ],
)
def test_azures_address_of_a_caller_loses_its_port(environ: None, address: str, expected: str) -> None:
    assert load("azure/function_app.py").without_port(address) == expected

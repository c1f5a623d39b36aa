"""What a caller costs before anybody knows who it is: a look at each byte, and not many steps of Python.

Steps are counted, not timed: calls of functions, Python's and C's.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from redis import Redis

from adapter.app import create_app
from adapter.ingest.bodies import plain_body
from adapter.sources.segment.signature import Verifier, sign
from adapter.sources.write_keys import WriteKeys
from freshgate.errors import NotAuthentic, RequestError
from freshgate.settings import Settings, SourceSettings
from tests.adapter.sources.test_tracking import basic

MAX_STEPS = 100_000
TRACKING = SourceSettings(kind="tracking", write_keys=("the-key",))
SEGMENT = SourceSettings(kind="segment", secrets=("the-secret",), tokens=("the-token",))
# Half a megabyte each; zipped, some of them are 500 bytes.
BODIES = {
    "members": b'{"a":1,' + b",".join([b'"a":1'] * 80_000) + b',"x":NaN}',
    "deep": b'{"a":' + b"[" * 250_000 + b"]" * 250_000 + b"}",
    "items": b'{"batch":[' + b",".join([b"{}"] * 160_000) + b'],"x":NaN}',
    "texts": b'{"a":[' + b",".join([b'""'] * 160_000) + b'],"x":NaN}',
    "escapes": b'{"x":NaN,"a":"' + b'\\"' * 240_000 + b'"}',
    "keys": b'{"x":NaN,' + b",".join([b'"writeKey":"no"'] * 30_000) + b"}",
    "list of brackets": b"[" * 250_000 + b"]" * 250_000,
    "list of objects": b'[{"a":[' + b"{}," * 160_000 + b"{}]}]",
    "list of closing braces": b"[" + b"}" * 500_000 + b"]",
    "deep objects": b"[" + b'{"a":' * 90_000 + b"1" + b"}" * 90_000 + b"]",
}


def steps(call: Callable[[], Any]) -> int:
    """How many functions a refused call has called."""
    count = 0

    def profile(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        with pytest.raises(NotAuthentic):
            call()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("name", BODIES)
def test_no_body_of_a_stranger_is_taken_apart(name: str) -> None:
    keys, signatures = WriteKeys("page", TRACKING), Verifier("segment", SEGMENT)
    assert steps(lambda: keys.verify(BODIES[name], {})) < MAX_STEPS
    assert steps(lambda: signatures.verify(BODIES[name], {"X-Signature": "0" * 40})) < MAX_STEPS


def test_steps_are_counted() -> None:
    def work() -> None:
        for number in range(1000):
            abs(number)
        raise NotAuthentic("no")

    assert 1000 < steps(work) < 2000


def test_an_order_of_many_products_is_still_found_and_proved() -> None:
    """Brackets that an honest event has do not count, however many there are."""
    product = b'{"product_id":"p","tags":["a","b"],"price":{"net":1}}'
    first = b'{"type":"track","properties":{"products":[' + b",".join([product] * 6000) + b"]}}"
    Verifier("segment", SEGMENT).verify(b"[" + first + b"]", {"X-Signature": sign("the-secret", first)})


@pytest.mark.parametrize(
    "body",
    [
        b'{"batch":[{"total":NaN}],"writeKey":"the-key"}',
        b'{"writeKey" : "the-key","batch":[{"name":"half an emoji \\ud83d"}]}',
        b'{"writeKey":"the-key","batch":[{"search":"\\"writeKey\\":\\"another\\""},NaN]}',
    ],
)
def test_the_key_of_a_body_that_is_not_quite_json_is_still_found(body: bytes) -> None:
    WriteKeys("page", TRACKING).verify(body, {})


@pytest.mark.parametrize(
    "body",
    [
        b'{"batch":[{"writeKey":"the-key"},NaN],"writeKey":"another"}',
        b'{"batch":[NaN],"a":"\\"writeKey\\":\\"the-key\\""}',
        b'{"batch":[NaN],"writeKey":"' + b"k" * 1000 + b'"}',
    ],
)
def test_of_different_keys_in_such_a_body_none_is_believed(body: bytes) -> None:
    with pytest.raises(NotAuthentic):
        WriteKeys("page", TRACKING).verify(body, {})


@pytest.fixture
def client(redis: Redis) -> Iterator[FlaskClient]:
    before = set(REGISTRY._collector_to_names)
    settings = Settings(pii_key="for tests", sources={"page": TRACKING, "other": TRACKING})
    yield create_app(settings, redis).test_client()
    for collector in set(REGISTRY._collector_to_names) - before:
        REGISTRY.unregister(collector)


def test_nothing_is_unzipped_for_a_wrong_key_in_the_header(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("unzipped for a stranger")

    monkeypatch.setattr("zlib.decompressobj", refuse)
    body = gzip.compress(b" " * 50_000_000)
    headers = {**basic("wrong:"), "Content-Encoding": "gzip"}
    assert client.post("/v1/batch", data=body, headers=headers).status_code == 401


@pytest.mark.parametrize("name", BODIES)
def test_a_stranger_with_a_zipped_body_is_refused(client: FlaskClient, name: str) -> None:
    response = client.post("/v1/batch", data=gzip.compress(BODIES[name]), headers={"Content-Encoding": "gzip"})
    assert response.status_code in (401, 413)


def test_items_beyond_the_limit_are_not_taken_apart_for_a_page_either(client: FlaskClient) -> None:
    answer = client.post("/v1/batch", data=BODIES["items"], headers=basic("the-key:"))
    assert answer.status_code == 413


def test_a_gzip_file_of_thousands_of_members_is_not_unpacked() -> None:
    few, many = gzip.compress(b"{") + gzip.compress(b"}"), gzip.compress(b" ") * 20_000
    assert plain_body(few, "gzip", 500_000) == b"{}"
    with pytest.raises(RequestError, match="not gzip"):
        plain_body(many, "gzip", 500_000)

"""What was tried against the receiver and did not get in, over real sockets: it must stay so.

Forged tails of batches, smuggled requests, JSON that is deep, huge or odd; and no log shows any of it.
"""

from __future__ import annotations

import json
import re
import socket
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from redis import Redis

from adapter.sources.segment.signature import sign
from freshgate.state import keys
from tests.harness.receiver_process import HEAD, SECRET, TOKEN, Receiver, order_body, read_all

PAGE_KEY, FILLED_KEY = "page-key-of-the-test", "another-page-key-of-the-test"
ENVIRON = {
    "FRESHGATE_SOURCES__PAGE__KIND": "tracking",
    "FRESHGATE_SOURCES__PAGE__WRITE_KEYS": PAGE_KEY,
    "FRESHGATE_SOURCES__PAGE__TRUST": "browser",
    "FRESHGATE_SOURCES__FILLED__KIND": "tracking",
    "FRESHGATE_SOURCES__FILLED__WRITE_KEYS": FILLED_KEY,
    "FRESHGATE_SOURCES__FILLED__TRUST": "browser",
    "FRESHGATE_SOURCES__FILLED__RECORDED_BYTES": "1000000/1h",
    "FRESHGATE_SOURCES__SEGMENT__KIND": "segment",
}
MARK = "mark-that-no-log-may-show"


@pytest.fixture(scope="module")
def receiver(redis_server: str) -> Iterator[Receiver]:
    with Receiver(redis_server, ENVIRON) as receiver:
        yield receiver
        logged = receiver.log()
        for hidden in (
            MARK,
            SECRET,
            TOKEN,
            PAGE_KEY,
            FILLED_KEY,
            "@example.com",
            "forged",
            "Traceback",
            '"unexpected"',
        ):
            assert hidden not in logged, hidden


def post(receiver: Receiver, body: bytes, signature: str = "", path: str = "/webhooks/segment", **headers: str) -> int:
    """The status; 0 when the connection ends without one."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", "Connection: close"]
    lines += ["Content-Type: application/json", f"X-Signature: {signature or sign(SECRET, body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    answer = b""
    with suppress(ConnectionError), receiver.connect("\r\n".join(lines).encode() + b"\r\n\r\n") as connection:
        connection.sendall(body)
        answer = read_all(connection)
    matched = re.match(rb"HTTP/1.1 (\d+)", answer)
    return int(matched[1]) if matched else 0


def tails() -> dict[str, bytes]:
    """Bodies of which only `first` is signed."""
    return {
        "an element more": b"[%b,%b]",
        "behind the bracket": b"[%b],%b",
        "nested": b"[[%b],%b]",
        "in a wrapper, with its own members": b'[{"json":%b,"type":"track","event":"Order Completed","userId":"f"}]',
        "a second wrapped object": b'[{"json":%b,"json":%b}]',
        "behind the wrapped object": b'[{"json":%b,%b}]',
        "a byte order mark": b"\xef\xbb\xbf[%b,%b]",
        "a zero byte": b"\x00[%b,%b]",
        "a form feed": b"\x0c[%b,%b]",
        "a comma": b"[%b,]",
        "a brace too many": b"[%b},%b]",
        "a list behind an object": b"%b[%b]",
        "a bracket too many": b"[%b]]",
        "an object behind an object": b"%b%b",
        "a line more": b"%b\n%b",
    }


@pytest.mark.parametrize("name", tails())
def test_nothing_rides_along_with_a_captured_event(receiver: Receiver, redis: Redis, name: str) -> None:
    first = order_body(f"captured-{time.monotonic_ns()}")
    forged = first.replace(b'"u-captured', b'"forged')
    shape = tails()[name]
    body = shape % ((first, forged) if shape.count(b"%b") == 2 else (first,))
    assert post(receiver, body, sign(SECRET, first)) in (400, 401)
    assert not redis.exists(keys.person("main", keys.person_id("main", "forged", None)))


NEXT = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
SMUGGLED = {
    "a length and chunks": HEAD + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + NEXT,
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 5\r\n\r\n{}" + NEXT,
    "two codings": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + NEXT,
    "another coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + NEXT,
    "a tab before the coding": HEAD + b"Transfer-Encoding:\tchunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + NEXT,
    "a space before the colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + NEXT,
    "bare line feeds": HEAD.replace(b"\r\n", b"\n") + b"Content-Length: 2\n\n{}" + NEXT,
    "a folded header": HEAD + b"X-A: a\r\n b\r\nContent-Length: 2\r\n\r\n{}" + NEXT,
    "a length with a sign": HEAD + b"Content-Length: +2\r\n\r\n{}" + NEXT,
    "a length in hexadecimal": HEAD + b"Content-Length: 0x2\r\n\r\n{}" + NEXT,
    "a length of twenty digits": HEAD + b"Content-Length: 99999999999999999999\r\n\r\n" + NEXT,
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n{}" + NEXT,
    "chunks in HTTP/1.0": HEAD.replace(b"1.1", b"1.0")
    + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    + NEXT,
    "a huge extension": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;" + b"a" * 200_000 + b"\r\n{}\r\n0\r\n\r\n" + NEXT,
    "a huge trailer": HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: "
    + b"a" * 200_000
    + b"\r\n\r\n"
    + NEXT,
    "a zero byte in a header": HEAD + b"X-A: a\x00b\r\nContent-Length: 2\r\n\r\n{}" + NEXT,
    "too many headers": HEAD + b"".join(b"X-%d: a\r\n" % number for number in range(70)) + b"\r\n" + NEXT,
    "a line that is too long": b"GET /" + b"a" * 6000 + b" HTTP/1.1\r\nHost: x\r\n\r\n" + NEXT,
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + NEXT,
    "the proxy protocol": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + NEXT,
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_behind_a_request_that_can_be_read_in_two_ways_nothing_is_answered(receiver: Receiver, name: str) -> None:
    with receiver.connect() as connection:
        answer = b""
        with suppress(OSError):
            connection.sendall(SMUGGLED[name])
            connection.shutdown(socket.SHUT_WR)
            answer = read_all(connection)
    assert len(re.findall(rb"HTTP/1.1 \d\d\d ", answer)) <= 1
    assert b'"problems"' not in answer and not re.match(rb"HTTP/1.1 (2|500|503)", answer)


@pytest.mark.parametrize(
    "request_line", ["GET http://evil/webhooks/segment", "GET /%2e%2e/%2e%2e/etc/passwd", "GET /../../etc/passwd"]
)
def test_a_path_leads_nowhere_else(receiver: Receiver, request_line: str) -> None:
    answer = receiver.raw(f"{request_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert re.match(rb"HTTP/1.1 (404|405) ", answer)


def event(**changes: Any) -> bytes:
    return json.dumps({**json.loads(order_body(f"hostile-{time.monotonic_ns()}")), "note": MARK, **changes}).encode()


TRACK = b'{"type":"track","event":"Order Completed","userId":"a",'
HOSTILE = {
    "deep objects": b'{"type":"track","event":"Order Completed","userId":"a","properties":'
    + b'{"a":' * 50_000
    + b"1"
    + b"}" * 50_001,
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "a huge number": event()[:-1] + b',"x":' + b"9" * 100_000 + b"}",
    "a time that is a huge number": event(timestamp=10**40),
    "an id that is a huge number": event(userId=10**200),
    "not a number": event()[:-1] + b',"timestamp":NaN}',
    "times out of any range": b"["
    + b",".join(event(timestamp=at) for at in (1e308, -1, "9999-12-31T23:59:59Z"))
    + b"]",
    "a name twice": TRACK + b'"userId":"b","properties":{"order_id":"d"}}',
    "bytes that are no text": event().replace(MARK.encode(), b"\xff\xfe"),
    "half an emoji": event().replace(MARK.encode(), b"\\ud800"),
    "zero bytes in ids": event(userId="a\x00b", messageId="m\x00\r\nX: y"),
    "line ends in ids": event(userId="a\r\nSet-Cookie: x=1"),
    "a name of a megabyte": event(event="E" * 1_000_000),
    "ids of a megabyte": event(userId="u" * 1_000_000, messageId="m" * 1_000_000),
    "ten thousand lines": event(
        properties={"order_id": "l", "products": [{"product_id": f"p{n}"} for n in range(10_000)]}
    ),
    "a hundred thousand names": event(properties={"order_id": "k", **{f"k{n}": 1 for n in range(100_000)}}),
    "scripts and templates": event(properties={"order_id": "<script>", "currency": "{{7*7}}", "total": "${7*7}"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_odd_json_gets_a_verdict_and_the_next_order_is_taken(receiver: Receiver, name: str) -> None:
    body = HOSTILE[name]
    first = body if not body.startswith(b"[{") else body[1 : body.index(b"}},") + 2] if b"}}," in body else body
    status = post(receiver, body, sign(SECRET, first), X_Freshgate_Token=TOKEN)
    assert status in (200, 400, 401)
    assert receiver.order()[0] == 200


@pytest.mark.parametrize("name", HOSTILE)
def test_odd_json_of_a_page_gets_a_verdict(receiver: Receiver, name: str) -> None:
    body = HOSTILE[name].replace(b'"note"', b'"writeKey":"%b","note"' % PAGE_KEY.encode(), 1)
    assert post(receiver, body, path="/v1/track") in (200, 400, 401, 413)


@pytest.mark.parametrize("call", ["alias", "delete", "identify"])
def test_a_page_speaks_for_no_other_person(receiver: Receiver, redis: Redis, call: str) -> None:
    victim = f"victim-{call}"
    body = json.dumps(
        {"type": call, "userId": victim, "previousId": "other", "traits": {"email": f"{MARK}@example.com"}}
    )
    redis.flushdb()
    assert post(receiver, body.encode(), path=f"/v1/{call}", Authorization=basic(PAGE_KEY)) in (200, 404)
    assert not redis.exists(keys.person("main", keys.person_id("main", victim, None)))


def test_a_page_that_fills_the_store_uses_up_its_own_budget(receiver: Receiver, redis: Redis) -> None:
    before = int(redis.info("memory")["used_memory_dataset"])
    # As it was done: large carts of ever new visitors, in batches.
    lines = [
        {"product_id": f"{line}" + "p" * 240, "variant": "v" * 100, "name": "n" * 200, "price": "1"}
        for line in range(17)
    ]
    statuses = []
    for number in range(20):
        events = [
            {
                "type": "track",
                "event": "Cart Viewed",
                "anonymousId": f"fill-{number}-{item}",
                "properties": {"products": lines},
            }
            for item in range(12)
        ]
        body = json.dumps({"batch": events}).encode()
        statuses.append(post(receiver, body, path="/v1/batch", Authorization=basic(FILLED_KEY)))
    assert statuses == sorted(statuses)
    assert set(statuses) == {200, 429}
    # What was taken fits the budget and the request that reached it.
    assert int(redis.info("memory")["used_memory_dataset"]) - before < 2_000_000
    assert receiver.order()[0] == 200
    assert receiver.raw(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200")


def basic(key: str) -> str:
    return "Basic " + b64encode(f"{key}:".encode()).decode()

"""Slow, endless and broken requests over real sockets: each is bounded, and honest callers do not notice them."""

from __future__ import annotations

import http.client
import json
import re
import select
import socket
import time
from contextlib import ExitStack

import pytest

from adapter.server.limits import OTHER_BYTES
from adapter.sources.segment.signature import sign
from tests.adapter.feedback.signers import sendgrid_body
from tests.adapter.server.conftest import SIGNER
from tests.harness.receiver_process import HEAD, SECRET, TOKEN, Receiver, order_body, read_all

CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
# More than twice the threads that all workers have.
SLOW_CALLERS = 40
SLOW = {
    "nothing": b"",
    "headers": HEAD + b"X-A: ",
    "a body": HEAD + b"Content-Length: 100000\r\n\r\n{",
    "chunks": CHUNKED + b"10000\r\n{",
    "a tracking call": b"POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
    "an unknown path": b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
    "a body without a length": b"POST /webhooks/segment HTTP/1.0\r\nHost: x\r\n\r\n{",
    "a second request": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /heal",
}


@pytest.mark.parametrize("slow", SLOW)
def test_orders_are_taken_while_slow_callers_hold_connections(receiver: Receiver, slow: str) -> None:
    with ExitStack() as held:
        for _ in range(SLOW_CALLERS):
            held.enter_context(receiver.connect(SLOW[slow]))
        assert [receiver.order()[0] for _ in range(5)] == [200] * 5


DOCUMENT = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"


def connect_narrowly(receiver: Receiver, sent: bytes) -> socket.socket:
    """A connection on which few bytes of the answers are on their way at once."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", receiver.port))
    connection.sendall(sent)
    return connection


def test_orders_are_taken_while_callers_do_not_read_their_answers(receiver: Receiver) -> None:
    with ExitStack() as held:
        for _ in range(SLOW_CALLERS):
            held.enter_context(connect_narrowly(receiver, DOCUMENT * 20))
        assert [receiver.order()[0] for _ in range(5)] == [200] * 5


def test_whoever_reads_slowly_gets_each_answer_whole_and_in_turn(receiver: Receiver) -> None:
    document = receiver.raw(DOCUMENT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")).partition(b"\r\n\r\n")[2]
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    received = b""
    with connect_narrowly(receiver, DOCUMENT * 20 + last) as connection:
        while piece := connection.recv(2000):
            received += piece
    assert received.count(document) == 20 and received.endswith(b'{"status":"ok"}')
    assert len(re.findall(rb"HTTP/1.1 200 OK", received)) == 21


def test_feedback_larger_than_a_stranger_may_send_is_read_as_a_whole(receiver: Receiver) -> None:
    event = {"event": "open", "email": "ada@example.com", "timestamp": 1, "useragent": "x" * 2 * OTHER_BYTES}
    body = sendgrid_body(event)
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
    connection.request("POST", "/feedback/mail", body, SIGNER.headers(body, int(time.time())))
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())) == (200, {"accepted": 0, "duplicate": 0, "unmatched": 1})
    connection.close()


def test_two_hundred_idle_connections_are_nothing(receiver: Receiver) -> None:
    with ExitStack() as held:
        for _ in range(200):
            held.enter_context(receiver.connect())
        assert [receiver.order()[0] for _ in range(5)] == [200] * 5


def test_more_connections_than_there_is_room_for_push_out_the_oldest(redis_server: str) -> None:
    with Receiver(redis_server, {"GUNICORN_CMD_ARGS": "--worker-connections 20 --workers 1"}) as receiver:
        with ExitStack() as held:
            connections = [held.enter_context(receiver.connect(SLOW["a body"])) for _ in range(60)]
            assert [receiver.order()[0] for _ in range(5)] == [200] * 5
            assert read_all(connections[0]) == b""
        assert re.search(r'dropped_total\{reason="crowded"\} [1-9]', receiver.metrics())


def test_a_request_that_takes_too_long_is_answered_408_and_counted(receiver: Receiver) -> None:
    started = time.monotonic()
    with receiver.connect(SLOW["a body"]) as connection:
        answer = b""
        while not answer:
            connection.sendall(b" ")
            if select.select([connection], [], [], 1)[0]:
                answer = read_all(connection)
            assert time.monotonic() - started < 60
    assert answer.startswith(b"HTTP/1.1 408 ") and b"Connection: close" in answer
    assert re.search(r'dropped_total\{reason="timeout"\} [1-9]', receiver.metrics())


def test_a_caller_who_does_not_close_holds_up_nobody(redis_server: str) -> None:
    """After an answer that ends the connection the caller stays; nobody waits for it on the main thread."""
    with Receiver(redis_server, {"FRESHGATE_RECEIVER_WORKERS": "1"}) as receiver, ExitStack() as held:
        for _ in range(20):
            ending = receiver.connect(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            held.enter_context(ending)
        assert receiver.order(timeout_s=8)[0] == 200


def test_orders_are_taken_while_callers_send_thousands_of_requests_at_once(redis_server: str) -> None:
    requests = (HEAD + b"X-Signature: 0\r\nContent-Length: 2\r\n\r\n{}") * 1000
    with Receiver(redis_server, {"FRESHGATE_RECEIVER_WORKERS": "1"}) as receiver, ExitStack() as held:
        for _ in range(8):
            held.enter_context(receiver.connect(requests))
        assert [receiver.order()[0] for _ in range(5)] == [200] * 5


def test_requests_on_one_connection_are_answered_in_turn(receiver: Receiver) -> None:
    body = order_body(f"pipelined-{time.monotonic_ns()}")
    signature = sign(SECRET, body).encode()
    order = HEAD + b"X-Signature: %b\r\nContent-Length: %d\r\n" % (signature, len(body))
    health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
    answer = receiver.raw(health + b"\r\n" + order + b"\r\n" + body + health + b"Connection: close\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"200", b"200"]
    assert answer.index(b'"ok"') < answer.index(b'"accepted":1') < answer.rindex(b'"ok"')


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_an_order_in_pieces_is_taken(receiver: Receiver, step: int) -> None:
    body = order_body(f"pieces-{step}-{time.monotonic_ns()}")
    head = HEAD + b"X-Signature: %b\r\nContent-Length: %d\r\n" % (sign(SECRET, body).encode(), len(body))
    sent = head + b"Connection: close\r\n\r\n" + body
    with receiver.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(sent), step):
            connection.sendall(sent[at : at + step])
        assert b'"accepted":1' in read_all(connection)


def test_an_order_in_chunks_is_taken(receiver: Receiver) -> None:
    body = order_body(f"chunks-{time.monotonic_ns()}")
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(body[at : at + 50]), body[at : at + 50]) for at in range(0, len(body), 50))
    head = HEAD + b"X-Signature: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % sign(SECRET, body).encode()
    assert b'"accepted":1' in receiver.raw(head + chunks + b"0\r\n\r\n")


def test_a_caller_that_waits_to_be_told_to_continue_is_told_once(receiver: Receiver) -> None:
    body = order_body(f"continue-{time.monotonic_ns()}")
    head = HEAD + b"X-Signature: %b\r\nContent-Length: %d\r\n" % (sign(SECRET, body).encode(), len(body))
    with receiver.connect(head + b"Expect: 100-continue\r\nConnection: close\r\n\r\n") as connection:
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 200 ") and b"100 Continue" not in answer


@pytest.mark.parametrize("path", [b"/webhooks/segment", b"/v1/track", b"/nowhere", b"/webhooks/nobody"])
def test_a_body_that_is_too_large_is_refused_by_its_length(receiver: Receiver, path: bytes) -> None:
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n" % (path, 1 << 30)
    answer = receiver.raw(head)
    # Without a source of its kind, the tracking API refuses everybody.
    statuses = {b"/webhooks/segment": b"413", b"/v1/track": b"401"}
    assert answer.startswith(b"HTTP/1.1 " + statuses.get(path, b"404")) and b"Connection: close" in answer


TARGETS = [
    *("//webhooks/segment", "/webhooks//segment", "/webhooks/segment/", "/webhooks/seg%6Dent", "/webhooks/segment?a=/"),
    *("http://shop.example/webhooks/segment", "http://shop.example//webhooks/segment"),
]


@pytest.mark.parametrize(
    "line", [f"POST {target} HTTP/1.1" for target in TARGETS] + ["\r\nPOST /webhooks/segment HTTP/1.1"]
)
def test_a_body_is_read_whole_however_its_url_is_written(receiver: Receiver, line: str) -> None:
    event = json.loads(order_body(f"written-{time.monotonic_ns()}")) | {"note": "x" * 2 * OTHER_BYTES}
    body = json.dumps(event).encode()
    head = f"{line}\r\nHost: x\r\nX-Signature: {sign(SECRET, body)}\r\nContent-Length: {len(body)}\r\n"
    assert b'"accepted":1' in receiver.raw(head.encode() + b"Connection: close\r\n\r\n" + body)


def test_several_megabytes_are_taken_whole(receiver: Receiver) -> None:
    event = json.loads(order_body("large"))
    events = [event | {"messageId": f"large-{time.monotonic_ns()}-{n}", "note": "x" * 7000} for n in range(1000)]
    elements = [json.dumps(event, separators=(",", ":")).encode() for event in events]
    body = b"[" + b",".join(elements) + b"]"
    head = HEAD + b"X-Signature: %b\r\nX-Freshgate-Token: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    answer = receiver.raw(head % (sign(SECRET, elements[0]).encode(), TOKEN.encode(), len(body)) + body)
    assert b'"accepted":1000' in answer


MALFORMED = {
    "a size that is not a number": b"z; ada@example.com\r\n",
    "no end of a chunk": b"2\r\nada@example.com\r\n0\r\n\r\n",
    "an extension that is none": b"2;\x01ada@example.com\r\n{}\r\n0\r\n\r\n",
    "a size without an end": b"1" * 3000,
    "a trailer that is none": b"2\r\n{}\r\n0\r\nada@example.com\r\n\r\n",
    "a length as a trailer": b"2\r\n{}\r\n0\r\nContent-Length: 7\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_chunks_are_400_and_nothing_of_them_is_logged(receiver: Receiver, name: str) -> None:
    size = len(receiver.log())
    answer = receiver.raw(CHUNKED + MALFORMED[name])
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert re.findall(rb"HTTP/1.1 \d+", answer) == [b"HTTP/1.1 400"]
    logged = receiver.log()[size:]
    assert "ada@" not in logged and "Traceback" not in logged and "unexpected" not in logged


def test_requests_of_strangers_do_not_fill_the_log(redis_server: str) -> None:
    with Receiver(redis_server) as receiver:
        size = len(receiver.log())
        for _ in range(100):
            receiver.raw(HEAD + b"X-Signature: 0\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            receiver.raw(HEAD + b"Content-Length: %d\r\n\r\n" % (1 << 30))
            receiver.raw(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            receiver.raw(CHUNKED + b"z\r\n")
            receiver.raw(b"GET /a b c HTTP/1.1\r\n\r\n")
        logged = receiver.log()[size:]
    assert "not_authentic" in logged and "body_refused" in logged
    # A few lines in ten seconds, for each of two workers.
    assert len(logged.splitlines()) < 60


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "Script_Name", "PATH_INFO", "REQUEST_METHOD"])
def test_no_header_changes_the_path_that_a_proxy_has_allowed(receiver: Receiver, name: str) -> None:
    value = {"PATH_INFO": "/readyz", "REQUEST_METHOD": "POST"}.get(name, "/webhooks")
    request = f"GET /webhooks/readyz HTTP/1.1\r\nHost: x\r\n{name}: {value}\r\nConnection: close\r\n\r\n"
    assert receiver.raw(request.encode()).startswith(b"HTTP/1.1 404 ")
    request = (
        f"GET /webhooks/readyz HTTP/1.1\r\nHost: x\r\n{name.replace('_', '-')}: {value}\r\nConnection: close\r\n\r\n"
    )
    assert receiver.raw(request.encode()).startswith(b"HTTP/1.1 404 ")


def large_batch(name: str) -> tuple[bytes, bytes]:
    """Some megabytes of events, and the first of them."""
    event = json.loads(order_body("large")) | {"event": "Product Viewed", "note": "x" * 3000}
    events = [event | {"messageId": f"{name}-{number}", "properties": {"product_id": "p"}} for number in range(1000)]
    elements = [json.dumps(event, separators=(",", ":")).encode() for event in events]
    return b"[" + b",".join(elements) + b"]", elements[0]


def test_large_bodies_are_worked_on_one_at_a_time_and_small_ones_pass_them(redis_server: str) -> None:
    two_threads = {"FRESHGATE_RECEIVER_WORKERS": "1", "FRESHGATE_RECEIVER_THREADS": "2"}
    with Receiver(redis_server, two_threads) as receiver, ExitStack() as held:
        connections = []
        for number in range(6):
            body, first = large_batch(f"large-{number}-{time.monotonic_ns()}")
            head = HEAD + b"X-Signature: %b\r\nX-Freshgate-Token: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
            sent = head % (sign(SECRET, first).encode(), TOKEN.encode(), len(body)) + body
            connections.append(held.enter_context(receiver.connect(sent)))
        # More of them than there are threads, and yet a thread is free.
        assert receiver.order()[0] == 200
        answered = select.select(connections, [], [], 0)[0]
        assert len(answered) < 4, "the order waited for those before it"
        assert all(b'"accepted":1000' in read_all(connection) for connection in connections)


def test_what_all_requests_together_hold_is_bounded_and_small_ones_find_room(redis_server: str) -> None:
    with Receiver(redis_server, {"FRESHGATE_RECEIVER_WORKERS": "1"}) as receiver, ExitStack() as held:
        head = HEAD + b"Content-Length: 8000000\r\n\r\n"
        # 80 MB that never become complete.
        unfinished = [held.enter_context(receiver.connect(head + bytes(7_900_000))) for _ in range(10)]
        receiver.wait_for(lambda: re.search(r'dropped_total\{reason="crowded"\} [1-9]', receiver.metrics()))
        assert receiver.order()[0] == 200
        refused = [connection for connection in unfinished if select.select([connection], [], [], 0)[0]]
        assert refused and len(refused) < len(unfinished)
        assert all(read_all(connection).startswith(b"HTTP/1.1 503 ") for connection in refused)

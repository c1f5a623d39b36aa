"""Where a request ends, however its bytes are cut."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.server.framing import IncomingRequest, Progress

LIMIT = 1000
POST = b"POST /webhooks/segment HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
REQUESTS = {
    "no body": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a length": POST + b"Content-Length: 5\r\n\r\nabcde",
    "a length, in capitals": POST + b"CONTENT-LENGTH:5\r\n\r\nabcde",
    "chunks": CHUNKED + b"3\r\nabc\r\n2;name=value\r\nde\r\n0\r\n\r\n",
    "chunks with a trailer": CHUNKED + b"3\r\nabc\r\n0\r\nX-A: b\r\n\r\n",
    "an empty body in chunks": CHUNKED + b"0\r\n\r\n",
}


def limit(_line: bytes) -> int:
    return LIMIT


def advance(sent: bytes) -> tuple[Progress, IncomingRequest]:
    request = IncomingRequest(limit, sent)
    return request.advance(), request


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_complete_with_its_last_byte_and_not_before(name: str) -> None:
    sent = REQUESTS[name]
    request = IncomingRequest(limit)
    for at, byte in enumerate(sent, 1):
        request.received.append(byte)
        assert request.advance() is (Progress.COMPLETE if at == len(sent) else Progress.WAITING), sent[:at]
    assert request.end == len(sent)


@pytest.mark.parametrize("name", REQUESTS)
def test_what_follows_a_request_does_not_belong_to_it(name: str) -> None:
    progress, request = advance(REQUESTS[name] + b"GET / HTTP/1.1\r\n")
    assert (progress, request.end) == (Progress.COMPLETE, len(REQUESTS[name]))


@pytest.mark.parametrize("length", [LIMIT + 1, 10**14, 10**15, 10**20])
def test_a_body_that_is_announced_too_large_is_not_waited_for(length: int) -> None:
    assert advance(POST + b"Content-Length: %d\r\n\r\n" % length)[0] is Progress.TOO_LARGE
    # More than Python reads as a number.
    assert advance(POST + b"Content-Length: %b\r\n\r\n" % (b"9" * 5000))[0] is Progress.TOO_LARGE


def test_zeros_before_a_length_are_nothing() -> None:
    head = POST + b"Content-Length: " + b"0" * 30 + b"5\r\n\r\n"
    assert advance(head + b"abcd")[0] is Progress.WAITING
    assert advance(head + b"abcdef")[1].end == len(head) + 5


def test_chunks_that_become_too_much_are_not_waited_for() -> None:
    assert advance(CHUNKED + b"%x\r\n" % (LIMIT + 1))[0] is Progress.TOO_LARGE
    assert advance(CHUNKED + b"ffffffffffff\r\n")[0] is Progress.TOO_LARGE
    assert advance(CHUNKED + (b"100\r\n" + bytes(256) + b"\r\n") * 3)[0] is Progress.WAITING
    assert advance(CHUNKED + (b"100\r\n" + bytes(256) + b"\r\n") * 4)[0] is Progress.TOO_LARGE


@pytest.mark.parametrize("length", [b"-1", b"+2", b"0x2", b"two", b"2\r\nContent-Length: 2", b"2, 2"])
def test_a_length_that_nobody_can_be_sure_of_is_left_to_gunicorn_with_the_head_alone(length: bytes) -> None:
    progress, request = advance(POST + b"Content-Length: " + length + b"\r\n\r\n{}")
    assert (progress, request.end) == (Progress.COMPLETE, request.head_end)


@pytest.mark.parametrize("chunk", [b"z\r\n", b"-1\r\n", b"\r\n", b"1" * 2000])
def test_a_malformed_chunk_is_left_to_gunicorn(chunk: bytes) -> None:
    assert advance(CHUNKED + chunk)[0] is Progress.COMPLETE


def test_endless_headers_and_chunks_of_a_byte_are_malformed() -> None:
    assert advance(POST + b"X-A: " + b"a" * 70_000)[0] is Progress.MALFORMED
    tiny = IncomingRequest(lambda _line: 1 << 24, CHUNKED + b"1\r\na\r\n" * 2000)
    assert tiny.advance() is Progress.MALFORMED


def test_a_length_in_the_body_or_in_another_header_is_not_one() -> None:
    sent = POST + b"X-Content-Length: 999\r\nContent-Length: 30\r\n\r\n"
    assert advance(sent + b"\r\nContent-Length: 1\r\n\r\n" + bytes(6))[0] is Progress.WAITING


def test_the_first_line_decides_how_much_is_taken() -> None:
    lines: list[bytes] = []

    def remember(line: bytes) -> int:
        lines.append(line)
        return 5

    IncomingRequest(remember, POST + b"\r\n").advance()
    IncomingRequest(remember, b"\r\n" + POST + b"\r\n").advance()
    assert lines == [b"POST /webhooks/segment HTTP/1.1"] * 2


def test_nobody_waits_to_be_told_to_continue_in_http_1_0() -> None:
    for version, expected in ((b"1.0", False), (b"1.1", True)):
        head = b"POST / HTTP/" + version + b"\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        assert advance(head)[1].expects_continue is expected


class Searched(bytearray):
    """Counts the bytes that are searched."""

    looked_at = 0

    def find(self, sought: Any, start: Any = 0, end: Any = None) -> int:
        self.looked_at += (len(self) if end is None else min(end, len(self))) - start
        return super().find(sought, start, end)


@pytest.mark.parametrize("head", [POST + b"X-A: ", POST + b"Content-Length: 900\r\n\r\n", CHUNKED + b"320\r\n"])
def test_bytes_that_come_one_by_one_are_not_searched_again_and_again(head: bytes) -> None:
    request = IncomingRequest(limit)
    request.received = Searched()
    for byte in head + bytes(700):
        request.received.append(byte)
        assert request.advance() is Progress.WAITING
    assert request.received.looked_at < 10 * len(request.received)

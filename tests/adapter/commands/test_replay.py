"""`python -m adapter replay` posts signed bodies, waits after a 503, and reports the verdicts.

The receiver is a stub that replies as the test says and records requests; the signatures meet the real verifiers.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from adapter.__main__ import main
from adapter.commands.post.proof import proof
from adapter.commands.post.replay import Replay, read_bodies
from adapter.sources import SOURCES
from catalog import EVENTS
from freshgate.errors import FreshgateError, NotAuthentic
from freshgate.settings import SourceSettings
from tests.adapter.commands.conftest import ROOT

REPLY = {"accepted": 1, "duplicate": 0, "ignored": 0, "refused": 0, "refusals": []}


class Receiver:
    """Replies with 200, or with the next of `replies`: (status, headers)."""

    def __init__(self) -> None:
        self.taken: dict[str, Any] = REPLY
        self.replies: list[tuple[int, dict[str, str]]] = []
        self.requests: list[tuple[str, bytes, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((self.path, body, dict(self.headers)))
                status, headers = outer.replies.pop(0) if outer.replies else (200, {})
                text = json.dumps(outer.taken if status == 200 else {"error": "no"}).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhooks/segment"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, daemon=True)
    thread.start()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()
    thread.join()


@pytest.fixture
def shop(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRESHGATE_SOURCES__SEGMENT__SECRETS", "abc123")
    monkeypatch.setenv("FRESHGATE_SOURCES__SEGMENT__TOKENS", "t-1")
    return workdir


def run_replay(receiver: Receiver, *words: str) -> int:
    return main(["replay", *words, "--to", receiver.url])


# ---- bodies


def test_a_folder_is_posted_in_order_without_the_expected_files(shop: Path) -> None:
    for name in ("b.json", "a.json", "a.expected.json", "notes.txt"):
        (shop / name).write_text(f'"{name}"')
    assert list(read_bodies(shop)) == [b'"a.json"', b'"b.json"']


def test_a_line_is_a_body_and_a_json_file_is_one_byte_for_byte(shop: Path) -> None:
    (shop / "many.jsonl").write_bytes(b'{"a": 1}\n\n[{"b": 2}]\n')
    (shop / "one.json").write_bytes(b' {"a":\n1}\n')
    assert list(read_bodies(shop / "many.jsonl")) == [b'{"a": 1}', b'[{"b": 2}]']
    assert list(read_bodies(shop / "one.json")) == [b' {"a":\n1}\n']


def test_replies_of_the_tracking_api_have_no_verdicts_to_count(
    shop: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRESHGATE_SOURCES__SDK__KIND", "tracking")
    monkeypatch.setenv("FRESHGATE_SOURCES__SDK__WRITE_KEYS", "k")
    receiver.taken, receiver.url = {"success": True}, receiver.url.replace("webhooks/segment", "v1/batch")
    (shop / "one.json").write_bytes(b'{"batch": []}')
    assert run_replay(receiver, "one.json", "--sign-as", "sdk") == 0
    assert capsys.readouterr().out == "1 of 1 bodies answered 200\n"
    ((path, _, headers),) = receiver.requests
    assert path == "/v1/batch" and headers["Authorization"].startswith("Basic ")


def test_nothing_to_post_is_an_error(shop: Path) -> None:
    (shop / "empty").mkdir()
    with pytest.raises(FreshgateError, match="no payload"):
        list(read_bodies(shop / "empty"))


# ---- authentication


@pytest.mark.parametrize("kind", sorted(SOURCES))
@pytest.mark.parametrize("body", [b'{"a": 1}', b' [{"a": 1}, {"b": 2}]', b"[]", b"no json"])
def test_every_kind_of_source_accepts_the_headers(kind: str, body: bytes) -> None:
    def settings_with(secret: str) -> SourceSettings:
        keys = {"write_keys": (secret,)} if kind == "tracking" else {"secrets": (secret, "old")}
        return SourceSettings(kind=kind, tokens=(f"token of {secret}",), **keys)

    source = SOURCES[kind].configure("shop", settings_with("s-1"), EVENTS)
    source.verify(body, proof("shop", settings_with("s-1"), body))
    with pytest.raises(NotAuthentic):
        source.verify(body, proof("shop", settings_with("s-2"), body))


def test_headers_are_as_their_documents_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 7617 for a write key; Customer.io's digest computed with openssl."""
    key = SOURCES["tracking"].prove("Aladdin", b"{}")
    assert key == {"Authorization": "Basic QWxhZGRpbjo="}
    monkeypatch.setattr("time.time", lambda: 1_790_000_000.9)
    assert SOURCES["customerio_reporting"].prove("key", b"{}") == {
        "X-CIO-Timestamp": "1790000000",
        "X-CIO-Signature": "ef363b5ed529f7b549df3e7c1e40f58cc2cd335be177d195aa556259bfeafa20",
    }


# ---- the command


def test_fixtures_are_posted_signed_and_counted(
    receiver: Receiver, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ROOT / "tests/payloads/segment"
    assert run_replay(receiver, str(folder)) == 0
    bodies = list(read_bodies(folder))
    assert [body for _, body, _ in receiver.requests] == bodies
    assert {path for path, _, _ in receiver.requests} == {"/webhooks/segment"}
    source = SOURCES["segment"].configure("segment", SourceSettings(kind="segment", secrets=("abc123",)), EVENTS)
    for _, body, headers in receiver.requests:
        source.verify(body, headers)
    assert capsys.readouterr().out == (
        f"{len(bodies)} of {len(bodies)} bodies answered 200: "
        f"{len(bodies)} accepted, 0 duplicate, 0 ignored, 0 refused\n"
    )


def test_the_replay_header_is_sent_only_with_again_and_a_token(
    receiver: Receiver, shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "one.json").write_text("{}")
    run_replay(receiver, "one.json")
    run_replay(receiver, "one.json", "--again")
    first, second = (headers for _, _, headers in receiver.requests)
    assert "X-Freshgate-Replay" not in first
    assert (second["X-Freshgate-Replay"], second["X-Freshgate-Token"]) == ("1", "t-1")
    monkeypatch.delenv("FRESHGATE_SOURCES__SEGMENT__TOKENS")
    assert run_replay(receiver, "one.json", "--again") == 2
    assert "sources.segment.tokens" in capsys.readouterr().err
    assert len(receiver.requests) == 2


def test_it_waits_after_a_503_as_long_as_the_reply_asks(receiver: Receiver) -> None:
    waits: list[float] = []
    replay = Replay(receiver.url, lambda body: {}, waits.append)
    receiver.replies = [(503, {"Retry-After": "7"}), (503, {"Retry-After": "soon"}), (503, {"Retry-After": "9999"})]
    assert replay.post(b"{}") == 200
    assert waits == [7.0, 5.0, 60.0]
    assert (replay.statuses, replay.verdicts["accepted"]) == ({200: 1}, 1)
    assert len(receiver.requests) == 4
    replay.close()


def test_a_503_without_end_is_given_up(receiver: Receiver) -> None:
    receiver.replies = [(503, {"Retry-After": "60"})] * 30
    replay = Replay(receiver.url, lambda body: {}, lambda s: None)
    assert replay.post(b"{}") == 503
    assert len(receiver.requests) == 11
    replay.close()


def test_a_refused_body_does_not_stop_the_rest_and_is_1(
    receiver: Receiver, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "many.jsonl").write_text("{}\n{}\n{}\n")
    receiver.replies = [(200, {}), (400, {})]
    assert run_replay(receiver, "many.jsonl", "--rate", "1000") == 1
    assert len(receiver.requests) == 3
    text = capsys.readouterr().out
    assert "2 of 3 bodies answered 200: 2 accepted" in text
    assert "1 answered 400" in text


def test_it_stops_at_a_401_and_names_the_settings_to_compare(
    receiver: Receiver, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "many.jsonl").write_text("{}\n{}\n")
    receiver.replies = [(401, {})]
    assert run_replay(receiver, "many.jsonl") == 1
    assert len(receiver.requests) == 1
    assert "sources.segment" in capsys.readouterr().err


def test_the_rate_is_kept(receiver: Receiver, shop: Path) -> None:
    (shop / "many.jsonl").write_text("{}\n" * 6)
    started = time.monotonic()
    run_replay(receiver, "many.jsonl", "--rate", "20")
    assert time.monotonic() - started >= 0.25


def test_a_receiver_that_is_not_there_is_one_line(shop: Path, free_port: Any) -> None:
    waits: list[float] = []
    replay = Replay(f"http://127.0.0.1:{free_port()}/webhooks/segment", lambda body: {}, waits.append)
    with pytest.raises(FreshgateError, match="does not answer: ConnectionRefusedError"):
        replay.post(b"{}")
    assert waits == [0.2, 0.4, 0.8, 1.6]


def test_an_unknown_source_is_an_error_that_names_the_known(
    receiver: Receiver, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "one.json").write_text("{}")
    assert run_replay(receiver, "one.json", "--sign-as", "nobody") == 2
    assert "--sign-as: segment" in capsys.readouterr().err
    assert receiver.requests == []

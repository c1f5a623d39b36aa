"""`python -m adapter replay`: what it posts is believed, a 503 is waited for, and the report says what became of all.

The receiver is a stub that answers what the test says and remembers what came; the signatures meet the real verifiers.
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
from adapter.commands.post.replay import Replay, bodies_of
from adapter.sources import SOURCES
from catalog import EVENTS
from freshgate.errors import FreshgateError, NotAuthentic
from freshgate.settings import SourceSettings
from tests.adapter.commands.conftest import ROOT

ANSWER = {"accepted": 1, "duplicate": 0, "ignored": 0, "refused": 0, "refusals": []}


class Receiver:
    """Answers 200, or what `answers` says next: (status, headers)."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.came: list[tuple[str, bytes, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.came.append((self.path, body, dict(self.headers)))
                status, headers = outer.answers.pop(0) if outer.answers else (200, {})
                text = json.dumps(ANSWER if status == 200 else {"error": "no"}).encode()
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
def shop(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRESHGATE_SOURCES__SEGMENT__SECRETS", "abc123")
    monkeypatch.setenv("FRESHGATE_SOURCES__SEGMENT__TOKENS", "t-1")
    return here


def replayed(receiver: Receiver, *words: str) -> int:
    return main(["replay", *words, "--to", receiver.url])


# ---- what is posted


def test_a_folder_is_posted_in_order_without_the_expected_files(shop: Path) -> None:
    for name in ("b.json", "a.json", "a.expected.json", "notes.txt"):
        (shop / name).write_text(f'"{name}"')
    assert list(bodies_of(shop)) == [b'"a.json"', b'"b.json"']


def test_a_line_is_a_body_and_a_json_file_is_one_byte_for_byte(shop: Path) -> None:
    (shop / "many.jsonl").write_bytes(b'{"a": 1}\n\n[{"b": 2}]\n')
    (shop / "one.json").write_bytes(b' {"a":\n1}\n')
    assert list(bodies_of(shop / "many.jsonl")) == [b'{"a": 1}', b'[{"b": 2}]']
    assert list(bodies_of(shop / "one.json")) == [b' {"a":\n1}\n']


def test_nothing_to_post_is_an_error(shop: Path) -> None:
    (shop / "empty").mkdir()
    with pytest.raises(FreshgateError, match="no payload"):
        list(bodies_of(shop / "empty"))


# ---- what is believed


@pytest.mark.parametrize("kind", sorted(SOURCES))
@pytest.mark.parametrize("body", [b'{"a": 1}', b' [{"a": 1}, {"b": 2}]', b"[]", b"no json"])
def test_every_kind_of_source_believes_the_headers(kind: str, body: bytes) -> None:
    def proved(secret: str) -> SourceSettings:
        keys = {"write_keys": (secret,)} if kind == "tracking" else {"secrets": (secret, "old")}
        return SourceSettings(kind=kind, tokens=(f"token of {secret}",), **keys)

    source = SOURCES[kind].configure("shop", proved("s-1"), EVENTS)
    source.verify(body, proof("shop", proved("s-1"), body))
    with pytest.raises(NotAuthentic):
        source.verify(body, proof("shop", proved("s-2"), body))


def test_headers_as_their_documents_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert replayed(receiver, str(folder)) == 0
    bodies = list(bodies_of(folder))
    assert [body for _, body, _ in receiver.came] == bodies
    assert {path for path, _, _ in receiver.came} == {"/webhooks/segment"}
    source = SOURCES["segment"].configure("segment", SourceSettings(kind="segment", secrets=("abc123",)), EVENTS)
    for _, body, headers in receiver.came:
        source.verify(body, headers)
    told = capsys.readouterr().out
    assert told == (
        f"{len(bodies)} of {len(bodies)} bodies answered 200: "
        f"{len(bodies)} accepted, 0 duplicate, 0 ignored, 0 refused\n"
    )


def test_a_replay_is_said_to_be_one_only_with_again_and_a_token(
    receiver: Receiver, shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "one.json").write_text("{}")
    replayed(receiver, "one.json")
    replayed(receiver, "one.json", "--again")
    first, second = (headers for _, _, headers in receiver.came)
    assert "X-Freshgate-Replay" not in first
    assert (second["X-Freshgate-Replay"], second["X-Freshgate-Token"]) == ("1", "t-1")
    monkeypatch.delenv("FRESHGATE_SOURCES__SEGMENT__TOKENS")
    assert replayed(receiver, "one.json", "--again") == 2
    assert "sources.segment.tokens" in capsys.readouterr().err
    assert len(receiver.came) == 2


def test_a_503_is_waited_for_as_long_as_it_asks(receiver: Receiver) -> None:
    waits: list[float] = []
    replay = Replay(receiver.url, lambda body: {}, waits.append)
    receiver.answers = [(503, {"Retry-After": "7"}), (503, {"Retry-After": "soon"}), (503, {"Retry-After": "9999"})]
    assert replay.post(b"{}") == 200
    assert waits == [7.0, 5.0, 60.0]
    assert (replay.statuses, replay.verdicts["accepted"]) == ({200: 1}, 1)
    assert len(receiver.came) == 4
    replay.close()


def test_a_503_without_end_is_given_up(receiver: Receiver) -> None:
    receiver.answers = [(503, {"Retry-After": "60"})] * 30
    replay = Replay(receiver.url, lambda body: {}, lambda s: None)
    assert replay.post(b"{}") == 503
    assert len(receiver.came) == 11
    replay.close()


def test_a_refused_body_does_not_stop_the_rest_and_is_1(
    receiver: Receiver, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "many.jsonl").write_text("{}\n{}\n{}\n")
    receiver.answers = [(200, {}), (400, {})]
    assert replayed(receiver, "many.jsonl", "--rate", "1000") == 1
    assert len(receiver.came) == 3
    assert "2 of 3 bodies answered 200: 2 accepted" in (told := capsys.readouterr().out)
    assert "1 answered 400" in told


def test_it_stops_at_a_401_and_says_where_to_look(
    receiver: Receiver, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "many.jsonl").write_text("{}\n{}\n")
    receiver.answers = [(401, {})]
    assert replayed(receiver, "many.jsonl") == 1
    assert len(receiver.came) == 1
    assert "sources.segment" in capsys.readouterr().err


def test_the_rate_is_kept(receiver: Receiver, shop: Path) -> None:
    (shop / "many.jsonl").write_text("{}\n" * 6)
    begun = time.monotonic()
    replayed(receiver, "many.jsonl", "--rate", "20")
    assert time.monotonic() - begun >= 0.25


def test_a_receiver_that_is_not_there_is_one_line(shop: Path, free_port: Any) -> None:
    waits: list[float] = []
    replay = Replay(f"http://127.0.0.1:{free_port()}/webhooks/segment", lambda body: {}, waits.append)
    with pytest.raises(FreshgateError, match="does not answer: ConnectionRefusedError"):
        replay.post(b"{}")
    assert waits == [0.2, 0.4, 0.8, 1.6]


def test_a_name_that_is_no_source_says_which_there_are(
    receiver: Receiver, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "one.json").write_text("{}")
    assert replayed(receiver, "one.json", "--sign-as", "nobody") == 2
    assert "--sign-as: segment" in capsys.readouterr().err
    assert receiver.came == []

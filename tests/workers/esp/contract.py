"""The contract of all ESPs: each way in which a server can answer, fail or stay silent, and what that means.

A test of an ESP subclasses `EspContract`; `ScriptedServer` is a real server that follows a script.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from freshgate.errors import EspError
from tests.harness.ports import free_ports
from workers.esp.base import BatchEsp, Esp, Message, SendResult
from workers.esp.capabilities import Capabilities

MESSAGE = Message(
    send_id="s-1", trigger="welcome", to="ada@example.com", template_id="d-1", template_data={"first_name": "Ada"}
)
# Nested, as a cart is, and with texts that JSON escapes.
TEMPLATE_DATA = {"first_name": "Zoë", "total": 12.5, "vip": True, "products": [{"name": 'A "lamp"', "quantity": 2}]}
Step = Callable[[socket.socket], bool]


def empty_fields(value: Any, path: str = "") -> list[str]:
    """The paths, joined by dots, of what is null or empty in a JSON document."""
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else ((str(number), item) for number, item in enumerate(value))
        return [field for name, item in items for field in empty_fields(item, f"{path}.{name}".lstrip("."))]
    return [path] if value is None or value in ("", {}, []) else []


def answers(status: int, body: bytes = b"", **headers: str) -> Step:
    """Sends this response, and keeps the connection."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status} Scripted", *lines, f"Content-Length: {len(body)}", "", ""])

    def step(sock: socket.socket) -> bool:
        sock.sendall(head.encode() + body)
        return True

    return step


def sends(raw: bytes) -> Step:
    """Sends these bytes, and closes."""

    def step(sock: socket.socket) -> bool:
        sock.sendall(raw)
        return False

    return step


class ScriptedServer:
    """Takes one step for each request; `requests` holds (number of the connection, the raw request)."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.requests: list[tuple[int, bytes]] = []
        self.ended = threading.Event()
        self.connections: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def silent(self, sock: socket.socket) -> bool:
        self.ended.wait(5)
        return False

    def dribbles(self, sock: socket.socket) -> bool:
        with suppress(OSError):
            for byte in b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n":
                sock.sendall(bytes((byte,)))
                if self.ended.wait(0.05):
                    break
        return False

    def close(self) -> None:
        self.ended.set()
        for sock in (self._listening, *self.connections):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                self.connections.append(sock)
                threading.Thread(target=self._serve, args=(sock, len(self.connections)), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        with suppress(OSError), sock:
            while request := _read_request(sock):
                self.requests.append((number, request))
                if not self.steps.pop(0)(sock):
                    sock.shutdown(socket.SHUT_RDWR)
                    return


def _read_request(sock: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        piece = sock.recv(65536)
        if not piece:
            return b""
        request += piece
    head, _, body = request.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    remaining = int(lengths[0]) - len(body)
    while remaining > 0:
        piece = sock.recv(remaining)
        request, remaining = request + piece, remaining - len(piece)
    return request


at_the_deadline = pytest.mark.parametrize("timeout_s", [0.3])


class EspContract:
    """Subclasses define `make`, the responses with which their ESP accepts a mail and asks to wait, and its schema.

    before      the steps of calls that precede the one that sends the mail
    validator   the schema of the body, as the sandbox has it
    may_be_empty  fields that the ESP's contract requires even if they are empty
    template_id   an id as the ESP's templates have them
    """

    accepted: Step
    provider_id: str
    reset_in_7_s: Step
    validator: Draft202012Validator
    before: tuple[Step, ...] = ()
    may_be_empty: tuple[str, ...] = ()
    template_id = MESSAGE.template_id

    def make(self, base_url: str, timeout_s: float, key: str) -> Esp:
        raise NotImplementedError

    @property
    def message(self) -> Message:
        return msgspec.structs.replace(MESSAGE, template_id=self.template_id)

    @pytest.fixture
    def server(self) -> Iterator[ScriptedServer]:
        server = ScriptedServer()
        yield server
        server.close()

    @pytest.fixture
    def timeout_s(self) -> float:
        """The deadline of a call; `at_the_deadline` sets a short one, for tests that wait for it."""
        return 30.0

    @pytest.fixture
    def esp(self, server: ScriptedServer, timeout_s: float) -> Iterator[Esp]:
        esp = self.make(server.url, timeout_s, "the-secret-key")
        yield esp
        esp.close()

    def failure(self, esp: Esp, server: ScriptedServer, step: Step) -> EspError:
        server.steps = [*self.before, step]
        with pytest.raises(EspError) as raised:
            esp.send(self.message)
        assert "the-secret-key" not in str(raised.value)
        assert self.message.to not in str(raised.value)
        return raised.value

    def sent(self, esp: Esp, server: ScriptedServer, message: Message) -> tuple[str, Any]:
        """The head and the JSON body of the request that sends this mail."""
        server.steps = [*self.before, self.accepted]
        esp.send(message)
        head, _, body = server.requests[-1][1].partition(b"\r\n\r\n")
        return head.decode(), json.loads(body)

    @pytest.mark.parametrize("template_data", [{}, TEMPLATE_DATA])
    def test_the_body_fits_the_published_contract(
        self, esp: Esp, server: ScriptedServer, template_data: dict[str, Any]
    ) -> None:
        Draft202012Validator.check_schema(self.validator.schema)
        _, body = self.sent(esp, server, msgspec.structs.replace(self.message, template_data=template_data))
        self.validator.validate(body)

    def test_our_send_id_and_trigger_travel_along(self, esp: Esp, server: ScriptedServer) -> None:
        head, body = self.sent(esp, server, msgspec.structs.replace(self.message, send_id="the-send-id"))
        text = head + json.dumps(body)
        assert "the-send-id" in text and "welcome" in text

    def test_empty_fields_are_left_out(self, esp: Esp, server: ScriptedServer) -> None:
        _, body = self.sent(esp, server, msgspec.structs.replace(self.message, template_data={}))
        assert [path for path in empty_fields(body) if path not in self.may_be_empty] == []

    def test_neither_key_nor_mail_is_logged(
        self, esp: Esp, server: ScriptedServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        self.sent(esp, server, self.message)
        self.failure(esp, server, answers(400, b"ada@example.com the-secret-key"))
        assert not any(text in caplog.text for text in ("the-secret-key", self.message.to, "Ada"))

    def test_a_body_that_cannot_be_json_is_permanent_and_not_sent(self, esp: Esp, server: ScriptedServer) -> None:
        server.steps = [*self.before]
        with pytest.raises(EspError) as raised:
            esp.send(msgspec.structs.replace(self.message, template_data={"x": object()}))
        assert raised.value.permanent
        assert len(server.requests) <= len(self.before)

    def test_an_accepted_mail_gives_the_providers_id(self, esp: Esp, server: ScriptedServer) -> None:
        server.steps = [*self.before, self.accepted]
        assert esp.send(self.message).provider_id == self.provider_id

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"\xff", b'{"id": {}}', b"{" * 3000])
    def test_a_200_with_an_unreadable_body_is_never_tried_again(
        self, esp: Esp, server: ScriptedServer, body: bytes
    ) -> None:
        """The server has taken the mail, so a retry would be a second one: it is sent, or in doubt."""
        server.steps = [*self.before, answers(200, body)]
        try:
            assert isinstance(esp.send(self.message).provider_id, str)
        except EspError as error:
            assert error.ambiguous

    @pytest.mark.parametrize("status", [400, 404, 405, 413, 415, 422])
    def test_a_refused_mail_is_permanent(self, esp: Esp, server: ScriptedServer, status: int) -> None:
        error = self.failure(esp, server, answers(status))
        assert (error.permanent, error.ambiguous, error.status) == (True, False, status)

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_refused_account_is_blocked_and_not_the_mails_fault(
        self, esp: Esp, server: ScriptedServer, status: int
    ) -> None:
        error = self.failure(esp, server, answers(status))
        assert (error.blocked, error.permanent, error.ambiguous) == (True, False, False)

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_a_busy_server_is_tried_again(self, esp: Esp, server: ScriptedServer, status: int) -> None:
        error = self.failure(esp, server, answers(status))
        assert (error.permanent, error.ambiguous, error.blocked) == (False, False, False)

    def test_the_wait_that_the_esp_asks_for_is_passed_on(self, esp: Esp, server: ScriptedServer) -> None:
        assert self.failure(esp, server, self.reset_in_7_s).retry_after_s == pytest.approx(7, abs=1)

    def test_an_error_that_is_not_json_keeps_its_meaning(self, esp: Esp, server: ScriptedServer) -> None:
        error = self.failure(esp, server, answers(502, b"<html>ada@example.com the-secret-key</html>"))
        assert (error.permanent, error.ambiguous, error.status) == (False, False, 502)

    @at_the_deadline
    def test_silence_after_the_request_is_ambiguous(self, esp: Esp, server: ScriptedServer) -> None:
        assert self.failure(esp, server, server.silent).ambiguous

    def test_a_drop_after_the_request_is_ambiguous(self, esp: Esp, server: ScriptedServer) -> None:
        assert self.failure(esp, server, sends(b"")).ambiguous

    @pytest.mark.parametrize(
        "cut", [b"HTTP/1.1 202 Acc", b"HTTP/1.1 202 OK\r\nContent-Length: 0\r\n", b"nonsense\r\n\r\n"]
    )
    def test_a_cut_head_is_ambiguous(self, esp: Esp, server: ScriptedServer, cut: bytes) -> None:
        assert self.failure(esp, server, sends(cut)).ambiguous

    def test_a_cut_body_is_ambiguous(self, esp: Esp, server: ScriptedServer) -> None:
        assert self.failure(esp, server, sends(b"HTTP/1.1 500 No\r\nContent-Length: 10\r\n\r\n{")).ambiguous

    def test_a_refused_connection_is_tried_again(self) -> None:
        esp = self.make(f"http://127.0.0.1:{free_ports(1)[0]}", 0.3, "the-secret-key")
        with pytest.raises(EspError) as raised:
            esp.send(self.message)
        assert (raised.value.permanent, raised.value.ambiguous) == (False, False)

    @at_the_deadline
    def test_a_dribbling_server_meets_the_deadline(self, esp: Esp, server: ScriptedServer) -> None:
        # Read to its end, the answer would be a 202.
        assert self.failure(esp, server, server.dribbles).ambiguous

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_redirect_is_not_followed_and_the_key_stays_here(
        self, esp: Esp, server: ScriptedServer, status: int
    ) -> None:
        elsewhere = ScriptedServer()
        elsewhere.steps = [self.accepted]
        assert self.failure(esp, server, answers(status, Location=f"{elsewhere.url}/v3/mail/send")).ambiguous
        assert elsewhere.connections == []
        elsewhere.close()

    def test_the_connection_is_used_again(self, esp: Esp, server: ScriptedServer) -> None:
        server.steps = [*self.before, self.accepted, *self.before, answers(400), *self.before, self.accepted]
        esp.send(self.message)
        with pytest.raises(EspError):
            esp.send(self.message)
        esp.send(self.message)
        assert {connection for connection, _ in server.requests} == {1}

    def test_prepare_opens_the_connection_that_the_mail_then_uses(self, esp: Esp, server: ScriptedServer) -> None:
        # The claim, the last look, comes between the two: after it nothing is waited for but the answer.
        esp.prepare()
        deadline = time.monotonic() + 5
        while not server.connections and time.monotonic() < deadline:
            time.sleep(0.001)
        assert (len(server.connections), server.requests) == (1, [])
        esp.prepare()
        server.steps = [*self.before, self.accepted]
        esp.send(self.message)
        assert len(server.connections) == 1
        assert {connection for connection, _ in server.requests} == {1}

    def test_what_cannot_be_reached_is_known_before_the_claim_and_tried_again(self) -> None:
        esp = self.make(f"http://127.0.0.1:{free_ports(1)[0]}", 0.3, "the-secret-key")
        with pytest.raises(EspError) as raised:
            esp.prepare()
        assert (raised.value.permanent, raised.value.ambiguous) == (False, False)

    def test_a_connection_that_the_server_closed_is_replaced_without_doubt(
        self, esp: Esp, server: ScriptedServer
    ) -> None:
        closed = threading.Event()

        def accepts_and_closes(sock: socket.socket) -> bool:
            self.accepted(sock)
            sock.shutdown(socket.SHUT_RDWR)
            closed.set()
            return False

        server.steps = [*self.before, accepts_and_closes, *self.before, self.accepted]
        esp.send(self.message)
        assert closed.wait(2)
        esp.send(self.message)
        assert {connection for connection, _ in server.requests} == {1, 2}

    def test_a_kind_that_takes_headers_of_ours_sends_those_of_the_message(
        self, esp: Esp, server: ScriptedServer
    ) -> None:
        server.steps = [*self.before, self.accepted]
        url = "<https://shop.example/unsubscribe/token>"
        headers = {"List-Unsubscribe": url, "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
        esp.send(msgspec.structs.replace(self.message, headers=headers))
        capabilities: Capabilities = type(esp).capabilities  # type: ignore[attr-defined]  # each kind declares them
        assert (b"List-Unsubscribe=One-Click" in server.requests[-1][1]) == capabilities.headers

    def test_a_huge_answer_is_not_read_to_its_end(self, esp: Esp, server: ScriptedServer) -> None:
        assert self.failure(esp, server, answers(400, b"x" * 1_000_000)).permanent

    def test_proxies_of_the_environment_are_not_used(
        self, esp: Esp, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_ports(1)[0]}")
        server.steps = [*self.before, self.accepted]
        assert esp.send(self.message).provider_id == self.provider_id


BATCH = [
    msgspec.structs.replace(
        MESSAGE, send_id=f"s-{number}", to=f"{name}@example.com", template_data={"first_name": name}
    )
    for number, name in enumerate(("ada", "grace", "edsger"))
]


class BatchContract:
    """What an ESP that takes several mails in one call adds: `class TestX(BatchContract, EspContract)`."""

    accepted: Step
    template_id: str

    @property
    def batch(self) -> list[Message]:
        return [msgspec.structs.replace(message, template_id=self.template_id) for message in BATCH]

    def batch_failure(self, esp: BatchEsp, server: ScriptedServer, step: Step) -> EspError:
        server.steps = [step]
        with pytest.raises(EspError) as raised:
            esp.send_batch(self.batch)
        text = str(raised.value)
        assert "the-secret-key" not in text and not any(message.to in text for message in self.batch)
        return raised.value

    def test_a_batch_is_one_request_that_names_every_recipient(self, esp: BatchEsp, server: ScriptedServer) -> None:
        server.steps = [self.accepted]
        results = esp.send_batch(self.batch)
        assert [type(result) for result in results] == [SendResult] * len(self.batch)
        ((_, request),) = server.requests
        for message in self.batch:
            assert message.to.encode() in request and message.template_data["first_name"].encode() in request

    @pytest.mark.parametrize("status", [400, 413, 422])
    def test_a_refused_batch_is_permanent_as_a_whole(self, esp: BatchEsp, server: ScriptedServer, status: int) -> None:
        error = self.batch_failure(esp, server, answers(status))
        assert (error.permanent, error.ambiguous) == (True, False)

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_a_batch_that_finds_the_server_busy_is_tried_again(
        self, esp: BatchEsp, server: ScriptedServer, status: int
    ) -> None:
        error = self.batch_failure(esp, server, answers(status))
        assert (error.permanent, error.ambiguous, error.blocked) == (False, False, False)

    def test_a_drop_after_a_batch_is_ambiguous_for_all_of_it(self, esp: BatchEsp, server: ScriptedServer) -> None:
        assert self.batch_failure(esp, server, sends(b"")).ambiguous

    @at_the_deadline
    def test_silence_after_a_batch_meets_the_deadline_and_is_ambiguous(
        self, esp: BatchEsp, server: ScriptedServer
    ) -> None:
        assert self.batch_failure(esp, server, server.silent).ambiguous

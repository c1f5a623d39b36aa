"""What is fetched of SNS, over real sockets: from whom it says it is, and from nowhere inside."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from adapter.feedback import sns
from adapter.feedback.sns import MAX_FETCHED_BYTES, fetch
from freshgate.errors import StoreUnavailable
from tests.freshgate.test_outbound import Names
from tests.workers.esp.test_tls import certificate

HOST = "sns.eu-west-1.amazonaws.com"
URL = f"https://{HOST}/SimpleNotificationService-0123456789abcdef.pem"
THIS_MACHINE = ("127.0.0.0/8",)


class Server:
    """Answers each request with these bytes, under a certificate for that host."""

    def __init__(self, folder: Path, host: str, answer: bytes) -> None:
        self.certificate, self.answer = certificate(folder, host), answer
        self.requests: list[bytes] = []
        self.connections = 0
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, args=(context,), daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self, context: ssl.SSLContext) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with suppress(OSError), raw, context.wrap_socket(raw, server_side=True) as secured:
                self.requests.append(secured.recv(65536))
                secured.sendall(self.answer)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Server]:
    host, answer = getattr(request, "param", (HOST, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ncert"))
    server = Server(tmp_path, host, answer)
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
    yield server
    server.close()


def test_a_certificate_is_fetched_over_verified_tls(server: Server) -> None:
    assert fetch(f"{URL}?a=b", THIS_MACHINE, resolve=Names(server.port, ["127.0.0.1"])) == b"cert"
    assert server.requests[0].startswith(f"GET {URL.partition(HOST)[2]}?a=b HTTP/1.1\r\nHost: {HOST}\r\n".encode())


def test_a_name_that_leads_inside_is_not_followed(server: Server) -> None:
    with pytest.raises(StoreUnavailable, match=f"{HOST}: ForbiddenAddress"):
        fetch(URL, resolve=Names(server.port, ["127.0.0.1"]))
    assert server.connections == 0


@pytest.mark.parametrize(
    "server",
    [
        ("sns.eu-west-1.example.com", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ncert"),
        (HOST, b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n"),
        (HOST, b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
        (HOST, b"nonsense\r\n\r\n"),
        (HOST, b""),
    ],
    ids=["another host's certificate", "redirect", "busy", "nonsense", "silence"],
    indirect=True,
)
def test_whatever_else_is_answered_asks_sns_to_come_again(server: Server) -> None:
    with pytest.raises(StoreUnavailable):
        fetch(URL, THIS_MACHINE, resolve=Names(server.port, ["127.0.0.1"]))
    assert server.connections == 1


@pytest.mark.parametrize("server", [(HOST, b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200_000)], indirect=True)
def test_a_huge_answer_is_not_read_to_its_end(server: Server) -> None:
    assert len(fetch(URL, THIS_MACHINE, resolve=Names(server.port, ["127.0.0.1"]))) == MAX_FETCHED_BYTES


def test_while_one_thread_waits_for_a_certificate_no_other_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sns, "FETCH_INTERVAL_S", 0.0)
    started, may_end = threading.Event(), threading.Event()

    def fetch_slowly(url: str) -> bytes:
        started.set()
        assert may_end.wait(30)
        return b"no certificate"

    certificates = sns.Certificates(fetch_slowly)
    thread = threading.Thread(target=certificates.key, args=(URL,))
    thread.start()
    assert started.wait(30)
    with pytest.raises(StoreUnavailable, match="one by one"):
        certificates.key(URL)
    may_end.set()
    thread.join()
    # It has ended, and so the next one may begin.
    assert certificates.key(URL) is None

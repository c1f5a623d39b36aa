"""The ESP's certificate: a right one gets mails over one kept connection, a wrong one gets neither key nor mail.

The server and its self-signed certificate are the test's own.
"""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from freshgate.errors import EspError
from freshgate.settings import EspSettings
from tests.workers.esp.contract import MESSAGE
from workers.esp.sendgrid import Sendgrid

RESPONSE = b"HTTP/1.1 202 Accepted\r\nX-Message-Id: m1\r\nContent-Length: 0\r\n\r\n"


def certificate(folder: Path, host: str, days: int = 1) -> Path:
    """A self-signed certificate for that host with its key, as one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Freshgate test")])
    now = datetime.datetime.now(datetime.UTC)
    alternative: x509.GeneralName = x509.DNSName(host)
    with suppress(ValueError):
        alternative = x509.IPAddress(ipaddress.ip_address(host))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=3))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return file


class TlsServer:
    """Accepts every mail, and records requests and counts connections."""

    def __init__(self, file: Path) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(file)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError), self._context.wrap_socket(sock, server_side=True) as secured:
            self.connections += 1
            while received := secured.recv(65536):
                self.requests.append(received)
                secured.sendall(RESPONSE)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[list[TlsServer]]:
    started: list[TlsServer] = []
    yield started
    for server in started:
        server.close()


def esp(server: TlsServer) -> Sendgrid:
    return Sendgrid("sendgrid", EspSettings(base_url=server.url, api_key="the-key", timeout_s=5))


def test_a_trusted_server_gets_mails_over_one_connection(
    serve: list[TlsServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(tmp_path, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    serve.append(TlsServer(file))
    sendgrid = esp(serve[0])
    for _ in range(3):
        assert sendgrid.send(MESSAGE).provider_id == "m1"
    sendgrid.close()
    assert (serve[0].connections, len(serve[0].requests)) == (1, 3)


@pytest.mark.parametrize(
    ("host", "days", "trusted"), [("127.0.0.1", 1, False), ("other.example", 1, True), ("127.0.0.1", -1, True)]
)
def test_a_server_with_a_wrong_certificate_gets_nothing_and_the_mail_is_tried_again(
    host: str, days: int, trusted: bool, serve: list[TlsServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(tmp_path, host, days)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
    serve.append(TlsServer(file))
    with pytest.raises(EspError, match="not sent: SSLCertVerificationError") as raised:
        esp(serve[0]).send(MESSAGE)
    assert not raised.value.permanent
    assert not raised.value.ambiguous
    assert serve[0].requests == []

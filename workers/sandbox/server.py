"""The sandbox ESP: a local stand-in for SendGrid that keeps what it accepts, and misbehaves when told to.

`sendgrid_api.py` plays SendGrid, `faults.py` holds the misbehaviour, `outbox_page.py` draws the outbox.
"""

from __future__ import annotations

import base64
import hmac
import json
import signal
import socket
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from freshgate.errors import SettingsError
from workers.esp.base_url import is_loopback
from workers.sandbox.faults import Fault, FaultError, Faults
from workers.sandbox.outbox_page import PAGE_HEADERS, page
from workers.sandbox.sendgrid_api import JSON, Reply, error, mail_send
from workers.sandbox.sendgrid_schema import MAX_BODY_BYTES

ROUTES = {"/": "GET", "/messages": "GET, DELETE", "/faults": "GET, POST, DELETE", "/v3/mail/send": "POST"}


class Sandbox:
    """The server and its outbox. As a context manager it serves in a thread; port 0 picks a free one.

    Raises SettingsError for a host other than loopback without a password.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, keep: int = 20000, password: str = "") -> None:
        if not is_loopback(host) and not password:
            raise SettingsError(f"the sandbox shows mails: on {host} it needs FRESHGATE_SANDBOX_PASSWORD; write one")
        self.host, self.password = host, password
        self.faults = Faults()
        self.stopping = threading.Event()
        # Each message as JSON, as `GET /messages` gives it.
        self.outbox: deque[bytes] = deque(maxlen=keep)
        self._server = _Server((host, port), self)
        self.port: int = self._server.server_address[1]
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="sandbox", daemon=True)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """As `GET /messages` gives them, newest last."""
        return [json.loads(message) for message in list(self.outbox)]

    def __enter__(self) -> Sandbox:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.end_connections()


def serve(host: str, port: int, password: str = "", *, keep: int = 20000) -> None:
    """Serves until SIGTERM or SIGINT, then ends at once. Raises SettingsError when the port is taken."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        sandbox = Sandbox(host, port, keep=keep, password=password)
    except OSError as taken:
        raise SettingsError(f"sandbox_port: {host}:{port} cannot be used: {taken.strerror}; write another") from None
    with sandbox:
        stop.wait()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], sandbox: Sandbox) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sandbox = sandbox
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # The parent's also asks DNS for a name of its own, which may take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        for request in list(self._open):
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; the parent prints a traceback."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 75
    server: _Server

    def handle_any(self) -> None:
        sandbox = self.server.sandbox
        path = urlsplit(self.path).path if self.path.startswith("/") else ""
        fault = sandbox.faults.next() if path == "/v3/mail/send" and self._refused(path) is None else None
        if fault and fault.kind == "drop_before_read":
            self.close_connection = True
            return
        body = self._read()
        refused = self._refused(path)
        if body is None:
            self.close_connection = True
            self._answer(
                error(413 if self._length() > MAX_BODY_BYTES else 400, "the body is too large or has no length")
            )
        elif refused is not None:
            self._answer(refused)
        elif fault:
            self._misbehave(fault, body)
        else:
            self._answer(self._route(path, body))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any

    def _route(self, path: str, body: bytes) -> Reply:  # noqa: PLR0911 - a table of routes
        outbox = self.server.sandbox.outbox
        match (self.command, path):
            case ("POST", "/v3/mail/send"):
                return mail_send(outbox, self.headers, body)
            case ("GET", "/"):
                return 200, PAGE_HEADERS, page(list(outbox))
            case ("GET", "/messages"):
                return 200, JSON, b"[" + b",".join(list(outbox)) + b"]"
            case ("DELETE", "/messages"):
                outbox.clear()
                return 204, {}, b""
            case ("GET" | "POST" | "DELETE", "/faults"):
                return _faults(self.server.sandbox.faults, self.command, body)
        if path in ROUTES:
            status, headers, text = error(405, f"{path} takes {ROUTES[path]}")
            return status, {**headers, "Allow": ROUTES[path]}, text
        return error(404, f"there are {', '.join(ROUTES)}")

    def _misbehave(self, fault: Fault, body: bytes) -> None:
        sandbox = self.server.sandbox
        reply: Reply = (0, {}, b"")
        if fault.kind == "slow":
            sandbox.stopping.wait(fault.wait_s)
        if fault.accepts:
            reply = mail_send(sandbox.outbox, self.headers, body)
        if fault.kind == "status":
            status, headers, text = error(fault.status, f"the sandbox was told to answer {fault.status}")
            self._answer((status, {**headers, **fault.headers}, b"" if status < 300 else text))
        elif fault.kind == "slow":
            self._answer(reply)
        elif fault.kind == "dribble":
            for byte in self._head(reply):
                self.wfile.write(bytes((byte,)))
                if sandbox.stopping.wait(1):
                    break
            self.close_connection = True
        else:
            if fault.kind == "hang":
                sandbox.stopping.wait(fault.wait_s)
            self.close_connection = True

    def _refused(self, path: str) -> Reply | None:
        """Who may not ask: a page of another site, a name that was bent to this address, no password."""
        sandbox = self.server.sandbox
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        try:
            name = urlsplit(f"//{host}").hostname or ""
            origin_of = urlsplit(origin).netloc if origin else host
        except ValueError:
            return error(403, "this Host or Origin is not understood")
        any_name = sandbox.password and sandbox.host in ("0.0.0.0", "::")  # noqa: S104
        if not (is_loopback(name) or name == sandbox.host.lower() or any_name):
            return error(403, "this Host is not the sandbox's")
        if origin is not None and origin_of != host:
            return error(403, "pages of another origin may not ask")
        if sandbox.password and not self._knows_password(path, sandbox.password):
            status, headers, text = error(401, "the password is FRESHGATE_SANDBOX_PASSWORD's; any user name")
            return status, {**headers, "WWW-Authenticate": 'Basic realm="sandbox"'}, text
        return None

    def _knows_password(self, path: str, password: str) -> bool:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and path == "/v3/mail/send":
            # An ESP's client has one header only: here the password is the API key.
            return hmac.compare_digest(given.encode("utf-8", "replace"), password.encode())
        try:
            _, _, known = base64.b64decode(given if scheme.lower() == "basic" else "", validate=True).partition(b":")
        except ValueError:
            return False
        return hmac.compare_digest(known, password.encode())

    def _length(self) -> int:
        length = self.headers.get("Content-Length", "0").strip()
        return int(length) if length.isascii() and length.isdigit() and len(length) < 16 else -1

    def _read(self) -> bytes | None:
        """The body; None when it is too large or of no known length."""
        length = self._length()
        if length < 0 or self.headers.get("Transfer-Encoding"):
            return None
        if length <= MAX_BODY_BYTES:
            return self.rfile.read(length)
        # Read and dropped, so that the client is done writing and hears the answer.
        left = min(length, 2 * MAX_BODY_BYTES)
        while left > 0 and (piece := self.rfile.read(min(left, 65536))):
            left -= len(piece)
        return None

    def _answer(self, reply: Reply) -> None:
        self.wfile.write(self._head(reply))

    def _head(self, reply: Reply) -> bytes:
        status, headers, body = reply
        lines = [f"HTTP/1.1 {status} {self.responses.get(status, ('Status',))[0]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += ["X-Content-Type-Options: nosniff", "Cache-Control: no-store"]
        if status != 204:
            lines.append(f"Content-Length: {len(body)}")
        if self.close_connection:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + (
            b"" if self.command == "HEAD" else body
        )

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        # What the parent cannot read is the caller's fault, whatever number it picks.
        self.close_connection = True
        self.command = self.command or ""
        self._answer(error(code if code < 500 else 405, "this request is not understood"))

    def log_message(self, format: str, *args: object) -> None:
        """No access log: it would be the only place outside the page that shows what was sent."""


def _faults(faults: Faults, method: str, body: bytes) -> Reply:
    if method == "DELETE":
        faults.clear()
        return 204, {}, b""
    if method == "POST":
        try:
            faults.add(body)
        except FaultError as wrong:
            return error(400, str(wrong))
    return 200, JSON, faults.listed()

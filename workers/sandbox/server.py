"""The sandbox: a local stand-in for the ESPs that keeps the mails it accepts, and plays faults on request.

`access.py` says who may call it, `apis.py` lists what it plays, `smtp_server.py` plays SMTP, `faults.py` queues faults,
`outbox_page.py` draws.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from freshgate.errors import SettingsError
from freshgate.outbound import is_loopback
from freshgate.settings_parsing import setting_name
from workers.sandbox import access
from workers.sandbox.api import JSON, Api, Call, Refused, Reply, error
from workers.sandbox.apis import APIS, find_api
from workers.sandbox.faults import Fault, FaultError, Faults
from workers.sandbox.outbox_page import PAGE_HEADERS, RENDERED_HEADERS, page, rendered
from workers.sandbox.outcomes_api import OUTCOMES, outcomes
from workers.sandbox.reports import Reporter, ReportError
from workers.sandbox.sendgrid_schema import MAX_BODY_BYTES
from workers.sandbox.smtp_server import SmtpServer

ROUTES = {
    "/": "GET",
    "/messages": "GET, DELETE",
    "/outcomes": "GET, DELETE",
    "/faults": "GET, POST, DELETE",
    "/reports": "POST",
}
SHUTDOWN_POLL_S = 0.02


class Sandbox:
    """The server and its outbox. As a context manager it serves in a thread; port 0 picks a free one.

    The outbox keeps the newest `keep` mails. Raises SettingsError for a host beyond loopback without a password.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        keep: int = 20000,
        password: str = "",
        smtp_port: int | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        if not is_loopback(host) and not password:
            raise SettingsError(
                f"the sandbox shows mails: on {host} it needs a password; set FRESHGATE_SANDBOX_PASSWORD"
            )
        self.host, self.password = host, password
        self.faults = Faults()
        self.reporter = reporter
        self.stopping = threading.Event()
        # What an API keeps between calls, such as idempotency keys.
        self.memory: dict[str, Any] = {}
        # Each mail as JSON, as `GET /messages` lists it.
        self.outbox: deque[bytes] = deque(maxlen=keep)
        self._server = _Server((host, port), self)
        self.port: int = self._server.server_address[1]
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        self.smtp: SmtpServer | None = None
        if smtp_port is not None:
            try:
                self.smtp = SmtpServer(host, smtp_port, self.outbox, self.faults, self.stopping, password)
            except OSError:
                self._server.server_close()
                raise
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(SHUTDOWN_POLL_S,), name="sandbox", daemon=True
        )

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The mails as `GET /messages` lists them, newest last."""
        return [json.loads(message) for message in list(self.outbox)]

    def __enter__(self) -> Sandbox:
        self._thread.start()
        if self.smtp:
            self.smtp.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        if self.smtp:
            self.smtp.stop()
        self._server.shutdown()
        self._server.server_close()
        self._server.end_connections()


def serve(
    host: str,
    port: int,
    password: str = "",
    *,
    keep: int = 20000,
    smtp_port: int = 0,
    reporter: Reporter | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, then ends at once. Raises SettingsError if a port is taken.

    smtp_port  where it takes mails by SMTP, too; 0 for none
    reporter   reports of each mail what became of it; None reports nothing
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        sandbox = Sandbox(host, port, keep=keep, password=password, smtp_port=smtp_port or None, reporter=reporter)
    except OSError as error:
        key = (
            f"{setting_name('sandbox_port')}, {setting_name('sandbox_smtp_port')}"
            if smtp_port
            else setting_name("sandbox_port")
        )
        ports = f"{port} or {smtp_port}" if smtp_port else str(port)
        raise SettingsError(f"{key}: {host}:{ports} cannot be used: {error.strerror}; write another") from None
    with sandbox:
        stop.wait()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], sandbox: Sandbox) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sandbox = sandbox
        self._open_requests: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # The parent would also ask DNS for this machine's name, which may take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open_requests.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open_requests.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        for request in list(self._open_requests):
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stays silent: clients go away, and the parent would print a traceback for each."""


class _Handler(BaseHTTPRequestHandler):
    """One connection: reads each request, checks the caller, and answers by the route or by a fault."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 75
    server: _Server

    def handle_any(self) -> None:
        sandbox = self.server.sandbox
        path = urlsplit(self.path).path if self.path.startswith("/") else ""
        played = find_api(self.command, path)
        refused = access.refusal(self.headers, sandbox.host, sandbox.password, is_api=played is not None)
        api = played[0] if played and played[0].method == self.command and refused is None else None
        fault = sandbox.faults.next(api.provider) if api else None
        if fault and fault.kind == "drop_before_read":
            self.close_connection = True
            return
        body = self._read_body()
        if body is None:
            self.close_connection = True
            status = 413 if self._content_length() > MAX_BODY_BYTES else 400
            self._reply(error(status, "the body is too large or has no length"))
        elif refused is not None:
            self._reply(refused)
        elif api and played:
            self._play(api, Call(played[1], self.headers, body, sandbox.memory), fault)
        else:
            self._reply(self._route(path, body, played))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any

    def _route(  # noqa: PLR0911 - a table of routes
        self, path: str, body: bytes, played: tuple[Api, re.Match[str]] | None
    ) -> Reply:
        outbox = self.server.sandbox.outbox
        match (self.command, path):
            case ("GET", "/"):
                return 200, PAGE_HEADERS, page(list(outbox))
            case ("GET", _) if mail := rendered(outbox, path):
                return 200, RENDERED_HEADERS, mail
            case ("GET", "/messages"):
                return 200, JSON, b"[" + b",".join(list(outbox)) + b"]"
            case ("DELETE", "/messages"):
                outbox.clear()
                return 204, {}, b""
            case ("GET", "/outcomes"):
                return 200, JSON, outcomes(self.server.sandbox.memory)
            case ("DELETE", "/outcomes"):
                self.server.sandbox.memory.pop(OUTCOMES, None)
                return 204, {}, b""
            case ("GET" | "POST" | "DELETE", "/faults"):
                return _serve_faults(self.server.sandbox.faults, self.command, body)
            case ("POST", "/reports"):
                return self._report(body)
        return _wrong_route(path, played)

    def _report(self, body: bytes) -> Reply:
        sandbox = self.server.sandbox
        try:
            asked = json.loads(body)
            send, event = str(asked["send"]), str(asked["event"])
        except (ValueError, TypeError, KeyError):
            return error(400, 'expected {"send": "<freshgate_send>", "event": "bounced"}')
        mail = next((mail for mail in sandbox.messages if mail["custom_args"].get("freshgate_send") == send), None)
        try:
            if mail is None:
                raise ReportError("no mail of this send is in the outbox")
            if sandbox.reporter is None:
                raise ReportError("reports are off: start with FRESHGATE_SANDBOX_REPORTS=true")
            return 200, JSON, json.dumps({"status": sandbox.reporter.report(mail, event)}).encode()
        except ReportError as refused:
            return error(409, str(refused))

    def _accept(self, api: Api, call: Call) -> Reply:
        sandbox = self.server.sandbox
        refused = access.key_refusal(api, call, sandbox.password)
        if refused:
            return refused
        try:
            mails, reply = api.accept(call)
        except Refused as fault:
            return api.error(fault.status, fault.reason, fault.field)
        sandbox.outbox.extend(mails)
        if sandbox.reporter:
            sandbox.reporter.accepted([json.loads(mail) for mail in mails])
        return reply

    def _play(self, api: Api, call: Call, fault: Fault | None) -> None:
        sandbox = self.server.sandbox
        if fault is None:
            self._reply(self._accept(api, call))
            return
        reply: Reply = (0, {}, b"")
        if fault.kind == "slow":
            sandbox.stopping.wait(fault.wait_s)
        if fault.accepts:
            reply = self._accept(api, call)
        if fault.kind == "status":
            status, headers, text = api.error(fault.status, f"the sandbox was told to answer {fault.status}", "")
            self._reply((status, {**headers, **fault.headers}, b"" if status < 300 else text))
        elif fault.kind == "slow":
            self._reply(reply)
        elif fault.kind == "dribble":
            for byte in self._encoded(reply):
                self.wfile.write(bytes((byte,)))
                if sandbox.stopping.wait(1):
                    break
            self.close_connection = True
        else:
            if fault.kind == "hang":
                sandbox.stopping.wait(fault.wait_s)
            self.close_connection = True

    def _read_body(self) -> bytes | None:
        """The body; None if it is too large or its length is not known."""
        length = self._content_length()
        if length < 0 or self.headers.get("Transfer-Encoding"):
            return None
        if length <= MAX_BODY_BYTES:
            return self.rfile.read(length)
        # Read and dropped, so that the client finishes writing and reads the reply.
        remaining = min(length, 2 * MAX_BODY_BYTES)
        while remaining > 0 and (piece := self.rfile.read(min(remaining, 65536))):
            remaining -= len(piece)
        return None

    def _content_length(self) -> int:
        """The header's number; -1 for anything else than a number."""
        length = self.headers.get("Content-Length", "0").strip()
        return int(length) if length.isascii() and length.isdigit() and len(length) < 16 else -1

    def _reply(self, reply: Reply) -> None:
        self.wfile.write(self._encoded(reply))

    def _encoded(self, reply: Reply) -> bytes:
        status, headers, body = reply
        lines = [f"HTTP/1.1 {status} {self.responses.get(status, ('Status',))[0]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += ["X-Content-Type-Options: nosniff", "Cache-Control: no-store"]
        if status != 204:
            lines.append(f"Content-Length: {len(body)}")
        if self.close_connection:
            lines.append("Connection: close")
        head = "\r\n".join(lines) + "\r\n\r\n"
        return head.encode("latin-1", "replace") + (b"" if self.command == "HEAD" else body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        # A request that the parent cannot parse is the caller's fault, whatever status it picks.
        self.close_connection = True
        self.command = self.command or ""
        self._reply(error(code if code < 500 else 405, "this request is not understood"))

    def log_message(self, format: str, *args: object) -> None:
        """Writes no access log: it would show addresses outside the page."""


def _serve_faults(faults: Faults, method: str, body: bytes) -> Reply:
    if method == "DELETE":
        faults.clear()
        return 204, {}, b""
    if method == "POST":
        try:
            faults.add(body)
        except FaultError as refused:
            return error(400, str(refused))
    return 200, JSON, faults.as_json()


def _wrong_route(path: str, played: tuple[Api, re.Match[str]] | None) -> Reply:
    methods = played[0].method if played else ROUTES.get(path)
    if methods:
        status, headers, reply_body = error(405, f"{path} takes {methods}")
        return status, {**headers, "Allow": methods}, reply_body
    calls = ", ".join(dict.fromkeys(api.provider for api in APIS))
    return error(404, f"not found; the paths are {', '.join(ROUTES)}, and the calls of {calls}")

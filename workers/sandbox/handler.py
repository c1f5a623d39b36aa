"""One connection to the sandbox: who calls, which call it is, and what is answered.

`server.py` listens; `access.py` says who may call it, `apis.py` lists what it plays, `faults.py` queues faults.
"""

from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from workers.sandbox import access
from workers.sandbox.api import JSON, Api, Call, Refused, Reply, error
from workers.sandbox.apis import APIS, find_api
from workers.sandbox.faults import Fault, FaultError, Faults
from workers.sandbox.outbox_page import PAGE_HEADERS, RENDERED_HEADERS, page, rendered
from workers.sandbox.outcomes_api import OUTCOMES, outcomes
from workers.sandbox.reports import ReportError
from workers.sandbox.sendgrid_schema import MAX_BODY_BYTES

if TYPE_CHECKING:
    from workers.sandbox.server import Sandbox

ROUTES = {
    "/": "GET",
    "/messages": "GET, DELETE",
    "/outcomes": "GET, DELETE",
    "/faults": "GET, POST, DELETE",
    "/reports": "POST",
}


class SandboxServer(ThreadingHTTPServer):
    """A server whose connections share a sandbox."""

    sandbox: Sandbox


class Handler(BaseHTTPRequestHandler):
    """One connection: reads each request, checks the caller, and answers by the route or by a fault."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 75
    server: SandboxServer

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

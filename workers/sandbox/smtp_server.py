"""The sandbox's SMTP side: takes mails as a server does, sends none, and lists them beside those of the HTTP APIs.

`server.py` starts it where an account of kind `smtp` sends to the sandbox, and shares its outbox and faults.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import socket
import socketserver
import threading
from collections.abc import MutableSequence
from contextlib import suppress
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from workers.sandbox.api import mail as outbox_mail
from workers.sandbox.apis import SMTP
from workers.sandbox.faults import Fault, Faults

MAX_MAIL_BYTES = 30 * 1024 * 1024
MAX_LINE_BYTES = 64 * 1024
# The status of a fault, as HTTP has it → the reply.
FAULT_REPLIES = {401: "535 5.7.8 the sandbox was told so", 403: "550 5.7.1 the sandbox was told so"}
RETRYABLE = {408, 429, 500, 502, 503, 504}
EXTENSIONS = ("sandbox", "PIPELINING", f"SIZE {MAX_MAIL_BYTES}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")


class SmtpServer(socketserver.ThreadingTCPServer):
    """Serves in a thread of its own; port 0 picks a free one. `password`, if there is one, is what AUTH must bring."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self,
        host: str,
        port: int,
        outbox: MutableSequence[bytes],
        faults: Faults,
        stopping: threading.Event,
        password: str,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.outbox, self.faults, self.stopping, self.password = outbox, faults, stopping, password
        self._open: set[socket.socket] = set()
        super().__init__((host, port), _Handler)
        self.port: int = self.server_address[1]
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name="sandbox-smtp", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for sock in list(self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stays silent: clients go away, and the parent would print a traceback for each."""


class _Handler(socketserver.StreamRequestHandler):
    """One session, command by command."""

    server: SmtpServer
    timeout = 300
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.is_known = not self.server.password
        self.has_sender = False
        self.recipients: list[str] = []

    def handle(self) -> None:
        self._reply("220 sandbox ESMTP")
        while line := self.rfile.readline(MAX_LINE_BYTES):
            command, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            if not self._answer(command.upper(), rest):
                return

    def _answer(self, command: str, rest: str) -> bool:
        """Answers one command; False ends the session."""
        match command:
            case "EHLO" | "HELO":
                lines = [*EXTENSIONS, "AUTH PLAIN LOGIN"]
                self._reply("\r\n".join([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"]))
            case "AUTH":
                self._log_in(rest)
            case "NOOP":
                self._reply("250 2.0.0 OK")
            case "RSET":
                self._reset()
                self._reply("250 2.0.0 OK")
            case "QUIT":
                self._reply("221 2.0.0 Bye")
                return False
            case "MAIL" | "RCPT":
                self._reply(self._address(command, rest))
            case "DATA" if not self.recipients:
                self._reply("503 5.5.1 RCPT first")
            case "DATA":
                return self._take()
            case _:
                self._reply("502 5.5.2 not a command of the sandbox")
        return True

    def _address(self, command: str, rest: str) -> str:
        """The sender or a recipient; returns the reply."""
        address = rest.partition("<")[2].partition(">")[0]
        if not self.is_known:
            return "530 5.7.0 Authentication required"
        if command == "MAIL":
            self._reset()
            self.has_sender = True
            return "250 2.1.0 OK"
        if not self.has_sender:
            return "503 5.5.1 MAIL first"
        if "@" not in address:
            return "501 5.1.3 no address"
        self.recipients.append(address)
        return "250 2.1.5 OK"

    def _take(self) -> bool:
        fault = self.server.faults.next(SMTP)
        if fault and fault.kind == "drop_before_read":
            return False
        self._reply("354 End with a dot")
        mail = self._read_mail()
        recipients = self.recipients
        self._reset()
        if mail is None:
            self._reply("552 5.3.4 too large")
            return False
        if fault is None:
            self._accept(mail, recipients)
            return True
        return self._play(fault, mail, recipients)

    def _play(self, fault: Fault, mail: bytes, recipients: list[str]) -> bool:
        """A fault of the queue, as far as SMTP has it; False ends the session."""
        if fault.kind in ("slow", "hang"):
            self.server.stopping.wait(fault.wait_s)
        reply = self._accepted(mail, recipients) if fault.accepts else ""
        if fault.kind == "status":
            self._reply(_reply_of(fault.status, reply))
        elif fault.kind == "slow":
            self._reply(reply)
        elif fault.kind == "dribble":
            for char in reply:
                self.wfile.write(char.encode())
                if self.server.stopping.wait(1):
                    break
        return fault.kind in ("status", "slow")

    def _accept(self, mail: bytes, recipients: list[str]) -> None:
        self._reply(self._accepted(mail, recipients))

    def _accepted(self, mail: bytes, recipients: list[str]) -> str:
        self.server.outbox.extend(_messages(mail, recipients))
        return f"250 2.0.0 Ok: queued as {secrets.token_hex(5).upper()}"

    def _read_mail(self) -> bytes | None:
        """The mail without the dot; None if it is too large or the client went away."""
        lines: list[bytes] = []
        size = 0
        while True:
            line = self.rfile.readline(MAX_LINE_BYTES)
            if line in (b".\r\n", b".\n"):
                return b"".join(lines)
            size += len(line)
            if not line or size > MAX_MAIL_BYTES:
                return None
            lines.append(line[1:] if line.startswith(b".") else line)

    def _log_in(self, rest: str) -> None:
        """PLAIN and LOGIN with the sandbox's password, or with any where it has none."""
        mechanism, _, initial = rest.partition(" ")
        try:
            if mechanism.upper() == "PLAIN":
                password = base64.b64decode(initial or self._ask("334 "), validate=True).split(b"\0")[-1]
            else:
                self._ask("334 VXNlcm5hbWU6")
                password = base64.b64decode(self._ask("334 UGFzc3dvcmQ6"), validate=True)
        except ValueError:
            self._reply("501 5.5.2 not base64")
            return
        expected = self.server.password.encode()
        self.is_known = not expected or hmac.compare_digest(password, expected)
        self._reply("235 2.7.0 OK" if self.is_known else "535 5.7.8 the password is FRESHGATE_SANDBOX_PASSWORD's")

    def _ask(self, question: str) -> str:
        self._reply(question)
        return self.rfile.readline(MAX_LINE_BYTES).decode("ascii", "replace").strip()

    def _reset(self) -> None:
        self.has_sender, self.recipients = False, []

    def _reply(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


def _reply_of(status: int, accepted: str) -> str:
    if status < 300:
        return accepted or "250 2.0.0 OK"
    if status in FAULT_REPLIES:
        return FAULT_REPLIES[status]
    return "451 4.3.0 the sandbox was told so" if status in RETRYABLE else "550 5.0.0 the sandbox was told so"


def _messages(mail: bytes, recipients: list[str]) -> list[bytes]:
    """One entry for each recipient, as `GET /messages` lists them."""
    parsed = message_from_bytes(mail, _class=EmailMessage, policy=default)
    headers = {name.lower(): str(value) for name, value in parsed.items()}
    raw = {
        "headers": headers,
        "subject": headers.get("subject", ""),
        "text": _body(parsed, "plain"),
        "html": _body(parsed, "html"),
        "source": mail.decode("utf-8", "replace"),
    }
    custom_args = {
        "freshgate_send": headers.get("freshgate-send", ""),
        "freshgate_trigger": headers.get("freshgate-trigger", ""),
    }
    return [outbox_mail(SMTP, recipient, "", {}, custom_args, raw) for recipient in recipients]


def _body(parsed: EmailMessage, subtype: str) -> str:
    part = parsed.get_body((subtype,))
    with suppress(KeyError, LookupError, UnicodeError):
        return str(part.get_content()) if part else ""
    return ""

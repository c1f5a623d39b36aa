"""SMTP servers for tests: aiosmtpd with replies of the test, and a script for what no well-behaved server does."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from freshgate.templates import Content
from workers.esp.base import Message

CONTENT = Content(subject="Hello Ada", text="Hello\n.\n..dots\nGr\u00fc\u00dfe\n", html="<p>Hello \u00df</p>")
MESSAGE = Message(
    send_id="5e4d" * 6,
    trigger="welcome",
    to="ada@example.com",
    template_id="d-1",
    template_data={},
    headers={
        "List-Unsubscribe": "<https://shop.example/unsubscribe/" + "t" * 90 + ">",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    },
    render=lambda: CONTENT,
)


class RecordingServer:
    """aiosmtpd on 127.0.0.1. `replies` says what to answer to a step: {"RCPT": "550 5.1.1 no such user"}."""

    def __init__(
        self, *, context: ssl.SSLContext | None = None, implicit: bool = False, login: tuple[str, str] | None = None
    ) -> None:
        self.mails: list[Envelope] = []
        self.commands: list[str] = []
        self.connections = 0
        self.replies: dict[str, str] = {}
        self._login = login
        self._options: dict[str, Any] = {}
        if context and not implicit:
            self._options |= {"tls_context": context, "require_starttls": True}
        if login:
            self._options |= {"authenticator": self._authenticate, "auth_required": True}
            self._options |= {"auth_require_tls": bool(context) and not implicit}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        listening = self._loop.create_server(self._protocol, "127.0.0.1", 0, ssl=context if implicit else None)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _protocol(self) -> SMTP:
        self.connections += 1
        return SMTP(self, enable_SMTPUTF8=True, hostname="test", loop=self._loop, **self._options)

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.commands.append(f"AUTH {mechanism}")
        return AuthResult(success=(data.login.decode(), data.password.decode()) == self._login, handled=False)

    async def handle_EHLO(self, server: Any, session: Session, envelope: Envelope, hostname: str, lines: Any) -> Any:
        self.commands.append(f"EHLO {hostname}")
        session.host_name = hostname
        return lines

    async def handle_MAIL(self, server: Any, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        self.commands.append(f"MAIL {address} {' '.join(options)}".strip())
        if reply := self.replies.get("MAIL"):
            return reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(self, server: Any, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        self.commands.append(f"RCPT {address}")
        if reply := self.replies.get("RCPT"):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        if reply := self.replies.get("mail"):
            return reply
        self.mails.append(envelope)
        return "250 2.0.0 Ok: queued as 4ZQ7Xb1"

    async def handle_RSET(self, server: Any, session: Session, envelope: Envelope) -> str:
        self.commands.append("RSET")
        return "250 2.0.0 OK"


# Gets the connection after the line that is its step; returns whether the session goes on.
Step = Callable[[socket.socket], bool]


class ScriptedSmtp:
    """Answers as a server does, but for the steps of `script`: "greeting", "EHLO", "MAIL", "RCPT", "DATA", "mail"."""

    def __init__(self, *, pipelining: bool = True) -> None:
        self.script: dict[str, Step | bytes] = {}
        self.mails: list[bytes] = []
        self.connections = 0
        self.ended = threading.Event()
        self._extensions = b"250-test\r\n250-PIPELINING\r\n250 OK\r\n" if pipelining else b"250 test\r\n"
        self._sockets: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def silent(self, sock: socket.socket) -> bool:
        self.ended.wait(5)
        return False

    def dribbles(self, sock: socket.socket) -> bool:
        for byte in b"250 2.0.0 Ok: queued as SLOWLY\r\n":
            sock.sendall(bytes((byte,)))
            if self.ended.wait(0.05):
                break
        return False

    def close(self) -> None:
        self.ended.set()
        for sock in (self._listening, *self._sockets):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                self._sockets.append(sock)
                self.connections += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError), sock:
            lines = sock.makefile("rb")
            if not self._step(sock, "greeting", b"220 test\r\n"):
                return
            for line in lines:
                command = line[:4].decode().strip().upper()
                usual = {"EHLO": self._extensions, "DATA": b"354 go on\r\n"}.get(command, b"250 2.0.0 OK\r\n")
                if not self._step(sock, command, usual):
                    return
                if command == "DATA" and "DATA" not in self.script:
                    mail = b"".join(iter(lines.readline, b".\r\n"))
                    self.mails.append(mail)
                    if not self._step(sock, "mail", b"250 2.0.0 Ok: queued as ABCD12\r\n"):
                        return

    def _step(self, sock: socket.socket, name: str, usual: bytes) -> bool:
        step = self.script.get(name, usual)
        if isinstance(step, bytes):
            sock.sendall(step)
            return True
        goes_on = step(sock)
        if not goes_on:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        return goes_on


def drops(sock: socket.socket) -> bool:
    """Ends the connection without a word."""
    return False


def ends_with(raw: bytes) -> Step:
    """Says this, and ends the connection."""

    def step(sock: socket.socket) -> bool:
        sock.sendall(raw)
        return False

    return step

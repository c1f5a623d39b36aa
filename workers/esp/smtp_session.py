"""One connection to an SMTP server: greeting, TLS, login, and a mail at a time. Every step ends by one deadline.

`smtp.py` keeps the session and says what its replies mean. Its own and not smtplib's: a reply that is cut off is not a
reply, its length is bounded, no name of this host is looked up, and MAIL and RCPT leave together.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, NamedTuple, NoReturn

Tls = Literal["starttls", "implicit", "none"]
MAX_REPLY_BYTES = 16 * 1024
# The server ends the session, whatever it was asked.
CLOSING = 421
REPLY_LINE = re.compile(rb"([2-5][0-9][0-9])([ -]?)(.*)", re.DOTALL)
ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?=\s|$)")


class Reply(NamedTuple):
    """What the server answered: `code` such as 550, and the text of its lines. `step` is what it answers to."""

    step: str
    code: int
    text: str

    @property
    def enhanced(self) -> str:
        """The enhanced status code, "5.1.1"; empty where the server gave none. RFC 3463"""
        match = ENHANCED.match(self.text)
        return match[1] if match else ""


class Refused(Exception):
    """The server answered a step with another code than the one that goes on."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.step} {reply.code}")
        self.reply = reply


class Broken(OSError):
    """The connection ended, or what came was not SMTP."""


class Session:
    """A session that is ready for mails. Raises OSError, or Refused for a step of the set-up.

    deadline      in seconds of time.monotonic(), for all of the set-up
    watch         gets each socket, so that a watchdog can end it at the deadline
    credentials   user name and password; None logs nobody in
    """

    def __init__(
        self,
        host: str,
        port: int,
        tls: Tls,
        context: ssl.SSLContext | None,
        credentials: tuple[str, str] | None,
        deadline: float,
        watch: Callable[[socket.socket], None],
    ) -> None:
        self.mails = 0
        self.is_broken = False
        self.used_at = time.monotonic()
        self.extensions: dict[str, str] = {}
        self._buffer = b""
        self._deadline = deadline
        self._socket = socket.create_connection((host, port), timeout=_remaining_s(deadline))
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            watch(self._socket)
            if tls == "implicit":
                self._secure(context, host, watch)
            self._expect("connecting", 220)
            self._hello()
            if tls == "starttls":
                self._start_tls(context, host, watch)
            if credentials:
                self._log_in(*credentials)
        except BaseException:
            self.close()
            raise

    def restart_clock(self, deadline: float, watch: Callable[[socket.socket], None]) -> None:
        """The deadline of what comes next."""
        self._deadline = deadline
        watch(self._socket)

    def is_stale(self, max_idle_s: float) -> bool:
        """Idle for too long, or readable before any command: the server has closed it, or said that it will."""
        if self.is_broken or self._buffer or time.monotonic() - self.used_at > max_idle_s:
            return True
        try:
            self._socket.settimeout(0)
            # Not a poll: over TLS, what is readable may be a ticket of the session.
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return True

    def begin(self, sender: str, recipient: str, *, utf8: bool) -> None:
        """MAIL, RCPT and DATA. Raises Refused: the mail was not taken, and the session is ready for another one."""
        options = " SMTPUTF8 BODY=8BITMIME" if utf8 else ""
        commands = [f"MAIL FROM:<{sender}>{options}", f"RCPT TO:<{recipient}>"]
        if "PIPELINING" in self.extensions:
            self._write("".join(f"{command}\r\n" for command in commands).encode())
            mail = self._read("MAIL")
            rcpt = mail if mail.code == CLOSING else self._read("RCPT")
        else:
            mail = self._command("MAIL", commands[0])
            rcpt = self._command("RCPT", commands[1]) if mail.code == 250 else mail
        if mail.code == 250 and rcpt.code in (250, 251):
            data = self._command("DATA", "DATA")
            if data.code == 354:
                return
            self._refuse(data)
        self._refuse(rcpt if mail.code == 250 else mail)

    def write_mail(self, mail: bytes) -> None:
        """The mail, whose ends of lines are CRLF, and the dot behind it. Raises OSError: it was not sent whole."""
        stuffed = re.sub(rb"(?m)^\.", b"..", mail)
        self._write(stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n"))

    def read_outcome(self) -> Reply:
        """What became of the mail. Raises OSError: nobody knows."""
        reply = self._read("mail")
        self.mails += 1
        self.used_at = time.monotonic()
        return reply

    def close(self) -> None:
        """Says goodbye without waiting for an answer, and closes."""
        with suppress(OSError):
            self._socket.settimeout(0)
            self._socket.send(b"QUIT\r\n")
        with suppress(OSError):
            self._socket.close()

    def _refuse(self, reply: Reply) -> NoReturn:
        """Makes the session ready for another mail, as far as it can be, and raises Refused."""
        try:
            self.is_broken = reply.code == CLOSING or self._command("RSET", "RSET").code != 250
        except OSError:
            self.is_broken = True
        raise Refused(reply)

    def _hello(self) -> None:
        # An address literal: the host's own name may take DNS seconds to find, and says nothing to a relay.
        address = self._socket.getsockname()[0]
        reply = self._command("EHLO", f"EHLO [{'IPv6:' if ':' in address else ''}{address.partition('%')[0]}]")
        if reply.code != 250:
            raise Refused(reply)
        lines = reply.text.split("\n")[1:]
        self.extensions = {line.split(" ")[0].upper(): line.partition(" ")[2].upper() for line in lines}

    def _start_tls(self, context: ssl.SSLContext | None, host: str, watch: Callable[[socket.socket], None]) -> None:
        if "STARTTLS" not in self.extensions:
            raise Refused(Reply("STARTTLS", 502, "5.7.0 the server offers no STARTTLS"))
        self._write(b"STARTTLS\r\n")
        self._expect("STARTTLS", 220)
        if self._buffer:
            # What came in the clear would be taken for the server's word: RFC 3207, section 6.
            raise Broken("something came before the TLS handshake")
        self._secure(context, host, watch)
        self._hello()

    def _secure(self, context: ssl.SSLContext | None, host: str, watch: Callable[[socket.socket], None]) -> None:
        if context is None:
            raise Broken("no TLS context")
        self._socket = context.wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
        watch(self._socket)
        self._socket.settimeout(_remaining_s(self._deadline))
        self._socket.do_handshake()

    def _log_in(self, username: str, password: str) -> None:
        offered = self.extensions.get("AUTH", "").split()
        if "PLAIN" in offered or "LOGIN" not in offered:
            reply = self._command("AUTH", f"AUTH PLAIN {_base64(f'{chr(0)}{username}{chr(0)}{password}')}")
        else:
            reply = self._command("AUTH", "AUTH LOGIN")
            for word in (username, password):
                if reply.code == 334:
                    reply = self._command("AUTH", _base64(word))
        if reply.code != 235:
            raise Refused(reply)

    def _command(self, step: str, line: str) -> Reply:
        self._write(f"{line}\r\n".encode())
        return self._read(step)

    def _expect(self, step: str, code: int) -> None:
        reply = self._read(step)
        if reply.code != code:
            raise Refused(reply)

    def _write(self, raw: bytes) -> None:
        self._socket.settimeout(_remaining_s(self._deadline))
        self._socket.sendall(raw)

    def _read(self, step: str) -> Reply:
        lines, size = [], 0
        while True:
            line = self._read_line()
            size += len(line)
            match = REPLY_LINE.fullmatch(line.rstrip(b"\r\n"))
            if match is None or size > MAX_REPLY_BYTES:
                raise Broken("not a reply of SMTP")
            lines.append(match[3].decode("utf-8", "replace"))
            if match[2] != b"-":
                return Reply(step, int(match[1]), "\n".join(lines))

    def _read_line(self) -> bytes:
        while b"\n" not in self._buffer:
            if len(self._buffer) > MAX_REPLY_BYTES:
                raise Broken("not a reply of SMTP")
            self._socket.settimeout(_remaining_s(self._deadline))
            piece = self._socket.recv(4096)
            if not piece:
                raise Broken("the connection ended")
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line + b"\n"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _remaining_s(deadline: float) -> float:
    remaining_s = deadline - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError
    return remaining_s

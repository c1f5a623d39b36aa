"""SMTP to any server: one recipient a mail, verified TLS, and what each reply means by its enhanced status code.

`smtp_session.py` speaks the protocol, `smtp_mail.py` writes the mail and `smtp_dkim.py` signs it; `watchdog.py` ends a
call at its deadline.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
from collections.abc import Callable

from freshgate.addresses import read_address
from freshgate.errors import EspError, SettingsError
from freshgate.outbound import is_loopback
from freshgate.printable import CONTROL
from freshgate.settings import EspSettings
from freshgate.settings_parsing import setting_name
from workers.esp.base import Message, SendResult
from workers.esp.base_url import SANDBOX
from workers.esp.capabilities import Capabilities
from workers.esp.smtp_dkim import signer
from workers.esp.smtp_mail import build_mail
from workers.esp.smtp_session import CLOSING, Broken, Refused, Reply, Session, Tls
from workers.esp.watchdog import WATCHDOG

PORTS: dict[Tls, int] = {"starttls": 587, "implicit": 465, "none": 25}
# Postfix under stress ends an idle session after 10 s, others after minutes.
MAX_IDLE_S = 8.0
# Servers end sessions after a number of mails of their own, often with a 421 in place of an answer.
MAX_MAILS = 100
# Steps whose refusal is about the account, whoever the mail is for.
ACCOUNT_STEPS = ("connecting", "EHLO", "STARTTLS", "AUTH")
# Enhanced codes of a refused MAIL that are about this mail: its size.
OF_THE_MAIL = ("5.3.4", "5.2.3")
# Replies and enhanced codes that are about the account wherever they come: login and encryption (RFC 4954, 5248), and
# the proof that its domain may send, by SPF, DKIM or DNS (RFC 7372, 7505).
ACCOUNT_REPLIES = (530, 535, 538)
OF_THE_ACCOUNT = re.compile(r"5\.7\.(8|9|1[0-4]|2\d)")
QUEUED_AS = re.compile(r"queued as ([A-Za-z0-9._-]{4,64})")
ADDRESS = re.compile(r"[^\s@<>\"'(),;:]+@[^\s@<>\"'(),;:]+")


class Smtp:
    """One account at an SMTP server. Not thread-safe. Raises SettingsError for settings that are not safe."""

    capabilities = Capabilities(
        accepts="the server has the mail; what it cannot deliver comes back to the sender's mailbox",
        templates="ours",
        send_id="header `Freshgate-Send`, and the Message-ID",
        headers=True,
        live_url="smtp.example.com:587",
    )

    def __init__(self, name: str, settings: EspSettings, *, now_s: Callable[[], float] = time.time) -> None:
        self.name = name
        self._settings = settings
        self._now_s = now_s
        self._tls = _checked_tls(name, settings)
        self._host = settings.host
        self._port = settings.port or PORTS[self._tls]
        self._context = None if self._tls == "none" else ssl.create_default_context()
        self._credentials = _credentials(name, settings)
        sender = read_address(settings.from_email)
        if sender is None or not sender.isascii() or CONTROL.search(settings.from_name) or "\n" in settings.from_name:
            field = "from_email" if sender is None or not sender.isascii() else "from_name"
            raise SettingsError(f"{setting_name('esps', name, field)}: cannot stand in a header; write it on one line")
        self._sender = sender
        self._signer = signer(name, settings)
        self._session: Session | None = None
        self._pid = 0

    def prepare(self) -> None:
        """Opens a session unless one stands. Raises EspError, which is retryable or `blocked`."""
        deadline = time.monotonic() + self._settings.timeout_s
        with WATCHDOG.guard(deadline) as guard:
            self._ready(deadline, guard.watch)

    def send(self, message: Message) -> SendResult:
        """Hands one mail over, in `timeout_s` at most. Raises EspError only, which says whether a retry may help."""
        deadline = time.monotonic() + self._settings.timeout_s
        recipient = read_address(message.to)
        if recipient is None:
            raise EspError(f"{self.name}: the address cannot stand in an envelope", permanent=True)
        content = message.render()
        try:
            mail = build_mail(
                message,
                content,
                recipient,
                sender=self._sender,
                sender_name=self._settings.from_name,
                now_s=self._now_s(),
            )
        except ValueError as error:
            raise EspError(f"{self.name}: the mail cannot be written: {error}", permanent=True) from None
        if self._signer:
            mail = self._signer.header(mail, self._now_s()) + mail
        with WATCHDOG.guard(deadline) as guard:
            return self._hand_over(mail, recipient, deadline, guard.watch)

    def close(self) -> None:
        """Ends the session. The next `send` opens a new one."""
        if self._session is not None:
            self._session.close()
        self._session = None

    def _hand_over(
        self, mail: bytes, recipient: str, deadline: float, watch: Callable[[socket.socket], None]
    ) -> SendResult:
        session = self._begin(recipient, deadline, watch)
        try:
            session.write_mail(mail)
        except (OSError, ValueError) as error:
            # Without the dot at its end the server has no mail.
            raise self._not_sent(error, deadline) from None
        try:
            reply = session.read_outcome()
        except (OSError, ValueError) as error:
            self.close()
            text = f"{self.name}: sent, but no whole answer: {_cause(error, deadline)}"
            raise EspError(text, ambiguous=True) from None
        if not 200 <= reply.code < 300:
            if reply.code == CLOSING:
                self.close()
            raise self._refused(reply)
        match = QUEUED_AS.search(reply.text)
        return SendResult(provider_id=match[1] if match else "", status=reply.code)

    def _begin(self, recipient: str, deadline: float, watch: Callable[[socket.socket], None]) -> Session:
        """A session that waits for the mail's text. One that has ended since its last mail is replaced."""
        utf8 = not recipient.isascii()
        while True:
            session = self._ready(deadline, watch)
            is_reused = session.mails > 0
            if utf8 and "SMTPUTF8" not in session.extensions:
                raise EspError(f"{self.name}: the server takes no address with letters beyond ASCII", permanent=True)
            try:
                session.begin(self._sender, recipient, utf8=utf8)
            except Refused as error:
                if error.reply.code == CLOSING:
                    self.close()
                    if is_reused:
                        continue
                raise self._refused(error.reply) from None
            except (OSError, ValueError) as error:
                failure = self._not_sent(error, deadline)
                if is_reused and isinstance(error, Broken | ConnectionError):
                    continue
                raise failure from None
            return session

    def _ready(self, deadline: float, watch: Callable[[socket.socket], None]) -> Session:
        """The kept session if it is still usable, else a new one. Raises EspError."""
        session = self._session
        if session is not None and self._pid == os.getpid():
            if session.mails < MAX_MAILS and not session.is_stale(MAX_IDLE_S):
                session.restart_clock(deadline, watch)
                return session
            self.close()
        try:
            self._session = Session(
                self._host, self._port, self._tls, self._context, self._credentials, deadline, watch
            )
        except Refused as error:
            raise self._refused(error.reply) from None
        except (OSError, ValueError) as error:
            raise self._not_sent(error, deadline) from None
        self._pid = os.getpid()
        return self._session

    def _not_sent(self, error: Exception, deadline: float) -> EspError:
        self.close()
        return EspError(f"{self.name}: not sent: {_cause(error, deadline)}")

    def _refused(self, reply: Reply) -> EspError:
        """What a refusal means: 4xx is tried again, 5xx is about the account or about this mail. RFC 3463"""
        words = ADDRESS.sub("<address>", CONTROL.sub(" ", " ".join(reply.text.split())))[:200]
        if self._credentials:
            words = words.replace(self._credentials[1], "<password>")
        text = f"{self.name}: {reply.code} {words} ({reply.step})"
        if 400 <= reply.code < 500:
            return EspError(text, status=reply.code)
        if reply.code < 400:
            # Neither taken nor refused. Before the mail's text that is a fault of the server, and after it a riddle.
            self.close()
            return EspError(text, ambiguous=reply.step == "mail", status=reply.code)
        if _is_of_account(reply):
            return EspError(text, blocked=True, status=reply.code)
        return EspError(text, permanent=True, status=reply.code)


def _is_of_account(reply: Reply) -> bool:
    """Whether a 5xx would be the same for any mail. If in doubt before the text, yes: such a mail is tried again."""
    if reply.step in ACCOUNT_STEPS or reply.code in ACCOUNT_REPLIES or OF_THE_ACCOUNT.fullmatch(reply.enhanced):
        return True
    if reply.step == "mail":
        # Also 5.7.1, which is what filters say of a text.
        return False
    if reply.step == "MAIL":
        return not (reply.code == 552 or reply.enhanced in OF_THE_MAIL)
    # 5.7.1 is "not authorized to send to the destination": that may be this one (so Postfix' words), or any.
    words = reply.text.lower()
    return "relay" in words or (reply.enhanced in ("5.7.0", "5.7.1") and "recipient address rejected" not in words)


def _checked_tls(name: str, settings: EspSettings) -> Tls:
    """How the connection is secured. Raises SettingsError unless password and mails are safe there."""
    key = setting_name("esps", name, "host")
    if not settings.host:
        raise SettingsError(f"{key}: write the SMTP server's name, such as smtp.example.com")
    is_local = is_loopback(settings.host) or settings.host == SANDBOX
    tls: Tls = settings.tls or ("none" if is_local else "starttls")
    if tls == "none" and not is_local:
        tls_key = setting_name("esps", name, "tls")
        raise SettingsError(f'{tls_key}: "none" would send mails in the clear; write "starttls" or "implicit"')
    if not settings.live and not is_local:
        live_key = setting_name("esps", name, "live")
        raise SettingsError(
            f"{live_key}: {settings.host} sends real mail; write live = true to mean it, or leave out the host"
        )
    return tls


def _credentials(name: str, settings: EspSettings) -> tuple[str, str] | None:
    username, password = settings.username, settings.password
    if not username and not password and settings.base_url and settings.api_key:
        # The sandbox: it takes any password, or its own.
        username, password = "sandbox", settings.api_key
    if bool(username) != bool(password):
        field = "password" if username else "username"
        raise SettingsError(f"{setting_name('esps', name, field)}: missing; write both or neither")
    if any(char in username + password for char in "\r\n\0"):
        raise SettingsError(f"{setting_name('esps', name, 'password')}: has an end of a line; write it on one line")
    return (username, password) if username else None


def _cause(error: Exception, deadline: float) -> str:
    if time.monotonic() >= deadline or isinstance(error, TimeoutError):
        return "out of time"
    # The class only: texts of these exceptions may quote what was read.
    return type(error).__name__

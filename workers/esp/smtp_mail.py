"""The bytes of a mail for SMTP: headers, a text part and an HTML part, and a DKIM signature if there is a key.

Pure but for the time that it is handed; the same send gives the same Message-ID and the same parts.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime, formataddr
from functools import partial
from pathlib import Path

from freshgate.errors import SettingsError
from freshgate.settings import EspSettings
from freshgate.settings_parsing import setting_name
from freshgate.templates import Content
from workers.esp.base import Message

HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
PRINTABLE = re.compile(r"[\x20-\x7e]*")
CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
MAX_LINE_LENGTH = 998
# What a signature covers, where the mail has it. RFC 8058 wants both List-Unsubscribe headers in it.
SIGNED: tuple[str, ...] = ("from", "to", "subject", "date", "message-id", "mime-version", "content-type")
SIGNED += ("list-unsubscribe", "list-unsubscribe-post")
# The mail without the signature → the signature's header.
Sign = Callable[[bytes], bytes]


def build_mail(
    message: Message, content: Content, recipient: str, *, sender: str, sender_name: str, now_s: float
) -> bytes:
    """The mail, with CRLF as its ends of lines. `recipient` and `sender` are checked addresses.

    Raises ValueError for a header that would not be one line of ASCII.
    """
    boundary = f"=_{message.send_id}"
    domain = sender.rpartition("@")[2]
    headers = {
        "From": formataddr((sender_name, sender)) if sender_name else sender,
        "To": recipient,
        "Subject": Header(CONTROLS.sub("", content.subject), header_name="Subject").encode(linesep="\r\n"),
        "Date": format_datetime(datetime.fromtimestamp(int(now_s), UTC)),
        # Of the send, so that a mail which left twice is one for most mailboxes.
        "Message-ID": f"<{message.send_id}@{domain}>",
        # Nobody's holiday notice answers to it: RFC 3834.
        "Auto-Submitted": "auto-generated",
        "Freshgate-Send": message.send_id,
        "Freshgate-Trigger": message.trigger,
        **_extra_headers(message.headers),
        "MIME-Version": "1.0",
    }
    text = _part("plain", content.text)
    if not content.html:
        return _head(headers) + text
    headers["Content-Type"] = f'multipart/alternative; boundary="{boundary}"'
    line = f"--{boundary}".encode()
    parts = (line, text, line, _part("html", content.html), line + b"--\r\n")
    return _head(headers) + b"\r\n" + b"\r\n".join(parts)


def signer(name: str, settings: EspSettings) -> Sign | None:
    """Signs mails by DKIM, relaxed/relaxed; None without `dkim_domain`. Raises SettingsError."""
    if not settings.dkim_domain:
        return None
    key_setting = setting_name("esps", name, "dkim_key_file")
    try:
        import dkim
    except ImportError:
        raise SettingsError(f"{key_setting}: signing needs dkimpy; pip install 'freshgate[dkim]'") from None
    if not settings.dkim_selector:
        raise SettingsError(
            f"{setting_name('esps', name, 'dkim_selector')}: write the selector of the key's DNS record"
        )
    try:
        key = Path(settings.dkim_key_file).read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{key_setting}: {settings.dkim_key_file}: {error.strerror}; write the key's file"
        ) from None
    sign = partial(_sign, dkim.sign, settings.dkim_selector.encode(), settings.dkim_domain.encode(), key)
    try:
        sign(b"From: a@example.com\r\n\r\n\r\n")
    except Exception:  # dkimpy raises what its parsers do; its text may quote the key.
        raise SettingsError(
            f"{key_setting}: not a private RSA key in PEM; write a file made by `openssl genrsa 2048`"
        ) from None
    return sign


def _sign(sign: Callable[..., bytes], selector: bytes, domain: bytes, key: bytes, mail: bytes) -> bytes:
    names = {line.partition(b":")[0].strip().lower() for line in mail.partition(b"\r\n\r\n")[0].split(b"\r\n")}
    return sign(
        mail,
        selector,
        domain,
        key,
        canonicalize=(b"relaxed", b"relaxed"),
        include_headers=[header.encode() for header in SIGNED if header.encode() in names],
    )


def _extra_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        is_line = PRINTABLE.fullmatch(value) and len(name) + len(value) + 2 <= MAX_LINE_LENGTH
        if not HEADER_NAME.fullmatch(name) or not is_line:
            raise ValueError("a header that is not one line of ASCII")
    return headers


def _head(headers: Mapping[str, str]) -> bytes:
    for value in headers.values():
        # Only the subject is folded; whatever else has an end of a line in it is an attack.
        if "\n" in value.replace("\r\n ", "").replace("\r\n\t", "") or "\r" in value.replace("\r\n", ""):
            raise ValueError("an end of a line in a header")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()


def _part(subtype: str, text: str) -> bytes:
    """A part with its own headers. Quoted-printable: seven bits, short lines, nothing for a relay to rewrite."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    encoded = binascii.b2a_qp(lines.encode("utf-8", "replace"), istext=True).replace(b"\n", b"\r\n")
    head = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n'
    return head.encode() + encoded

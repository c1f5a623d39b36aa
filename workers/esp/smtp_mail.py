"""The bytes of a mail for SMTP: headers, a text part and an HTML part.

Pure: the same send at the same time gives the same bytes. `smtp_dkim.py` signs them.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime, formataddr

from freshgate.templates import Content
from workers.esp.base import Message

HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
PRINTABLE = re.compile(r"[\x20-\x7e]*")
CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
MAX_LINE_LENGTH = 998


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


def _extra_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        is_line = PRINTABLE.fullmatch(value) and len(name) + len(value) + 2 <= MAX_LINE_LENGTH
        if not HEADER_NAME.fullmatch(name) or not is_line:
            raise ValueError("a header that is not one line of ASCII")
    return headers


def _head(headers: Mapping[str, str]) -> bytes:
    for name, value in headers.items():
        # Only the subject is folded; whatever else has an end of a line in it is an attack.
        text = value.replace("\r\n ", "") if name == "Subject" else value
        if CONTROLS.search(text) or not (text.isascii() or name == "To"):
            raise ValueError("a header that is not one line of ASCII")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()


def _part(subtype: str, text: str) -> bytes:
    """A part with its own headers. Quoted-printable: seven bits, short lines, nothing for a relay to rewrite."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    encoded = binascii.b2a_qp(lines.encode("utf-8", "replace"), istext=True).replace(b"\n", b"\r\n")
    head = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n'
    return head.encode() + encoded

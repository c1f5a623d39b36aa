"""Keeps what callers sent from acting on a terminal: every command's output goes through `EscapingStream`.

An id such as "\\x1b]0;…" would else set the window's title, hide lines, or worse. `command_line.py` puts it in place.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, TextIO

# Control characters but line feed and tab, the ends of lines of Unicode, and what changes the direction of writing.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# Stands for the escape character in codes of our own. Nobody can send it: each process draws another.
ESCAPE_MARK = f"\ue000{secrets.token_hex(8)}\ue001"


def printable(text: str) -> str:
    """The text, with every character on which a terminal would act written as JSON does: `u001b` behind a backslash."""
    return CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class EscapingStream:
    """A text stream around another, `terminal`, which it gives printable text and codes of our own."""

    def __init__(self, terminal: TextIO) -> None:
        self.terminal = terminal

    def write(self, text: str) -> int:
        self.terminal.write(printable(text).replace(ESCAPE_MARK, "\x1b"))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.terminal, name)

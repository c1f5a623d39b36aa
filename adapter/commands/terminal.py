"""What a terminal needs beside text: colours, where they are wanted, and a line that shows how far something is.

Used by all commands; knows nothing of what they say. https://no-color.org
"""

from __future__ import annotations

import os
import sys
import time
from typing import TextIO

BAR = 24


class Paint:
    """Words in colours, or just words."""

    def __init__(self, stream: TextIO) -> None:
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        self.is_on = stream.isatty() and not plain

    def bold(self, text: str) -> str:
        return self._in("1", text)

    def dim(self, text: str) -> str:
        return self._in("2", text)

    def good(self, text: str) -> str:
        return self._in("32", text)

    def doubtful(self, text: str) -> str:
        return self._in("33", text)

    def bad(self, text: str) -> str:
        return self._in("31", text)

    def _in(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.is_on else text


class Progress:
    """One line on stderr, rewritten ten times a second at most; nothing where stderr is no terminal."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._shown_at = 0.0
        self._is_on = sys.stderr.isatty()

    def show(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        if self._is_on and (now - self._shown_at > 0.1 or done == self._total):
            self._shown_at = now
            filled = BAR * done // max(self._total, 1)
            bar = "#" * filled + "." * (BAR - filled)
            print(f"\r[{bar}] {done}/{self._total} {note}\033[K", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._is_on:
            print(file=sys.stderr)


def span(ms: int) -> str:
    """Milliseconds as the settings write them: 30m, 24h, 2d."""
    for unit, name in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")):
        if ms >= unit and ms % unit == 0:
            return f"{ms // unit}{name}"
    return f"{ms}ms"

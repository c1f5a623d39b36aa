"""Colours and a progress bar for commands that print to a terminal.

Colours are left out where they are not wanted: https://no-color.org
"""

from __future__ import annotations

import os
import sys
import time
from typing import TextIO

from freshgate.printable import ESCAPE_MARK, printable

BAR_WIDTH = 24
REDRAW_INTERVAL_S = 0.1


class Paint:
    """Colours text, if the stream is a terminal that wants colours."""

    def __init__(self, stream: TextIO) -> None:
        is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        self.is_on = stream.isatty() and not is_plain

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
        return f"{ESCAPE_MARK}[{code}m{text}{ESCAPE_MARK}[0m" if self.is_on else text


class Progress:
    """A progress bar: one line on stderr, rewritten as it goes on. Shows nothing if stderr is not a terminal."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._shown_at = 0.0
        self._is_on = sys.stderr.isatty()

    def show(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        if self._is_on and (now - self._shown_at > REDRAW_INTERVAL_S or done == self._total):
            self._shown_at = now
            filled = BAR_WIDTH * done // max(self._total, 1)
            bar = "#" * filled + "." * (BAR_WIDTH - filled)
            line = f"\r[{bar}] {done}/{self._total} {printable(note)}\033[K"
            print(line, end="", file=getattr(sys.stderr, "terminal", sys.stderr), flush=True)

    def end(self) -> None:
        if self._is_on:
            print(file=sys.stderr)

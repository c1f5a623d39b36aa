"""Finds where an HTTP/1 request ends, while its bytes arrive: `worker.py` waits for that, gunicorn then parses it.

Only the length is decided here. What looks malformed counts as complete, so that gunicorn refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum

# More than browsers, proxies and CDPs send; gunicorn's own limits within it are lower.
MAX_HEAD_BYTES = 64 * 1024
# A sender's chunks have kilobytes. Each one costs a step of this loop and of gunicorn's, before anybody is verified.
FREE_CHUNKS, MIN_CHUNK_BYTES = 1000, 256
MAX_SIZE_LINE_BYTES = 1024
MAX_TRAILER_BYTES = 8 * 1024
LENGTH = re.compile(rb"\ncontent-length[ \t]*:[ \t]*([0-9]+)[ \t]*\r")
MAX_DIGITS = 15
CHUNKED = re.compile(rb"\ntransfer-encoding[ \t]*:")
PACKED = re.compile(rb"\ncontent-encoding[ \t]*:")
CONTINUE = re.compile(rb"\nexpect[ \t]*:[ \t]*100-continue[ \t]*\r")
CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,12}")


class Progress(Enum):
    """How far a request has come.

    WAITING    more bytes must arrive
    COMPLETE   it can be parsed; nothing more need be read for it
    TOO_LARGE  its body is larger than its URL takes: it can be answered, and no more of it is read
    MALFORMED  nobody means that: chunks of a few bytes, or endless headers
    """

    WAITING = "waiting"
    COMPLETE = "complete"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"


class IncomingRequest:
    """One request as it arrives. Each byte is looked at once, however small the pieces are.

    received         everything that arrived, what follows the request included
    end              where the request ends, once it is complete
    expects_continue the caller waits for "100 Continue" before it sends the body
    is_packed        the body is encoded: nobody knows yet how large it is
    """

    def __init__(self, max_body: Callable[[bytes], int], received: bytes = b"") -> None:
        """`max_body`: the first line of a request → how many bytes its body may have."""
        self.received = bytearray(received)
        self.end = 0
        self.expects_continue = self.is_packed = False
        self._max_body = max_body
        self._searched = 0
        self._head_end = 0
        self._is_chunked = False
        self._limit = 0
        # In a chunked body: where the next line of a chunk's size begins, and how many chunks there were.
        self._next_chunk = 0
        self._chunks = 0

    @property
    def is_chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return self._is_chunked

    @property
    def head_end(self) -> int:
        """The length of the first line and the headers; 0 while they are not complete."""
        return self._head_end

    def advance(self) -> Progress:
        """Looks at what has arrived since the last call."""
        if not self._head_end:
            progress = self._read_head()
            if progress is not None:
                return progress
        if self._is_chunked:
            return self._read_chunks()
        return Progress.COMPLETE if len(self.received) >= self.end else Progress.WAITING

    def _read_head(self) -> Progress | None:
        at = self.received.find(b"\r\n\r\n", max(0, self._searched - 3))
        self._searched = len(self.received)
        if at < 0:
            return Progress.MALFORMED if len(self.received) > MAX_HEAD_BYTES else Progress.WAITING
        if at > MAX_HEAD_BYTES:
            return Progress.MALFORMED
        self._head_end = self.end = at + 4
        head = bytes(self.received[: self._head_end])
        names = head.lower()
        # One empty line before the first one is nothing (RFC 9112, section 2.2).
        start = 2 if head.startswith(b"\r\n") else 0
        line = head[start : head.find(b"\r\n", start)]
        self._limit = self._max_body(line)
        # Of HTTP/1.0 nobody waits for it (RFC 9110, section 10.1.1).
        self.expects_continue = CONTINUE.search(names) is not None and not line.endswith(b"HTTP/1.0")
        self.is_packed = PACKED.search(names) is not None
        if CHUNKED.search(names):
            self._is_chunked, self._next_chunk = True, self._head_end
            return None
        lengths = LENGTH.findall(names)
        if len(lengths) == 1:
            # Several lengths, or something else than a number: gunicorn refuses the request by its head alone.
            digits = lengths[0].lstrip(b"0") or b"0"
            if len(digits) > MAX_DIGITS or int(digits) > self._limit:
                return Progress.TOO_LARGE
            self.end += int(digits)
        return None

    def _read_chunks(self) -> Progress:
        while self._next_chunk <= len(self.received):
            is_closed = not self._chunks or self.received[self._next_chunk - 2 : self._next_chunk] == b"\r\n"
            line_end = self.received.find(b"\r\n", self._next_chunk, self._next_chunk + MAX_SIZE_LINE_BYTES)
            if line_end < 0:
                too_long = len(self.received) - self._next_chunk > MAX_SIZE_LINE_BYTES
                return self._give_up() if too_long or not is_closed else Progress.WAITING
            size = CHUNK_SIZE.match(self.received, self._next_chunk, line_end)
            if size is None or not is_closed:
                return self._give_up()
            length = int(size[0], 16)
            if length == 0:
                return self._read_trailer(line_end)
            excess = self._count_chunk(line_end + 2 + length + 2)
            if excess is not None:
                return excess
        return Progress.WAITING

    def _count_chunk(self, end: int) -> Progress | None:
        """Goes on behind a chunk; what is wrong with the body by now, if anything is."""
        self._next_chunk = end
        self._chunks += 1
        body_bytes = end - self._head_end
        if body_bytes > self._limit:
            return Progress.TOO_LARGE
        return Progress.MALFORMED if self._chunks > FREE_CHUNKS + body_bytes // MIN_CHUNK_BYTES else None

    def _read_trailer(self, line_end: int) -> Progress:
        """What follows the last chunk: nothing, or some headers."""
        # The line's own end is the first half of an empty line.
        at = self.received.find(b"\r\n\r\n", line_end)
        if at < 0:
            too_long = len(self.received) - line_end > MAX_TRAILER_BYTES
            return self._give_up() if too_long else Progress.WAITING
        self.end = at + 4
        return Progress.COMPLETE

    def _give_up(self) -> Progress:
        """gunicorn refuses this, and says why."""
        self.end = len(self.received)
        return Progress.COMPLETE

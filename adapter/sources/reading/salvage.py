"""The slow path: finds where the elements of a body begin and end, and reads one that the fast decoder refused.

Verification and reading share these boundaries, so what is read is what was signed.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import msgspec

from adapter.sources.reading.limits import TooManyElements

# A whole text. Possessive, as all that is below, so that no hostile body makes it backtrack; and `\\.` stands apart,
# since most texts have no escapes.
TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
# Skips whole texts and all that is not a bracket; and not a comma.
FLAT = rb'[^"\[\]{}]*+(?:' + TEXT + rb'[^"\[\]{}]*+)*+'
INSIDE = re.compile(FLAT, re.DOTALL)
BETWEEN = re.compile(rb'[^"\[\]{},]*+(?:' + TEXT + rb'[^"\[\]{},]*+)*+', re.DOTALL)
# Deeper than events are nested.
SHALLOW_DEPTH = 8
SPACE = re.compile(rb"[ \t\r\n]*")
# The name of an object's member, up to the first byte of its value.
MEMBER = re.compile(rb"(" + TEXT + rb")[ \t\r\n]*:[ \t\r\n]*", re.DOTALL)
ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
OPENING = frozenset(b"{[")
LIST_OPENS, LIST_CLOSES, OBJECT_OPENS, OBJECT_CLOSES, COMMA = b"[]{},"
MAX_DEPTH = 64
# The errors of a fast decoder, for a body that the slow path may still read.
DECODE_ERRORS = (msgspec.MsgspecError, ValueError, RecursionError)
# What Windows' and .NET's writers put before UTF-8.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A text of JSON, or what templates and other languages write outside of one: Python's and C's names of numbers that are
# none, JavaScript's `undefined`, Python's True, a comma behind the last element.
TEXT_OR_WORD = re.compile(
    TEXT + rb"|[-+]?\b(?:nan|inf|infinity|undefined|None|true|false)\b|,(?=[ \t\r\n]*[\]}])",
    re.DOTALL | re.IGNORECASE,
)
# Escapes that JavaScript and PHP know and JSON does not: \' and \x41.
ESCAPE = re.compile(rb'\\(?:(["\\/bfnrt]|u[0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))', re.DOTALL)
# More than any number has that an id or an amount may be.
MAX_DIGITS = 300


def _balanced(depth: int) -> re.Pattern[bytes]:
    """Matches a bracket up to the one that closes it, if nothing in it is nested deeper: in one call, and linear."""
    pattern = rb"[\[{]" + FLAT + rb"[\]}]"
    for _ in range(depth - 1):
        pattern = rb"[\[{]" + FLAT + rb"(?:" + pattern + FLAT + rb")*+[\]}]"
    return re.compile(pattern, re.DOTALL)


BALANCED = _balanced(SHALLOW_DEPTH)


class UnbalancedJson(ValueError):
    """The body is not an array or an object, or its outer brackets do not close."""


class Span(NamedTuple):
    """One element: `body[start:end]`, nested `depth` brackets deep."""

    start: int
    end: int
    depth: int


def split(body: bytes, max_elements: int) -> list[Span]:
    """The elements of an array, or the one object. Raises UnbalancedJson, and TooManyElements beyond `max_elements`."""
    spans = list(itertools.islice(elements(body), max_elements + 1))
    if len(spans) > max_elements:
        raise TooManyElements
    return spans


def elements(body: bytes, max_brackets: int = sys.maxsize) -> Iterator[Span]:
    """The elements of an array, or the one object. Raises UnbalancedJson where the outer brackets do not close.

    `max_brackets` bounds those within one element that is nested deeper than SHALLOW_DEPTH, each of which costs a step
    of Python: for callers that do not know yet who sent the body.
    """
    at = _skip_space(body, 0)
    opening = body[at] if at < len(body) else None
    if opening == OBJECT_OPENS:
        end, depth, _ = _closing(body, at, max_brackets)
        if body[end - 1] != OBJECT_CLOSES or _skip_space(body, end) != len(body):
            raise UnbalancedJson
        yield Span(at, end, depth)
        return
    if opening != LIST_OPENS:
        raise UnbalancedJson
    at = _skip_space(body, at + 1)
    if body[at : at + 1] == b"]" and _skip_space(body, at + 1) == len(body):
        return
    while True:
        end, depth = _element_end(body, at, max_brackets)
        yield Span(at, at + len(body[at:end].rstrip(b" \t\r\n")), depth)
        if body[end] == LIST_CLOSES:
            if _skip_space(body, end + 1) != len(body):
                raise UnbalancedJson
            return
        at = _skip_space(body, end + 1)


def members(raw: bytes) -> Iterator[tuple[str, bytes, int]]:
    """The members of one object: each name decoded, its value's bytes, and how many brackets deep the value goes.

    Raises ValueError for what is not an object, or does not close.
    """
    if raw[:1] != b"{" or raw[-1:] != b"}":
        raise UnbalancedJson
    # Between its braces an object is a list of members, so the same scan finds them.
    inside = b"[" + raw[1:-1] + b"]"
    for span in elements(inside):
        match = MEMBER.match(inside, span.start, span.end)
        if match is None:
            raise ValueError("not a member")
        yield str(decode_leniently(match[1])), inside[match.end() : span.end], span.depth


def _element_end(body: bytes, at: int, brackets_remaining: int) -> tuple[int, int]:
    """The index of the comma or bracket behind the element, and how deep the element goes."""
    max_depth = 0
    while brackets_remaining > 0:
        at = _skip(BETWEEN, body, at)
        char = body[at]
        if char in OPENING:
            at, depth, brackets_remaining = _closing(body, at, brackets_remaining)
            max_depth = max(max_depth, depth)
        elif char in (COMMA, LIST_CLOSES):
            return at, max_depth
        elif char == OBJECT_CLOSES:
            # A closing brace too many spoils this element, not the array.
            at, brackets_remaining = at + 1, brackets_remaining - 1
        else:
            break
    raise UnbalancedJson


def _closing(body: bytes, at: int, brackets_remaining: int) -> tuple[int, int, int]:
    """The index behind the bracket that closes the one at `at`, how deep it went, and how many brackets are left.

    All brackets count alike: wrong nesting is found when the element is decoded.
    """
    shallow = BALANCED.match(body, at)
    if shallow is not None:
        return shallow.end(), SHALLOW_DEPTH, brackets_remaining
    depth = max_depth = 0
    while brackets_remaining > 0:
        char = body[at]
        if char in OPENING:
            depth += 1
            max_depth = max(max_depth, depth)
        elif char in (LIST_CLOSES, OBJECT_CLOSES):
            depth -= 1
            if depth == 0:
                return at + 1, max_depth, brackets_remaining
        else:
            # A text that never ends.
            break
        brackets_remaining -= 1
        at = _skip(INSIDE, body, at + 1)
    raise UnbalancedJson


def _skip(pattern: re.Pattern[bytes], body: bytes, at: int) -> int:
    match = pattern.match(body, at)
    end = match.end() if match else at
    if end >= len(body):
        raise UnbalancedJson
    return end


def _skip_space(body: bytes, at: int) -> int:
    match = SPACE.match(body, at)
    return match.end() if match else at


class ElementBytes(Protocol):
    """The bytes of an element by its index."""

    def __getitem__(self, index: int) -> bytes: ...


class RawElements:
    """The raw bytes of a body's elements; the body is scanned only when one is asked for."""

    def __init__(self, body: bytes, spans: list[Span] | None = None) -> None:
        self._body = body
        self._spans = spans

    def __getitem__(self, index: int) -> bytes:
        if self._spans is None:
            self._spans = list(elements(self._body))
        span = self._spans[index]
        return self._body[span.start : span.end]


def decode_leniently(raw: bytes) -> Any:
    """The value of one element by the standard library; lone surrogates, and bytes that are not UTF-8, are U+FFFD.

    A line break in a text stays. A NaN or an infinity, which broken arithmetic writes into a field, is a float that no
    field can read; `undefined` and `None` are null. Raises ValueError for what is not JSON. The caller has checked the
    depth.
    """
    try:
        value = json.loads(raw.decode("utf-8", "replace"), parse_int=_to_number, strict=False)
    except ValueError:
        repaired = TEXT_OR_WORD.sub(_to_json, raw).decode("utf-8", "replace")
        value = json.loads(repaired, parse_int=_to_number, strict=False)
    # JavaScript cuts an emoji in half with `substring` and JSON.stringify writes the half as an escape.
    return _without_surrogates(value) if ESCAPED_SURROGATE.search(raw) else value


def _to_json(match: re.Match[bytes]) -> bytes:
    word = match[0]
    if word[:1] == b'"':
        return ESCAPE.sub(_to_escape, word) if b"\\" in word else word
    lower = word.lower()
    if lower in (b",", b"true", b"false"):
        return lower.removeprefix(b",")
    return b"null" if lower in (b"undefined", b"none") else b"NaN"


def _to_escape(match: re.Match[bytes]) -> bytes:
    known, code, other = match.groups()
    if known:
        return match[0]
    if code:
        return b"\\u00" + code
    # Before a quote it stands for nothing; else it is a backslash of the text.
    return b"'" if other == b"'" else b"\\\\" + (other or b"")


def _to_number(digits: str) -> int | float:
    # Python refuses to read integers beyond 4,300 digits; one absurd field must not cost the element.
    return int(digits) if len(digits) <= MAX_DIGITS else math.inf


def _without_surrogates(value: Any) -> Any:
    if type(value) is str:
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if type(value) is list:
        return [_without_surrogates(item) for item in value]
    if type(value) is dict:
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value

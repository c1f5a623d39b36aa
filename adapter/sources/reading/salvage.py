"""The slow path: where the elements of a body begin and end, and reading one that the fast decoder refused.

Verification and reading share these boundaries, so what was signed is what is read.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import msgspec

# Whole strings and whatever is no bracket, in one step. Possessive: hostile bodies cannot make it backtrack.
INSIDE = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
BETWEEN = re.compile(rb'(?:[^"\[\]{},]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
SPACE = re.compile(rb"[ \t\r\n]*")
# The name of an object's member, up to where its value begins.
MEMBER = re.compile(rb'("(?:[^"\\]++|\\.)*+")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL)
ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
OPENING = frozenset(b"{[")
LIST_OPENS, LIST_CLOSES, OBJECT_OPENS, OBJECT_CLOSES, COMMA = b"[]{},"
MAX_DEPTH = 64
# What a fast decoder raises for a body that the slow path may still read.
DECODE_ERRORS = (msgspec.MsgspecError, ValueError, RecursionError)
# More digits than any id may have: no number that we could use.
MAX_DIGITS = 300


class UnbalancedJson(ValueError):
    """The body's outer array or object does not close, or is none."""


class Span(NamedTuple):
    """One element: `body[start:end]`, nested `depth` brackets deep."""

    start: int
    end: int
    depth: int


def elements(body: bytes, most: int = sys.maxsize) -> Iterator[Span]:
    """The elements of an array, or the one object. Raises NotClosed where the outer brackets do not close.

    `most` bounds the brackets within one element, for callers that do not know yet who sent the body.
    """
    at = _skip_space(body, 0)
    opening = body[at] if at < len(body) else None
    if opening == OBJECT_OPENS:
        end, depth, _ = _closing(body, at, most)
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
        end, depth = _element_end(body, at, most)
        yield Span(at, at + len(body[at:end].rstrip(b" \t\r\n")), depth)
        if body[end] == LIST_CLOSES:
            if _skip_space(body, end + 1) != len(body):
                raise UnbalancedJson
            return
        at = _skip_space(body, end + 1)


def members(raw: bytes) -> Iterator[tuple[str, bytes, int]]:
    """The members of one object, each alone: name, the value's bytes, and how deep it goes. Names are read, values not.

    Raises ValueError for what is no object or does not close.
    """
    if raw[:1] != b"{" or raw[-1:] != b"}":
        raise UnbalancedJson
    # Between its braces an object is a list of members, so the same scan finds them.
    inside = b"[" + raw[1:-1] + b"]"
    for span in elements(inside):
        named = MEMBER.match(inside, span.start, span.end)
        if named is None:
            raise ValueError("no member")
        yield str(decode_leniently(named[1])), inside[named.end() : span.end], span.depth


def _element_end(body: bytes, at: int, most: int) -> tuple[int, int]:
    """The index of the comma or bracket behind the element, and how deep the element goes."""
    deepest = 0
    while most > 0:
        at = _run(BETWEEN, body, at)
        char = body[at]
        if char in OPENING:
            at, depth, most = _closing(body, at, most)
            deepest = max(deepest, depth)
        elif char in (COMMA, LIST_CLOSES):
            return at, deepest
        elif char == OBJECT_CLOSES:
            # Too many closing braces spoil this element, not the array.
            at, most = at + 1, most - 1
        else:
            break
    raise UnbalancedJson


def _closing(body: bytes, at: int, most: int) -> tuple[int, int, int]:
    """The index behind the bracket that closes the one at `at`, how deep it went, and what is left of `most`.

    All brackets count alike: what is nested wrongly is found when the element is read.
    """
    depth = deepest = 0
    while most > 0:
        char = body[at]
        if char in OPENING:
            depth += 1
            deepest = max(deepest, depth)
        elif char in (LIST_CLOSES, OBJECT_CLOSES):
            depth -= 1
            if depth == 0:
                return at + 1, deepest, most
        else:
            # A text that never ends.
            break
        most -= 1
        at = _run(INSIDE, body, at + 1)
    raise UnbalancedJson


def _run(what: re.Pattern[bytes], body: bytes, at: int) -> int:
    found = what.match(body, at)
    end = found.end() if found else at
    if end >= len(body):
        raise UnbalancedJson
    return end


def _skip_space(body: bytes, at: int) -> int:
    found = SPACE.match(body, at)
    return found.end() if found else at


class ElementBytes(Protocol):
    """The bytes of an element by its index."""

    def __getitem__(self, index: int) -> bytes: ...


class RawElements:
    """The raw bytes of a body's elements, found only when somebody asks."""

    def __init__(self, body: bytes, spans: list[Span] | None = None) -> None:
        self._body = body
        self._spans = spans

    def __getitem__(self, index: int) -> bytes:
        if self._spans is None:
            self._spans = list(elements(self._body))
        span = self._spans[index]
        return self._body[span.start : span.end]


def decode_leniently(raw: bytes) -> Any:
    """The value of one element by the standard library, lone surrogates replaced by U+FFFD.

    Raises ValueError for what is no JSON, NaN and Infinity included. Whoever calls has checked the depth.
    """
    value = json.loads(raw.decode("utf-8"), parse_constant=_no_constant, parse_int=_whole)
    # JavaScript cuts an emoji in half with `substring` and JSON.stringify writes the half as an escape.
    return _mended(value) if ESCAPED_SURROGATE.search(raw) else value


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _whole(digits: str) -> int | float:
    # Python refuses to read integers beyond 4,300 digits; one absurd field shall not cost the element.
    return int(digits) if len(digits) <= MAX_DIGITS else math.inf


def _mended(value: Any) -> Any:
    if type(value) is str:
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if type(value) is list:
        return [_mended(item) for item in value]
    if type(value) is dict:
        return {_mended(key): _mended(item) for key, item in value.items()}
    return value

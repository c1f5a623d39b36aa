"""What arrived and no event type is called: names with a count, when they were last seen, and a sample's shape.

The receiver notes them after each request (`receive.py`); `python -m adapter unmapped` lists them. Never a value.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import redis
from redis.exceptions import RedisError

from freshgate.events import Ignored, Verdict
from freshgate.state import keys
from freshgate.state.store import fcall, with_library
from freshgate.telemetry import logs

log = logs.get(__name__)

MAX_NAMES = 500
WRITE_INTERVAL_S = 60.0
FORGET_MS = 86_400_000
MAX_SHAPE_BYTES = 4000
MAX_DEPTH = 6
MAX_KEYS = 60
ADDRESS = re.compile(r"[^\s@]+@[^\s@]+")
DIGITS = re.compile(r"\d{5,}")
# What a programmer calls a member. Anything else (an id, an address, a sentence) may be data.
KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$.: -]{0,39}")
HEX = re.compile(r"(?=.*\d)[0-9a-fA-F-]{12,}")
MASKED = "…"


class Unmapped:
    """What one process has seen. Counts gather here and reach Redis once a minute and name, so they cost no trip.

    Threads share it without a lock: a lost count is no harm.
    """

    def __init__(self, client: redis.Redis, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock_s = clock_s
        # name → how often since it was last written, and when it may be written again.
        self._seen: dict[tuple[str, str], list[float]] = {}

    def note(self, source: str, verdicts: Sequence[Verdict], received_at: int) -> None:
        """Count what was ignored; `received_at` in ms. Raises nothing: this list is no reason to refuse anything."""
        now = self._clock_s()
        due: dict[tuple[str, str], tuple[Ignored, list[float]]] = {}
        for verdict in verdicts:
            if isinstance(verdict, Ignored):
                name = (source, verdict.what)
                seen = self._seen.get(name)
                if seen is None:
                    if len(self._seen) >= MAX_NAMES and not self._forget(now):
                        continue
                    seen = self._seen[name] = [0, 0.0]
                seen[0] += 1
                if now >= seen[1]:
                    due[name] = verdict, seen
        if due:
            self._write(due, received_at, now)

    def _forget(self, now: float) -> bool:
        """Make room for names that may be written again anyway; whether there is any."""
        for name in [name for name, (_, again_at) in list(self._seen.items()) if again_at <= now]:
            self._seen.pop(name, None)
        return len(self._seen) < MAX_NAMES

    def _write(self, due: dict[tuple[str, str], tuple[Ignored, list[float]]], received_at: int, now: float) -> None:
        arguments: list[str | bytes | int] = []
        for name, (verdict, seen) in due.items():
            arguments += [_field(*name), int(seen[0]), _sample(verdict)]
            seen[:] = [0, now + WRITE_INTERVAL_S]
        head = (MAX_NAMES, received_at, FORGET_MS)
        try:
            with_library(self._client, lambda: fcall(self._client, "fg1_unmapped", [keys.UNMAPPED], *head, *arguments))
        except RedisError as error:
            log.warning("unmapped_not_noted", error=type(error).__name__)


class UnmappedEvent(msgspec.Struct, frozen=True):
    """A name that nobody mapped. `last_seen` in ms; `shape` is None where the source told no sample."""

    name: str
    source: str
    count: int
    last_seen: int
    shape: Any


def list_events(client: redis.Redis) -> list[UnmappedEvent]:
    """Most frequent first. Raises RedisError."""
    found: Any = client.hgetall(keys.UNMAPPED)
    told = []
    for field, value in found.items():
        source, _, name = field.decode("utf-8", "replace").partition("\t")
        count, last_seen, shape = value.decode("utf-8", "replace").split(" ", 2)
        told.append(UnmappedEvent(name, source, int(count), int(last_seen), json.loads(shape) if shape else None))
    return sorted(told, key=lambda one: (-one.count, one.source, one.name))


def shape(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Keys and types: {"plan": "text", "lines": [{"id": "number"}]}. No value; keys that look like data are masked."""
    if isinstance(value, dict):
        return dict(_members(value, depth)) if depth else "object"
    if isinstance(value, list):
        return ([shape(value[0], depth - 1)] if value else []) if depth else "list"
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    return "null" if value is None else "text"


def _members(value: dict[Any, Any], depth: int) -> Iterator[tuple[str, Any]]:
    for key in list(value)[:MAX_KEYS]:
        text = str(key)
        is_data = not KEY.fullmatch(text) or DIGITS.search(text) or HEX.fullmatch(text)
        yield MASKED if is_data else text, shape(value[key], depth - 1)


def _field(source: str, name: str) -> bytes:
    """Names are the shop's own words, but broken tracking code writes addresses and ids into them."""
    masked = DIGITS.sub(MASKED, ADDRESS.sub(MASKED, name))
    return f"{source}\t{masked}".encode("utf-8", "replace")


def _sample(verdict: Ignored) -> bytes:
    if verdict.element is None:
        return b""
    try:
        element = verdict.element()
        for depth in (MAX_DEPTH, 3, 1):
            told = json.dumps(shape(element, depth), ensure_ascii=False).encode("utf-8", "replace")
            if len(told) <= MAX_SHAPE_BYTES:
                return told
    except Exception as error:  # Whatever a source's own function does: what was received is recorded by now.
        log.warning("no_sample", error=type(error).__name__)
    return b""

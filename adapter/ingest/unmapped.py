"""The list of unmapped events, which no event type reads: name, count, last arrival, and the shape of a sample.

`receive.py` notes them after each request; `python -m adapter unmapped` lists them. It never holds a value.
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
from freshgate.state.stored import trail_entry
from freshgate.telemetry import logs

log = logs.get(__name__)

MAX_NAMES = 500
WRITE_INTERVAL_S = 60.0
FORGET_MS = 86_400_000
MAX_SHAPE_BYTES = 4000
MAX_DEPTH = 6
# Of one request, so that a batch of them costs no more than a batch of events.
MAX_NOTED = 100
MAX_KEYS = 60
ADDRESS = re.compile(r"[^\s@]+@[^\s@]+")
DIGITS = re.compile(r"\d{5,}")
# A name that a programmer would give. Any other key (an id, an address, a sentence) may be data.
KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$.: -]{0,39}")
HEX = re.compile(r"(?=.*\d)[0-9a-fA-F-]{12,}")
MASKED = "…"


class Unmapped:
    """The counts of one process. They reach Redis once a minute and name, so a request costs no trip.

    Threads share it without a lock: a lost count does no harm.
    """

    def __init__(self, client: redis.Redis, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock_s = clock_s
        # (source, name) → [count since the last write, when the next write is due].
        self._counts: dict[tuple[str, str], list[float]] = {}

    def note(self, source: str, verdicts: Sequence[Verdict], received_at: int) -> None:
        """Counts the ignored verdicts; `received_at` in ms. Raises nothing: no request fails because of this list."""
        now = self._clock_s()
        due: dict[tuple[str, str], tuple[Ignored, list[float]]] = {}
        for verdict in verdicts:
            if isinstance(verdict, Ignored):
                name = (source, verdict.what)
                counter = self._counts.get(name)
                if counter is None:
                    if len(self._counts) >= MAX_NAMES and not self._forget(now):
                        continue
                    counter = self._counts[name] = [0, 0.0]
                counter[0] += 1
                if now >= counter[1]:
                    due[name] = verdict, counter
        if due:
            self._write(due, received_at, now)

    def note_on_trails(
        self, source: str, shop: str, verdicts: Sequence[Verdict], received_at: int, *, trusted: bool
    ) -> None:
        """Notes the ignored verdicts on the trails of persons whom they name and who are known: whoever asks why
        a mail did not leave sees that the event came, under a name that nobody reads. `received_at` in ms; raises
        nothing.

        trusted  False: a page may name its own device only
        """
        arguments: list[str | int] = []
        for verdict in verdicts:
            if not isinstance(verdict, Ignored) or len(arguments) >= 4 * MAX_NOTED:
                continue
            user_id = verdict.user_id if trusted else None
            if user_id is None and verdict.anonymous_id is None:
                continue
            at = min(verdict.occurred_at or received_at, received_at)
            entry = trail_entry(verdict.message_id, verdict.what, source, at, received_at)
            arguments += [
                "" if user_id is None else keys.person_id(shop, user_id),
                "" if verdict.anonymous_id is None else keys.person_id(shop, None, verdict.anonymous_id),
                at,
                f"unmapped\t\t{entry}",
            ]
        if not arguments:
            return
        try:
            with_library(self._client, lambda: fcall(self._client, "trail", keys.shop(shop), *arguments))
        except RedisError as error:
            log.warning("unmapped_not_on_trail", error=type(error).__name__)

    def _forget(self, now: float) -> bool:
        """Drops names whose write is due again, to make room; returns whether there is any."""
        for name in [name for name, (_, write_due) in list(self._counts.items()) if write_due <= now]:
            self._counts.pop(name, None)
        return len(self._counts) < MAX_NAMES

    def _write(self, due: dict[tuple[str, str], tuple[Ignored, list[float]]], received_at: int, now: float) -> None:
        arguments: list[str | bytes | int] = []
        for name, (verdict, counter) in due.items():
            arguments += [_field(*name), int(counter[0]), _sample(verdict)]
            counter[:] = [0, now + WRITE_INTERVAL_S]
        head = (MAX_NAMES, received_at, FORGET_MS)
        try:
            with_library(self._client, lambda: fcall(self._client, "unmapped", keys.UNMAPPED, *head, *arguments))
        except RedisError as error:
            log.warning("unmapped_not_noted", error=type(error).__name__)


class UnmappedEvent(msgspec.Struct, frozen=True):
    """An event that no event type reads. `last_seen` in ms; `shape` is None where the source gave no sample."""

    name: str
    source: str
    count: int
    last_seen: int
    shape: Any


def list_events(client: redis.Redis) -> list[UnmappedEvent]:
    """The unmapped events of all processes, most frequent first. Raises RedisError."""
    entries: Any = client.hgetall(keys.UNMAPPED)
    events = []
    for field, value in entries.items():
        source, _, name = field.decode("utf-8", "replace").partition("\t")
        count, last_seen, shape = value.decode("utf-8", "replace").split(" ", 2)
        events.append(UnmappedEvent(name, source, int(count), int(last_seen), json.loads(shape) if shape else None))
    return sorted(events, key=lambda event: (-event.count, event.source, event.name))


def shape(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Keys and types, no values: {"plan": "text", "lines": [{"id": "number"}]}. Keys that look like data are masked."""
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
    """The field in Redis. Addresses and ids are masked: broken tracking code writes them into events' names."""
    masked = DIGITS.sub(MASKED, ADDRESS.sub(MASKED, name))
    return f"{source}\t{masked}".encode("utf-8", "replace")


def _sample(verdict: Ignored) -> bytes:
    if verdict.element is None:
        return b""
    try:
        element = verdict.element()
        for depth in (MAX_DEPTH, 3, 1):
            encoded = json.dumps(shape(element, depth), ensure_ascii=False).encode("utf-8", "replace")
            if len(encoded) <= MAX_SHAPE_BYTES:
                return encoded
    except Exception as error:  # Whatever a source's own function raises: the request has been recorded.
        log.warning("no_sample", error=type(error).__name__)
    return b""

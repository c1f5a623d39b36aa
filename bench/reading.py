"""What verifying and reading one event costs, against json.loads of the same bytes in the same run.

In this process, for a single event and for a batch of 50; a pair is the best of many rounds that take turns.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from werkzeug.datastructures import EnvironHeaders

from adapter.settings import SourceSettings
from adapter.sources import SOURCES
from bench.lab import SECRET, TOKEN
from bench.payloads import product_added
from bench.rows import Effort, Goal, Row, paired
from catalog.events import EVENTS

PART = "reading"
RECEIVED_AT = 1_790_000_000_000
ROUNDS = 80


def headers_for(signed: bytes) -> EnvironHeaders:
    """The headers as a WSGI server hands them over."""
    signature = hmac.new(SECRET.encode(), signed, hashlib.sha1).hexdigest()
    return EnvironHeaders(
        {"CONTENT_TYPE": "application/json", "HTTP_X_SIGNATURE": signature, "HTTP_X_FRESHGATE_TOKEN": TOKEN}
    )


def interleaved(first: Callable[[], object], second: Callable[[], object], each: int) -> tuple[float, float]:
    """Microseconds a call of both, the smallest of many rounds that take turns: whatever else runs hits both alike."""
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for index, call in enumerate((first, second)):
            started = perf_counter_ns()
            for _ in range(each):
                call()
            best[index] = min(best[index], (perf_counter_ns() - started) / each / 1000)
    return best[0], best[1]


def measure(effort: Effort) -> list[Row]:
    settings = SourceSettings(kind="segment", secrets=(SECRET,), tokens=(TOKEN,))
    source = SOURCES["segment"].configure("bench", settings, EVENTS)
    elements = [json.dumps(product_added(number), separators=(",", ":")).encode() for number in range(50)]
    rows = []
    for what, body, events, each in (
        ("one event", elements[0], 1, 50),
        ("batch of 50", b"[" + b",".join(elements) + b"]", 50, 2),
    ):
        headers = headers_for(elements[0])

        def ours(body: bytes = body, headers: Any = headers) -> None:
            source.verify(body, headers)
            source.read(body, RECEIVED_AT)

        def theirs(body: bytes = body) -> None:
            json.loads(body)

        pairs = [
            (mine / events, stdlib / events)
            for mine, stdlib in (interleaved(ours, theirs, each) for _ in range(effort.of(5, 3)))
        ]
        goal = Goal("ratio", "at most", 1) if events > 1 else None
        rows.append(paired(PART, f"verify + read, {what}", "µs/event", pairs, "json.loads", goal))
    return rows

"""Verifying and reading one event: microseconds in this process, against json.loads of the same bytes.

For each CDP, and for batches of 50 of Segment and of an SDK; a pair is the best of many rounds that take turns.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from werkzeug.datastructures import EnvironHeaders

from adapter.sources import SOURCES
from bench.lab import SECRET, TOKEN
from bench.payloads import product_added
from bench.rows import Effort, Goal, Row, paired
from catalog.events import EVENTS
from freshgate.settings import SourceSettings

PART = "reading"
RECEIVED_AT = 1_790_000_000_000
ROUNDS = 80
GOALS = {
    "batch of 50": Goal("ratio", "at most", 1.37),
    **dict.fromkeys(
        ("one event of mparticle", "one event of tealium", "batch of 50 of an SDK"), Goal("ratio", "at most", 2.5)
    ),
}
PAYLOADS = Path(__file__).parents[1] / "tests" / "payloads"
KEY = "a-write-key"
HEADER = "Basic YmVuY2g6YmVuY2g="
HEADERS = EnvironHeaders({"CONTENT_TYPE": "application/json", "HTTP_AUTHORIZATION": HEADER})


def headers_for(signed: bytes) -> EnvironHeaders:
    """The headers as a WSGI server hands them over."""
    signature = hmac.new(SECRET.encode(), signed, hashlib.sha1).hexdigest()
    return EnvironHeaders(
        {"CONTENT_TYPE": "application/json", "HTTP_X_SIGNATURE": signature, "HTTP_X_FRESHGATE_TOKEN": TOKEN}
    )


def interleaved(first: Callable[[], object], second: Callable[[], object], calls: int) -> tuple[float, float]:
    """Microseconds a call of both: the best of many rounds that take turns, so that other load hits both alike."""
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for index, call in enumerate((first, second)):
            started = perf_counter_ns()
            for _ in range(calls):
                call()
            best[index] = min(best[index], (perf_counter_ns() - started) / calls / 1000)
    return best[0], best[1]


def measure(effort: Effort) -> list[Row]:
    """Microseconds an event."""
    segment = SourceSettings(kind="segment", secrets=(SECRET,), tokens=(TOKEN,))
    elements = [json.dumps(product_added(number), separators=(",", ":")).encode() for number in range(50)]
    array = b",".join(elements)
    return [
        _row(effort, "one event", segment, elements[0], 1, headers_for(elements[0])),
        _row(effort, "batch of 50", segment, b"[" + array + b"]", 50, headers_for(elements[0])),
        *(
            _row(
                effort, f"one event of {kind}", SourceSettings(kind=kind, secrets=(HEADER,)), fixture(kind), 1, HEADERS
            )
            for kind in ("mparticle", "tealium")
        ),
        _row(
            effort,
            "batch of 50 of an SDK",
            SourceSettings(kind="tracking", write_keys=(KEY,)),
            b'{"batch":[' + array + b'],"sentAt":"2026-09-21T14:13:17.590Z"}',
            50,
            EnvironHeaders({"HTTP_AUTHORIZATION": "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()}),
        ),
    ]


def fixture(kind: str) -> bytes:
    """The complete Product Added of the tests' payloads, as compact JSON."""
    text = (PAYLOADS / kind / "product_added__full.json").read_text(encoding="utf-8")
    return json.dumps(json.loads(text), separators=(",", ":")).encode()


def _row(effort: Effort, name: str, settings: SourceSettings, body: bytes, events: int, headers: Any) -> Row:
    source = SOURCES[settings.kind].configure("bench", settings, EVENTS)

    def verify_and_read() -> None:
        source.verify(body, headers)
        source.read(body, RECEIVED_AT)

    def only_parse() -> None:
        json.loads(body)

    pairs = [
        (value / events, reference / events)
        for value, reference in (
            interleaved(verify_and_read, only_parse, 50 if events == 1 else 2) for _ in range(effort.of(5, 3))
        )
    ]
    return paired(PART, f"verify + read, {name}", "µs/event", pairs, "json.loads", GOALS.get(name))

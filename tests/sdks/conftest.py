"""A running Freshgate for the tests of SDKs, and its counts of verdicts."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.harness.system import System

KEY = "a-write-key"
# Customer.io's SDKs send a key of this form as a Bearer token.
REGION_KEY = "sk_us_0123456789"


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    environ = {
        "FRESHGATE_SOURCES__BACKEND__KIND": "tracking",
        "FRESHGATE_SOURCES__BACKEND__WRITE_KEYS": f"{KEY},{REGION_KEY}",
    }
    with System(environ) as system:
        yield system


def verdicts(system: System) -> dict[str, int]:
    """Verdict → how many events of the source had it so far."""
    text = system.request("METRICS_PORT", "GET", "/metrics").json
    counts = re.findall(r'^freshgate_events_total\{source="backend",verdict="(\w+)"\} (\d+)', text, re.MULTILINE)
    return {verdict: int(count) for verdict, count in counts}


def new_verdicts(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What was counted between two calls of `verdicts`, without zeros."""
    return {verdict: after[verdict] - before[verdict] for verdict in after if after[verdict] != before[verdict]}

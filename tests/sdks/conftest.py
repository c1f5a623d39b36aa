"""What the tests of SDKs share: one running Freshgate, and what became of the events that it was told."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.harness.system import System

KEY = "a-write-key"


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with System({"FRESHGATE_SOURCES__BACKEND__KIND": "tracking", "FRESHGATE_SOURCES__BACKEND__WRITE_KEYS": KEY}) as it:
        yield it


def verdicts(system: System) -> dict[str, int]:
    """What became of everything that the source has told so far."""
    text = system.request("METRICS_PORT", "GET", "/metrics").json
    found = re.findall(r'^freshgate_events_total\{source="backend",verdict="(\w+)"\} (\d+)', text, re.MULTILINE)
    return {verdict: int(count) for verdict, count in found}


def told(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {verdict: after[verdict] - before[verdict] for verdict in after if after[verdict] != before[verdict]}

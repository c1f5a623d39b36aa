"""An alert on a single occurrence needs a series that was 0 before it: `increase` of one that begins with 1 is 0."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.dashboards import expressions
from tests.dashboards.tools import ROOT

# What the composition roots call. Each process has a registry of its own.
STARTS = (
    'prepare_receiver(["shop"])',
    'prepare_worker(["welcome"], "sendgrid", ["stock"], [("welcome", "main")])',
    'prepare_timers(["shop"])',
)
SCRIPT = """
from prometheus_client import generate_latest
from freshgate.telemetry import first_series
first_series.{}
print(generate_latest().decode())
"""
FIRST_OCCURRENCE = re.compile(r"\(increase\((\w+)(?:\{([^}]*)\})?\[\w+\]\)\) > 0(?![.\d])")
# Those of other programs, and those that the timers read from Redis, where each begins with 0.
READ_ELSEWHERE = ("alertmanager_", "prometheus_", "freshgate_redis_", "freshgate_outcomes_dropped")


def asked_for() -> set[tuple[str, str]]:
    """Series and matchers of which an alert fires on the first occurrence."""
    asked = {
        (name, matchers)
        for rule in expressions.rules()
        if "alert" in rule
        for name, matchers in FIRST_OCCURRENCE.findall(rule["expr"])
    }
    return {(name, matchers) for name, matchers in asked if not name.startswith(READ_ELSEWHERE)}


@pytest.fixture(scope="module")
def begins() -> list[str]:
    lines = []
    for start in STARTS:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT.format(start)], capture_output=True, text=True, check=True, cwd=ROOT
        )
        lines += done.stdout.splitlines()
    return lines


def missing(begins: list[str], name: str, matchers: str) -> bool:
    wanted = [re.escape(matcher) for matcher in matchers.split(",") if matcher]
    lines = [line for line in begins if re.match(rf"{name}[{{ ]", line) and line.endswith(" 0.0")]
    return not any(all(re.search(matcher, line) for matcher in wanted) for line in lines)


def test_a_process_begins_with_each_series_of_which_one_occurrence_is_an_alert(begins: list[str]) -> None:
    assert len(asked_for()) > 7
    assert [asked for asked in asked_for() if missing(begins, *asked)] == []


def test_a_series_that_begins_with_its_first_occurrence_is_noticed(begins: list[str]) -> None:
    assert missing(begins, "freshgate_made_up_total", "")
    assert missing(begins, "freshgate_sends_total", 'outcome="made_up"')
    assert not missing(begins, "freshgate_sends_total", 'outcome="dead"')

"""Starts the system and the Prometheus of `live.py` once for all tests of this folder that use them.

Without such tests nothing is started.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dashboards.live import Prometheus, shop
from tests.dashboards.observing import Observing
from tests.freshgate.telemetry.collector import Collector
from tests.harness.system import System


@pytest.fixture(scope="package")
def live() -> Iterator[tuple[System, Prometheus]]:
    """The system after a while of traffic, and the Prometheus that saw it."""
    short = {
        "FRESHGATE_TRIGGERS__ABANDONED_CART__DELAY": "4s",
        "FRESHGATE_TRIGGERS__ABANDONED_CART__SETTLE": "1s",
        "FRESHGATE_TRIGGERS__BROWSE_ABANDONMENT__DELAY": "4s",
        "FRESHGATE_TRIGGERS__BROWSE_ABANDONMENT__SETTLE": "1s",
    }
    with (
        tempfile.TemporaryDirectory(prefix="freshgate-live-") as folder,
        Collector() as collector,
        System({**short, "FRESHGATE_OTLP_ENDPOINT": collector.url, "FRESHGATE_TRACE_RATIO": "1"}) as system,
    ):
        server = Prometheus(Path(folder), system)
        try:
            system.wait_for(server.is_ready, 30)
            shop(system)
            # Wait until the workers are done, and everything has been scraped and recorded.
            busy = "sum(freshgate_timers_overdue) + sum(freshgate_leases_open) + sum(freshgate_queue_jobs)"
            system.wait_for(lambda: [sample["value"][1] for sample in server.query(busy)] == ["0"], 60)
            system.wait_for(lambda: server.query("freshgate:mails_late:ratio_3d"), 30)
            time.sleep(3)
            yield system, server
        finally:
            server.stop()


@pytest.fixture
def system(live: tuple[System, Prometheus]) -> System:
    return live[0]


@pytest.fixture
def prometheus(live: tuple[System, Prometheus]) -> Prometheus:
    return live[1]


@pytest.fixture(scope="module")
def observing() -> Iterator[Observing]:
    with tempfile.TemporaryDirectory(prefix="freshgate-observe-") as folder:
        started = Observing(Path(folder))
        with started:
            yield started

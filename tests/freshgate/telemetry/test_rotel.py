"""Two hundred sends through a collector that others write and run: Rotel, which takes OTLP and passes it on.

Marked `tools`: it is a program of its own. `test_processes.py` has the rest, with the collector of `collector.py`.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import pytest

from tests.dashboards.tools import module
from tests.freshgate.telemetry.collector import CLIENT, Collector
from tests.freshgate.telemetry.test_processes import connected, linked, order, traced
from tests.harness.ports import free_ports
from tests.harness.system import System
from tests.system.conftest import Shopper

SENDS = 200
pytestmark = [pytest.mark.tools, pytest.mark.timeout(240)]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def behind() -> Iterator[Collector]:
    """What Rotel passes its spans on to."""
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def system(behind: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("rotel")
    http, grpc = free_ports(2)
    program = Path(module("rotel").__file__).with_name("rotel-agent")
    command = [str(program), "start", "--otlp-http-endpoint", f"127.0.0.1:{http}"]
    command += ["--otlp-grpc-endpoint", f"127.0.0.1:{grpc}", "--pid-file", str(folder / "pid")]
    command += ["--exporter", "otlp", "--otlp-exporter-endpoint", behind.url, "--otlp-exporter-protocol", "http"]
    command += ["--batch-timeout", "200ms"]
    with (folder / "log").open("wb") as log:
        agent = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            with System(traced(f"http://127.0.0.1:{http}")) as system:
                system.wait_for(lambda: listens(http) or agent.poll() is not None)
                assert agent.poll() is None, (folder / "log").read_text()
                yield system
        finally:
            agent.terminate()
            agent.wait(20)


def test_each_of_two_hundred_sends_is_one_connected_trace(system: System, behind: Collector) -> None:
    shoppers = {token_hex(16): Shopper() for _ in range(SENDS)}
    for trace, shopper in shoppers.items():
        order(system, shopper, trace)
    system.wait_for(lambda: all(connected(behind, trace) for trace in shoppers), 60)
    calls = [span for trace in shoppers for span in behind.of(trace) if span.kind == CLIENT]
    assert len(calls) == SENDS


def test_also_when_a_worker_is_killed_among_them(system: System, behind: Collector) -> None:
    shoppers = {token_hex(16): Shopper() for _ in range(SENDS)}
    traces = list(shoppers)
    # What the killed one has not passed on yet may be missing, and a send that it has in hand may be `unknown`, without
    # a call. How many these are depends on the machine; so all but the last 40 have arrived before it is killed.
    earlier, at_risk, later = traces[:60], traces[60:100], traces[100:]
    for trace in earlier:
        order(system, shoppers[trace], trace)
    system.wait_for(lambda: all(connected(behind, trace) for trace in earlier), 60)
    for trace in at_risk:
        order(system, shoppers[trace], trace)
    killed = system.kill("worker")
    system.wait_for(lambda: system.pid("worker") != killed)
    for trace in later:
        order(system, shoppers[trace], trace)
    # Each of the others is there, within the webhook's trace or as one that links it.
    system.wait_for(lambda: all(connected(behind, trace) or linked(behind, trace) for trace in later), 60)

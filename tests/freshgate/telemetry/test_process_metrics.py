"""CPU, memory and start of single processes: all are shown, under names that a restart does not change."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from freshgate.telemetry.processes import ProcessMetrics, Slots, usage_of
from tests.harness.receiver_process import Receiver

LINE = re.compile(r'^freshgate_process_(\w+)\{process="([\w-]+)"\} (\S+)$', re.MULTILINE)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")


def of_processes(text: str) -> dict[str, dict[str, float]]:
    """Metric, without what all begin with → process → value."""
    values: dict[str, dict[str, float]] = {}
    for metric, process, value in LINE.findall(text):
        values.setdefault(metric, {})[process] = float(value)
    return values


def starts(receiver: Receiver) -> dict[str, float]:
    return of_processes(receiver.metrics()).get("start_time_seconds", {})


def restarted(receiver: Receiver, before: dict[str, float], count: int) -> dict[str, float]:
    """When each process started, once so many have done so since, under the same names."""
    after = starts(receiver)
    if set(after) != set(before):
        return {}
    later = [name for name in after if after[name] > before[name]]
    return after if len(later) == count else {}


@linux_only
def test_what_a_process_uses_and_when_it_started_is_read_right() -> None:
    before = time.time()
    with subprocess.Popen([sys.executable, "-c", "sum(range(3_000_000)); print(1, flush=True); input()"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:  # fmt: skip
        assert child.stdout is not None
        child.stdout.readline()
        usage = usage_of(child.pid)
        child.kill()
    assert usage is not None
    assert usage.cpu_s > 0
    assert usage.memory_bytes > 1_000_000
    # The start of the system is known to a second.
    assert before - 2 < usage.started_s < time.time() + 2
    assert usage_of(child.pid) is None


@linux_only
def test_a_process_that_has_ended_and_waits_for_its_parent_has_no_series() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        # It stays as a zombie until `wait`.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        registry = CollectorRegistry()
        registry.register(ProcessMetrics(lambda: {"worker": os.getpid(), "worker-shop-1": child.pid}))
        values = of_processes(generate_latest(registry).decode())
    assert {metric: set(by_process) for metric, by_process in values.items()} == {
        "cpu_seconds_total": {"worker"},
        "resident_memory_bytes": {"worker"},
        "start_time_seconds": {"worker"},
    }


def test_the_next_process_gets_the_number_that_is_free() -> None:
    slots = Slots()
    assert slots.assign([11, 12, 13], 3) == {1: 11, 2: 12, 3: 13}
    assert slots.assign([11, 13], 3) == {1: 11, 3: 13}
    assert slots.assign([11, 13, 14], 3) == {1: 11, 2: 14, 3: 13}
    assert slots.assign([13, 15, 16], 3) == {1: 15, 2: 16, 3: 13}


def test_during_a_reload_numbers_pass_on_to_the_new_processes() -> None:
    slots = Slots()
    slots.assign([11, 12], 2)
    assert slots.assign([11, 12, 13], 2) == {1: 13, 2: 12}
    assert slots.assign([11, 12, 13, 14], 2) == {1: 13, 2: 14}
    assert slots.assign([12, 13, 14], 2) == {1: 13, 2: 14}
    assert slots.assign([13, 14], 2) == {1: 13, 2: 14}


def test_processes_that_an_operator_adds_get_the_next_numbers_and_those_that_stay_keep_theirs() -> None:
    slots = Slots()
    slots.assign([11, 12], 2)
    assert slots.assign([11, 12, 13], 3) == {1: 11, 2: 12, 3: 13}
    assert slots.assign([12, 13], 2) == {2: 12, 3: 13}
    assert slots.assign([], 2) == {}


@linux_only
@pytest.mark.slow
def test_a_receivers_process_that_is_killed_keeps_its_name_and_has_a_new_start(redis_server: str) -> None:
    names = {"receiver", "receiver-1", "receiver-2"}
    with Receiver(redis_server, {"FRESHGATE_RECEIVER_WORKERS": "2"}) as receiver:
        before = receiver.wait_for(lambda: set(starts(receiver)) == names and starts(receiver))
        values = of_processes(receiver.metrics())
        assert {metric: set(by_process) for metric, by_process in values.items()} == dict.fromkeys(
            ("cpu_seconds_total", "resident_memory_bytes", "start_time_seconds"), names
        )
        assert min(values["resident_memory_bytes"].values()) > 1_000_000
        killed = max(receiver.workers())
        os.kill(killed, signal.SIGKILL)
        after = receiver.wait_for(lambda: restarted(receiver, before, 1))
        # SIGHUP replaces each of gunicorn's workers, and the master stays.
        receiver.process.send_signal(signal.SIGHUP)
        reloaded = receiver.wait_for(lambda: restarted(receiver, after, 2))
        assert before["receiver"] == after["receiver"] == reloaded["receiver"]

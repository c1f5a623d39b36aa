"""CPU, memory and start of single processes, read from Linux' /proc at each scrape by the process that serves metrics.

gunicorn's master and the workers' supervisor serve their children's with their own; elsewhere than on Linux there are
none. `metrics.py` names these three with all others: this file has to be imported where no other metric may exist yet.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.registry import Collector

from freshgate.telemetry.polled import PolledMetric

PROC = Path("/proc")

CPU = PolledMetric(
    "freshgate_process_cpu_seconds_total", "CPU time that a process has used", ("process",), kind="counter"
)
MEMORY = PolledMetric("freshgate_process_resident_memory_bytes", "Memory that a process holds", ("process",))
STARTED = PolledMetric("freshgate_process_start_time_seconds", "When a process started, in Unix time", ("process",))


class Usage(NamedTuple):
    """Of one process: CPU time in seconds, memory in bytes, start in Unix time."""

    cpu_s: float
    memory_bytes: int
    started_s: float


class ProcessMetrics(Collector):
    """processes  name → pid, asked at each scrape; the names are a closed set and stay when a process is replaced"""

    def __init__(self, processes: Callable[[], Mapping[str, int]]) -> None:
        self._processes = processes
        # Two scrapes at once must not mix their readings.
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            pids = self._processes()
            usages = {(name,): usage for name, pid in pids.items() if (usage := usage_of(pid)) is not None}
            CPU.set({name: usage.cpu_s for name, usage in usages.items()})
            MEMORY.set({name: usage.memory_bytes for name, usage in usages.items()})
            STARTED.set({name: usage.started_s for name, usage in usages.items()})
            families = [CPU.collect(), MEMORY.collect(), STARTED.collect()]
        yield from families


class Slots:
    """Numbers from 1 for processes that are replaced: the next process gets the number that is free."""

    def __init__(self) -> None:
        self._pids: dict[int, int] = {}

    def assign(self, pids: list[int], count: int) -> Mapping[int, int]:
        """Number → pid. Of more than `count` processes, which are sorted by age, the oldest are about to end: during a
        reload their numbers pass on to those that replace them."""
        current = pids[-count:] if count > 0 else []
        slots = {number: pid for number, pid in self._pids.items() if pid in current}
        free = (number for number in range(1, len(slots) + len(current) + 1) if number not in slots)
        placed = set(slots.values())
        # The generator looks at `slots`, which must not grow meanwhile.
        added = dict(zip(free, [pid for pid in current if pid not in placed], strict=False))
        self._pids = {**slots, **added}
        return dict(sorted(self._pids.items()))


def usage_of(pid: int) -> Usage | None:
    """What /proc says of a process; None if it has ended, or where there is no /proc."""
    try:
        # proc_pid_stat(5). The name, in parentheses, may hold spaces and parentheses.
        fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        booted_s = _booted_s()
    except OSError:
        return None
    state, ticks = fields[0], os.sysconf("SC_CLK_TCK")
    if state in (b"Z", b"X"):
        return None
    return Usage(
        cpu_s=(int(fields[11]) + int(fields[12])) / ticks,
        memory_bytes=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        started_s=booted_s + int(fields[19]) / ticks,
    )


@cache
def _booted_s() -> int:
    """When the system started. Asked once: it moves when the clock is corrected, which would look like a restart."""
    lines = (PROC / "stat").read_bytes().splitlines()
    return int(next(line for line in lines if line.startswith(b"btime ")).split()[1])

"""Timers: how late a send's job reaches the queue, by Redis' clock, when 1,000 timers come due each second; and how
many commands the process sends while none is due.

The timers process turns timers into jobs. The bench pops each job as it comes and then asks Redis for the time, so a
figure is the lateness and one round trip: an upper bound.
"""

from __future__ import annotations

import json
import time
import zlib
from typing import Any

from bench.lab import Lab
from bench.rows import Effort, Goal, Row, percentile
from freshgate.queue import queue_name
from freshgate.state import keys
from freshgate.state.store import add_shops

PART = "timers"
RATE = 1000
# Time for the process to start and to poll for the first time.
LEAD_MS = 1500
MAX_IDLE_COMMANDS = 100
HOUR_MS = 3_600_000
QUEUE = f"rq:queue:{queue_name('sendgrid', marketing=True, timers=True)}"


def measure(effort: Effort) -> list[Row]:
    """p50 and p99, how many fired early, the process's share of a core, and its commands while nothing is due."""
    amount = effort.of(15, 5) * RATE
    with Lab() as lab:
        lab.environ["FRESHGATE_ESPS__SENDGRID__BASE_URL"] = "http://127.0.0.1:9"  # nothing is sent
        client = lab.client(lab.valkey())
        process = lab.python("timers", "workers", "timers")
        dues = set_timers(client, amount, redis_ms(client) + LEAD_MS)
        lateness: list[float] = []
        cpu_s = started_ms = 0.0
        while len(lateness) < amount:
            popped = client.blpop([QUEUE], timeout=10)
            popped_ms = redis_ms(client)
            if popped is None:
                raise RuntimeError(
                    f"{len(lateness)} of {amount} timers became jobs:\n{process.log.read_text()[-1000:]}"
                )
            if not lateness:
                cpu_s, started_ms = process.cpu_s(), popped_ms
            lateness += [popped_ms - dues[timer] for timer, _ in read_sends(client, bytes(popped[1]))]
        share = (process.cpu_s() - cpu_s) / (redis_ms(client) - started_ms) * 1e5
    return [
        Row(part=PART, name="p50 of lateness, 1,000 due/s", unit="ms", value=percentile(lateness, 0.5)),
        Row(
            part=PART,
            name="p99 of lateness, 1,000 due/s",
            unit="ms",
            value=percentile(lateness, 0.99),
            goal=Goal("value", "at most", 100),
        ),
        Row(
            part=PART,
            name="fired early",
            unit=f"of {amount}",
            value=sum(late < 0 for late in lateness),
            goal=Goal("value", "at most", 0),
        ),
        Row(part=PART, name="CPU of the process", unit="% of a core", value=share),
        Row(
            part=PART,
            name="commands, 1,000 waiting and none due",
            unit="/s",
            value=idle_commands(effort.of(10, 5)),
            goal=Goal("value", "at most", MAX_IDLE_COMMANDS),
        ),
    ]


def idle_commands(seconds: int) -> float:
    """Commands a second, those within functions counted, and those by which the process watches its queues."""
    with Lab() as lab:
        client = lab.client(lab.valkey())
        set_timers(client, 1000, redis_ms(client) + HOUR_MS)
        lab.python("timers", "workers", "timers")
        time.sleep(LEAD_MS / 1000)
        before, started = _commands(client), time.monotonic()
        time.sleep(seconds)
        return (_commands(client) - before) / (time.monotonic() - started)


def _commands(client: Any) -> int:
    stats = client.info("commandstats")
    return sum(stat["calls"] for name, stat in stats.items() if name != "cmdstat_info")


def set_timers(client: Any, amount: int, first: float) -> dict[str, int]:
    """Sets one timer for each millisecond, of as many people; returns the due of each."""
    dues = {}
    for number in range(amount):
        timer = keys.timer("abandoned_cart", "p", keys.person_id("main", f"timer-{number}"))
        dues[timer] = int(first) + number * 1000 // RATE
    client.zadd(keys.timers("main", "abandoned_cart"), dues)
    client.sadd(f"{keys.shop('main')}triggers", "abandoned_cart")
    add_shops(client, ["main"])
    return dues


def read_sends(client: Any, job: bytes) -> list[tuple[str, int]]:
    """The sends that a job carries: timer, whether it is a returned one."""
    raw = bytes(client.hget(f"rq:job:{job.decode()}", "data"))
    sends: list[tuple[str, int]] = json.loads(zlib.decompress(raw))[2][0]["sends"]
    return sends


def redis_ms(client: Any) -> float:
    seconds, micros = client.time()
    return float(seconds) * 1000 + float(micros) / 1000

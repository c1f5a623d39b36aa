"""The row of the board "queues" about Redis, and about the metrics and traces themselves."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.boards.base import Panel
from dashboards.panels import COUNT, NO_POLLS, PER_MINUTE, describe, green_above, lines, numbers, red_above, red_beyond
from dashboards.promql import SCRAPE_TIME, WINDOW, highest, lowest, per_minute, selector
from freshgate.telemetry import metrics


def redis_panels() -> Sequence[Panel]:
    return [
        numbers(
            "Redis is safe for state (each must be 1)",
            describe(
                "Does Redis answer, write its append-only file, and never evict keys?",
                "a 0 means that what shoppers did may be lost: runbooks RedisDown, RedisNotPersisting, RedisEvicting.",
            ),
            COUNT,
            [
                (f"min({selector(metrics.REDIS_UP)})", "answers"),
                (f"min({selector(metrics.REDIS_AOF)})", "append-only file on"),
                (f"min({selector(metrics.REDIS_AOF_OK)})", "last write succeeded"),
                (f"min({selector(metrics.REDIS_NOEVICTION)})", "no eviction"),
            ],
            limits=green_above(1),
            width=24,
            when_empty=NO_POLLS,
        ),
        lines(
            "Redis: memory",
            describe(
                "How full is Redis? From 70 % of its limit on pages get 503, from 85 % on everybody.",
                "never. Above 80 % follow the runbook RedisFull.",
            ),
            "bytes",
            [(highest(metrics.REDIS_MEMORY), "used"), (f"{highest(metrics.REDIS_MAX_MEMORY)} > 0", "limit")],
        ),
        lines(
            "Redis: age of the newest copy",
            describe(
                "How much would be lost with the store? And does the schedule of copies keep its time?",
                "never. A copy that is an hour overdue: runbook BackupOverdue.",
            ),
            "s",
            [(highest(metrics.BACKUP_AGE), "age"), (highest(metrics.BACKUP_OVERDUE), "overdue")],
            when_empty="no copy known: no schedule, or timers down?",
        ),
        lines(
            "Hosts' clocks against Redis' clock",
            describe(
                "How far are hosts ahead of Redis' clock (below 0: behind), by which everything is decided?",
                "beyond a second `/readyz` is 503: runbook HostClockOff.",
            ),
            "s",
            [(highest(metrics.CLOCK_SKEW), "most ahead"), (lowest(metrics.CLOCK_SKEW), "most behind")],
            limits=red_beyond(1),
        ),
        lines(
            "Redis: time for one poll",
            describe(
                "How long does Redis take for one poll of the timers process, some 30 small commands and INFO?",
                "look for a slow disk, a host that swaps, or somebody who runs KEYS on it.",
            ),
            "s",
            [(highest(metrics.REDIS_POLL), "one poll")],
            limits=red_above(0.5, yellow=0.1),
        ),
        lines(
            "Redis: evicted keys and delayed disk writes",
            describe(
                "Did Redis evict keys, or did writes wait for the disk?",
                "evicted keys are lost state: runbook RedisEvicting. Delayed writes need a faster disk.",
            ),
            PER_MINUTE,
            [
                (f"60 * max(rate({selector(metrics.REDIS_EVICTED)}[{WINDOW}]))", "keys evicted"),
                (f"60 * max(rate({selector(metrics.REDIS_DELAYED_FSYNCS)}[{WINDOW}]))", "delayed syncs"),
            ],
            limits=red_above(6),
        ),
        lines(
            "Redis: connections",
            describe(
                "How many clients are connected?",
                "never. A rise without end is a leak: check which process restarts.",
            ),
            COUNT,
            [(highest(metrics.REDIS_CLIENTS), "connections")],
        ),
        lines(
            "Scrape duration",
            describe(
                "How long does Prometheus take to read the metrics? It must not grow with the number of events.",
                "the receiver's metrics folder holds the files of many dead processes: restart the receiver.",
            ),
            "s",
            [(f"max by (job) ({selector(SCRAPE_TIME, job='~freshgate.*')})", "{{job}}")],
            limits=red_above(1, yellow=0.25),
        ),
        lines(
            "Lost trace spans",
            describe(
                "Do traces reach their collector? Mails leave even if they do not.",
                "the collector is down or too slow: docs/TRACING.md. A lower `trace_ratio` sends fewer traces.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.SPANS_LOST, ["job"]), "{{job}}")],
            limits=red_above(60, yellow=0.1),
        ),
    ]

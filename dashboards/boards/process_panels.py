"""The row of the board "queues" about single processes: choose one under *Instance*.

A process is named by role, account and number, such as `receiver-2` or `worker-news-1`; a restart does not change that.
"""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.boards.base import Panel
from dashboards.panels import COUNT, PER_MINUTE, describe, lines, red_above
from dashboards.promql import WINDOW, highest, per_instance, rate, restarts
from freshgate.telemetry import metrics

BY = ("process", "instance")
PROCESS = "{{process}} {{instance}}"


def process_panels() -> Sequence[Panel]:
    return [
        lines(
            "CPU by process",
            describe(
                "How many cores does each process use? A worker is bound by one.",
                "the process is busy computing: start more workers, or more processes of the receiver.",
            ),
            "none",
            [(rate(metrics.PROCESS_CPU, BY), PROCESS)],
            limits=red_above(0.9, yellow=0.7),
        ),
        lines(
            "Memory by process",
            describe(
                "How much memory does each process hold?",
                "never. A rise without end is a leak; the container's limit ends it with a restart.",
            ),
            "bytes",
            [(highest(metrics.PROCESS_MEMORY, BY), PROCESS)],
        ),
        lines(
            "Restarts by process",
            describe(
                "When did a process start anew? A worker does after 1,000,000 jobs.",
                "it crashes, or runs out of memory: runbook CrashLoop.",
            ),
            COUNT,
            [(restarts(WINDOW, BY), PROCESS)],
            limits=red_above(2, yellow=1),
        ),
        lines(
            "Uptime by process",
            describe(
                "For how long has each process run?",
                "never. A line that falls to 0 is a restart: a new release, a reload or a crash.",
            ),
            "s",
            [(f"time() - {highest(metrics.PROCESS_STARTED, BY)}", PROCESS)],
        ),
        lines(
            "Sends ended by worker",
            describe(
                "Does each worker do its share?",
                "never. A worker at 0 while others send hangs: runbook WorkersStuck.",
            ),
            PER_MINUTE,
            [(f"60 * {per_instance(metrics.SENDS)}", "{{instance}}")],
        ),
        lines(
            "Jobs taken by worker",
            describe(
                "Does each worker take jobs?",
                "never. A worker at 0 while jobs wait hangs: runbook WorkersStuck.",
            ),
            PER_MINUTE,
            [(f"60 * {per_instance(metrics.QUEUE_WAIT, 'count')}", "{{instance}}")],
        ),
        lines(
            "Share of failed ESP calls by worker",
            describe(
                "Do calls fail for one worker alone? Then it is the worker's network, and not the ESP.",
                "restart that worker; for all of them see the board *Sources and ESPs*.",
            ),
            "percentunit",
            [
                (
                    f"{per_instance(metrics.ESP_CALL, 'count', result='error')} / "
                    f"({per_instance(metrics.ESP_CALL, 'count')} > 0)",
                    "{{instance}}",
                )
            ],
            limits=red_above(0.5, yellow=0.05),
        ),
    ]

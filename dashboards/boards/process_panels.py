"""The row of the board "queues" about single processes: choose one under *Instance*.

The receiver's several processes share their metrics, so its CPU and memory are not among them.
"""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.boards.base import Panel
from dashboards.panels import COUNT, PER_MINUTE, describe, lines, red_above
from dashboards.promql import CPU, MEMORY, STARTED, WINDOW, per_instance, selector
from freshgate.telemetry import metrics

FRESHGATE = {"job": "~freshgate.*"}
PROCESS = "{{job}} {{instance}}"


def process_panels() -> Sequence[Panel]:
    return [
        lines(
            "CPU by process",
            describe(
                "How many cores does each process use? A worker is bound by one.",
                "the process is busy computing: start more workers, or more processes of the receiver.",
            ),
            "none",
            [(f"sum by (job, instance) (rate({selector(CPU, **FRESHGATE)}[{WINDOW}]))", PROCESS)],
            limits=red_above(0.9, yellow=0.7),
        ),
        lines(
            "Memory by process",
            describe(
                "How much memory does each process hold?",
                "never. A rise without end is a leak; the container's limit ends it with a restart.",
            ),
            "bytes",
            [(f"max by (job, instance) ({selector(MEMORY, **FRESHGATE)})", PROCESS)],
        ),
        lines(
            "Restarts by process",
            describe(
                "When did a process start anew? A worker does after 100,000 jobs.",
                "read the last lines of its log: it crashes, or runs out of memory.",
            ),
            COUNT,
            [(f"sum by (job, instance) (changes({selector(STARTED, **FRESHGATE)}[{WINDOW}]))", PROCESS)],
            limits=red_above(3, yellow=2),
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

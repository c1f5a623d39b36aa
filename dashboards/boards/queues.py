"""Board 2, the machinery: do the workers keep up, do timers fire, is Redis well?

The timers process reads most of these figures from Redis. `process_panels.py` and `redis_panels.py` hold the last rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards.boards.base import QUANTILES, QUEUE, TRIGGER, Board, Panel
from dashboards.boards.process_panels import process_panels
from dashboards.boards.redis_panels import redis_panels
from dashboards.boards.verdict import sends_late, verdict
from dashboards.panels import (
    COUNT,
    NO_POLLS,
    PER_MINUTE,
    describe,
    green_above,
    lines,
    number,
    numbers,
    red_above,
)
from dashboards.promql import WINDOW, highest, per_minute, quantile, rate, restarts, selector
from freshgate.telemetry import metrics


def _verdict() -> Sequence[Panel]:
    alive = highest(metrics.WORKERS, ["queue", "state"], state="~idle|busy", **QUEUE)
    return [
        *verdict(),
        number(
            "Oldest job",
            describe(
                "How long has the oldest job waited for a worker?",
                "check that a worker is alive, and what keeps it busy: runbook QueueOld.",
            ),
            "s",
            highest(metrics.QUEUE_AGE, **QUEUE),
            limits=red_above(2.5, yellow=1),
            when_empty=NO_POLLS,
        ),
        number(
            "Workers alive",
            describe(
                "How many workers are idle or busy? One that was killed counts for another minute.",
                "no mail leaves: runbook NoWorker.",
            ),
            COUNT,
            f"sum({alive})",
            limits=green_above(1),
            when_empty=NO_POLLS,
        ),
        sends_late(),
        numbers(
            "For the operator",
            describe(
                "What waits for an operator: unknown, dead and rejected sends, elements in quarantine, holds, a "
                "restored store?",
                "`python -m workers unknown list`, `dead list`, `rejected list` and `python -m adapter quarantine "
                "list` show them; `python -m workers release` ends a hold.",
            ),
            COUNT,
            [
                (highest(metrics.SENDS_TO_REVIEW, ["state"]), "{{state}}"),
                (highest(metrics.QUARANTINED), "in quarantine"),
                (highest(metrics.HOLDS), "holds"),
                (highest(metrics.STORE_RESTORED), "restored store"),
            ],
            limits=red_above(1),
            width=20,
            when_empty=NO_POLLS,
        ),
        number(
            "Restarts",
            describe(
                "How often did a process start anew in the selected time range? It is the process that did so most: a "
                "release and a reload start each once.",
                "*Restarts by process* below names it: runbook CrashLoop.",
            ),
            COUNT,
            restarts(),
            limits=red_above(4, yellow=2),
            when_empty="no data: nothing is scraped",
        ),
    ]


def _queues() -> Sequence[Panel]:
    jobs = highest(metrics.QUEUE_JOBS, ["queue"], **QUEUE)
    # Workers count the jobs that they take; nobody counts arrivals, so they are computed: jobs taken + queue growth.
    taken = rate(metrics.QUEUE_WAIT, (), "count")
    growth = f"sum(max by (queue) (deriv({selector(metrics.QUEUE_JOBS, **QUEUE)}[{WINDOW}])))"
    return [
        lines(
            "Age of the oldest job",
            describe(
                "Do the workers keep up? The age of a job is the delay that a shopper notices; queue depth is not.",
                "check that a worker is alive, and what keeps it busy; otherwise start more: runbook QueueOld.",
            ),
            "s",
            [(highest(metrics.QUEUE_AGE, ["queue"], **QUEUE), "{{queue}}")],
            limits=red_above(2.5, yellow=1),
        ),
        lines(
            "Jobs waiting",
            describe(
                "How many jobs wait in each queue? Timers add none above 20 to their own, `….timers`.",
                "compare with *Jobs arriving and jobs taken*: a burst drains by itself; a rise that does not end needs "
                "more workers.",
            ),
            COUNT,
            [(jobs, "{{queue}}")],
            limits=red_above(1000, yellow=100),
        ),
        lines(
            "Jobs arriving and jobs taken",
            describe(
                "Do more jobs arrive than the workers take? Arrivals are computed: jobs taken plus the queue's growth.",
                "never. Arrivals above jobs taken for minutes: start more workers.",
            ),
            PER_MINUTE,
            [(f"60 * clamp_min({taken} + {growth}, 0)", "arriving"), (f"60 * {taken}", "taken by a worker")],
        ),
        lines(
            "Time jobs waited for a worker",
            describe(
                "How long had a job waited when a worker took it?",
                "start more workers, or find the stuck one: runbook QueueOld.",
            ),
            "s",
            [(quantile(q, metrics.QUEUE_WAIT), f"p{q * 100:.0f}") for q in QUANTILES],
            limits=red_above(2.5, yellow=1),
        ),
        lines(
            "Failed jobs in the last hour",
            describe(
                "Did jobs raise an error? The timers bring their sends back after 30 s.",
                "look in the worker's log for `redis_unavailable` or a traceback.",
            ),
            COUNT,
            [(highest(metrics.QUEUE_FAILED, ["queue"], **QUEUE), "{{queue}}")],
            limits=red_above(1),
        ),
    ]


def _workers() -> Sequence[Panel]:
    by_state = highest(metrics.WORKERS, ["queue", "state"], **QUEUE)
    busy = f"sum(max by (queue) (avg_over_time({selector(metrics.WORKERS, state='busy', **QUEUE)}[{WINDOW}])))"
    alive = f"sum({highest(metrics.WORKERS, ['queue', 'state'], state='~idle|busy', **QUEUE)})"
    return [
        lines(
            "Workers by state",
            describe(
                "How many workers are there, and are they busy? A worker is silent when its last heartbeat is older "
                "than a minute.",
                "never. No idle or busy worker: runbook NoWorker. A silent worker hangs or was killed; another one "
                "removes its entry within ten minutes.",
            ),
            COUNT,
            [(by_state, "{{queue}} {{state}}")],
            stacked=True,
        ),
        lines(
            "Share of workers that are busy",
            describe(
                "Do the workers have room for a burst?",
                "above 80 % for long they do not: start more workers. A slow ESP keeps workers busy, too.",
            ),
            "percentunit",
            [(f"{busy} / ({alive} > 0)", "busy")],
            limits=red_above(0.8, yellow=0.6),
        ),
    ]


def _timers() -> Sequence[Panel]:
    return [
        lines(
            "Timer lateness",
            describe(
                "Do timers fire when they are due, by Redis' clock?",
                "a full queue holds timers back on purpose; otherwise follow the runbook TimersLate.",
            ),
            "s",
            [(quantile(q, metrics.TIMER_LATENESS), f"p{q * 100:.0f}") for q in QUANTILES],
            limits=red_above(2.5, yellow=0.5),
        ),
        lines(
            "Overdue timers",
            describe(
                "Are timers overdue by more than 1 s, so that no process has claimed them? And how many sends have "
                "been due for more than 5 s and have not ended?",
                "check that a timers process is alive: runbook TimersLate.",
            ),
            COUNT,
            [
                (highest(metrics.TIMERS_OVERDUE), "overdue timers"),
                (highest(metrics.SENDS_LATE), "late sends"),
            ],
            limits=red_above(100, yellow=10),
        ),
        lines(
            "Lateness of the oldest timer",
            describe(
                "For how long has the oldest timer been due?",
                "check that a timers process is alive: runbook TimersLate.",
            ),
            "s",
            [(highest(metrics.TIMERS_OLDEST_OVERDUE), "oldest")],
            limits=red_above(30, yellow=5),
        ),
        lines(
            "Sends waiting for their time, and in progress",
            describe(
                "How many sends wait for their timer, and how many does a worker process now?",
                "never. If sends in progress rise without end, workers die at work: see the worker's log.",
            ),
            COUNT,
            [(highest(metrics.TIMERS_WAITING), "waiting"), (highest(metrics.LEASES), "in progress")],
        ),
        lines(
            "Sends deferred, by reason",
            describe(
                "Why are sends deferred? `moved` and `parked` are normal; `after_gap` follows refused events.",
                "never. `retry`: the ESP. `contended`, `internal`: see the worker's log. `held`: an operator holds "
                "mails; `python -m workers release` ends that.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.RETIMED, ["reason"], **TRIGGER), "{{reason}}")],
            stacked=True,
        ),
        lines(
            "Timers claimed",
            describe(
                "How many timers are claimed?",
                "never. None for long while some are overdue: runbook TimersLate.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.TIMERS_CLAIMED), "claimed")],
        ),
    ]


def _rows() -> Mapping[str, Sequence[Panel]]:
    return {
        "Verdict": _verdict(),
        "Flow of jobs": _queues(),
        "Workers": _workers(),
        "Timers": _timers(),
        "Processes: CPU, memory, restarts": process_panels(),
        "Redis, and the metrics themselves": redis_panels(),
    }


BOARD = Board(
    "freshgate-queues",
    "Freshgate: queues and workers",
    "Do the workers keep up, do timers fire, is Redis well?",
    ("queue", "trigger"),
    _rows,
)

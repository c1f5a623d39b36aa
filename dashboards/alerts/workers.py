"""Alerts on queues, workers and timers, and on sends that wait for an operator.

Most of these figures are read from Redis by the timers process.
"""

from __future__ import annotations

from dashboards.alerts.base import RUNBOOKS, Alert
from dashboards.promql import FRESHGATE_JOBS, UP, highest, increase, lowest, missing, rate, restarts, selector
from freshgate.telemetry import metrics


def worker_alerts() -> list[Alert]:
    workers = highest(metrics.WORKERS, ["queue", "state"], state="~idle|busy")
    return [
        Alert(
            "QueueOld",
            "page",
            f"{highest(metrics.QUEUE_AGE, ['queue'])} > 2.5",
            "The oldest job in {{ $labels.queue }} has waited for {{ $value | humanizeDuration }}.",
            pending="5m",
            panel="Age of the oldest job",
        ),
        Alert(
            "WorkersStuck",
            "page",
            f"{highest(metrics.QUEUE_JOBS, ['queue'])} > 0"
            f" unless on () {rate(metrics.QUEUE_WAIT, (), 'count', '2m')} > 0",
            "Jobs wait in {{ $labels.queue }}, and no worker has taken one for two minutes.",
            pending="1m",
            panel="Jobs arriving and jobs taken",
        ),
        Alert(
            "NoWorker",
            "page",
            f"sum by (queue) ({workers}) == 0",
            "No worker of {{ $labels.queue }} is alive.",
            pending="1m",
            panel="Workers by state",
        ),
        Alert(
            "TimersLate",
            "page",
            f"{highest(metrics.TIMERS_OLDEST_OVERDUE)} > 30",
            "The oldest timer has been due for {{ $value | humanizeDuration }}.",
            pending="2m",
            panel="Lateness of the oldest timer",
        ),
        Alert(
            "NoTimers",
            "page",
            f"absent({selector(metrics.REDIS_UP)})",
            "No timers process is scraped: delayed mails may not leave, and Redis is not monitored.",
            pending="2m",
            panel="Processes up",
        ),
        Alert(
            "DeadMails",
            "ticket",
            f"{increase(metrics.SENDS, ['trigger'], '', '1h', outcome='dead')} > 0",
            "Freshgate gave up on mails of {{ $labels.trigger }}: they are dead.",
            panel="For the operator",
        ),
        Alert(
            "UnknownMails",
            "ticket",
            f"{highest(metrics.SENDS_TO_REVIEW, state='unknown')} > 0",
            "{{ $value }} mails may or may not have left, and wait for an operator's decision.",
            pending="15m",
            panel="For the operator",
        ),
        Alert(
            "RejectedMails",
            "ticket",
            f"{highest(metrics.SENDS_TO_REVIEW, state='rejected')} > 0",
            "The ESP refused {{ $value }} mails for good, and they can be replayed once the cause is mended.",
            pending="15m",
            panel="For the operator",
        ),
        Alert(
            "HostClockOff",
            "ticket",
            f"{highest(metrics.CLOCK_SKEW)} > 1 or {lowest(metrics.CLOCK_SKEW)} < -1",
            "A host's clock is {{ $value | humanizeDuration }} off Redis' clock.",
            pending="5m",
            panel="Hosts' clocks against Redis' clock",
        ),
        Alert(
            "HeldMails",
            "ticket",
            f"{highest(metrics.HOLDS)} > 0",
            "An operator has held mails back for more than an hour.",
            pending="1h",
            panel="For the operator",
        ),
        Alert(
            "ScrapeDown",
            "page",
            f"{selector(UP, job=FRESHGATE_JOBS)} == 0",
            "Prometheus cannot read the metrics of {{ $labels.job }} at {{ $labels.instance }}.",
            pending="2m",
            panel="Processes up",
        ),
        Alert(
            "ScrapeDown",
            "page",
            # Where processes are discovered, one that is gone has no `up` that could be 0.
            missing("1d", job=FRESHGATE_JOBS),
            "Prometheus finds no process of {{ $labels.job }} any more, and did within a day.",
            pending="2m",
            labels={"window": "1d"},
            panel="Processes up",
        ),
        Alert(
            "CrashLoop",
            "ticket",
            # A release or a reload starts a process once. Kubernetes waits 5 min between its later attempts.
            f"{restarts('30m', ['job', 'instance', 'process'])} > 3",
            "{{ $labels.process }} at {{ $labels.instance }} has started anew {{ $value }} times within half an hour.",
            panel="Restarts by process",
        ),
        Alert(
            "WorkerSilent",
            "ticket",
            f"{highest(metrics.WORKERS, ['queue'], state='silent')} > 0",
            "{{ $value }} workers of {{ $labels.queue }} hang, or were killed and left their entry behind.",
            pending="15m",
            panel="Workers by state",
        ),
        Alert(
            "Watchdog",
            "none",
            "vector(1)",
            "Watchdog always fires: when it stops arriving, alerts do not work.",
            # The boards read from it where the runbooks are.
            labels={"runbooks": RUNBOOKS},
        ),
    ]

"""Alerts on queues, workers and timers, and on sends that wait for an operator.

Most of these figures are read from Redis by the timers process.
"""

from __future__ import annotations

from dashboards.alerts.base import Alert
from dashboards.promql import UP, highest, increase, lowest, rate, selector
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
        ),
        Alert(
            "WorkersStuck",
            "page",
            f"{highest(metrics.QUEUE_JOBS, ['queue'])} > 0"
            f" unless on () {rate(metrics.QUEUE_WAIT, (), 'count', '2m')} > 0",
            "Jobs wait in {{ $labels.queue }}, and no worker has taken one for two minutes.",
            pending="1m",
        ),
        Alert(
            "NoWorker",
            "page",
            f"sum by (queue) ({workers}) == 0",
            "No worker of {{ $labels.queue }} is alive.",
            pending="1m",
        ),
        Alert(
            "TimersLate",
            "page",
            f"{highest(metrics.TIMERS_OLDEST_OVERDUE)} > 30",
            "The oldest timer has been due for {{ $value | humanizeDuration }}.",
            pending="2m",
        ),
        Alert(
            "NoTimers",
            "page",
            f"absent({selector(metrics.REDIS_UP)})",
            "No timers process is scraped: delayed mails may not leave, and Redis is not monitored.",
            pending="2m",
        ),
        Alert(
            "DeadMails",
            "ticket",
            f"{increase(metrics.SENDS, ['trigger'], '', '1h', outcome='dead')} > 0",
            "Freshgate gave up on mails of {{ $labels.trigger }}: they are dead.",
        ),
        Alert(
            "UnknownMails",
            "ticket",
            f"{highest(metrics.SENDS_TO_REVIEW, state='unknown')} > 0",
            "{{ $value }} mails may or may not have left, and wait for an operator's decision.",
            pending="15m",
        ),
        Alert(
            "RejectedMails",
            "ticket",
            f"{highest(metrics.SENDS_TO_REVIEW, state='rejected')} > 0",
            "The ESP refused {{ $value }} mails for good, and they can be replayed once the cause is mended.",
            pending="15m",
        ),
        Alert(
            "HostClockOff",
            "ticket",
            f"{highest(metrics.CLOCK_SKEW)} > 1 or {lowest(metrics.CLOCK_SKEW)} < -1",
            "A host's clock is {{ $value | humanizeDuration }} off Redis' clock.",
            pending="5m",
        ),
        Alert(
            "HeldMails",
            "ticket",
            f"{highest(metrics.HOLDS)} > 0",
            "An operator has held mails back for more than an hour.",
            pending="1h",
        ),
        Alert(
            "ScrapeDown",
            "page",
            f"{selector(UP, job='~freshgate.*')} == 0",
            "Prometheus cannot read the metrics of {{ $labels.job }} at {{ $labels.instance }}.",
            pending="2m",
        ),
        Alert("Watchdog", "none", "vector(1)", "Watchdog always fires: when it stops arriving, alerts do not work."),
    ]

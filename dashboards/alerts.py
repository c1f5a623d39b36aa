"""Who is told of what: each alert with its expression, its severity and its runbook.

`page` wakes somebody: mails are late or data is being lost, now. `ticket` waits for the morning.
"""

from __future__ import annotations

from typing import Any

from dashboards.alert_builders import MIN_MAILS, Alert, burn, silent
from dashboards.objective import MAILS, PATH_LATE
from dashboards.promql import REQUESTS, UP, highest, increase, name_of, pick, total
from freshgate.telemetry import metrics


def _objective() -> list[Alert]:
    return [
        burn("MailsLate", "page", 14.4, "1h", "5m", "1h"),
        burn("MailsLate", "page", 6, "6h", "30m", "6h"),
        burn("MailsLateSlowly", "ticket", 3, "1d", "2h", "1d"),
        burn("MailsLateSlowly", "ticket", 1, "3d", "6h", "1d"),
        Alert(
            "WholePathLate",
            "ticket",
            f"{pick(PATH_LATE['6h'])} > 0.25 and {pick(PATH_LATE['1h'])} > 0.25 and {pick(MAILS['6h'])} > {MIN_MAILS}",
            "More than a quarter of the mails come 5 s too late, the CDP's own delay included.",
            "freshgate-event-to-email",
            labels={"slo": "path"},
        ),
        Alert(
            "StaleMails",
            "ticket",
            f"{increase(metrics.SENDS, ['trigger'], '', '1h', outcome='stale')}"
            f" / ({increase(metrics.SENDS, ['trigger'], '', '1h')} > 20) > 0.05",
            "More than 5 % of the sends of {{ $labels.trigger }} are withheld since they are too old.",
            "freshgate-triggers",
            "10m",
        ),
        Alert(
            "WrongAfterAll",
            "ticket",
            f"{increase(metrics.CONTRADICTED, ['trigger'], '', '1h')} > 0",
            "Mails of {{ $labels.trigger }} left that older events, arriving later, forbade.",
            "freshgate-triggers",
        ),
        Alert(
            "TriggerSilent",
            "ticket",
            silent(pick(metrics.SENDS, outcome="sent"), "trigger", fewest=20),
            "{{ $labels.trigger }} sends less than a tenth of what it sent a week ago.",
            "freshgate-triggers",
            "30m",
        ),
    ]


def _machinery() -> list[Alert]:
    workers = highest(metrics.WORKERS, ["queue", "state"], state="~idle|busy")
    return [
        Alert(
            "QueueOld",
            "page",
            f"{highest(metrics.QUEUE_AGE, ['queue'])} > 2.5",
            "The oldest job of {{ $labels.queue }} has waited for {{ $value | humanizeDuration }}.",
            lasts="5m",
        ),
        Alert(
            "WorkersStuck",
            "page",
            f"{highest(metrics.QUEUE_JOBS, ['queue'])} > 0"
            f" unless on () {total(metrics.QUEUE_WAIT, (), 'count', '2m')} > 0",
            "Jobs wait in {{ $labels.queue }}, and no worker has taken one for two minutes.",
            lasts="1m",
        ),
        Alert(
            "NoWorker",
            "page",
            f"sum by (queue) ({workers}) == 0",
            "No worker of {{ $labels.queue }} is alive.",
            lasts="1m",
        ),
        Alert(
            "TimersLate",
            "page",
            f"{highest(metrics.TIMERS_OLDEST_OVERDUE)} > 30",
            "The oldest timer has been due for {{ $value | humanizeDuration }}.",
            lasts="2m",
        ),
        Alert(
            "NoTimers",
            "page",
            f"absent({pick(metrics.REDIS_UP)})",
            "No timers process is scraped: delayed mails do not leave, and nobody looks at Redis.",
            lasts="2m",
        ),
        Alert(
            "DeadMails",
            "ticket",
            f"{increase(metrics.SENDS, ['trigger'], '', '1h', outcome='dead')} > 0",
            "Mails of {{ $labels.trigger }} were given up.",
        ),
        Alert(
            "UnknownMails",
            "ticket",
            f"{highest(metrics.SENDS_TO_REVIEW, state='unknown')} > 0",
            "{{ $value }} mails may or may not have left, and wait for a decision.",
            lasts="15m",
        ),
        Alert(
            "HeldMails",
            "ticket",
            f"{highest(metrics.HOLDS)} > 0",
            "Mails are held back by an operator for more than an hour.",
            lasts="1h",
        ),
        Alert(
            "ScrapeDown",
            "page",
            f"{pick(UP, job='~freshgate.*')} == 0",
            "{{ $labels.job }} at {{ $labels.instance }} does not answer.",
            lasts="2m",
        ),
        Alert("Watchdog", "none", "vector(1)", "Always fires: when it stops arriving, alerts do not work."),
    ]


def _redis() -> list[Alert]:
    memory = f"{highest(metrics.REDIS_MEMORY)} / ({highest(metrics.REDIS_MAX_MEMORY)} > 0)"
    evicted = f"max(increase({name_of(metrics.REDIS_EVICTED)}[10m])) > 0"
    return [
        Alert(
            "RedisDown",
            "page",
            f"min({pick(metrics.REDIS_UP)}) == 0",
            "Redis does not answer: webhooks get 503, and nothing is sent.",
            lasts="1m",
        ),
        Alert(
            "RedisEvicting",
            "page",
            f"{evicted} or min({pick(metrics.REDIS_NOEVICTION)}) == 0",
            "Redis throws keys away, or may: what shoppers did is being forgotten.",
        ),
        Alert(
            "RedisNotPersisting",
            "page",
            f"min({pick(metrics.REDIS_AOF)}) == 0 or min({pick(metrics.REDIS_AOF_OK)}) == 0",
            "Redis does not write its append-only file: a restart would forget what was sent.",
            lasts="1m",
        ),
        Alert(
            "RedisFull",
            "page",
            f"{memory} > 0.8",
            "Redis is {{ $value | humanizePercentage }} full; from 85 % on webhooks get 503.",
            lasts="5m",
        ),
    ]


def _sources() -> list[Alert]:
    board = "freshgate-sources"
    rejected = total(metrics.UNAUTHENTIC, ["source"], "", "10m", reason="NotAuthentic")
    asked = total(metrics.VERIFY, ["source"], "count", "10m")
    clamped = increase(metrics.CLAMPED, ["source"], "", "1h")
    failing = total(REQUESTS, (), "", "5m", status="~5..")
    return [
        Alert(
            "SignaturesFail",
            "page",
            f"{rejected} / {asked} > 0.5 and {increase(metrics.VERIFY, ['source'], 'count', '10m')} > 10",
            "More than half of the requests of {{ $labels.source }} are turned away: their events are lost.",
            board,
            "5m",
        ),
        Alert(
            "SignaturesFailNowAndThen",
            "ticket",
            f"{rejected} / {asked} > 0.02"
            f" and {increase(metrics.UNAUTHENTIC, ['source'], '', '10m', reason='NotAuthentic')} > 10",
            "Some requests of {{ $labels.source }} are turned away with a wrong signature.",
            board,
            "15m",
        ),
        Alert(
            "BatchWithoutToken",
            "page",
            f"{increase(metrics.UNAUTHENTIC, ['source'], '', '15m', reason='BatchWithoutToken')} > 0",
            "{{ $labels.source }} sends batches without the token: they are lost.",
            board,
        ),
        Alert(
            "BodiesRefused",
            "ticket",
            f"{increase(metrics.REQUESTS_REFUSED, ['source', 'status'], '', '15m')} > 0",
            "Whole bodies of {{ $labels.source }} are refused with {{ $labels.status }}: the CDP drops them.",
            board,
        ),
        Alert(
            "SourceLimited",
            "ticket",
            f"{increase(metrics.RATE_LIMITED, ['source', 'limit'], '', '15m')} > 100",
            "{{ $value | humanize }} requests of {{ $labels.source }} were told to come later, by the limit on "
            "{{ $labels.limit }}.",
            board,
        ),
        Alert(
            "ReadingFailed",
            "ticket",
            f"{increase(metrics.REFUSALS, ['source'], '', '1h', reason='internal')} > 0",
            "Our own code failed on elements of {{ $labels.source }}; they are in the quarantine.",
            board,
        ),
        Alert(
            "ReceiverFailing",
            "page",
            f"{failing} / {total(REQUESTS, (), '', '5m')} > 0.05",
            "{{ $value | humanizePercentage }} of the requests get a 5xx; the CDP sends them again for some hours.",
            board,
            "5m",
        ),
        Alert(
            "SourceSilent",
            "ticket",
            silent(pick(metrics.EVENTS, verdict="accepted"), "source", fewest=100),
            "{{ $labels.source }} sends less than a tenth of what it sent a week ago.",
            board,
            "30m",
        ),
        Alert(
            "ClocksSkewed",
            "ticket",
            f"{clamped} / ({increase(metrics.EVENTS, ['source'], '', '1h')} > 20) > 0.05",
            "More than 5 % of the events of {{ $labels.source }} come from the future.",
            board,
            "15m",
        ),
    ]


def _esp() -> list[Alert]:
    board = "freshgate-sources"
    errors = total(metrics.ESP_ERRORS, ["esp"], "", "5m", error="~retry|ambiguous")
    calls = total(metrics.ESP_CALL, ["esp"], "count", "5m")
    return [
        Alert(
            "EspFailing",
            "page",
            f"{errors} / {calls} > 0.5 and {increase(metrics.ESP_CALL, ['esp'], 'count', '5m')} > 10",
            "{{ $labels.esp }} does not take more than half of the mails (429, 5xx or no answer).",
            board,
            "5m",
        ),
        Alert(
            "EspRetries",
            "ticket",
            f"{errors} / {calls} > 0.05 and {increase(metrics.ESP_CALL, ['esp'], 'count', '5m')} > 10",
            "{{ $labels.esp }} puts off {{ $value | humanizePercentage }} of the mails (429, 5xx or no answer).",
            board,
            "15m",
        ),
        Alert(
            "EspBlocked",
            "page",
            f"{increase(metrics.ESP_ERRORS, ['esp'], '', '10m', error='blocked')} > 0",
            "{{ $labels.esp }} says that the account may not send: no mail leaves.",
            board,
            "2m",
        ),
        Alert(
            "EspRejects",
            "ticket",
            f"{increase(metrics.SENDS, ['trigger'], '', '1h', outcome='rejected')}"
            f" / ({increase(metrics.SENDS, ['trigger'], '', '1h', outcome='~sent|rejected')} > 20) > 0.05",
            "The ESP refuses more than 5 % of the mails of {{ $labels.trigger }} for good.",
            board,
            "10m",
        ),
    ]


ALERTS: dict[str, list[Alert]] = {
    "freshgate-objective": _objective(),
    "freshgate-machinery": _machinery(),
    "freshgate-redis": _redis(),
    "freshgate-sources": _sources(),
    "freshgate-esp": _esp(),
}


def alerting_rules() -> dict[str, Any]:
    """In the form of a Prometheus rules file."""
    return {"groups": [{"name": name, "rules": [one.rule() for one in alerts]} for name, alerts in ALERTS.items()]}

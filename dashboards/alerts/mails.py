"""Alerts on the mails themselves: late, too old, wrong, or missing.

`dashboards/objective.py` records the series of the objective.
"""

from __future__ import annotations

from dashboards.alerts.base import MIN_MAILS, Alert, burn_rate_alert, dropped_since_last_week
from dashboards.objective import MAILS, PATH_LATE, PATH_TARGET
from dashboards.promql import increase, selector
from freshgate.telemetry import metrics

NO_ANSWER = "~" + "|".join(result for result in metrics.ASK_RESULTS if result not in ("answered", "cached"))


def mail_alerts() -> list[Alert]:
    path_late = [f"{selector(PATH_LATE[window])} > {1 - PATH_TARGET:g}" for window in ("6h", "1h")]
    silent = dropped_since_last_week(selector(metrics.EVENTS, verdict="accepted"), "source", 50, "1h")
    return [
        burn_rate_alert("MailsLate", "page", 14.4, "1h", "5m", "1h"),
        burn_rate_alert("MailsLate", "page", 6, "6h", "30m", "6h"),
        burn_rate_alert("MailsLateSlowly", "ticket", 3, "1d", "2h", "1d"),
        burn_rate_alert("MailsLateSlowly", "ticket", 1, "3d", "6h", "1d"),
        Alert(
            "WholePathLate",
            "ticket",
            " and ".join([*path_late, f"{selector(MAILS['6h'])} > {MIN_MAILS}"]),
            "More than a quarter of the mails are more than 5 s late, the CDP's own delay included.",
            "freshgate-event-to-email",
            labels={"slo": "path"},
            panel="CDP delay and Freshgate latency (p95)",
        ),
        Alert(
            "StaleMails",
            "ticket",
            f"{increase(metrics.SENDS, ['trigger'], '', '1h', outcome='stale')}"
            f" / ({increase(metrics.SENDS, ['trigger'], '', '1h')} > 20) > 0.05",
            "More than 5 % of the sends of {{ $labels.trigger }} are withheld because their event is too old.",
            "freshgate-triggers",
            "10m",
            panel="Sends withheld, by outcome",
        ),
        Alert(
            "NeededFieldsStale",
            "ticket",
            f"{increase(metrics.NEEDED, ['trigger', 'field'], '', '1h', result='~fallback|skip')}"
            f" / ({increase(metrics.NEEDED, ['trigger', 'field'], '', '1h')} > 20) > 0.5"
            # Of a source that sends nothing everything goes stale: SourceSilent says so.
            f" and on () {increase(metrics.EVENTS, (), '', '1h', verdict='accepted')} > 0 unless on () {silent}",
            "{{ $labels.trigger }} lacks {{ $labels.field }} for more than half of its mails, though the sources send: "
            "it is stale or missing.",
            "freshgate-triggers",
            "30m",
            panel="Needed fields that were stale or missing",
        ),
        Alert(
            "SourceOfTruthSilent",
            "ticket",
            f"{increase(metrics.ASKS, ['ask'], '', '15m', result=NO_ANSWER)}"
            f" / ({increase(metrics.ASKS, ['ask'], '', '15m')} > 20) > 0.5",
            "{{ $labels.ask }} does not answer: more than half of what mails asked it has no answer that counts.",
            "freshgate-triggers",
            "5m",
            panel="Asked of sources of truth",
        ),
        Alert(
            "WrongAfterAll",
            "ticket",
            f"{increase(metrics.CONTRADICTED, ['trigger'], '', '1h')} > 0",
            "{{ $labels.trigger }} sent wrong mails: older events, which would have stopped them, arrived later.",
            "freshgate-triggers",
            panel="Mails proved wrong later",
        ),
        Alert(
            "TriggerSilent",
            "ticket",
            dropped_since_last_week(selector(metrics.SENDS, outcome="~sent|fallback_sent"), "trigger", min_count=20),
            "{{ $labels.trigger }} sends less than a tenth of what it sent a week ago.",
            "freshgate-triggers",
            "30m",
            panel="Mails by trigger",
        ),
    ]

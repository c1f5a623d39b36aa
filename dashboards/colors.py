"""Colours with a meaning, the same on every board: an outcome, a verdict or a severity never changes its colour.

Whatever is not listed, such as a source or a process, gets the colours of Grafana's palette in turn: two lines of one
panel differ. By their names, `segment` and `shop_app` had the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from freshgate.telemetry import metrics

GREEN, YELLOW, ORANGE, RED = "green", "yellow", "orange", "red"
GREY, BLUE, PURPLE = "#8e8e99", "blue", "purple"

# What became of a send: green left, red and orange are lost, blue and grey are decisions of the gate.
OUTCOMES: Mapping[str, str] = {
    "sent": GREEN,
    "fallback_sent": "dark-green",
    "stale": YELLOW,
    "superseded": "super-light-yellow",
    "cancelled": "super-light-blue",
    "duplicate": GREY,
    "capped": "semi-dark-blue",
    "suppressed": BLUE,
    "no_consent": "dark-blue",
    "no_address": "light-purple",
    "quiet": "super-light-purple",
    "held_out": "semi-dark-purple",
    "rejected": PURPLE,
    "unknown": ORANGE,
    "dead": RED,
}
VERDICTS: Mapping[str, str] = {"accepted": GREEN, "duplicate": GREY, "ignored": BLUE, "refused": RED}
# "silenced": an alert that Alertmanager does not send, for it is the effect of another that fires.
SEVERITIES: Mapping[str, str] = {"page": RED, "silenced": GREY, "ticket": ORANGE, "none": GREY}
WORKER_STATES: Mapping[str, str] = {"idle": GREEN, "busy": BLUE, "silent": RED}
CALL_RESULTS: Mapping[str, str] = {"accepted": GREEN, "error": RED}
ERROR_CLASSES: Mapping[str, str] = {"permanent": PURPLE, "blocked": RED, "retry": YELLOW, "ambiguous": ORANGE}
DEFERRED: Mapping[str, str] = {
    "moved": BLUE,
    "after_gap": "light-blue",
    "parked": "light-purple",
    "retry": YELLOW,
    "held": PURPLE,
    "claimed_elsewhere": GREY,
    "contended": ORANGE,
    "rerouted": "semi-dark-green",
    "internal": RED,
    "breaker_open": "dark-red",
    "limited": "dark-orange",
    "paced": "light-green",
    "source_busy": "dark-yellow",
}
# Those of the catalog that Freshgate comes with.
TRIGGERS: Mapping[str, str] = {
    "order_confirmation": BLUE,
    "welcome": PURPLE,
    "abandoned_cart": ORANGE,
    "browse_abandonment": YELLOW,
}
STATUSES: Mapping[str, str] = {
    "200": GREEN,
    "400": PURPLE,
    "401": ORANGE,
    "413": "light-purple",
    "415": "semi-dark-purple",
    "429": YELLOW,
    "503": RED,
    "500": "dark-red",
}
QUANTILES: Mapping[str, str] = {"p50": "super-light-blue", "p95": BLUE, "p99": "dark-blue"}
WINDOWS: Mapping[str, str] = {"5m": RED, "1h": ORANGE, "6h": YELLOW, "3d": BLUE}

# Of log lines.
LEVELS: Mapping[str, str] = {"info": BLUE, "warning": ORANGE, "error": RED, "critical": "dark-red"}

# A closed set of a label → its colours. A test holds each complete.
CLOSED_SETS = (
    (metrics.OUTCOMES, OUTCOMES),
    (metrics.VERDICTS, VERDICTS),
    (metrics.WORKER_STATES, WORKER_STATES),
    (metrics.CALL_RESULTS, CALL_RESULTS),
    (metrics.ERROR_CLASSES, ERROR_CLASSES),
    (metrics.RETIMED_REASONS, DEFERRED),
)
# Label of a legend → the colours of its values.
BY_LABEL: Mapping[str, Mapping[str, str]] = {
    "outcome": OUTCOMES,
    "verdict": VERDICTS,
    "severity": SEVERITIES,
    "state": WORKER_STATES,
    "result": CALL_RESULTS,
    "error": ERROR_CLASSES,
    "reason": DEFERRED,
    "status": STATUSES,
    "trigger": TRIGGERS,
}
# Legends that are written out.
FIXED: Mapping[str, str] = {
    **QUANTILES,
    **WINDOWS,
    "events accepted": GREY,
    "sends ended": BLUE,
    "mails sent": GREEN,
    "arriving": ORANGE,
    "taken by a worker": GREEN,
    "limit": RED,
}
WHOLE: Mapping[str, str] = {**OUTCOMES, **VERDICTS, "busy": BLUE}


def colors_of(legends: list[str], metric_names: str) -> dict[str, str]:
    """Pattern of a series' name → its colour, for a panel with these legends.

    A legend that ends with a coloured label matches by that last word: `{{esp}} {{error}}` → `(^| )retry$`.
    metric_names: the panel's expressions; a label may mean something else in another metric.
    """
    patterns: dict[str, str] = {}
    for legend in legends:
        word = legend.rsplit(" ", 1)[-1]
        label = word.removeprefix("{{").removesuffix("}}")
        if label != word:
            if label != "reason" or "retimed" in metric_names:
                patterns |= {f"/(^| ){value}$/": color for value, color in BY_LABEL.get(label, {}).items()}
        elif legend in FIXED:
            # Not behind a label: two accounts' p95 must not look alike.
            patterns[f"/^{legend}$/"] = FIXED[legend]
        elif legend in WHOLE:
            patterns[f"/^{legend}$/"] = WHOLE[legend]
    return patterns

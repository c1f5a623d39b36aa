"""The panels of the board "sources" about calls to the ESP."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.boards.base import ESP, MAIL, QUANTILES, Panel
from dashboards.panels import COUNT, PER_MINUTE, describe, lines, number, red_above
from dashboards.promql import OF_LATE, increase, per_minute, quantile, ratio, total
from freshgate.telemetry import metrics


def failed_calls() -> Panel:
    """For the verdict."""
    return number(
        "Failed ESP calls",
        describe(
            "Which share of the calls of the last 5 minutes did the ESP not take?",
            "see *ESP errors by class*: runbooks EspFailing and EspBlocked.",
        ),
        "percentunit",
        ratio(
            increase(metrics.ESP_CALL, (), "count", OF_LATE, result="error", **ESP),
            increase(metrics.ESP_CALL, (), "count", OF_LATE, **ESP),
        ),
        limits=red_above(0.05, yellow=0.01),
        when_empty="no call of late",
    )


def calls_by_result() -> Panel:
    """For the flow."""
    return lines(
        "ESP calls by result",
        describe(
            "How many calls do we make, and how many does the ESP accept?",
            "never. Errors above 5 %: runbook EspRetries; above 50 %: runbook EspFailing.",
        ),
        PER_MINUTE,
        [(per_minute(metrics.ESP_CALL, ["esp", "result"], "count", **ESP), "{{esp}} {{result}}")],
        stacked=True,
    )


def errors_by_class() -> Panel:
    """For the flow: a limit, an ESP that fails, and one that hangs look the same in *ESP calls by result*."""
    return lines(
        "ESP errors by class",
        describe(
            "Which errors does the ESP answer with? `retry`: 429 and 5xx. `blocked`: the account may not send. "
            "`ambiguous`: no answer came. `permanent`: this one mail is rejected.",
            "`retry`: check the ESP's status page and rate limit. `ambiguous`: `python -m workers unknown list`.",
        ),
        PER_MINUTE,
        [(per_minute(metrics.ESP_ERRORS, ["esp", "error"], **ESP), "{{esp}} {{error}}")],
        limits=red_above(30),
    )


def esp_panels() -> Sequence[Panel]:
    return [
        number(
            "Calls refused: account blocked",
            describe(
                "How often did the ESP answer that the account may not send (401, 403, no credits)?",
                "no mail leaves until the key or the account is right: runbook EspBlocked.",
            ),
            COUNT,
            increase(metrics.ESP_ERRORS, error="blocked", **ESP),
            limits=red_above(1),
            width=12,
        ),
        number(
            "Mails rejected permanently",
            describe(
                "How many mails did the ESP reject permanently?",
                "a wrong template id or sender rejects all of them: `python -m adapter why ID` shows the ESP's reply.",
            ),
            COUNT,
            increase(metrics.SENDS, outcome="rejected", **MAIL),
            limits=red_above(10, yellow=1),
            width=12,
        ),
        lines(
            "ESP response time",
            describe(
                "How fast does the ESP answer?",
                "see *Lanes in use*: a slow ESP keeps more calls open at once.",
            ),
            "s",
            [(quantile(q, metrics.ESP_CALL, ["esp"], **ESP), "{{esp}} " + f"p{q * 100:.0f}") for q in QUANTILES],
            limits=red_above(2.5, yellow=1),
        ),
        lines(
            "Lanes in use",
            describe(
                "How many calls to the ESP are under way, of those that the workers may make at once?",
                "never. At the limit while *Age of the oldest job* rises: raise the account's `concurrency`, if "
                "the ESP allows it, or start more workers.",
            ),
            COUNT,
            [
                (total(metrics.LANES_IN_USE, ["esp"], **ESP), "{{esp}} in use"),
                (total(metrics.LANES, ["esp"], **ESP), "{{esp}} lanes"),
            ],
        ),
        lines(
            "Sends of one call",
            describe(
                "How many mails share a call? More than one only while more wait than calls can be under way, at most "
                "the account's `batch`.",
                "never: batches grow with the backlog, and shrink by themselves.",
            ),
            COUNT,
            [(quantile(q, metrics.ESP_BATCH, ["esp"], **ESP), "{{esp}} " + f"p{q * 100:.0f}") for q in QUANTILES],
        ),
        lines(
            "Sends deferred for a retry",
            describe(
                "How many sends wait because the ESP asked for it or failed?",
                "never. They leave by themselves until their `max_age`; after that they are dead.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.RETIMED, ["trigger"], reason="retry", trigger=MAIL["trigger"]), "{{trigger}}")],
        ),
    ]

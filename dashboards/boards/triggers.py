"""Board 4, for the marketer beside the operator: what does each trigger send, whom did it lose, and why?

The board "event to email" shows whether mails are on time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards.boards.base import MAIL, TRIGGER, Board, Panel
from dashboards.boards.verdict import sends_late, verdict
from dashboards.colors import GREEN, PURPLE, RED
from dashboards.panels import COUNT, PER_MINUTE, describe, lines, number, red_above
from dashboards.promql import increase, per_minute, quantile, rate, ratio
from dashboards.tables import Column, table_by
from freshgate.telemetry import metrics

SENT = "~sent|fallback_sent"
LOST = "~rejected|unknown|dead"
# Outcomes that the gate decides: they end a send without a mail.
WITHHELD = "~" + "|".join(
    outcome for outcome in metrics.OUTCOMES if outcome not in ("sent", "fallback_sent", "rejected", "unknown", "dead")
)
# Column of the table → the outcomes that it counts.
WITHHELD_COLUMNS = {
    "Untrue": "~superseded|cancelled",
    "Too old": "stale",
    "Capped": "~capped|quiet",
    "Opted out": "~suppressed|no_consent",
    "No address": "no_address",
    "Other": "~duplicate|held_out",
}


def _verdict() -> Sequence[Panel]:
    sent = increase(metrics.SENDS, outcome=SENT, **MAIL)
    return [
        *verdict(),
        number(
            "Mails sent",
            describe("How many mails left?", "never. None, although the gate decided: see the table, or the ESP."),
            COUNT,
            sent,
        ),
        number(
            "Mails lost",
            describe(
                "How many mails should have left and did not (rejected, dead), or may not have (unknown)?",
                "see `python -m workers dead list`, `python -m workers unknown list`, and board Sources and ESPs.",
            ),
            COUNT,
            increase(metrics.SENDS, outcome=LOST, **MAIL),
            limits=red_above(10, yellow=1),
        ),
        sends_late(),
        _by_trigger(),
    ]


def _by_trigger() -> Panel:
    """One row a trigger, with what became of its sends from left to right."""

    def ended(outcome: str) -> str:
        return increase(metrics.SENDS, ["trigger"], outcome=outcome, **MAIL)

    deferred = increase(metrics.RETIMED, ["trigger"], reason="~moved|after_gap|parked|retry|contended", **TRIGGER)
    held = increase(metrics.RETIMED, ["trigger"], reason="held", **TRIGGER)
    return table_by(
        "trigger",
        "Triggers: from decision to mail",
        describe(
            "What did each trigger do in the selected time range? Its name opens its details. A deferred send is "
            "decided again, so there are more decisions than shoppers.",
            "sends of a lost column: `python -m workers dead list`, `unknown list` and `rejected list` show them.",
        ),
        [
            Column("Decisions", increase(metrics.GATE, ["trigger"], "count", **TRIGGER)),
            Column("Deferred", deferred),
            Column("Held", held, color=PURPLE),
            *(Column(title, ended(outcome)) for title, outcome in WITHHELD_COLUMNS.items()),
            Column("Sent", ended(SENT), color=GREEN),
            Column("Rejected", ended("rejected"), color=RED),
            Column("Unknown", ended("unknown"), color=RED),
            Column("Dead", ended("dead"), color=RED),
            Column("Wrong", increase(metrics.CONTRADICTED, ["trigger"], **TRIGGER), color=RED),
            Column("p95", quantile(0.95, metrics.RECEIVED_TO_ACCEPTED, ["trigger"], window="$__range", **MAIL), "s"),
        ],
    )


def _flow() -> Sequence[Panel]:
    return [
        lines(
            "Mails by trigger",
            describe("When does each trigger send?", "never. A trigger that stopped: runbook TriggerSilent."),
            PER_MINUTE,
            [(per_minute(metrics.SENDS, ["trigger"], outcome=SENT, **MAIL), "{{trigger}}")],
            stacked=True,
        ),
        lines(
            "Sends withheld, by outcome",
            describe(
                "Why do mails not leave?",
                "never. `stale`: the event is too old. `no_address`: no address came in time. `capped`: the limit of "
                "mails for one shopper or address.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.SENDS, ["outcome"], outcome=WITHHELD, **MAIL), "{{outcome}}")],
            stacked=True,
        ),
    ]


def _reasons() -> Sequence[Panel]:
    sent = increase(metrics.SENDS, outcome=SENT, **MAIL)
    return [
        number(
            "Sends mailed",
            describe(
                "Of the sends that ended, which share became a mail?",
                "never. A cart mail that an order cancels is the right decision.",
            ),
            "percentunit",
            ratio(sent, increase(metrics.SENDS, **MAIL)),
            width=24,
            when_empty="no send yet",
        ),
        lines(
            "Sends withheld, by the gate's reason",
            describe(
                "Which rule withheld the mail? `ordered`: the shopper bought the cart. `unsubscribed`: the shopper "
                "opted out.",
                "never. docs/METRICS.md lists the reasons; `python -m adapter why ID` shows them for one shopper.",
            ),
            PER_MINUTE,
            [
                (
                    per_minute(metrics.GATED, ["trigger", "outcome", "reason"], **TRIGGER),
                    "{{trigger}} {{outcome}}: {{reason}}",
                )
            ],
            width=24,
        ),
        lines(
            "Sends deferred, by reason",
            describe(
                "Why do sends wait longer?",
                "never. `parked` without a mail later: the address comes too late. `held`: an operator holds mails; "
                "`python -m workers release` ends that.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.RETIMED, ["trigger", "reason"], **TRIGGER), "{{trigger}} {{reason}}")],
            width=24,
        ),
        lines(
            "Latency by trigger (p95): received and due → ESP",
            describe("Is one trigger slower than the others?", "its late mails count in the alert: runbook MailsLate."),
            "s",
            [(quantile(0.95, metrics.RECEIVED_TO_ACCEPTED, ["trigger"], **MAIL), "{{trigger}}")],
            limits=red_above(5, yellow=2.5),
            exemplars=True,
        ),
        lines(
            "Mails proved wrong later",
            describe(
                "Which mails left before an older event arrived that would have stopped them?",
                "the CDP delivers out of order by more than `settle`; raise `settle`: runbook WrongAfterAll.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.CONTRADICTED, ["trigger", "reason"], **TRIGGER), "{{trigger}}: {{reason}}")],
            limits=red_above(0.5),
        ),
        lines(
            "Links to unsubscribe",
            describe(
                "How many readers leave, by our links? `all` and `topic` are readers who left.",
                "never. `refused` rises: links that are not ours, or of a key that is gone: docs/UNSUBSCRIBE.md. "
                "`expired`: old mails.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.UNSUBSCRIBES, ["result"]), "{{result}}")],
        ),
    ]


def _freshness() -> Sequence[Panel]:
    ages = [
        (
            quantile(q, metrics.NEED_AGE, ["trigger", "field"], sent="yes", **TRIGGER),
            f"{{{{trigger}}}} {{{{field}}}} {name}",
        )
        for q, name in ((0.5, "p50"), (0.95, "p95"), (1, "oldest"))
    ]
    return [
        lines(
            "Age of needed fields in the mails that left",
            describe(
                "How fresh was what we sent?",
                "never. A field that ages steadily is not told any more: `python -m adapter unmapped`.",
            ),
            "s",
            ages,
            width=24,
        ),
        lines(
            "Needed fields that were stale or missing",
            describe(
                "Which fields do mails lack most? They are what to mend first, at the CDP.",
                "never. The mails became fallbacks or none: runbook NeededFieldsStale.",
            ),
            PER_MINUTE,
            [
                (
                    per_minute(metrics.NEEDED, ["trigger", "field", "state"], state="~stale|missing", **TRIGGER),
                    "{{trigger}} {{field}}: {{state}}",
                )
            ],
            width=24,
        ),
        lines(
            "Share of fallbacks among the mails sent",
            describe(
                "How many mails were a broader one than they should have been?",
                "never by itself: it shows how well the data are. Runbook NeededFieldsStale.",
            ),
            "percentunit",
            [
                (
                    ratio(
                        rate(metrics.SENDS, ["trigger"], outcome="fallback_sent", **MAIL),
                        rate(metrics.SENDS, ["trigger"], outcome=SENT, **MAIL),
                    ),
                    "{{trigger}}",
                )
            ],
        ),
        lines(
            "Asked of sources of truth",
            describe(
                "What do sources of truth answer, for fields that were stale or missing?",
                "never. Most is not `answered` or `cached`: runbook SourceOfTruthSilent.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.ASKS, ["ask", "result"]), "{{ask}}: {{result}}")],
        ),
        lines(
            "How long sources of truth take (p95)",
            describe(
                "Does a source of truth answer within its `timeout`?",
                "never. It comes near the timeout: runbook SourceOfTruthSilent. Sends put off as `source_busy`: raise "
                "its `concurrency`.",
            ),
            "s",
            [(quantile(0.95, metrics.ASK_SECONDS, ["ask"]), "{{ask}}")],
        ),
    ]


def _rows() -> Mapping[str, Sequence[Panel]]:
    return {"Verdict": _verdict(), "Flow": _flow(), "Reasons and latency": _reasons(), "Freshness": _freshness()}


BOARD = Board(
    "freshgate-triggers",
    "Freshgate: triggers",
    "What does each trigger send, whom did it lose, and why?",
    ("trigger", "esp"),
    _rows,
)

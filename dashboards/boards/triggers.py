"""Board 4, for the marketer beside the operator: what does each trigger send, whom did it lose, and why?

The board "event to email" shows whether mails are on time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards.boards.base import MAIL, TRIGGER, Board, Panel
from dashboards.panels import describe, lines, numbers, red_above
from dashboards.promql import increase, quantile, rate, ratio
from freshgate.telemetry import metrics

# Outcomes that the gate decides: they end a send without a mail.
WITHHELD = "~" + "|".join(
    outcome for outcome in metrics.OUTCOMES if outcome not in ("sent", "fallback_sent", "rejected", "unknown", "dead")
)
LOST = "~rejected|unknown|dead"


def _funnel() -> Sequence[Panel]:
    return [
        numbers(
            "1 · Decisions of the gate",
            describe(
                "How often did the gate decide on a send? A deferred send is decided again, so this is more than the "
                "number of shoppers.",
                "never. None at all: check that the event arrives (board Sources and ESPs).",
            ),
            "short",
            [(increase(metrics.GATE, ["trigger"], "count", **TRIGGER), "{{trigger}}")],
        ),
        numbers(
            "2 · Deferred",
            describe(
                "How often did a send go back to wait: something newer happened, there is no address yet, or the ESP "
                "asked for a retry?",
                "never.",
            ),
            "short",
            [(increase(metrics.RETIMED, ["trigger"], **TRIGGER), "{{trigger}}")],
        ),
        numbers(
            "3 · Withheld",
            describe(
                "How many sends ended without a mail, because it would have been wrong, late or unwanted?",
                "never. *Sends withheld, by the gate's reason* shows why.",
            ),
            "short",
            [(increase(metrics.SENDS, ["trigger"], outcome=WITHHELD, **MAIL), "{{trigger}}")],
        ),
        numbers(
            "4 · Sent",
            describe(
                "How many mails left?",
                "never. None, although the gate decided: see the reasons below, or the ESP.",
            ),
            "short",
            [(increase(metrics.SENDS, ["trigger"], outcome="sent", **MAIL), "{{trigger}}")],
        ),
        numbers(
            "5 · Lost (rejected, dead, unknown)",
            describe(
                "How many mails should have left and did not, or may not have?",
                "see `python -m workers dead list`, `python -m workers unknown list`, and board Sources and ESPs.",
            ),
            "short",
            [(increase(metrics.SENDS, ["trigger"], outcome=LOST, **MAIL), "{{trigger}}")],
            limits=red_above(10, yellow=1),
        ),
        numbers(
            "Share of finished sends that became a mail",
            describe(
                "Of the sends that ended, which share became a mail?",
                "never. A cart mail that an order cancels is the right decision.",
            ),
            "percentunit",
            [
                (
                    ratio(
                        increase(metrics.SENDS, ["trigger"], outcome="sent", **MAIL),
                        increase(metrics.SENDS, ["trigger"], **MAIL),
                    ),
                    "{{trigger}}",
                )
            ],
        ),
    ]


def _over_time() -> Sequence[Panel]:
    return [
        lines(
            "Mails sent",
            describe("When does each trigger send?", "never. A trigger that stopped: runbook TriggerSilent."),
            "ops",
            [(rate(metrics.SENDS, ["trigger"], outcome="sent", **MAIL), "{{trigger}}")],
            stacked=True,
        ),
        lines(
            "Sends withheld, by outcome",
            describe(
                "Why do mails not leave?",
                "never. `stale`: the event is too old. `no_address`: no address came in time. `capped`: the limit of "
                "mails for one shopper or address.",
            ),
            "ops",
            [(rate(metrics.SENDS, ["trigger", "outcome"], outcome=WITHHELD, **MAIL), "{{trigger}} {{outcome}}")],
            stacked=True,
        ),
        lines(
            "Sends withheld, by the gate's reason",
            describe(
                "Which rule withheld the mail? `ordered`: the shopper bought the cart. `unsubscribed`: the shopper "
                "opted out.",
                "never. docs/METRICS.md lists the reasons; `python -m adapter why ID` shows them for one shopper.",
            ),
            "ops",
            [
                (
                    rate(metrics.GATED, ["trigger", "outcome", "reason"], **TRIGGER),
                    "{{trigger}} {{outcome}}: {{reason}}",
                )
            ],
        ),
        lines(
            "Sends deferred, by reason",
            describe(
                "Why do sends wait longer?",
                "never. `parked` without a mail later: the address comes too late. `held`: an operator holds mails; "
                "`python -m workers release` ends that.",
            ),
            "ops",
            [(rate(metrics.RETIMED, ["trigger", "reason"], **TRIGGER), "{{trigger}} {{reason}}")],
        ),
        lines(
            "Latency by trigger (p95): received and due → accepted by the ESP",
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
            "ops",
            [(rate(metrics.CONTRADICTED, ["trigger", "reason"], **TRIGGER), "{{trigger}}: {{reason}}")],
            limits=red_above(0.01),
        ),
    ]


def _rows() -> Mapping[str, Sequence[Panel]]:
    return {"From decision to mail, in the selected time range": _funnel(), "Over time": _over_time()}


BOARD = Board(
    "freshgate-triggers",
    "Freshgate: triggers",
    "What does each trigger send, whom did it lose, and why?",
    ("trigger", "esp"),
    _rows,
)

"""Board 4, for the marketer beside the operator: what does each trigger send, and whom did it lose, and why?

Whether that was on time stands on the board of the objective.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards.boards.base import MAIL, TRIGGER, Board, Panel
from dashboards.panels import lines, numbers, rising, text
from dashboards.promql import increase, quantile, ratio, total
from freshgate.telemetry import metrics

# Decisions that end a send without a mail.
WITHHELD = "~" + "|".join(
    outcome for outcome in metrics.OUTCOMES if outcome not in ("sent", "fallback_sent", "rejected", "unknown", "dead")
)
LOST = "~rejected|unknown|dead"


def _funnel() -> Sequence[Panel]:
    return [
        numbers(
            "1 · Looked at by the gate",
            text(
                "How often did the gate look at a send? One that is moved or retried is looked at again, so this is "
                "more than the number of shoppers.",
                "it never is. Nothing at all: does the event arrive (board Sources and ESPs)?",
            ),
            "short",
            [(increase(metrics.GATE, ["trigger"], "count", **TRIGGER), "{{trigger}}")],
        ),
        numbers(
            "2 · Put off",
            text(
                "How often did a send go back to wait: something newer happened, or there is no address yet?",
                "it never is.",
            ),
            "short",
            [(increase(metrics.RETIMED, ["trigger"], **TRIGGER), "{{trigger}}")],
        ),
        numbers(
            "3 · Withheld",
            text(
                "How many sends ended without a mail, since it would have been wrong, late or unwanted?",
                "it never is: these are the mails that did no harm. The reasons stand below.",
            ),
            "short",
            [(increase(metrics.SENDS, ["trigger"], outcome=WITHHELD, **MAIL), "{{trigger}}")],
        ),
        numbers(
            "4 · Sent",
            text(
                "How many mails left?",
                "it never is. None, though the gate looked: the reasons below, or the ESP.",
            ),
            "short",
            [(increase(metrics.SENDS, ["trigger"], outcome="sent", **MAIL), "{{trigger}}")],
        ),
        numbers(
            "5 · Lost",
            text(
                "How many mails should have left and did not: rejected, dead, unknown?",
                "`python -m workers dead list`, `python -m workers unknown list`; board Sources and ESPs.",
            ),
            "short",
            [(increase(metrics.SENDS, ["trigger"], outcome=LOST, **MAIL), "{{trigger}}")],
            limits=rising(10, 1),
        ),
        numbers(
            "Share that was sent",
            text(
                "Of the sends that came to an end, which share became a mail?",
                "it never is: a cart mail that is cancelled by an order is a good one.",
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
            text("When does each trigger send?", "it never is; a trigger that stopped: runbook TriggerSilent."),
            "ops",
            [(total(metrics.SENDS, ["trigger"], outcome="sent", **MAIL), "{{trigger}}")],
            stacked=True,
        ),
        lines(
            "Withheld, by outcome",
            text(
                "Why do mails not leave?",
                "`stale`: late events. `no_address`: no address came in time. `capped`: enough for one shopper.",
            ),
            "ops",
            [(total(metrics.SENDS, ["trigger", "outcome"], outcome=WITHHELD, **MAIL), "{{trigger}} {{outcome}}")],
            stacked=True,
        ),
        lines(
            "Withheld, by the gate's reason",
            text(
                "Which rule said no? `ordered`: the cart mail was overtaken by its order. `unsubscribed`: the shopper.",
                "docs/METRICS.md lists the reasons; `python -m adapter why ID` shows them for one shopper.",
            ),
            "ops",
            [
                (
                    total(metrics.GATED, ["trigger", "outcome", "reason"], **TRIGGER),
                    "{{trigger}} {{outcome}}: {{reason}}",
                )
            ],
        ),
        lines(
            "Put off, by reason",
            text(
                "Why do sends wait longer?",
                "`parked` that never ends in a mail: the address comes too late. `held`: `python -m workers release`.",
            ),
            "ops",
            [(total(metrics.RETIMED, ["trigger", "reason"], **TRIGGER), "{{trigger}} {{reason}}")],
        ),
        lines(
            "Received and due → with the ESP, by trigger (p95)",
            text("Is one trigger slower than the others?", "its share of late mails pages: runbook MailsLate."),
            "s",
            [(quantile(0.95, metrics.RECEIVED_TO_ACCEPTED, ["trigger"], **MAIL), "{{trigger}}")],
            limits=rising(5, 2.5),
            exemplars=True,
        ),
        lines(
            "Wrong after all",
            text(
                "Which mails should not have left, as it turned out when older events arrived after them?",
                "raise `settle` for that trigger; the CDP delivers out of order by more than it.",
            ),
            "ops",
            [(total(metrics.CONTRADICTED, ["trigger", "reason"], **TRIGGER), "{{trigger}}: {{reason}}")],
            limits=rising(0.01),
        ),
    ]


def _rows() -> Mapping[str, Sequence[Panel]]:
    return {"From event to mail, in the time shown": _funnel(), "Over time": _over_time()}


BOARD = Board(
    "freshgate-triggers",
    "Freshgate: triggers",
    "What does each trigger send, and whom did it lose, and why?",
    ("trigger", "esp"),
    _rows,
)

"""The row of the board "sources" about outcomes: what a shop's CDP or webhook is told of the mails."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.boards.base import Panel
from dashboards.panels import COUNT, PER_MINUTE, describe, lines, red_above
from dashboards.promql import highest, per_minute
from freshgate.telemetry import metrics


def outcome_panels() -> Sequence[Panel]:
    return [
        lines(
            "Outcomes that left, by event",
            describe(
                "What is the CDP told of the mails, where `[outcomes.SHOP]` asks for that?",
                "never. Nothing while mails leave: runbook OutcomesLate.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.OUTCOMES_SENT, ["shop", "event"], result="taken"), "{{shop}} {{event}}")],
        ),
        lines(
            "Oldest outcome that waits",
            describe(
                "How far behind is what the CDP knows?",
                "the CDP is away, refuses the key, or takes less than there is: runbook OutcomesLate. No mail waits "
                "for it.",
            ),
            "s",
            [(highest(metrics.OUTCOMES_AGE, ["shop"]), "{{shop}}")],
            limits=red_above(600, yellow=60),
        ),
        lines(
            "Outcomes that wait, and that are lost",
            describe(
                "How many wait? How many a minute are lost, since more than `backlog` waited or the CDP refuses them?",
                "never. Any that are lost: runbook OutcomesLost.",
            ),
            COUNT,
            [
                (highest(metrics.OUTCOMES_WAITING, ["shop"]), "{{shop}} wait"),
                (per_minute(metrics.OUTCOMES_DROPPED, ["shop"]), "{{shop}} unsent a minute"),
                (per_minute(metrics.OUTCOMES_SENT, ["shop"], result="refused"), "{{shop}} refused a minute"),
            ],
        ),
        lines(
            "Calls that the CDP did not take",
            describe(
                "Does the CDP answer? `blocked`: the key or the URL is wrong.",
                "calls are tried again after a pause of up to five minutes: runbook OutcomesLate.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.OUTCOME_ERRORS, ["shop", "error"]), "{{shop}} {{error}}")],
            limits=red_above(1),
        ),
    ]

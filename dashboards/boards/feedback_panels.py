"""The row of the board "sources" about what ESPs report of the mails: delivered, bounced, complained."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.boards.base import ESP, MAIL, QUANTILES, Panel
from dashboards.panels import PER_MINUTE, describe, lines, red_above
from dashboards.promql import per_minute, quantile, rate, ratio
from freshgate.telemetry import metrics


def feedback_panels() -> Sequence[Panel]:
    ended = rate(metrics.FEEDBACK, ["esp"], event="~delivered|bounced", **MAIL)
    return [
        lines(
            "What ESPs report, by event",
            describe(
                "What became of the mails after the ESP had taken them?",
                "never. Nothing at all: the ESP's webhook is not set up, or its requests are refused.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.FEEDBACK, ["esp", "event"], **MAIL), "{{esp}} {{event}}")],
        ),
        lines(
            "Share of mails that bounced",
            describe(
                "Which share of the mails of an account did the recipients' servers refuse for good?",
                "old or bought addresses, or a CDP that sends made-up ones: runbook BouncesHigh. Above `bounce_limit` "
                "the account's marketing mail is held.",
            ),
            "percentunit",
            [(ratio(rate(metrics.FEEDBACK, ["esp"], event="bounced", **MAIL), ended), "{{esp}}")],
            limits=red_above(0.05, yellow=0.02),
        ),
        lines(
            "Share of mails reported as spam",
            describe(
                "Which share of the mails of an account did recipients mark as spam?",
                "mailbox providers block senders above 0.3 %: runbook ComplaintsHigh.",
            ),
            "percentunit",
            [(ratio(rate(metrics.FEEDBACK, ["esp"], event="complained", **MAIL), ended), "{{esp}}")],
            limits=red_above(0.003, yellow=0.001),
        ),
        lines(
            "From accepted to delivered",
            describe(
                "How long do the ESP and the recipient's server need after the ESP has accepted a mail?",
                "the ESP queues, or mailbox providers defer our mail: look at *deferred* events.",
            ),
            "s",
            [
                (quantile(q, metrics.ACCEPTED_TO_DELIVERED, ["esp"], **MAIL), "{{esp}} " + f"p{q * 100:.0f}")
                for q in QUANTILES
            ],
            limits=red_above(300, yellow=60),
        ),
        lines(
            "Unknown sends settled by feedback",
            describe(
                "How many sends, of which nobody knew if they had left, did the ESP report later?",
                "never. Each is one that no operator has to look at.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.SETTLED_BY_FEEDBACK, ["trigger"], **MAIL), "{{trigger}}")],
        ),
        lines(
            "Feedback refused with 401",
            describe(
                "Is feedback refused because it is not provably from the ESP?",
                "`feedback_secrets` is wrong or was rotated, or a stranger sends: runbook FeedbackRefused.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.UNAUTHENTIC_FEEDBACK, ["esp"], **ESP), "{{esp}}")],
            limits=red_above(6),
        ),
    ]

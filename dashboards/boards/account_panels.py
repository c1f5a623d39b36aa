"""The panels of the board "sources" about ESP accounts: breaker, limits, failover and pace."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.boards.base import ESP, MAIL, Panel
from dashboards.panels import COUNT, NO_POLLS, PER_MINUTE, describe, lines, numbers, red_above
from dashboards.promql import highest, per_minute, recently_highest
from freshgate.telemetry import metrics


def breakers() -> Panel:
    """For the verdict."""
    return numbers(
        "Breakers open",
        describe(
            "Is a breaker open (1)? Then no mail leaves through that account but a probe.",
            "mails wait, or leave through the failover: runbook BreakerOpen.",
        ),
        COUNT,
        [(highest(metrics.BREAKER_OPEN, ["esp"], **ESP), "{{esp}}")],
        limits=red_above(1),
        width=6,
        when_empty=NO_POLLS,
    )


def mails_waiting() -> Panel:
    """For the verdict. What keeps to its pace waits on purpose; of the other reasons an account has one at a time."""
    waiting = recently_highest(metrics.MAILS_WAITING, ["esp"], reason="~breaker_open|limited", **ESP)
    return numbers(
        "Mails waiting, by account",
        describe(
            "How many mails are due and wait for their ESP account, now or within the last two minutes: its breaker is "
            "open, or it is limited?",
            "the ESP fails, hangs or limits: runbooks BreakerOpen and AccountLimited.",
        ),
        COUNT,
        [(waiting, "{{esp}}")],
        limits=red_above(10, yellow=1),
        width=8,
        when_empty=NO_POLLS,
    )


def account_panels() -> Sequence[Panel]:
    return [
        lines(
            "Breaker open, over time",
            describe(
                "Through which accounts does no mail leave but a probe (1)?",
                "mails wait, or leave through the failover: runbook BreakerOpen. `workers accounts` says why.",
            ),
            COUNT,
            [(highest(metrics.BREAKER_OPEN, ["esp"], **ESP), "{{esp}}")],
            limits=red_above(1),
        ),
        lines(
            "Mails that wait for their account",
            describe(
                "How many mails are due and wait? `breaker_open`: nothing leaves. `limited`: a rate, set or learned. "
                "`paced`: the account's `pace` or `ramp`.",
                "never. `breaker_open`: runbook BreakerOpen. `limited`: runbook AccountLimited. `paced`: runbook "
                "PaceTooSlow.",
            ),
            COUNT,
            [(highest(metrics.MAILS_WAITING, ["esp", "reason"], **ESP), "{{esp}} {{reason}}")],
        ),
        lines(
            "Learned limit, and what the ESP takes",
            describe(
                "How many mails a minute may leave since the ESP answered 429, and how many does it take? The limit "
                "grows by itself; 0 is none.",
                "never. A limit for long: runbook AccountLimited.",
            ),
            PER_MINUTE,
            [
                (f"60 * {highest(metrics.LEARNED_LIMIT, ['esp'], **ESP)}", "{{esp}} limit"),
                (per_minute(metrics.SENDS, ["esp"], outcome="sent", **ESP), "{{esp}} taken"),
            ],
        ),
        lines(
            "Calls at once of limited accounts",
            describe(
                "How near is an account to its `max_in_flight`, over all workers?",
                "never. At the limit, mails wait for each other: compare *ESP response time*.",
            ),
            COUNT,
            [(highest(metrics.CALLS_AT_ONCE, ["esp"], **ESP), "{{esp}}")],
        ),
        lines(
            "Mails sent by the failover",
            describe(
                "Which mails leave through another account, since the breaker of their own is open?",
                "never. The cause is at the account whose breaker is open: runbook BreakerOpen.",
            ),
            PER_MINUTE,
            [
                (
                    per_minute(metrics.FAILED_OVER, ["esp", "trigger"], trigger=MAIL["trigger"], **ESP),
                    "{{trigger}} in place of {{esp}}",
                )
            ],
            stacked=True,
        ),
    ]

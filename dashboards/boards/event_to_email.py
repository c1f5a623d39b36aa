"""Board 1, the objective: are mails on time, and if not, where does the time go?

`dashboards/objective.py` defines the objective.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards.boards.base import MAIL, QUANTILES, SOURCE, Board, Panel
from dashboards.boards.verdict import alerts_table, verdict
from dashboards.objective import BUDGET, DAYS, LATE, PATH_TARGET, TARGET, all_mails, on_time, path_on_time
from dashboards.panels import (
    COUNT,
    PER_MINUTE,
    describe,
    green_above,
    heat,
    lines,
    number,
    numbers,
    red_above,
)
from dashboards.promql import WINDOW, highest, increase, per_minute, quantile, rate, ratio, selector
from freshgate.telemetry import metrics

NO_MAIL = "no mail, or timers or Redis down?"
# Outcomes of the gate that say something about the path's speed or the catalog.
WITHHELD = ("stale", "superseded", "cancelled", "duplicate", "suppressed", "capped", "no_address")


def _verdict() -> Sequence[Panel]:
    range_ = "$__range"
    return [
        *verdict(),
        number(
            "Mails on time",
            describe(
                f"Which share of the mails did the ESP accept within 5 s of being received and due? The objective is "
                f"{TARGET:.0%}. Withheld mails do not count. Dead and unknown mails count as late, and so do sends of "
                "any trigger that have been due for more than 5 s and still wait.",
                "find the slow stage in *Latency by stage* below; follow the runbook MailsLate.",
            ),
            "percentunit",
            on_time(range_, **MAIL),
            limits=green_above(TARGET, yellow=TARGET - BUDGET),
            when_empty=NO_MAIL,
        ),
        number(
            "Error budget left",
            describe(
                f"How much of the budget of late mails would be left after {DAYS} days like the selected time range? "
                f"Select the last {DAYS} days for the real figure.",
                "make no risky change until it has recovered; the burn rate shows when the budget was spent.",
            ),
            "percentunit",
            f"clamp_min(1 - (1 - {on_time(range_, **MAIL)}) / {BUDGET:.2f}, 0)",
            limits=green_above(0.5, yellow=0.1),
            when_empty=NO_MAIL,
        ),
        number(
            "On time with CDP",
            describe(
                "Which share of the mails did the ESP accept within 5 s of the event and its declared delay? This "
                "includes the CDP's own delay; what counts as late beside it is as in *Mails on time*.",
                "compare with *Mails on time*: if that is green, the CDP is late, and nothing here can fix it.",
            ),
            "percentunit",
            path_on_time(range_, **MAIL),
            limits=green_above(0.9, yellow=PATH_TARGET),
            when_empty=NO_MAIL,
        ),
        alerts_table(),
        lines(
            "Error budget burn rate",
            describe(
                "How many times faster than allowed is the error budget being spent? A rate of 1 spends it in exactly "
                f"{DAYS} days. This counts all triggers together, and what is due and waits.",
                "above 14.4 over 1 h, or 6 over 6 h, somebody is paged: runbook MailsLate.",
            ),
            "suffix:×",
            # Where nobody counts what waits, the rate is not known.
            [
                (f"{selector(LATE[window])} / {BUDGET:.2f} and on () {highest(metrics.SENDS_LATE)}", window)
                for window in ("5m", "1h", "6h", "3d")
            ],
            limits=red_above(14.4, yellow=6),
        ),
    ]


def _latency() -> Sequence[Panel]:
    received_to_accepted = metrics.RECEIVED_TO_ACCEPTED
    return [
        lines(
            "Latency: received and due → accepted by the ESP",
            describe(
                "How long does Freshgate take once a mail is both received and due?",
                "mails take longer than the 5 s of the objective: see *Latency by stage*. A dot is one mail; it opens "
                "its trace.",
            ),
            "s",
            [(quantile(q, received_to_accepted, **MAIL), f"p{q * 100:.0f}") for q in QUANTILES],
            limits=red_above(5, yellow=2.5),
            exemplars=True,
        ),
        heat(
            "Latency of all mails: received and due → accepted by the ESP",
            describe(
                "Are a few mails late, or all of them a little? Each row is a latency, each colour a number of mails.",
                "never. A second band above the first means retries or a backlog; a slow rise means a slow ESP or "
                "Redis.",
            ),
            f"sum by (le) (increase({selector(received_to_accepted, 'bucket', **MAIL)}[{WINDOW}]))",
        ),
        lines(
            "Latency by stage (p95)",
            describe(
                "Which stage is slow? The receiver verifies, reads and records; a job then waits in the queue for a "
                "free worker; the gate decides, which includes its trips to Redis; the ESP call is the ESP's own time.",
                "queue wait: start more workers. Gate or record: check Redis. ESP call: check the ESP's status page.",
            ),
            "s",
            [
                (quantile(0.95, metrics.VERIFY, **SOURCE), "verify"),
                (quantile(0.95, metrics.READ, **SOURCE), "read"),
                (quantile(0.95, metrics.RECORD, **SOURCE), "record"),
                (quantile(0.95, metrics.TIMER_LATENESS), "timer lateness"),
                (quantile(0.95, metrics.QUEUE_WAIT), "queue wait"),
                (quantile(0.95, metrics.GATE, trigger=MAIL["trigger"]), "gate"),
                (quantile(0.95, metrics.GATE_TO_CALL), "decision → ESP call"),
                (quantile(0.95, metrics.ESP_CALL, esp=MAIL["esp"]), "ESP call"),
            ],
            limits=red_above(5, yellow=2.5),
        ),
        lines(
            "CDP delay and Freshgate latency (p95)",
            describe(
                "Who is late: the CDP (occurred → received), or Freshgate (received and due → accepted by the ESP)? "
                "Both together are without the declared delay.",
                "if the CDP's line is the high one, report it to the CDP. Late events end as `stale`: no wrong mail "
                "leaves.",
            ),
            "s",
            [
                (quantile(0.95, metrics.SOURCE_DELAY, **SOURCE), "CDP"),
                (quantile(0.95, received_to_accepted, **MAIL), "Freshgate"),
                (quantile(0.95, metrics.OCCURRED_TO_ACCEPTED, **MAIL), "both"),
            ],
            limits=red_above(300, yellow=60),
        ),
    ]


def _flow() -> Sequence[Panel]:
    return [
        lines(
            "Events in, mails out",
            describe(
                "Do mails leave while events come in? There are many events and few mails: the distance between the "
                "lines should stay the same.",
                "never. Events without decisions: check that a worker is alive (board Queues and workers).",
            ),
            PER_MINUTE,
            [
                (per_minute(metrics.EVENTS, verdict="accepted", **SOURCE), "events accepted"),
                (per_minute(metrics.SENDS, **MAIL), "sends ended"),
                (per_minute(metrics.SENDS, outcome="~sent|fallback_sent", **MAIL), "mails sent"),
            ],
        ),
        lines(
            "Sends by outcome",
            describe(
                "How did the sends end?",
                "never. `dead`, `unknown` and `rejected` are lost mails; all other outcomes but `sent` are decisions "
                "of the gate.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.SENDS, ["outcome"], **MAIL), "{{outcome}}")],
            stacked=True,
        ),
    ]


def _mails() -> Sequence[Panel]:
    sends = rate(metrics.SENDS, **MAIL)
    return [
        number(
            "Mails sent or lost",
            describe(
                "How many mails do these figures count?", "never. With few mails, one late mail moves every share."
            ),
            COUNT,
            all_mails("$__range", **MAIL),
            width=8,
        ),
        number(
            "Mails proved wrong later",
            describe(
                "How many mails left before an older event arrived that would have stopped them?",
                "the CDP delivers out of order by more than `settle`; raise it for that trigger.",
            ),
            COUNT,
            increase(metrics.CONTRADICTED, trigger=MAIL["trigger"]),
            limits=red_above(1),
            width=8,
        ),
        number(
            "Mails dead or unknown",
            describe(
                "How many mails did Freshgate give up (dead), or cannot tell whether they left (unknown)?",
                "`python -m workers dead list` and `python -m workers unknown list` show them.",
            ),
            COUNT,
            increase(metrics.SENDS, outcome="~dead|unknown", **MAIL),
            limits=red_above(1),
            width=8,
        ),
        lines(
            "Share of sends withheld, by outcome",
            describe(
                "How often does the gate withhold a mail, and why? A rise comes from the CDP or the catalog; it is not "
                "a fault.",
                "never. `stale` above 5 %: events or retries are late (runbook StaleMails).",
            ),
            "percentunit",
            [(ratio(rate(metrics.SENDS, outcome=outcome, **MAIL), sends), outcome) for outcome in WITHHELD],
            width=24,
        ),
        numbers(
            "Running processes, by release",
            describe("Which release does each process run, and how many of each are there?", "never."),
            COUNT,
            [(f"count by (process, version) ({selector(metrics.BUILD)})", "{{process}} {{version}}")],
            width=24,
        ),
    ]


def _rows() -> Mapping[str, Sequence[Panel]]:
    return {
        "Verdict": _verdict(),
        "Flow of events and mails": _flow(),
        "Latency": _latency(),
        "Mails": _mails(),
    }


BOARD = Board(
    "freshgate-event-to-email",
    "Freshgate: event to email",
    "Are mails on time, and if not, where does the time go?",
    ("source", "trigger", "esp"),
    _rows,
)

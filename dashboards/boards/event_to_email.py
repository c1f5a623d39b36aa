"""Board 1, the objective: are mails on time, and if not, where does the time go?

The objective itself stands in objective.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards.boards.base import MAIL, SOURCE, Board, Panel
from dashboards.objective import BUDGET, DAYS, LATE, TARGET, all_mails, on_time, path_on_time
from dashboards.panels import falling, heat, lines, number, numbers, plain, rising, text
from dashboards.promql import ALERTS, WINDOW, increase, pick, quantile, ratio, total
from freshgate.telemetry import metrics

QUANTILES = (0.5, 0.95, 0.99)
# Why a mail did not leave, of those reasons that say something of the path's speed.
WITHHELD = ("stale", "superseded", "cancelled", "duplicate", "suppressed", "capped", "no_address")


def _objective() -> Sequence[Panel]:
    range_ = "$__range"
    return [
        number(
            "Mails on time",
            text(
                f"Which share of the mails was with the ESP within 5 s of being received and due? The objective is "
                f"{TARGET:.0%}. What the gate withheld does not count; what is dead or unknown counts as late.",
                "look at *Where the time goes* below for the stage that grew; the runbook is MailsLate.",
            ),
            "percentunit",
            on_time(range_, **MAIL),
            limits=falling(TARGET, TARGET - BUDGET),
        ),
        number(
            "Error budget left",
            text(
                f"How much of the {DAYS} days' budget of late mails is left, were all of them as the time shown? "
                f"Choose the last {DAYS} days for the real figure.",
                "no risky change until it has recovered; find what ate it by the burn rate.",
            ),
            "percentunit",
            f"clamp_min(1 - (1 - {on_time(range_, **MAIL)}) / {BUDGET:.2f}, 0)",
            limits=falling(0.5, 0.1),
        ),
        number(
            "Whole path on time",
            text(
                "Which share was with the ESP within 5 s of its occurrence and declared delay, the CDP's own delay "
                "included?",
                "compare with *Mails on time*: if that one is green, the CDP is late, and nothing here can mend it.",
            ),
            "percentunit",
            path_on_time(range_, **MAIL),
            limits=falling(0.9, 0.75),
        ),
        number(
            "Mails that left or were lost",
            text("How many mails is all this about?", "it never is; with few mails one late mail moves every share."),
            "short",
            all_mails(range_, **MAIL),
        ),
        number(
            "Wrong after all",
            text(
                "How many mails left although something that had occurred before forbade them, and arrived too late?",
                "the CDP delivers out of order by more than `settle`; raise it for that trigger.",
            ),
            "short",
            increase(metrics.CONTRADICTED, trigger=MAIL["trigger"]),
            limits=rising(1),
        ),
        number(
            "Dead or unknown",
            text(
                "How many mails were given up, or may or may not have left?",
                "`python -m workers dead list` and `python -m workers unknown list` show them.",
            ),
            "short",
            increase(metrics.SENDS, outcome="~dead|unknown", **MAIL),
            limits=rising(1),
        ),
        lines(
            "Burn rate",
            text(
                "How many times faster than allowed is the budget being used up? 1 uses it up in exactly "
                f"{DAYS} days. All triggers together.",
                "at 14 over 1 h (or 6 over 6 h) somebody is paged: runbook MailsLate.",
            ),
            "short",
            [(f"{pick(LATE[window])} / {BUDGET:.2f}", window) for window in ("5m", "1h", "6h", "3d")],
            limits=rising(14.4, 6),
        ),
        lines(
            "Alerts that fire",
            text(
                "What is wrong right now? Watchdog always fires: it shows that alerts work.",
                "open the runbook of that name in dashboards/runbooks/.",
            ),
            "short",
            [(f"count by (alertname, severity) ({pick(ALERTS, alertstate='firing')})", "{{alertname}} {{severity}}")],
            stacked=True,
        ),
    ]


def _latency() -> Sequence[Panel]:
    ours = metrics.RECEIVED_TO_ACCEPTED
    return [
        lines(
            "Received and due → with the ESP",
            text(
                "How long do we take, from when a mail was both received and due?",
                "the 5 s of the objective are passed: see *Where the time goes*. A dot is a mail, and its trace.",
            ),
            "s",
            [(quantile(q, ours, **MAIL), f"p{q * 100:.0f}") for q in QUANTILES],
            limits=rising(5, 2.5),
            exemplars=True,
        ),
        heat(
            "Received and due → with the ESP, all mails",
            text(
                "Are a few mails late, or all a little? Each row is a time, each colour a number of mails.",
                "a second band above the first is retries or a backlog; a slow rise is the ESP or Redis.",
            ),
            f"sum by (le) (increase({pick(ours, 'bucket', **MAIL)}[{WINDOW}]))",
        ),
        lines(
            "Where the time goes (p95)",
            text(
                "Which stage is slow? Verify, read and record are the receiver's; queue wait is for a free worker; "
                "the gate is the decision with its trips to Redis; the ESP call is the ESP's.",
                "queue wait: more workers. Gate or record: Redis. ESP call: the ESP's status page.",
            ),
            "s",
            [
                (quantile(0.95, metrics.VERIFY, **SOURCE), "verify"),
                (quantile(0.95, metrics.READ, **SOURCE), "read"),
                (quantile(0.95, metrics.RECORD, **SOURCE), "record"),
                (quantile(0.95, metrics.TIMER_LATENESS), "timer lateness"),
                (quantile(0.95, metrics.QUEUE_WAIT), "queue wait"),
                (quantile(0.95, metrics.GATE, trigger=MAIL["trigger"]), "gate"),
                (quantile(0.95, metrics.GATE_TO_CALL), "last look → call"),
                (quantile(0.95, metrics.ESP_CALL, esp=MAIL["esp"]), "ESP call"),
            ],
            limits=rising(5, 2.5),
        ),
        lines(
            "The CDP's delay beside ours (p95)",
            text(
                "Who is late: the CDP (occurrence → received), or we (received and due → with the ESP)?",
                "if the CDP's line is the high one, tell the CDP; late mails die as `stale`, they do not go out wrong.",
            ),
            "s",
            [
                (quantile(0.95, metrics.SOURCE_DELAY, **SOURCE), "CDP: occurrence → received"),
                (quantile(0.95, ours, **MAIL), "ours: received and due → ESP"),
                (quantile(0.95, metrics.OCCURRED_TO_ACCEPTED, **MAIL), "both, less the declared delay"),
            ],
            limits=rising(300, 60),
        ),
    ]


def _flow() -> Sequence[Panel]:
    sends = total(metrics.SENDS, **MAIL)
    return [
        lines(
            "In and out",
            text(
                "Does what comes in go out? Events are many, mails are few: do the lines keep their distance?",
                "events without decisions: is a worker alive (board Queues and workers)?",
            ),
            "ops",
            [
                (total(metrics.EVENTS, verdict="accepted", **SOURCE), "events accepted"),
                (sends, "sends decided"),
                (total(metrics.SENDS, outcome="sent", **MAIL), "mails sent"),
            ],
        ),
        lines(
            "Outcomes",
            text(
                "What became of the sends?",
                "`dead`, `unknown` and `rejected` are losses; all others are decisions of the gate.",
            ),
            "ops",
            [(total(metrics.SENDS, ["outcome"], **MAIL), "{{outcome}}")],
            stacked=True,
        ),
        lines(
            "Withheld, as a share of all sends",
            text(
                "How often does the gate say no, and why? A rise is news about the CDP or the catalog, not a fault.",
                "`stale` above 5 %: events or retries are late (runbook StaleMails).",
            ),
            "percentunit",
            [(ratio(total(metrics.SENDS, outcome=outcome, **MAIL), sends), outcome) for outcome in WITHHELD],
            limits=rising(0.5),
            width=24,
        ),
        numbers(
            "Since the last event of each source",
            text(
                "Is a CDP silent? Silence looks like health everywhere else.",
                "the runbook SourceSilent; a source without its first event since the start is not shown.",
            ),
            "s",
            [(f"time() - max by (source) ({pick(metrics.LAST_EVENT, **SOURCE)})", "{{source}}")],
            limits=rising(3600, 600),
        ),
        numbers(
            "What runs",
            text("Which release does each process run, and how many of each are there?", "it never is."),
            "short",
            [(f"count by (process, version) ({pick(metrics.BUILD)})", "{{process}} {{version}}")],
            limits=plain(),
        ),
    ]


def _rows() -> Mapping[str, Sequence[Panel]]:
    return {"The objective": _objective(), "Latency": _latency(), "Flow": _flow()}


BOARD = Board(
    "freshgate-event-to-email",
    "Freshgate: event to email",
    "Are mails on time, and if not, where does the time go?",
    ("source", "trigger", "esp"),
    _rows,
)

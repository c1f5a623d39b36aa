"""Board 3, the two ends: what comes from the CDPs and is it taken, and does the ESP take what we send?

The middle is on the other boards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards.boards.base import ESP, MAIL, SOURCE, Board, Panel
from dashboards.panels import lines, number, rising, text
from dashboards.promql import REQUEST_TIME, REQUESTS, increase, quantile, ratio, total
from freshgate.telemetry import metrics

QUANTILES = (0.5, 0.95, 0.99)


def _requests() -> Sequence[Panel]:
    return [
        lines(
            "Requests by status",
            text(
                "What do the CDPs get as an answer? 200 says nothing of single elements: see the verdicts.",
                "401, 400, 413, 415 are not sent again: that data is lost. 503 is sent again.",
            ),
            "reqps",
            [(total(REQUESTS, ["status"]), "{{status}}")],
            stacked=True,
        ),
        lines(
            "Time to answer (p95)",
            text(
                "How fast does the receiver answer? A CDP gives up after 5 to 10 s, and sends again.",
                "see *Verify, read, record*; mostly it is Redis.",
            ),
            "s",
            [(quantile(0.95, REQUEST_TIME, ["url_rule"]), "{{url_rule}}")],
            limits=rising(1, 0.25),
        ),
        lines(
            "Turned away with 401",
            text(
                "Who is turned away? `BatchWithoutToken` is a CDP that batches and has no token, and `NotAuthentic` a "
                "wrong secret or a stranger.",
                "the CDP does not repeat it: runbooks SignaturesFail and BatchWithoutToken.",
            ),
            "reqps",
            [(total(metrics.UNAUTHENTIC, ["source", "reason"], **SOURCE), "{{source}} {{reason}}")],
            limits=rising(0.1),
        ),
        lines(
            "Bodies refused as a whole",
            text(
                "Are whole bodies refused: 400 not readable, 413 too large, 415 of another kind?",
                "each may hold thousands of events that the CDP drops: runbook BodiesRefused.",
            ),
            "reqps",
            [(total(metrics.REQUESTS_REFUSED, ["source", "status"], **SOURCE), "{{source}} {{status}}")],
            limits=rising(0.01),
        ),
        lines(
            "Told to come later",
            text(
                "Which limits are reached, and answered with 429? `ip` and `addresses` are single visitors.",
                "all visitors at once: `trusted_proxies` is wrong. One source: runbook SourceLimited.",
            ),
            "reqps",
            [(total(metrics.RATE_LIMITED, ["source", "limit"], **SOURCE), "{{source}} {{limit}}")],
            limits=rising(1),
        ),
        lines(
            "Verify, read, record (p95)",
            text(
                "What does a request cost, by step?",
                "record is Redis; verify and read grow with the size of the batches.",
            ),
            "s",
            [
                (quantile(0.95, metrics.VERIFY, ["source"], **SOURCE), "{{source}} verify"),
                (quantile(0.95, metrics.READ, ["source"], **SOURCE), "{{source}} read"),
                (quantile(0.95, metrics.RECORD, ["source"], **SOURCE), "{{source}} record"),
            ],
            limits=rising(0.5, 0.1),
        ),
        lines(
            "Delay of the source",
            text(
                "How old is a request's newest event when it arrives? One observation a request.",
                "the CDP is late, or a shop's clock is wrong; mails for old events die as `stale`.",
            ),
            "s",
            [(quantile(q, metrics.SOURCE_DELAY, **SOURCE), f"p{q * 100:.0f}") for q in QUANTILES],
            limits=rising(300, 60),
            width=24,
        ),
    ]


def _elements() -> Sequence[Panel]:
    verdicts = total(metrics.EVENTS, **SOURCE)
    return [
        lines(
            "Elements by verdict",
            text(
                "What became of what the CDPs sent? `ignored` are events that nobody mapped.",
                "see the refusals beside; `python -m adapter unmapped` lists what was ignored.",
            ),
            "ops",
            [(total(metrics.EVENTS, ["verdict"], **SOURCE), "{{verdict}}")],
            stacked=True,
        ),
        lines(
            "Refused elements by reason",
            text(
                "Why are elements refused?",
                "`internal` is our fault: they wait in the quarantine. All others are the sender's: show them to it.",
            ),
            "ops",
            [(total(metrics.REFUSALS, ["source", "reason"], **SOURCE), "{{source}} {{reason}}")],
            limits=rising(1),
        ),
        lines(
            "Shares of all elements",
            text(
                "How much is new, how much was sent twice, how much is not for us?",
                "many duplicates: the CDP repeats since our answers are slow. Many refused: see the reasons.",
            ),
            "percentunit",
            [
                (ratio(total(metrics.EVENTS, verdict=verdict, **SOURCE), verdicts), verdict)
                for verdict in metrics.VERDICTS
                if verdict != "accepted"
            ],
            limits=rising(0.9),
        ),
        lines(
            "Imperfect events",
            text(
                "Which events were taken although something was wrong: a field that could not be read, a time "
                "that lies in the future?",
                "`python -m adapter read` shows what we make of an event. Times ahead: runbook ClocksSkewed.",
            ),
            "ops",
            [
                (total(metrics.UNREADABLE, ["source"], **SOURCE), "{{source}} unreadable fields"),
                (total(metrics.CLAMPED, ["source"], **SOURCE), "{{source}} times ahead"),
            ],
            limits=rising(1),
        ),
        lines(
            "Links between ids",
            text(
                "How do ids come together? `linked` and `merged` are the daily business.",
                "`ambiguous`: devices of many people. `full` or `cycle`: an id that stands for nobody, as `null`.",
            ),
            "ops",
            [(total(metrics.IDENTITY_LINKS, ["result"]), "{{result}}")],
        ),
        lines(
            "Unmapped",
            text(
                "How much comes in that no event type takes?",
                "it never is; `python -m adapter unmapped` names it, docs/ADDING.md says how to take it.",
            ),
            "ops",
            [(total(metrics.EVENTS, ["source"], verdict="ignored", **SOURCE), "{{source}}")],
        ),
    ]


def _esp() -> Sequence[Panel]:
    calls = total(metrics.ESP_CALL, (), "count", **ESP)
    return [
        number(
            "Calls that failed",
            text(
                "Which share of the calls did the ESP not take?",
                "see the classes of errors: runbooks EspFailing and EspBlocked.",
            ),
            "percentunit",
            ratio(
                increase(metrics.ESP_CALL, (), "count", result="error", **ESP),
                increase(metrics.ESP_CALL, (), "count", **ESP),
            ),
            limits=rising(0.05, 0.01),
            width=8,
        ),
        number(
            "Blocked",
            text(
                "How often did the ESP say that the account may not send (401, 403, no credits)?",
                "nothing leaves until the key or the account is right: runbook EspBlocked.",
            ),
            "short",
            increase(metrics.ESP_ERRORS, error="blocked", **ESP),
            limits=rising(1),
            width=8,
        ),
        number(
            "Rejected for good",
            text(
                "How many mails did the ESP refuse for good?",
                "a wrong template id or sender refuses all of them: `python -m adapter why ID` shows its words.",
            ),
            "short",
            increase(metrics.SENDS, outcome="rejected", **MAIL),
            limits=rising(10, 1),
            width=8,
        ),
        lines(
            "Calls",
            text("How much do we ask of the ESP, and how much does it take?", "errors above 5 %: runbook EspFailing."),
            "reqps",
            [(total(metrics.ESP_CALL, ["esp", "result"], "count", **ESP), "{{esp}} {{result}}"), (calls, "all")],
        ),
        lines(
            "Time of a call",
            text(
                "How fast is the ESP?",
                "each worker waits that long for each mail: a slow ESP needs more workers.",
            ),
            "s",
            [(quantile(q, metrics.ESP_CALL, ["esp"], **ESP), "{{esp}} " + f"p{q * 100:.0f}") for q in QUANTILES],
            limits=rising(2.5, 1),
        ),
        lines(
            "Errors by class",
            text(
                "What kind of errors? `retry` is 429 and 5xx, `blocked` the account, `ambiguous` an answer that never "
                "came, `permanent` this one mail.",
                "retry: its status page, or its rate limit. ambiguous: `python -m workers unknown list`.",
            ),
            "ops",
            [(total(metrics.ESP_ERRORS, ["esp", "error"], **ESP), "{{esp}} {{error}}")],
            limits=rising(0.5),
        ),
        lines(
            "Sends that wait for another try",
            text(
                "How many sends were put off since the ESP asked for it or failed?",
                "they leave by themselves until their max_age; after that they are dead.",
            ),
            "ops",
            [(total(metrics.RETIMED, ["trigger"], reason="retry", trigger=MAIL["trigger"]), "{{trigger}}")],
        ),
    ]


def _rows() -> Mapping[str, Sequence[Panel]]:
    return {"Requests": _requests(), "Elements": _elements(), "The ESP": _esp()}


BOARD = Board(
    "freshgate-sources",
    "Freshgate: sources and ESPs",
    "What comes from the CDPs and is it taken, and does the ESP take what we send?",
    ("source", "trigger", "esp"),
    _rows,
)

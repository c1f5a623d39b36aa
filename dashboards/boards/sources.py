"""Board 3, the two ends: what comes from the CDPs and is it taken, and does the ESP take what we send?

`esp_panels.py` and `feedback_panels.py` hold the panels about the ESP. The other boards show what happens in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards.boards.account_panels import account_panels, breakers, mails_waiting
from dashboards.boards.base import QUANTILES, SOURCE, Board, Panel
from dashboards.boards.esp_panels import calls_by_result, errors_by_class, esp_panels, failed_calls
from dashboards.boards.feedback_panels import feedback_panels
from dashboards.boards.outcome_panels import outcome_panels
from dashboards.boards.verdict import verdict
from dashboards.panels import PER_MINUTE, describe, lines, number, numbers, red_above
from dashboards.promql import OF_LATE, REQUEST_TIME, REQUESTS, increase, per_minute, quantile, rate, ratio, selector
from freshgate.telemetry import metrics


def _verdict() -> Sequence[Panel]:
    failing, requests = (increase(REQUESTS, window=OF_LATE, **labels) for labels in ({"status": "~5.."}, {}))
    rejected = increase(metrics.UNAUTHENTIC, ["source"], window=OF_LATE, **SOURCE)
    verified = increase(metrics.VERIFY, ["source"], "count", OF_LATE, **SOURCE)
    return [
        *verdict(),
        number(
            "5xx answers",
            describe(
                "Which share of the requests of the last 5 minutes did we fail? The CDP retries them for hours only.",
                "mostly Redis: runbook ReceiverFailing.",
            ),
            "percentunit",
            f"({failing} or 0 * {requests}) / ({requests} > 0)",
            limits=red_above(0.05, yellow=0.001),
            when_empty="no request of late",
        ),
        number(
            "401 answers",
            describe(
                "Which share of its requests of the last 5 minutes is not authentic, of the source with the largest? "
                "The CDP does not repeat them.",
                "*Requests rejected with 401* names the source: runbooks SignaturesFail and BatchWithoutToken.",
            ),
            "percentunit",
            f"max(({rejected} or 0 * {verified}) / ({verified} > 0))",
            limits=red_above(0.1, yellow=0.02),
            when_empty="no request of late",
        ),
        failed_calls(),
        numbers(
            "Time since the last event, by source",
            describe(
                "Has a CDP stopped sending? On all other panels, silence looks like health.",
                "follow the runbook SourceSilent. A source appears here with its first event since the start.",
            ),
            "s",
            [(f"time() - max by (source) ({selector(metrics.LAST_EVENT, **SOURCE)})", "{{source}}")],
            limits=red_above(3600, yellow=600),
            width=10,
            when_empty="no event yet, or the receiver is down",
        ),
        breakers(),
        mails_waiting(),
    ]


def _flow() -> Sequence[Panel]:
    return [
        lines(
            "Requests by status",
            describe(
                "Which status do the CDPs get? A 200 says nothing about single elements: see *Elements by verdict*.",
                "never. The CDP does not retry 400, 401, 413 and 415: that data is lost. It retries 503.",
            ),
            PER_MINUTE,
            [(per_minute(REQUESTS, ["status"]), "{{status}}")],
            stacked=True,
        ),
        lines(
            "Requests rejected with 401",
            describe(
                "Whose requests are rejected? `BatchWithoutToken`: a CDP sends batches without the token. "
                "`NotAuthentic`: the secret is wrong, or a stranger sends.",
                "the CDP does not retry a 401: runbooks SignaturesFail and BatchWithoutToken.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.UNAUTHENTIC, ["source", "reason"], **SOURCE), "{{source}} {{reason}}")],
            limits=red_above(6),
        ),
        calls_by_result(),
        errors_by_class(),
        lines(
            "Elements by verdict",
            describe(
                "What became of the elements that the CDPs sent? `ignored`: no event type takes them.",
                "never. Refused elements: see their reasons. `python -m adapter unmapped` lists the ignored ones.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.EVENTS, ["verdict"], **SOURCE), "{{verdict}}")],
            stacked=True,
        ),
        lines(
            "Unmapped elements by source",
            describe(
                "How many elements does no event type take?",
                "never. `python -m adapter unmapped` names them, docs/ADDING.md explains how to map them.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.EVENTS, ["source"], verdict="ignored", **SOURCE), "{{source}}")],
        ),
    ]


def _requests() -> Sequence[Panel]:
    return [
        lines(
            "Response time (p95)",
            describe(
                "How fast does the receiver answer? A CDP gives up after 5 to 10 s, and sends the request again.",
                "find the slow step in *Time to verify, read and record*; mostly it is Redis.",
            ),
            "s",
            [(quantile(0.95, REQUEST_TIME, ["url_rule"]), "{{url_rule}}")],
            limits=red_above(1, yellow=0.25),
        ),
        lines(
            "Whole requests refused (400, 413, 415)",
            describe(
                "Are whole requests refused? 400: not readable. 413: too large. 415: a content type we do not take. "
                "Connections are dropped when a request arrives too slowly, or there is no room for it.",
                "each may hold thousands of events, which the CDP drops: runbook BodiesRefused.",
            ),
            PER_MINUTE,
            [
                (per_minute(metrics.REQUESTS_REFUSED, ["source", "status"], **SOURCE), "{{source}} {{status}}"),
                (per_minute(metrics.CONNECTIONS_DROPPED, ["reason"]), "connections dropped: {{reason}}"),
            ],
            limits=red_above(0.6),
        ),
        lines(
            "Rate-limited requests (429)",
            describe(
                "Which limits are reached? `ip`, `ip_bytes` and `addresses` limit one visitor, the others the source.",
                "many visitors at once: `trusted_proxies` may be wrong. Otherwise follow the runbook SourceLimited.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.RATE_LIMITED, ["source", "limit"], **SOURCE), "{{source}} {{limit}}")],
            limits=red_above(60),
        ),
        lines(
            "Time to verify, read and record (p95)",
            describe(
                "Which step of a request takes how long?",
                "the step `record` waits for Redis; `verify` and `read` grow with the size of the batches.",
            ),
            "s",
            [
                (quantile(0.95, metrics.VERIFY, ["source"], **SOURCE), "{{source}} verify"),
                (quantile(0.95, metrics.READ, ["source"], **SOURCE), "{{source}} read"),
                (quantile(0.95, metrics.RECORD, ["source"], **SOURCE), "{{source}} record"),
            ],
            limits=red_above(0.5, yellow=0.1),
        ),
        lines(
            "Age of events on arrival",
            describe(
                "How old is the newest event of a request when it arrives?",
                "the CDP is late, or the sender's clock is wrong. Mails for events that are too old end as `stale`.",
            ),
            "s",
            [(quantile(q, metrics.SOURCE_DELAY, **SOURCE), f"p{q * 100:.0f}") for q in QUANTILES],
            limits=red_above(300, yellow=60),
        ),
        lines(
            "Cache of the People API",
            describe(
                "Does the cache spare work? `stale`: the person has changed since. `failed`: Memcached did not answer.",
                "never. `failed`: look at Memcached. Answers stay right without it, and take longer.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.PEOPLE_CACHE, ["result"]), "{{result}}")],
        ),
        lines(
            "Age of cached persons",
            describe(
                "How old is what the cache answers with? Nothing has changed since then: Redis was asked.",
                "never. Young ones mean that the cache spares little.",
            ),
            "s",
            [(quantile(q, metrics.PEOPLE_CACHE_AGE), f"p{q * 100:.0f}") for q in QUANTILES],
        ),
    ]


def _elements() -> Sequence[Panel]:
    all_verdicts = rate(metrics.EVENTS, **SOURCE)
    return [
        lines(
            "Refused elements by reason",
            describe(
                "Why are elements refused?",
                "`internal` is a fault of Freshgate: the elements wait in the quarantine (runbook ReadingFailed). All "
                "other reasons are the sender's to fix.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.REFUSALS, ["source", "reason"], **SOURCE), "{{source}} {{reason}}")],
            limits=red_above(60),
        ),
        lines(
            "Share of elements duplicate, ignored or refused",
            describe(
                "Which share of the elements was sent twice, is not mapped, or is refused?",
                "many duplicates: the CDP retries because our answers are slow. Many refused: see their reasons.",
            ),
            "percentunit",
            [
                (ratio(rate(metrics.EVENTS, verdict=verdict, **SOURCE), all_verdicts), verdict)
                for verdict in metrics.VERDICTS
                if verdict != "accepted"
            ],
            limits=red_above(0.9),
        ),
        lines(
            "Accepted events with unreadable fields or future times",
            describe(
                "Which events were accepted although a field was unreadable, or their time lies in the future?",
                "`python -m adapter read` shows how Freshgate reads an event. Future times: runbook ClocksSkewed.",
            ),
            PER_MINUTE,
            [
                (per_minute(metrics.UNREADABLE, ["source"], **SOURCE), "{{source}} unreadable fields"),
                (per_minute(metrics.CLAMPED, ["source"], **SOURCE), "{{source}} future times"),
            ],
            limits=red_above(60),
        ),
        lines(
            "Identity links by result",
            describe(
                "Are ids of the same person linked? `linked` and `merged` are normal.",
                "never. `ambiguous`: a device that several people use, or an id that names nobody. `unproven`: a page "
                "claims a known user. `erased`: events of somebody who was erased.",
            ),
            PER_MINUTE,
            [(per_minute(metrics.IDENTITY_LINKS, ["result"]), "{{result}}")],
        ),
    ]


def _rows() -> Mapping[str, Sequence[Panel]]:
    return {
        "Verdict": _verdict(),
        "Flow": _flow(),
        "Requests": _requests(),
        "Elements": _elements(),
        "ESP": esp_panels(),
        "ESP accounts": account_panels(),
        "Feedback": feedback_panels(),
        "Outcomes": outcome_panels(),
    }


BOARD = Board(
    "freshgate-sources",
    "Freshgate: sources and ESPs",
    "What comes from the CDPs and is it taken, and does the ESP take what we send?",
    ("source", "trigger", "esp"),
    _rows,
)

"""Alerts on what comes from the CDPs: rejected, refused, rate-limited, silent, or with wrong times."""

from __future__ import annotations

from dashboards.alerts.base import Alert, dropped_since_last_week
from dashboards.promql import REQUESTS, increase, rate, selector
from freshgate.telemetry import metrics

BOARD = "freshgate-sources"


def source_alerts() -> list[Alert]:
    return [*_request_alerts(), *_event_alerts()]


def _request_alerts() -> list[Alert]:
    rejected = rate(metrics.UNAUTHENTIC, ["source"], "", "10m", reason="NotAuthentic")
    verified = rate(metrics.VERIFY, ["source"], "count", "10m")
    rejected_now = rate(metrics.UNAUTHENTIC, ["source"], "", "5m", reason="NotAuthentic")
    verified_now = rate(metrics.VERIFY, ["source"], "count", "5m")
    failing = rate(REQUESTS, (), "", "5m", status="~5..")
    return [
        Alert(
            "SignaturesFail",
            "page",
            f"{rejected_now} / {verified_now} > 0.5 and {increase(metrics.VERIFY, ['source'], 'count', '5m')} > 10",
            "More than half of the requests of {{ $labels.source }} get a 401: their events are lost.",
            BOARD,
            "2m",
            panel="Requests rejected with 401",
        ),
        Alert(
            "SignaturesFailNowAndThen",
            "ticket",
            f"{rejected} / {verified} > 0.02"
            f" and {increase(metrics.UNAUTHENTIC, ['source'], '', '10m', reason='NotAuthentic')} > 10",
            "Some requests of {{ $labels.source }} get a 401 for a wrong signature.",
            BOARD,
            "15m",
            panel="Requests rejected with 401",
        ),
        Alert(
            "BatchWithoutToken",
            "page",
            f"{increase(metrics.UNAUTHENTIC, ['source'], '', '15m', reason='BatchWithoutToken')} > 0",
            "{{ $labels.source }} sends batches without the token: they get a 401, and their events are lost.",
            BOARD,
            panel="Requests rejected with 401",
        ),
        Alert(
            "BodiesRefused",
            "ticket",
            f"{increase(metrics.REQUESTS_REFUSED, ['source', 'status'], '', '15m')} > 0",
            "Whole requests of {{ $labels.source }} are refused with {{ $labels.status }}: the CDP drops their events.",
            BOARD,
            panel="Whole requests refused (400, 413, 415)",
        ),
        Alert(
            "SourceLimited",
            "ticket",
            f"{increase(metrics.RATE_LIMITED, ['source', 'limit'], '', '15m')} > 100",
            "{{ $value | humanize }} requests of {{ $labels.source }} got a 429 from the rate limit on "
            "{{ $labels.limit }}.",
            BOARD,
            panel="Rate-limited requests (429)",
        ),
        Alert(
            "ReadingFailed",
            "ticket",
            f"{increase(metrics.REFUSALS, ['source'], '', '1h', reason='internal')} > 0",
            "Freshgate's own code failed on elements of {{ $labels.source }}; they are in the quarantine.",
            BOARD,
            panel="Refused elements by reason",
        ),
        Alert(
            "ReceiverFailing",
            "page",
            f"{failing} / {rate(REQUESTS, (), '', '5m')} > 0.05",
            "{{ $value | humanizePercentage }} of the requests get a 5xx; the CDP retries them for some hours only.",
            BOARD,
            "5m",
            panel="Requests by status",
        ),
    ]


def _event_alerts() -> list[Alert]:
    clamped = increase(metrics.CLAMPED, ["source"], "", "1h")
    return [
        Alert(
            "SourceSilent",
            "ticket",
            dropped_since_last_week(selector(metrics.EVENTS, verdict="accepted"), "source", min_count=100),
            "{{ $labels.source }} sends less than a tenth of what it sent a week ago.",
            BOARD,
            "30m",
            panel="Time since the last event, by source",
        ),
        Alert(
            "ClocksSkewed",
            "ticket",
            f"{clamped} / ({increase(metrics.EVENTS, ['source'], '', '1h')} > 20) > 0.05",
            "More than 5 % of the events of {{ $labels.source }} have a time in the future.",
            BOARD,
            "15m",
            panel="Accepted events with unreadable fields or future times",
        ),
    ]

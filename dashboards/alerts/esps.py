"""Alerts on the ESPs: failing, deferring, blocked, or rejecting mails; and on what they report of the mails."""

from __future__ import annotations

from dashboards.alerts.base import Alert
from dashboards.promql import increase, rate
from freshgate.telemetry import metrics

BOARD = "freshgate-sources"


def esp_alerts() -> list[Alert]:
    errors = rate(metrics.ESP_ERRORS, ["esp"], "", "5m", error="~retry|ambiguous")
    calls = rate(metrics.ESP_CALL, ["esp"], "count", "5m")
    return [
        Alert(
            "EspFailing",
            "page",
            f"{errors} / {calls} > 0.5 and {increase(metrics.ESP_CALL, ['esp'], 'count', '5m')} > 10",
            "More than half of the calls to {{ $labels.esp }} fail (429, 5xx or no answer).",
            BOARD,
            "5m",
        ),
        Alert(
            "EspRetries",
            "ticket",
            f"{errors} / {calls} > 0.05 and {increase(metrics.ESP_CALL, ['esp'], 'count', '5m')} > 10",
            "{{ $value | humanizePercentage }} of the calls to {{ $labels.esp }} fail (429, 5xx or no answer).",
            BOARD,
            "15m",
        ),
        Alert(
            "EspBlocked",
            "page",
            f"{increase(metrics.ESP_ERRORS, ['esp'], '', '10m', error='blocked')} > 0",
            "{{ $labels.esp }} says that the account may not send: no mail leaves through it.",
            BOARD,
            "2m",
        ),
        Alert(
            "EspRejects",
            "ticket",
            f"{increase(metrics.SENDS, ['trigger'], '', '1h', outcome='rejected')}"
            f" / ({increase(metrics.SENDS, ['trigger'], '', '1h', outcome='~sent|rejected')} > 20) > 0.05",
            "The ESP permanently rejects more than 5 % of the mails of {{ $labels.trigger }}.",
            BOARD,
            "10m",
        ),
        Alert(
            "BouncesHigh",
            "page",
            _share_of_mails("bounced", "> 0.05", min_count=20),
            "{{ $value | humanizePercentage }} of the mails of {{ $labels.esp }} bounce.",
            BOARD,
            "5m",
        ),
        Alert(
            "ComplaintsHigh",
            "page",
            _share_of_mails("complained", "> 0.003", min_count=5),
            "{{ $value | humanizePercentage }} of the mails of {{ $labels.esp }} are reported as spam.",
            BOARD,
            "5m",
        ),
        Alert(
            "FeedbackRefused",
            "ticket",
            f"{increase(metrics.UNAUTHENTIC_FEEDBACK, ['esp'], '', '1h')} > 10",
            "Feedback of {{ $labels.esp }} is refused: bounces and unsubscribes do not arrive.",
            BOARD,
            "10m",
        ),
    ]


def _share_of_mails(event: str, limit: str, *, min_count: int) -> str:
    """Of the mails of an account that came to an end within an hour; a share of few mails says nothing."""
    bad = increase(metrics.FEEDBACK, ["esp"], "", "1h", event=event)
    ended = increase(metrics.FEEDBACK, ["esp"], "", "1h", event="~delivered|bounced")
    return f"({bad} > {min_count}) / {ended} {limit}"

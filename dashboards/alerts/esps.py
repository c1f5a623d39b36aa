"""Alerts on the ESPs: failing, deferring, blocked, or rejecting mails; and on what they report of the mails."""

from __future__ import annotations

from dashboards.alerts.base import Alert
from dashboards.objective import waiting_late
from dashboards.promql import highest, increase, rate, recently_highest
from freshgate.telemetry import metrics

BOARD = "freshgate-sources"


def esp_alerts() -> list[Alert]:
    errors = rate(metrics.ESP_ERRORS, ["esp"], "", "5m", error="~retry|ambiguous")
    calls = rate(metrics.ESP_CALL, ["esp"], "count", "5m")
    called = f"{increase(metrics.ESP_CALL, ['esp'], 'count', '5m')} > 10"
    errors_now = increase(metrics.ESP_ERRORS, ["esp"], "", "2m", error="~retry|ambiguous")
    calls_now = increase(metrics.ESP_CALL, ["esp"], "count", "2m")
    return [
        # Before the late mails page for what is the ESP's. An account that pauses makes few calls.
        Alert(
            "EspFailing",
            "page",
            f"{errors_now} / {calls_now} > 0.2 and {errors_now} > 2 and on () {waiting_late()} > 10",
            "{{ $value | humanizePercentage }} of the calls to {{ $labels.esp }} fail, and mails wait for it.",
            BOARD,
            "1m",
            panel="ESP errors by class",
            labels={"window": "1m"},
        ),
        Alert(
            "EspFailing",
            "page",
            f"{errors} / {calls} > 0.5 and {called}",
            "More than half of the calls to {{ $labels.esp }} fail (429, 5xx or no answer).",
            BOARD,
            "3m",
            panel="ESP errors by class",
        ),
        Alert(
            "EspRetries",
            "ticket",
            f"{errors} / {calls} > 0.05 and {called}",
            "{{ $value | humanizePercentage }} of the calls to {{ $labels.esp }} fail (429, 5xx or no answer).",
            BOARD,
            "15m",
            panel="ESP errors by class",
        ),
        Alert(
            "EspBlocked",
            "page",
            f"{increase(metrics.ESP_ERRORS, ['esp'], '', '10m', error='blocked')} > 0",
            "{{ $labels.esp }} says that the account may not send: no mail leaves through it.",
            BOARD,
            "2m",
            panel="ESP errors by class",
        ),
        Alert(
            "BreakerOpen",
            "page",
            f"{highest(metrics.BREAKER_OPEN, ['esp'])} > 0",
            "No mail leaves through {{ $labels.esp }}: its breaker is open.",
            BOARD,
            "1m",
            panel="Breakers open",
        ),
        Alert(
            "AccountLimited",
            "ticket",
            f"{highest(metrics.LEARNED_LIMIT, ['esp'])} > 0"
            f" and {recently_highest(metrics.MAILS_WAITING, ['esp'], reason='limited')} > 100",
            "{{ $labels.esp }} takes {{ $value }} mails a second, and more than 100 wait for their turn.",
            BOARD,
            "10m",
            panel="Learned limit, and what the ESP takes",
        ),
        Alert(
            "FailoverInUse",
            "ticket",
            f"{increase(metrics.FAILED_OVER, ['esp'], '', '15m')} > 0",
            "{{ $value | humanize }} mails of {{ $labels.esp }} left through its failover within 15 minutes.",
            BOARD,
            panel="Mails sent by the failover",
        ),
        Alert(
            "PaceTooSlow",
            "ticket",
            f"{highest(metrics.MAILS_WAITING, ['esp'], reason='paced')} > 0"
            f" and {increase(metrics.SENDS, ['esp'], '', '1h', outcome='stale')} > 10",
            "{{ $value }} mails wait for the pace of {{ $labels.esp }}, and some are too old when their turn comes.",
            BOARD,
            "30m",
            panel="Mails that wait for their account",
        ),
        Alert(
            "EspRejects",
            "ticket",
            f"{increase(metrics.SENDS, ['trigger'], '', '1h', outcome='rejected')}"
            f" / ({increase(metrics.SENDS, ['trigger'], '', '1h', outcome='~sent|rejected')} > 20) > 0.05",
            "The ESP permanently rejects more than 5 % of the mails of {{ $labels.trigger }}.",
            BOARD,
            "10m",
            panel="Mails rejected permanently",
        ),
        Alert(
            "BouncesHigh",
            "page",
            _share_of_mails("bounced", "> 0.05", min_count=20),
            "{{ $value | humanizePercentage }} of the mails of {{ $labels.esp }} bounce.",
            BOARD,
            "5m",
            panel="Share of mails that bounced",
        ),
        Alert(
            "ComplaintsHigh",
            "page",
            _share_of_mails("complained", "> 0.003", min_count=5),
            "{{ $value | humanizePercentage }} of the mails of {{ $labels.esp }} are reported as spam.",
            BOARD,
            "5m",
            panel="Share of mails reported as spam",
        ),
        Alert(
            "FeedbackRefused",
            "ticket",
            f"{increase(metrics.UNAUTHENTIC_FEEDBACK, ['esp'], '', '1h')} > 10",
            "Feedback of {{ $labels.esp }} is refused: bounces and unsubscribes do not arrive.",
            BOARD,
            "10m",
            panel="Feedback refused with 401",
        ),
        Alert(
            "OutcomesLate",
            "ticket",
            f"{highest(metrics.OUTCOMES_AGE, ['shop'])} > 600",
            "What became of the mails of {{ $labels.shop }} does not reach its CDP: the oldest waits {{ $value }} s.",
            BOARD,
            "10m",
            panel="Oldest outcome that waits",
        ),
        Alert(
            "OutcomesLost",
            "ticket",
            f"{increase(metrics.OUTCOMES_DROPPED, ['shop'], '', '1h')} > 0"
            f" or {increase(metrics.OUTCOMES_SENT, ['shop'], '', '1h', result='refused')} > 0",
            "{{ $value }} outcomes of {{ $labels.shop }} will never reach its CDP.",
            BOARD,
            panel="Outcomes that wait, and that are lost",
        ),
    ]


def _share_of_mails(event: str, limit: str, *, min_count: int) -> str:
    """Of the mails of an account that came to an end within an hour; a share of few mails says nothing."""
    bad = increase(metrics.FEEDBACK, ["esp"], "", "1h", event=event)
    ended = increase(metrics.FEEDBACK, ["esp"], "", "1h", event="~delivered|bounced")
    return f"({bad} > {min_count}) / {ended} {limit}"

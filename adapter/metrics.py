"""Every metric of the system, born here: help, unit, labels and their closed value sets.

The receiver's are shared by all gunicorn workers (multiprocess mode); worker and timers export their own.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

OUTCOMES = (
    "sent",
    "fallback_sent",
    "stale",
    "superseded",
    "cancelled",
    "duplicate",
    "capped",
    "suppressed",
    "no_consent",
    "no_address",
    "quiet",
    "held_out",
    "rejected",
    "unknown",
    "dead",
)
VERDICTS = ("accepted", "duplicate", "ignored", "refused")
REFUSED_ELEMENTS = ("not_an_object", "not_json", "too_deep", "no_identity", "no_type", "not_trusted", "internal")
REFUSED_BODIES = ("400", "413", "415")
IDENTITY = ("linked", "merged", "full", "cycle", "other", "ambiguous", "erased")
ERROR_CLASSES = ("permanent", "blocked", "retry", "ambiguous")

_FAST = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_CALL = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)
# 5 s is the objective and so must be a bound.
_END_TO_END = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 3600.0)

EVENTS = Counter("freshgate_events_total", "Elements of webhooks by verdict", ["source", "verdict"])
REFUSALS = Counter("freshgate_refusals_total", "Refused elements by reason", ["source", "reason"])
REQUESTS_REFUSED = Counter(
    "freshgate_requests_refused_total", "Bodies refused as a whole, by status: the CDP drops them", ["source", "status"]
)
UNREADABLE = Counter("freshgate_unreadable_fields_total", "Fields left out since they could not be read", ["source"])
CLAMPED = Counter("freshgate_clamped_events_total", "Events whose time lay in the future", ["source"])
UNAUTHENTIC = Counter("freshgate_unauthentic_requests_total", "Requests refused with 401", ["source", "reason"])
IDENTITY_LINKS = Counter("freshgate_identity_links_total", "What became of links between ids", ["result"])
VERIFY = Histogram("freshgate_verify_seconds", "Proving that a request is authentic", ["source"], buckets=_FAST)
READ = Histogram("freshgate_read_seconds", "Reading one request into events", ["source"], buckets=_FAST)
RECORD = Histogram("freshgate_record_seconds", "Recording one request in Redis", ["source"], buckets=_CALL)

SENDS = Counter("freshgate_sends_total", "Sends by outcome", ["trigger", "esp", "outcome"])
GATED = Counter("freshgate_gate_reasons_total", "Decisions of the gate by reason", ["trigger", "outcome", "reason"])
RETIMED = Counter("freshgate_sends_retimed_total", "Sends put off, by reason", ["trigger", "reason"])
CONTRADICTED = Counter(
    "freshgate_contradicted_total",
    "Mails that left, against something that had occurred before and arrived after them",
    ["trigger", "reason"],
)
GATE = Histogram("freshgate_gate_seconds", "Deciding on one send, with its trips to Redis", ["trigger"], buckets=_FAST)
GATE_TO_CALL = Histogram("freshgate_gate_to_call_seconds", "From the last look at Redis to the ESP call", buckets=_FAST)
QUEUE_WAIT = Histogram("freshgate_queue_wait_seconds", "From the job's creation to its start", buckets=_CALL)
ESP_CALL = Histogram("freshgate_esp_call_seconds", "One call to the ESP", ["esp", "result"], buckets=_CALL)
ESP_ERRORS = Counter("freshgate_esp_errors_total", "Calls that the ESP did not take", ["esp", "error"])
RECEIVED_TO_ACCEPTED = Histogram(
    "freshgate_received_to_accepted_seconds",
    "From max(received, due) until the ESP has the mail",
    ["trigger", "esp"],
    buckets=_END_TO_END,
)
OCCURRED_TO_ACCEPTED = Histogram(
    "freshgate_occurred_to_accepted_seconds",
    "From the occurrence, less the declared delay, until the ESP has the mail",
    ["trigger", "esp"],
    buckets=_END_TO_END,
)
TIMER_LATENESS = Histogram(
    "freshgate_timer_lateness_seconds", "From a timer's due to its job, by Redis' clock", buckets=_CALL
)
TIMERS_CLAIMED = Counter("freshgate_timers_claimed_total", "Timers that came due")
TIMERS_WAITING = Gauge("freshgate_timers_waiting", "Timers that are set", multiprocess_mode="livemostrecent")


def prepare_receiver(sources: Iterable[str]) -> None:
    """Create the series of the receiver, so that no ratio starts out empty."""
    for source in sources:
        for verdict in VERDICTS:
            EVENTS.labels(source, verdict)
        for reason in REFUSED_ELEMENTS:
            REFUSALS.labels(source, reason)
        for status in REFUSED_BODIES:
            REQUESTS_REFUSED.labels(source, status)
        for series in (VERIFY, READ, RECORD):
            series.labels(source)


def prepare_worker(triggers: Iterable[str], esp: str) -> None:
    """Create the series of the worker."""
    for trigger in triggers:
        for outcome in OUTCOMES:
            SENDS.labels(trigger, esp, outcome)
        RECEIVED_TO_ACCEPTED.labels(trigger, esp)
        OCCURRED_TO_ACCEPTED.labels(trigger, esp)
    for error in ERROR_CLASSES:
        ESP_ERRORS.labels(esp, error)

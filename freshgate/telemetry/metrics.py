"""Every metric of the system, declared here alone: help, unit, labels and their closed sets of values.

gunicorn's workers share the receiver's metrics (multiprocess mode); worker and timers export their own, and the timers
process (`workers/redis_monitor.py`) those that are polled from Redis. docs/METRICS.md says what each one answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from freshgate.telemetry import processes
from freshgate.telemetry.polled import PolledMetric

# Without this, each counter has a second series that nobody reads, and that some pay for.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types for it

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
REFUSED_ELEMENTS = (
    "not_an_object",
    "not_json",
    "too_deep",
    "too_large",
    "no_identity",
    "no_type",
    "not_trusted",
    "internal",
)
REFUSED_BODIES = ("400", "413", "415")
LIMITS = ("source", "ip", "source_addresses", "addresses", "source_bytes", "ip_bytes")
IDENTITY = ("linked", "merged", "ambiguous", "unproven", "erased")
ERROR_CLASSES = ("permanent", "blocked", "retry", "ambiguous")
UNAUTHENTIC_REASONS = ("NotAuthentic", "BatchWithoutToken")
# Why mails wait for their account.
ACCOUNT_WAITS = ("breaker_open", "limited", "paced")
RETIMED_REASONS = (
    *("moved", "after_gap", "parked", "retry", "held", "claimed_elsewhere", "contended", "internal", "rerouted"),
    "source_busy",
    *ACCOUNT_WAITS,
)
# A request that took too long, one that no honest caller sends, and one for which there was no room.
DROPPED_CONNECTIONS = ("timeout", "malformed", "crowded")
CALL_RESULTS = ("accepted", "error")
# How fresh a needed field was when its mail was decided on, and what came of it.
NEED_STATES = ("fresh", "stale", "missing")
NEED_RESULTS = ("used", "session", "placeholder", "refreshed", "default", "left_out", "fallback", "skip")
# What became of requests to sources of truth: `workers/asks.py` has the same words.
ASK_RESULTS = (
    *("answered", "cached", "timeout", "unreachable", "forbidden", "refused", "too_large", "unreadable", "wrong_type"),
    "breaker_open",
)
# Reasons against any mail to an address; a trigger's own reasons come from the catalog.
SUPPRESSIONS = ("unsubscribed", "bounced", "spam")
# What became of a link to unsubscribe that was opened: left all, or a topic; once more; too old; not ours; too often.
UNSUBSCRIBE_RESULTS = ("all", "topic", "repeated", "expired", "refused", "limited")
# What may turn out to have occurred before a mail left.
CONTRADICTIONS = (
    *SUPPRESSIONS,
    "ordered",
    "order_cancelled",
    "order_refunded",
    "cart_empty",
    "cart_unknown",
    "cart_not_empty",
    "added_to_cart",
    "not_quiet_yet",
)
# What became of an outcome that left for the shop's CDP or webhook.
OUTCOME_RESULTS = ("taken", "refused")
PEOPLE_CACHE_RESULTS = ("hit", "miss", "stale", "failed")
WORKER_STATES = ("idle", "busy", "silent")
PROCESSES = ("receiver", "worker", "timers", "people")

# Buckets, in seconds: work in this process, calls over a network, and the whole way of a mail.
_FAST = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_CALL = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)
# Waiting ends with an outage, which may last.
_WAIT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_SENDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
# From seconds to a year: how long ago something was told.
_AGE = (1.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0, 7_776_000.0, 31_536_000.0)
# 5 s is the objective, and so must be a bound.
_END_TO_END = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 3600.0)
# The recipient's server may ask an ESP to come back for days.
_DELIVERY = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 86_400.0)


BUILD = Gauge("freshgate_build_info", "1; what runs", ["process", "version", "python"], multiprocess_mode="mostrecent")
LAST_EVENT = Gauge(
    "freshgate_last_event_timestamp_seconds",
    "When a source last sent something that was accepted, in Unix time",
    ["source"],
    multiprocess_mode="mostrecent",
)

EVENTS = Counter("freshgate_events_total", "Elements of webhooks by verdict", ["source", "verdict"])
REFUSALS = Counter("freshgate_refusals_total", "Refused elements by reason", ["source", "reason"])
REQUESTS_REFUSED = Counter(
    "freshgate_requests_refused_total", "Bodies refused as a whole, by status: the CDP drops them", ["source", "status"]
)
RATE_LIMITED = Counter(
    "freshgate_rate_limited_total", "Requests answered 429, by the limit that was reached", ["source", "limit"]
)
UNREADABLE = Counter("freshgate_unreadable_fields_total", "Fields left out since they could not be read", ["source"])
CLAMPED = Counter("freshgate_clamped_events_total", "Events whose time lay in the future", ["source"])
UNAUTHENTIC = Counter("freshgate_unauthentic_requests_total", "Requests refused with 401", ["source", "reason"])
UNAUTHENTIC_FEEDBACK = Counter(
    "freshgate_unauthentic_feedback_total", "Feedback of ESPs that was refused with 401", ["esp"]
)
FEEDBACK = Counter(
    "freshgate_feedback_total",
    "What ESPs reported of mails; the trigger is none for a mail that is not known",
    ["esp", "trigger", "event"],
)
SETTLED_BY_FEEDBACK = Counter(
    "freshgate_settled_by_feedback_total",
    "Sends of which nobody knew if they had left, until the ESP reported of them",
    ["trigger", "esp"],
)
ACCEPTED_TO_DELIVERED = Histogram(
    "freshgate_accepted_to_delivered_seconds",
    "From the ESP's acceptance of a mail until the recipient's server had it",
    ["trigger", "esp"],
    buckets=_DELIVERY,
)
PEOPLE_CACHE = Counter(
    "freshgate_people_cache_total",
    "Looks into the People API's cache: hit, miss, stale for another version, failed for a fault of Memcached",
    ["result"],
)
PEOPLE_CACHE_AGE = Histogram(
    "freshgate_people_cache_age_seconds", "How long ago a document was made that the cache answered with", buckets=_AGE
)
CONNECTIONS_DROPPED = Counter(
    "freshgate_connections_dropped_total", "Connections ended before their request was complete", ["reason"]
)
UNSUBSCRIBES = Counter("freshgate_unsubscribes_total", "What became of links to unsubscribe", ["result"])
SPANS_LOST = Counter("freshgate_spans_lost_total", "Spans that the collector of traces did not take")
IDENTITY_LINKS = Counter("freshgate_identity_links_total", "What became of links between ids", ["result"])
SOURCE_DELAY = Histogram(
    "freshgate_source_delay_seconds",
    "From the occurrence of a request's newest event until it was received",
    ["source"],
    buckets=_END_TO_END,
)
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
NEED_AGE = Histogram(
    "freshgate_needed_field_age_seconds",
    "How old a field was that a mail needs, when the mail was decided on; and whether the mail that left has it",
    ["trigger", "field", "sent"],
    buckets=_AGE,
)
NEEDED = Counter(
    "freshgate_needed_fields_total",
    "Fields that mails need, by how fresh they were and what came of it",
    ["trigger", "field", "state", "result"],
)
ASKS = Counter(
    "freshgate_asks_total", "Requests to sources of truth for fields that mails need, by result", ["ask", "result"]
)
ASK_SECONDS = Histogram(
    "freshgate_ask_seconds", "One request to a source of truth, answered or not", ["ask"], buckets=_CALL
)
GATE = Histogram("freshgate_gate_seconds", "Deciding on one send, with its trips to Redis", ["trigger"], buckets=_FAST)
GATE_TO_CALL = Histogram("freshgate_gate_to_call_seconds", "From the last look at Redis to the ESP call", buckets=_FAST)
QUEUE_WAIT = Histogram("freshgate_queue_wait_seconds", "From the job's creation to its start", buckets=_WAIT)
ESP_CALL = Histogram("freshgate_esp_call_seconds", "One call to the ESP", ["esp", "result"], buckets=_CALL)
LANES = Gauge(
    "freshgate_lanes", "Calls to the ESP that the worker may make at once", ["esp"], multiprocess_mode="livesum"
)
LANES_IN_USE = Gauge(
    "freshgate_lanes_in_use", "Lanes that decide, call the ESP or settle", ["esp"], multiprocess_mode="livesum"
)
ESP_BATCH = Histogram("freshgate_esp_batch_sends", "Sends of one call to the ESP", ["esp"], buckets=_SENDS)
FAILED_OVER = Counter(
    "freshgate_failed_over_total",
    "Mails that left through another account, since the breaker of `esp` was open",
    ["trigger", "esp"],
)
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
    "freshgate_timer_lateness_seconds", "From a timer's due to its job, by Redis' clock", buckets=_WAIT
)
TIMERS_CLAIMED = Counter("freshgate_timers_claimed_total", "Timers that came due")

OUTCOMES_SENT = Counter(
    "freshgate_outcomes_total",
    "Outcomes that a shop's CDP or webhook took, or refused for good",
    ["shop", "event", "result"],
)
OUTCOME_ERRORS = Counter(
    "freshgate_outcome_errors_total", "Calls that a shop's CDP or webhook did not take", ["shop", "error"]
)

# Polled from Redis by the timers process, every few seconds.
CLOCK_SKEW = Gauge(
    "freshgate_clock_skew_seconds",
    "How far this host's clock is ahead of Redis' clock; negative when it is behind",
    multiprocess_mode="mostrecent",
)
QUEUE_JOBS = PolledMetric("freshgate_queue_jobs", "Jobs that wait for a worker", ("queue",))
QUEUE_AGE = PolledMetric("freshgate_queue_oldest_job_age_seconds", "How long the oldest job has waited", ("queue",))
QUEUE_FAILED = PolledMetric("freshgate_queue_failed_jobs", "Jobs that failed within the last hour", ("queue",))
WORKERS = PolledMetric(
    "freshgate_workers", "Workers by state; one without a heartbeat for a minute is silent", ("queue", "state")
)
TIMERS_WAITING = PolledMetric("freshgate_timers_waiting", "Timers that are set")
TIMERS_OVERDUE = PolledMetric("freshgate_timers_overdue", "Timers that have been due for more than a second")
TIMERS_OLDEST_OVERDUE = PolledMetric(
    "freshgate_timers_oldest_overdue_seconds", "For how long the oldest timer has been due"
)
SENDS_LATE = PolledMetric("freshgate_sends_late", "Sends that have been due for more than 5 s and have not ended")
GAP_WAIT = PolledMetric(
    "freshgate_gap_wait_seconds", "For how long mails with a delay still wait, after events were refused"
)
GAP_MAILS = PolledMetric("freshgate_gap_mails", "Mails with a delay that are due before that wait ends")
LEASES = PolledMetric("freshgate_leases_open", "Timers that somebody has claimed and not finished")
SENDS_TO_REVIEW = PolledMetric("freshgate_desk_sends", "Sends that an operator should look at", ("state",))
HOLDS = PolledMetric("freshgate_holds", "Triggers held by an operator; holding all counts as one")
STORE_RESTORED = PolledMetric(
    "freshgate_store_restored", "1 while mail is held since the store was restored from a copy"
)
BACKUP_AGE = PolledMetric("freshgate_backup_age_seconds", "Age of the newest copy of the store; none without a copy")
BACKUP_OVERDUE = PolledMetric(
    "freshgate_backup_overdue_seconds", "For how long the next copy has been due; none without a schedule"
)
BREAKER_OPEN = PolledMetric(
    "freshgate_breaker_open", "1 while no mail leaves through an ESP account but a probe", ("esp",)
)
LEARNED_LIMIT = PolledMetric(
    "freshgate_learned_limit",
    "Mails a second that an ESP account takes, learned from its 429; 0 if none is known",
    ("esp",),
)
CALLS_AT_ONCE = PolledMetric(
    "freshgate_calls_at_once", "Calls under way to an ESP account with `max_in_flight`", ("esp",)
)
MAILS_WAITING = PolledMetric(
    "freshgate_mails_waiting", "Mails that are due and wait for their ESP account, by reason", ("esp", "reason")
)
OUTCOMES_WAITING = PolledMetric(
    "freshgate_outcomes_waiting", "Outcomes that wait to be sent to a shop's CDP or webhook", ("shop",)
)
OUTCOMES_AGE = PolledMetric(
    "freshgate_outcomes_oldest_age_seconds", "How long the oldest outcome has waited", ("shop",)
)
OUTCOMES_DROPPED = PolledMetric(
    "freshgate_outcomes_dropped_total", "Outcomes that went unsent, since too many waited", ("shop",), kind="counter"
)
OPERATIONS = PolledMetric("freshgate_operations", "How often an operator used a command", ("operation",))
QUARANTINED = PolledMetric("freshgate_quarantined_elements", "Elements that our own code could not read, kept raw")
REDIS_UP = PolledMetric("freshgate_redis_up", "Whether Redis answered")
REDIS_POLL = PolledMetric("freshgate_redis_look_seconds", "How long Redis took for this look")
REDIS_MEMORY = PolledMetric("freshgate_redis_used_memory_bytes", "Memory that Redis uses")
REDIS_MAX_MEMORY = PolledMetric("freshgate_redis_max_memory_bytes", "Memory that Redis may use; 0 is no limit")
REDIS_EVICTED = PolledMetric("freshgate_redis_evicted_keys_total", "Keys that Redis threw away", kind="counter")
REDIS_NOEVICTION = PolledMetric("freshgate_redis_noeviction", "1 when Redis may not throw keys away")
REDIS_AOF = PolledMetric("freshgate_redis_aof_enabled", "1 when the append-only file is on")
REDIS_AOF_OK = PolledMetric("freshgate_redis_aof_write_ok", "1 when the last write to the append-only file succeeded")
REDIS_DELAYED_FSYNCS = PolledMetric(
    "freshgate_redis_delayed_fsyncs_total", "Writes that waited for a slow disk", kind="counter"
)
REDIS_CLIENTS = PolledMetric("freshgate_redis_connected_clients", "Connections to Redis")


POLLED_METRICS = [metric for metric in list(globals().values()) if isinstance(metric, PolledMetric)]

# Read from /proc by whoever serves a port. They are created where gunicorn's master can import them, which may have no
# other metric; so they stand below those that are polled.
PROCESS_CPU, PROCESS_MEMORY, PROCESS_STARTED = processes.CPU, processes.MEMORY, processes.STARTED


class SourceMetrics(NamedTuple):
    """One source's series that every request observes."""

    verify: Histogram
    read: Histogram
    record: Histogram
    delay: Histogram
    last_event: Gauge
    events: Mapping[str, Counter]


@cache
def source_metrics(source: str) -> SourceMetrics:
    """A source's series, looked up once: `labels()` costs as much as an observation."""
    return SourceMetrics(
        VERIFY.labels(source),
        READ.labels(source),
        RECORD.labels(source),
        SOURCE_DELAY.labels(source),
        LAST_EVENT.labels(source),
        {verdict: EVENTS.labels(source, verdict) for verdict in VERDICTS},
    )

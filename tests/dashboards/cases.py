"""Cases in which an alert must fire or stay quiet: series in promtool's notation, with one value a minute.

`test_rules.py` runs them through promtool; `0+10` grows by ten a minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

MAIL = 'trigger="welcome",esp="sendgrid"'
RECEIVED = f"freshgate_received_to_accepted_seconds_count{{{MAIL}}}"
RECEIVED_5S = f'freshgate_received_to_accepted_seconds_bucket{{{MAIL},le="5.0"}}'
OCCURRED = f"freshgate_occurred_to_accepted_seconds_count{{{MAIL}}}"
OCCURRED_5S = f'freshgate_occurred_to_accepted_seconds_bucket{{{MAIL},le="5.0"}}'
CONTRADICTED = 'freshgate_contradicted_total{trigger="welcome",reason="ordered"}'
AGE = 'freshgate_queue_oldest_job_age_seconds{queue="q"}'
JOBS = 'freshgate_queue_jobs{queue="q"}'
WAITED = "freshgate_queue_wait_seconds_count"
IDLE = 'freshgate_workers{queue="q",state="idle"}'
SILENT = 'freshgate_workers{queue="q",state="silent"}'
LATE_NOW = "freshgate_sends_late"
OVERDUE = "freshgate_timers_oldest_overdue_seconds"
CLOCK_SKEW = "freshgate_clock_skew_seconds"
REJECTED = 'freshgate_desk_sends{state="rejected"}'
UNKNOWN = 'freshgate_desk_sends{state="unknown"}'
HOLDS = "freshgate_holds"
RESTORED = "freshgate_store_restored"
OVERDUE_COPY = "freshgate_backup_overdue_seconds"
UP = 'up{job="freshgate-receiver",instance="a"}'
REDIS_UP = "freshgate_redis_up"
EVICTED = "freshgate_redis_evicted_keys_total"
NOEVICTION = "freshgate_redis_noeviction"
AOF = "freshgate_redis_aof_enabled"
AOF_OK = "freshgate_redis_aof_write_ok"
MEMORY = "freshgate_redis_used_memory_bytes"
MAX_MEMORY = "freshgate_redis_max_memory_bytes"
VERIFIED = 'freshgate_verify_seconds_count{source="shop"}'
LIMITED = 'freshgate_rate_limited_total{limit="ip",source="shop"}'
BODIES = 'freshgate_requests_refused_total{source="shop",status="400"}'
INTERNAL = 'freshgate_refusals_total{source="shop",reason="internal"}'
ACCEPTED = 'freshgate_events_total{source="shop",verdict="accepted"}'
CLAMPED = 'freshgate_clamped_events_total{source="shop"}'
BREAKER = 'freshgate_breaker_open{esp="sendgrid"}'
LIMIT = 'freshgate_learned_limit{esp="sendgrid"}'
FAILED_OVER = f"freshgate_failed_over_total{{{MAIL}}}"
CALLED = 'freshgate_esp_call_seconds_count{esp="sendgrid",result="accepted"}'
SCRAPED = 'up{job="tempo",instance="b"}'
NOTIFICATIONS = 'alertmanager_notifications_failed_total{integration="webhook"}'
RULES = 'prometheus_rule_evaluation_failures_total{rule_group="rules.yml;freshgate-esp"}'
OUTCOMES_REFUSED = 'freshgate_outcomes_total{shop="main",event="Email Sent",result="refused"}'
STARTED = 'freshgate_process_start_time_seconds{job="freshgate-worker",instance="w",process="worker-news-1"}'
ONCE = "0x90 1x300"


def sends(outcome: str) -> str:
    return f'freshgate_sends_total{{{MAIL},outcome="{outcome}"}}'


def needed(state: str, result: str) -> str:
    labels = f'trigger="abandoned_cart",field="cart.prices",state="{state}",result="{result}"'
    return f"freshgate_needed_fields_total{{{labels}}}"


def asks(result: str) -> str:
    return f'freshgate_asks_total{{ask="shop_stock",result="{result}"}}'


def unauthentic(reason: str) -> str:
    return f'freshgate_unauthentic_requests_total{{source="shop",reason="{reason}"}}'


def answered(status: int) -> str:
    return f'freshgate_receiver_http_request_total{{method="POST",status="{status}"}}'


def waiting(reason: str) -> str:
    return f'freshgate_mails_waiting{{esp="sendgrid",reason="{reason}"}}'


def error(kind: str) -> str:
    return f'freshgate_esp_errors_total{{esp="sendgrid",error="{kind}"}}'


def feedback(event: str) -> str:
    return f'freshgate_feedback_total{{{MAIL},event="{event}"}}'


# A healthy system: series → first value and growth a minute.
HEALTH: Mapping[str, str] = {
    **dict.fromkeys((RECEIVED, RECEIVED_5S, OCCURRED, OCCURRED_5S, sends("sent"), WAITED, CALLED), "0+10"),
    **dict.fromkeys((VERIFIED, ACCEPTED, answered(200)), "0+60"),
    **dict.fromkeys((IDLE, UP, REDIS_UP, NOEVICTION, AOF, AOF_OK), "1+0"),
    **dict.fromkeys((sends(outcome) for outcome in ("dead", "unknown", "stale", "rejected")), "0+0"),
    **dict.fromkeys(
        (CONTRADICTED, AGE, JOBS, SILENT, OVERDUE, LATE_NOW, UNKNOWN, HOLDS, EVICTED, BODIES, LIMITED, INTERNAL), "0+0"
    ),
    **dict.fromkeys((unauthentic(reason) for reason in ("NotAuthentic", "BatchWithoutToken")), "0+0"),
    **dict.fromkeys((error(kind) for kind in ("retry", "ambiguous", "blocked")), "0+0"),
    **dict.fromkeys((BREAKER, LIMIT, FAILED_OVER, *map(waiting, ("breaker_open", "limited", "paced"))), "0+0"),
    **{sends("cancelled"): "0+2", CLAMPED: "0+0", answered(503): "0+0", MEMORY: "10+0", MAX_MEMORY: "100+0"},
}


class Case(NamedTuple):
    """Whether the alert fires in a system that is healthy except for these series."""

    alert: str
    fires: bool
    series: Mapping[str, str]


STALE, FRESH = needed("stale", "fallback"), needed("fresh", "used")
CASES = [
    Case("MailsLate", True, {RECEIVED_5S: "0+7"}),
    Case("MailsLate", True, {sends("dead"): "0+5"}),
    # A worker that stopped reports nothing any more: what waits is late.
    Case("MailsLate", True, {RECEIVED: "0+10x80 _x300", RECEIVED_5S: "0+10x80 _x300", LATE_NOW: "0x80 1+10x300"}),
    # Without the timers process, what waits is unknown, and the mails that left still count.
    Case("MailsLate", True, {RECEIVED_5S: "0+7", LATE_NOW: "_x300"}),
    Case("MailsLate", False, {LATE_NOW: "_x300"}),
    # One late mail of few must not fire, and a mail that the gate withheld is not a failure.
    Case("MailsLate", False, {RECEIVED: "0+1", RECEIVED_5S: "0+0"}),
    Case("MailsLate", False, {sends("cancelled"): "0+1000", sends("stale"): "0+1000"}),
    Case("MailsLate", False, {RECEIVED: "0+100", RECEIVED_5S: "0+97"}),
    Case("WholePathLate", True, {OCCURRED_5S: "0+5"}),
    Case("WholePathLate", False, {OCCURRED_5S: "0+8"}),
    # What waits is late by the whole path, too.
    Case("WholePathLate", True, {OCCURRED: "0+10x40 _x300", OCCURRED_5S: "0+10x40 _x300", LATE_NOW: "0x40 1+10x300"}),
    Case("StaleMails", True, {sends("stale"): "0+2"}),
    Case("NeededFieldsStale", True, {STALE: "0+2"}),
    Case("NeededFieldsStale", False, {needed("stale", "left_out"): "0+2"}),
    # The only source stopped, and its fields go stale at once; or nobody ever said anything.
    Case("NeededFieldsStale", False, {FRESH: "0+2x30 60x300", STALE: "0x30 0+2x300", ACCEPTED: "0+60x30 1800x300"}),
    Case("NeededFieldsStale", True, {FRESH: "0+2x30 60x300", STALE: "0x30 0+2x300"}),
    Case("NeededFieldsStale", False, {STALE: "0+2", ACCEPTED: "_x300"}),
    # A source that is new has no week ago.
    Case("NeededFieldsStale", True, {needed("missing", "skip"): "0+2", ACCEPTED: "_x60 0+60x300"}),
    Case("NeededFieldsStale", False, {needed("stale", "skip"): "0+1", needed("fresh", "used"): "0+2"}),
    Case("SourceOfTruthSilent", True, {asks("timeout"): "0+2"}),
    Case("SourceOfTruthSilent", False, {asks("timeout"): "0+1", asks("answered"): "0+2"}),
    Case("WrongAfterAll", True, {CONTRADICTED: ONCE}),
    Case("QueueOld", True, {AGE: "10+0"}),
    Case("QueueOld", False, {AGE: "2+0", JOBS: "500+0"}),
    Case("WorkersStuck", True, {JOBS: "5+0", WAITED: "0+0"}),
    Case("WorkersStuck", True, {JOBS: "5+0", WAITED: "_x300"}),
    Case("WorkersStuck", False, {WAITED: "0+0"}),
    Case("NoWorker", True, {IDLE: "0+0", SILENT: "1+0"}),
    Case("WorkerSilent", True, {SILENT: "1+0"}),
    Case("WorkerSilent", False, {SILENT: "0x90 1x5 0x300"}),
    Case("MonitoringDown", True, {SCRAPED: "0+0"}),
    Case("ScrapeDown", False, {SCRAPED: "0+0"}),
    Case("NotificationsFail", True, {NOTIFICATIONS: "0+1"}),
    Case("NotificationsFail", False, {NOTIFICATIONS: "0+0"}),
    Case("RulesFail", True, {RULES: "0+1"}),
    Case("TimersLate", True, {OVERDUE: "60+0"}),
    Case("NoTimers", True, {REDIS_UP: "_x300"}),
    Case("DeadMails", True, {sends("dead"): ONCE}),
    Case("UnknownMails", True, {UNKNOWN: "2+0"}),
    Case("RejectedMails", True, {REJECTED: "2+0"}),
    Case("HostClockOff", True, {CLOCK_SKEW: "2+0"}),
    Case("HostClockOff", True, {CLOCK_SKEW: "-2+0"}),
    Case("HostClockOff", False, {CLOCK_SKEW: "0.5+0"}),
    Case("HeldMails", True, {HOLDS: "1+0"}),
    Case("HeldMails", False, {HOLDS: "0x80 1x300"}),
    Case("StoreRestored", True, {RESTORED: "1+0"}),
    Case("StoreRestored", False, {RESTORED: "0+0"}),
    Case("BackupOverdue", True, {OVERDUE_COPY: "4000+0"}),
    Case("BackupOverdue", False, {OVERDUE_COPY: "600+0"}),
    Case("ScrapeDown", True, {UP: "0+0"}),
    # Discovery finds it no more; or never did.
    Case("ScrapeDown", True, {UP: "1x80 _x300"}),
    Case("ScrapeDown", False, {UP: "_x300"}),
    Case("ScrapeDown", False, {UP: "1x80 _x300", UP.replace('"a"', '"b"'): "_x70 1x300"}),
    Case("RedisDown", True, {REDIS_UP: "0+0"}),
    Case("CrashLoop", True, {STARTED: "0x75 1x6 2x6 3x6 4x200"}),
    Case("CrashLoop", False, {STARTED: "0x75 1x6 2x6 3x200"}),
    # Kubernetes' longest pause; and a process that is scraped for the first time.
    Case("CrashLoop", True, {STARTED: "0+0x80 300+0x4 600+0x4 900+0x4 1200+0x200"}),
    Case("CrashLoop", False, {STARTED: "_x98 7x200"}),
    Case("RedisEvicting", True, {EVICTED: ONCE.replace("90", "95")}),
    Case("RedisEvicting", True, {NOEVICTION: "0+0"}),
    Case("RedisNotPersisting", True, {AOF: "0+0"}),
    Case("RedisNotPersisting", True, {AOF_OK: "0+0"}),
    Case("RedisFull", True, {MEMORY: "81+0"}),
    Case("RedisFull", False, {MEMORY: "81+0", MAX_MEMORY: "0+0"}),
    Case("SignaturesFail", True, {unauthentic("NotAuthentic"): "0+50"}),
    Case("SignaturesFail", False, {VERIFIED: "0+0.5", unauthentic("NotAuthentic"): "0+0.5"}),
    Case("SignaturesFailNowAndThen", True, {unauthentic("NotAuthentic"): "0+3"}),
    Case("SignaturesFailNowAndThen", False, {unauthentic("NotAuthentic"): "0+0.5"}),
    Case("BatchWithoutToken", True, {unauthentic("BatchWithoutToken"): ONCE}),
    Case("BodiesRefused", True, {BODIES: ONCE}),
    Case("SourceLimited", True, {LIMITED: "0+8"}),
    Case("SourceLimited", False, {LIMITED: "0+5"}),
    Case("ReadingFailed", True, {INTERNAL: ONCE}),
    Case("ReceiverFailing", True, {answered(503): "0+10"}),
    Case("ClocksSkewed", True, {CLAMPED: "0+6"}),
    Case("EspFailing", True, {error("retry"): "0+8"}),
    Case("EspFailing", False, {CALLED: "0+1", error("retry"): "0+1"}),
    # While mails are late, the ESP is paged earlier, and before they are. An account that pauses makes few calls.
    Case(
        "EspFailing", True, {CALLED: "0+10x96 970+2x300", error("retry"): "0+0x96 0+2x300", LATE_NOW: "0x96 5+10x300"}
    ),
    Case("MailsLate", False, {RECEIVED_5S: "0+10x96 970+0x300", LATE_NOW: "0x96 5+10x300"}),
    Case("EspFailing", False, {error("retry"): "0+3"}),
    Case("EspFailing", False, {error("retry"): "0+1", LATE_NOW: "50+0"}),
    Case("EspRetries", True, {error("ambiguous"): "0+1"}),
    Case("EspBlocked", True, {error("blocked"): "0+1"}),
    Case("BreakerOpen", True, {BREAKER: "1+0"}),
    Case("AccountLimited", True, {LIMIT: "5+0", waiting("limited"): "500+0"}),
    # A rate that is set is no news, and a limit in whose way nothing stands neither.
    Case("AccountLimited", False, {waiting("limited"): "500+0"}),
    Case("AccountLimited", False, {LIMIT: "5+0"}),
    Case("FailoverInUse", True, {FAILED_OVER: ONCE}),
    Case("PaceTooSlow", True, {waiting("paced"): "500+0", sends("stale"): "0+1"}),
    Case("PaceTooSlow", False, {waiting("paced"): "500+0"}),
    Case("EspRejects", True, {sends("rejected"): "0+1"}),
    Case("BouncesHigh", True, {feedback("bounced"): "0+1", feedback("delivered"): "0+9"}),
    Case("BouncesHigh", False, {feedback("bounced"): "0+1", feedback("delivered"): "0+99"}),
    Case("ComplaintsHigh", True, {feedback("complained"): "0+1", feedback("delivered"): "0+99"}),
    Case("ComplaintsHigh", False, {feedback("complained"): "0+1", feedback("delivered"): "0+999"}),
    Case("FeedbackRefused", True, {'freshgate_unauthentic_feedback_total{esp="sendgrid"}': "0+1"}),
    Case("OutcomesLate", True, {'freshgate_outcomes_oldest_age_seconds{shop="main"}': "900+0"}),
    Case("OutcomesLate", False, {'freshgate_outcomes_oldest_age_seconds{shop="main"}': "60+0"}),
    Case("OutcomesLost", True, {'freshgate_outcomes_dropped_total{shop="main"}': ONCE}),
    Case("OutcomesLost", True, {OUTCOMES_REFUSED: ONCE}),
    Case("OutcomesLost", False, {OUTCOMES_REFUSED: "0+0"}),
    Case("Watchdog", True, {}),
]
# A week with one value every 30 minutes, and then silence or a slow loss.
OF_SHOP = 'freshgate_events_total{source="backend",verdict="accepted"}'
WEEK_LONG = [
    Case("SourceSilent", True, {ACCEPTED: "0+600x343 205800x100"}),
    Case("SourceSilent", False, {ACCEPTED: "0+600"}),
    Case("SourceSilent", False, {ACCEPTED: "0+1x343 343x100"}),
    # Fields go stale for want of a source: of one of two, too. SourceSilent says so, and this alert when all send.
    Case("NeededFieldsStale", True, {STALE: "0+60", ACCEPTED: "0+600", OF_SHOP: "0+600"}),
    Case("NeededFieldsStale", False, {STALE: "0+60", ACCEPTED: "0+600", OF_SHOP: "0+600x343 205800x100"}),
    Case("SourceSilent", True, {STALE: "0+60", ACCEPTED: "0+600", OF_SHOP: "0+600x343 205800x100"}),
    Case("NeededFieldsStale", True, {STALE: "0+60", ACCEPTED: "0+600", OF_SHOP: "0+600x343 205800+120x100"}),
    Case("TriggerSilent", True, {sends("sent"): "0+100x343 34300x100"}),
    Case("TriggerSilent", False, {sends("sent"): "0+100"}),
    Case("MailsLateSlowly", True, {RECEIVED: "0+100", RECEIVED_5S: "0+96"}),
    Case("MailsLateSlowly", True, {RECEIVED: "0+1000", RECEIVED_5S: "0+985"}),
    Case("MailsLateSlowly", False, {RECEIVED: "0+1000", RECEIVED_5S: "0+995"}),
]

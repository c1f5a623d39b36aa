"""Carries out a job: for each send gate, claim, call the ESP, settle. The job names timers; the truth is in Redis.

`jobs.py` hands jobs over; `lookup.py` reads, `gate.py` decides, `ledger.py` writes.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

import msgspec
import redis

from freshgate.declare import Trigger
from freshgate.errors import EspError
from freshgate.queue import Item, Job, queue_name
from freshgate.state.clock import RedisClock
from freshgate.state.records import Claim
from freshgate.telemetry import logs, metrics, tracing
from workers.backoff import next_try
from workers.esp.base import Esp, Message
from workers.gate import Decision, Records, contradiction, decide, send_id_of
from workers.ledger import Ledger
from workers.lookup import Lookup
from workers.messages import Messages

log = logs.get(__name__)

BUDGET_S = 15.0
MAX_ROUNDS = 5
MAX_CRASHES = 3
MAX_CLAIM_TO_CALL_S = 0.1
HELD_FOR_MS = 30_000
AFTER_FAULT_MS = 30_000
# Hosts are updated one by one within an hour; after that the trigger is taken for removed.
UNKNOWN_TRIGGER_MS = 60_000
MAX_UNKNOWN_TRIGGER = 60
# The timer that `record.lua` sets when something arrives that occurred before a mail which has left.
LOOKBACK = "lookback"


class ClaimedSend(NamedTuple):
    """A send that the gate let through, with its mail; claimed at `claimed_at` (monotonic seconds).

    not_connected  why there is no connection to the ESP; then the call need not be tried
    """

    trigger: Trigger
    records: Records
    decision: Decision
    claim: Claim
    message: Message
    claimed_at: float
    not_connected: EspError | None


class Courier:
    """Carries out the jobs of one ESP account. One a worker process.

    clock     replaces Redis' clock, for tests
    feedback_wait_ms  how long a send that may have left waits for the ESP's report; None where the ESP reports nothing
    """

    def __init__(
        self,
        client: redis.Redis,
        triggers: Mapping[str, Trigger],
        esp: Esp,
        lookup: Lookup,
        deadline_ms: int,
        clock: Callable[[], int] | None = None,
        traces: tracing.Traces = tracing.OFF,
        messages: Messages | None = None,
        *,
        feedback_wait_ms: int | None = None,
    ) -> None:
        self._triggers = triggers
        self._messages = messages or Messages()
        self._esp = esp
        self._lookup = lookup
        self._deadline_ms = deadline_ms
        self._clock = RedisClock(clock, metrics.CLOCK_SKEW.set)
        self._traces = traces
        self._ledger = Ledger(client, esp.name, self._clock, feedback=feedback_wait_ms is not None)
        self._feedback_wait_ms = feedback_wait_ms or 0

    def deliver(self, job: Job) -> None:
        """Every send of the job is brought to a state; what the budget has no room for goes back to the timers."""
        with self._traces.job(queue_name(self._esp.name), len(job.sends), job.trace, job.id):
            self._deliver(job)

    def _deliver(self, job: Job) -> None:
        started = time.monotonic()
        metrics.QUEUE_WAIT.observe(max(0, time.time_ns() // 1_000_000 - job.created) / 1000)
        all_records, held = self._read(job.shop, [item.timer for item in job.sends])
        for item, records in zip(job.sends, all_records, strict=True):
            if records.due is None:
                # Somebody brought this send to its end already.
                continue
            if records.timer.trigger == LOOKBACK:
                self._check_lookback(records)
                continue
            trigger = self._triggers.get(records.timer.trigger)
            if trigger is None:
                self._defer_unknown_trigger(item, records)
            elif time.monotonic() - started > BUDGET_S:
                self._ledger.retime(records, self._clock.now())
            elif trigger.esp not in (None, self._esp.name):
                self._reroute(records)
            elif self._ledger.holds(trigger, held):
                self._hold(records)
            else:
                with self._traces.send(trigger.name, records.subject.trace(records.timer.scope)):
                    self._process_send(trigger, item, records)
        self._ledger.flush()

    def _read(self, shop: str, timers: list[str]) -> tuple[list[Records], set[str]]:
        now, records, held = self._lookup.read(shop, timers, held=True)
        self._clock.set(now)
        return records, held

    def _defer_unknown_trigger(self, item: Item, records: Records) -> None:
        """A trigger that was removed while its timers waited; or one that a newer host knows and this one not yet."""
        log.error("no_such_trigger", trigger=records.timer.trigger)
        if item.returned and self._ledger.count_failure(records) >= MAX_UNKNOWN_TRIGGER:
            self._ledger.mark_dead(records, "no_such_trigger")
        else:
            self._ledger.retime(records, self._clock.now() + UNKNOWN_TRIGGER_MS, failed=True)

    def _reroute(self, records: Records) -> None:
        """The settings changed after the job was enqueued: the timers enqueue it for the account that is right now."""
        self._ledger.retime(records, self._clock.now())
        metrics.RETIMED.labels(records.timer.trigger, "rerouted").inc()

    def _check_lookback(self, records: Records) -> None:
        """Was a mail wrong that has left? Counted once a mail, and told on the trail."""
        for trigger in self._triggers.values():
            for sends in _sends_of(trigger, records):
                for claim in records.subject.claims(sends.timer.scope):
                    decision = contradiction(trigger, sends, claim) if claim.state == "sent" else None
                    if decision:
                        self._ledger.contradict(trigger, sends, claim, decision)
        self._ledger.retime(records, None)

    def _hold(self, records: Records) -> None:
        self._ledger.retime(records, self._clock.now() + HELD_FOR_MS)
        metrics.RETIMED.labels(records.timer.trigger, "held").inc()

    def _process_send(self, trigger: Trigger, item: Item, records: Records) -> None:
        started = time.perf_counter()
        try:
            if item.returned and self._ledger.count_failure(records) >= MAX_CRASHES:
                self._ledger.mark_dead(records, "poison")
                return
            send = self._gate(trigger, records)
            metrics.GATE.labels(trigger.name).observe(time.perf_counter() - started)
            if send:
                self._call_in_time(send)
        except (redis.RedisError, EspError):
            raise
        except Exception as error:  # One send's fault must not take its neighbours along: it comes back by itself.
            log.exception("send_failed", trigger=trigger.name, error=type(error).__name__)
            metrics.RETIMED.labels(trigger.name, "internal").inc()
            tracing.annotate(failed=True, outcome="internal")
            self._ledger.note_failure(records, fault_of(error))
            self._ledger.retime(records, self._clock.now() + AFTER_FAULT_MS, failed=True)

    def _gate(self, trigger: Trigger, records: Records) -> ClaimedSend | None:
        """The send, claimed on exactly what it was decided on; or None, when it was brought to another state."""
        not_connected = None
        for _ in range(MAX_ROUNDS):
            decision = decide(trigger, records, self._clock.now())
            if decision.do == "orphan" and decision.claim:
                if self._ends_orphan(trigger, records, decision, decision.claim):
                    return None
                decision = decide(trigger, records, self._clock.now(), decision.claim.token)
            if decision.do != "send":
                self._defer_or_finish(trigger, records, decision)
                return None
            template_data = trigger.compose(records.person, records.about)
            # Connecting may take longer than a purchase takes to arrive: the claim and the last look come after it.
            not_connected = not_connected or self._prepare()
            now = self._clock.now()
            claim = Claim(
                send_id_of(records, decision.version),
                "claimed",
                token_hex(6),
                now + self._deadline_ms + 5000,
                now,
                decision.attempts,
                decision.version,
                decision.limit if decision.limit > trigger.max_age else 0,
            )
            if self._ledger.claim(trigger, records, claim):
                if self._ledger.is_held(trigger):
                    self._ledger.release(trigger, records, claim)
                    self._hold(records)
                    return None
                message = self._messages.build(trigger, records, decision, claim.send_id, template_data)
                return ClaimedSend(trigger, records, decision, claim, message, time.monotonic(), not_connected)
            records = self._read(records.shop, [records.timer.text])[0][0]
            if records.due is None:
                return None
        self._ledger.retime(records, self._clock.now() + 1000)
        metrics.RETIMED.labels(trigger.name, "contended").inc()
        return None

    def _prepare(self) -> EspError | None:
        try:
            self._esp.prepare()
        except EspError as error:
            return error
        return None

    def _ends_orphan(self, trigger: Trigger, records: Records, decision: Decision, orphan: Claim) -> bool:
        """A worker died between claim and settle: nobody knows if the ESP has the mail. True if that is the end."""
        if trigger.unknown == "resend":
            # How often a worker died on it is counted with the timer: retries that the ESP asked for are no crashes.
            due = orphan.until + self._feedback_wait_ms
            if orphan.version != decision.version or due <= self._clock.now():
                return False
            self._ledger.finish(trigger, records, decision, orphan, "retry", "worker_died", due=due)
            return True
        is_outdated = orphan.version != decision.version
        self._ledger.finish(trigger, records, decision, orphan, "unknown", "worker_died", is_outdated=is_outdated)
        return True

    def _defer_or_finish(self, trigger: Trigger, records: Records, decision: Decision) -> None:
        """Carries out every decision but `send`."""
        tracing.annotate(outcome=decision.outcome or decision.do, reason=decision.reason)
        if decision.do == "withhold":
            self._ledger.withhold(records, decision)
        elif decision.do == "retime":
            self._ledger.defer(records, decision)
        elif not self._ledger.park(trigger, records, decision):
            # The person moved on meanwhile; the next look decides.
            self._ledger.retime(records, self._clock.now())

    def _call_in_time(self, send: ClaimedSend) -> None:
        gap = time.monotonic() - send.claimed_at
        if gap > MAX_CLAIM_TO_CALL_S:
            # Too long since the last look: the timer brings it back at once, and the gate decides anew.
            self._ledger.release(send.trigger, send.records, send.claim)
            self._ledger.retime(send.records, self._clock.now())
            metrics.RETIMED.labels(send.trigger.name, "contended").inc()
            return
        metrics.GATE_TO_CALL.observe(gap)
        self._call_esp(send)

    def _call_esp(self, send: ClaimedSend) -> None:
        trigger, records, decision, claim = send.trigger, send.records, send.decision, send.claim
        started = time.perf_counter()
        try:
            with self._traces.call(self._esp.name, claim.send_id):
                if send.not_connected:
                    raise send.not_connected
                result = self._esp.send(send.message)
                tracing.set_http_status(result.status)
        except EspError as error:
            metrics.ESP_CALL.labels(self._esp.name, "error").observe(time.perf_counter() - started)
            self._handle_esp_error(send, error)
            return
        metrics.ESP_CALL.labels(self._esp.name, "accepted").observe(time.perf_counter() - started)
        accepted = self._clock.now()
        tracing.annotate(outcome="sent", send=claim.send_id)
        labels = (trigger.name, self._esp.name)
        began = max(records.person.received_at, decision.due)
        trace = tracing.exemplar()
        metrics.RECEIVED_TO_ACCEPTED.labels(*labels).observe(max(0, accepted - began) / 1000, trace)
        metrics.OCCURRED_TO_ACCEPTED.labels(*labels).observe(
            max(0, accepted - decision.occurred_at - trigger.delay) / 1000, trace
        )
        self._ledger.finish(trigger, records, decision, claim, "sent", result.provider_id, status=result.status)

    def _handle_esp_error(self, send: ClaimedSend, error: EspError) -> None:
        trigger, records, decision, claim = send.trigger, send.records, send.decision, send.claim
        kind = error_class(error)
        metrics.ESP_ERRORS.labels(self._esp.name, kind).inc()
        tracing.annotate(failed=True, outcome=kind, send=claim.send_id, status=error.status or 0)
        log.warning(
            "esp_refused", esp=self._esp.name, trigger=trigger.name, send=claim.send_id, kind=kind, said=str(error)
        )
        finish = self._ledger.finish
        if error.permanent:
            finish(trigger, records, decision, claim, "rejected", str(error), status=error.status)
            return
        if error.ambiguous and trigger.unknown == "hold":
            finish(trigger, records, decision, claim, "unknown", str(error), status=error.status)
            return
        due = next_try(self._clock.now(), claim.attempts, error.retry_after_s)
        if error.ambiguous:
            due = max(due, self._clock.now() + self._feedback_wait_ms)
        if due > decision.occurred_at + decision.limit:
            finish(trigger, records, decision, claim, "dead", str(error), status=error.status)
            return
        finish(trigger, records, decision, claim, "retry", str(error), status=error.status, due=due)


def _sends_of(trigger: Trigger, records: Records) -> list[Records]:
    """The records as a decision on each subject's sends of this trigger reads them."""
    subjects = [""]
    if isinstance(trigger.subject, tuple):
        subjects = records.person.subject_keys(trigger.name)
    timers = [records.timer._replace(trigger=trigger.name, values=values) for values in subjects]
    return [msgspec.structs.replace(records, timer=timer) for timer in timers]


def error_class(error: EspError) -> str:
    """One of metrics.ERROR_CLASSES."""
    if error.ambiguous:
        return "ambiguous"
    if error.permanent:
        return "permanent"
    return "blocked" if error.blocked else "retry"


def fault_of(error: Exception) -> str:
    """Where our own or the catalog's code failed: class, file and line. The error's own text may quote a customer."""
    frames = traceback.extract_tb(error.__traceback__)
    # Where a declaration refuses a value, the fault is the caller's.
    frame = next((frame for frame in reversed(frames) if Path(frame.filename).parent.name != "freshgate"), frames[-1])
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"

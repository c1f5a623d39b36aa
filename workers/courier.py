"""Carries out a job: for each send gate, claim, call the ESP, settle. The job names timers; the truth is in Redis.

`jobs.py` hands jobs over; `lookup.py` reads, `gate.py` decides, `ledger.py` writes.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

import redis

from freshgate.declare import Trigger
from freshgate.errors import EspError
from freshgate.queue import Item, Job, queue_name
from freshgate.state import keys
from freshgate.state.views import Claim
from freshgate.telemetry import logs, metrics, tracing
from workers.backoff import next_try
from workers.esp.base import Esp, Message
from workers.gate import Decision, Records, contradiction, decide, send_id_of
from workers.ledger import Ledger
from workers.lookup import Lookup

log = logs.get(__name__)

BUDGET_S = 15.0
MAX_ROUNDS = 5
MAX_CRASHES = 3
MAX_GATE_TO_CALL_S = 0.1
HELD_FOR_MS = 30_000
AFTER_FAULT_MS = 30_000
# Hosts are updated one by one within an hour; after that the trigger is taken for removed.
UNKNOWN_TRIGGER_MS = 60_000
MAX_UNKNOWN_TRIGGER = 60
# The timer that `record.lua` sets when something arrives that occurred before a mail which has left.
LOOK_BACK = "lookback"


class Ready(NamedTuple):
    """A send that the gate let through: claimed, and looked at once more `seen` (monotonic seconds).

    not_connected  why there is no connection to the ESP; then the call need not be tried
    """

    records: Records
    decision: Decision
    claim: Claim
    seen: float
    not_connected: EspError | None


class Courier:
    """Carries out the jobs of one ESP account. One a worker process."""

    def __init__(
        self,
        client: redis.Redis,
        triggers: Mapping[str, Trigger],
        esp: Esp,
        lookup: Lookup,
        deadline_ms: int,
        clock: Callable[[], int] | None = None,
        traces: tracing.Traces = tracing.OFF,
    ) -> None:
        self._client = client
        self._triggers = triggers
        self._esp = esp
        self._lookup = lookup
        self._deadline_ms = deadline_ms
        self._now = clock or now_ms
        self._traces = traces
        self._ledger = Ledger(client, esp.name, self._now)

    def deliver(self, job: Job) -> None:
        """Every send of the job is brought to a state; what the budget has no room for goes back to the timers."""
        with self._traces.job(queue_name(self._esp.name), len(job.sends), job.trace, job.id):
            self._deliver(job)

    def _deliver(self, job: Job) -> None:
        started = time.monotonic()
        metrics.QUEUE_WAIT.observe(max(0, self._now() - job.created) / 1000)
        for item in job.sends:
            if keys.parse_member(item.member)[0] == LOOK_BACK:
                self._look_back(item)
        known = [item for item in job.sends if self._is_known(item)]
        held = self._held()
        sends = [(self._triggers[keys.parse_member(item.member)[0]], item) for item in known]
        records = self._lookup.records([(trigger, item.member) for trigger, item in sends])
        for trigger, item in sends:
            if time.monotonic() - started > BUDGET_S:
                self._ledger.retime(item, self._now())
            elif trigger.name in held or "*" in held:
                self._hold(trigger, item)
            else:
                found = records[item.member]
                subject = found.order if trigger.subject == "order" else found.person
                with self._traces.send(trigger.name, subject.trace(item.member) if subject else ""):
                    self._one(trigger, item, found)
        self._ledger.flush()

    def _is_known(self, item: Item) -> bool:
        name = keys.parse_member(item.member)[0]
        if name in self._triggers:
            return True
        if name == LOOK_BACK:
            return False
        # A trigger that was removed while its timers waited; or one that a newer host knows and this one not yet.
        log.error("no_such_trigger", trigger=name)
        if item.returned and self._ledger.count_failure(item) >= MAX_UNKNOWN_TRIGGER:
            self._ledger.bury(name, item, "", "no_such_trigger")
        else:
            self._ledger.retry_failed(item, self._now() + UNKNOWN_TRIGGER_MS)
        return False

    def _look_back(self, item: Item) -> None:
        """Was a mail wrong that has left? Counted once a mail, and told on the trail."""
        _, kind, entity_id = keys.parse_member(item.member)
        own = [one for one in self._triggers.values() if one.subject == ("order" if kind == "o" else "person")]
        found = self._lookup.records([(one, keys.member(one.name, kind, entity_id)) for one in own])
        for trigger in own:
            records = found[keys.member(trigger.name, kind, entity_id)]
            subject = records.order if kind == "o" else records.person
            for claim in subject.claims(trigger.name) if subject else []:
                decision = contradiction(trigger, records, claim) if claim.state == "sent" else None
                if decision and subject:
                    self._ledger.contradict(trigger, keys.entity(kind, subject.id), records.person.id, claim, decision)
        self._ledger.retime(item, None)

    def _held(self) -> set[str]:
        found: Any = self._client.smembers(keys.HOLD)
        return {bytes(name).decode() for name in found}

    def _hold(self, trigger: Trigger, item: Item) -> None:
        self._ledger.retime(item, self._now() + HELD_FOR_MS)
        metrics.RETIMED.labels(trigger.name, "held").inc()

    def _one(self, trigger: Trigger, item: Item, records: Records) -> None:
        begun = time.perf_counter()
        try:
            if item.returned and self._ledger.count_failure(item) >= MAX_CRASHES:
                self._ledger.bury(trigger.name, item, records.person.id, "poison")
                return
            ready = self._gate(trigger, item, records)
            metrics.GATE.labels(trigger.name).observe(time.perf_counter() - begun)
            if ready:
                self._call(trigger, item, ready)
        except (redis.RedisError, EspError):
            raise
        except Exception as error:  # One send's fault must not take its neighbours along: it comes back by itself.
            log.exception("send_failed", trigger=trigger.name, error=type(error).__name__)
            metrics.RETIMED.labels(trigger.name, "internal").inc()
            tracing.annotate(failed=True, outcome="internal")
            self._ledger.note_failure(trigger, records.person.id, fault_of(error))
            self._ledger.retry_failed(item, self._now() + AFTER_FAULT_MS)

    def _gate(self, trigger: Trigger, item: Item, records: Records) -> Ready | None:
        """The send, claimed and decided on what stands in Redis now; or None, when it was brought to another state."""
        if trigger.subject == "person" and keys.parse_member(item.member)[2] != records.person.id:
            self._ledger.hand_over(item, records.person.id)
            metrics.RETIMED.labels(trigger.name, "merged").inc()
            return None
        token, claim, not_connected = "", None, None
        for _ in range(MAX_ROUNDS):
            decision = decide(trigger, item.member, records, self._now(), token)
            if decision.do == "orphan" and decision.claim:
                if self._ends_orphan(trigger, item, records, decision, decision.claim):
                    return None
                decision = decide(trigger, item.member, records, self._now(), decision.claim.token)
            if decision.do != "send":
                if claim:
                    self._ledger.release(item, records, claim)
                self._put_off_or_end(trigger, item, records, decision)
                return None
            if claim is None:
                # Connecting may take longer than a purchase takes to arrive: the claim and the last look come after it.
                not_connected = not_connected or self._prepare()
                token = token_hex(6)
                attempt = Claim(
                    send_id_of(trigger, item.member, records, decision.version),
                    "claimed",
                    token,
                    self._now() + self._deadline_ms + 5000,
                    self._now(),
                    decision.attempts,
                    decision.version,
                    decision.limit if decision.limit > trigger.max_age else 0,
                )
                if self._ledger.claim(trigger, item, records, attempt):
                    claim = attempt
                    if self._ledger.is_held(trigger.name):
                        self._ledger.release(item, records, claim)
                        self._hold(trigger, item)
                        return None
            seen = time.monotonic()
            if claim and self._ledger.is_current(records) and time.monotonic() - seen < MAX_GATE_TO_CALL_S:
                return Ready(records, decision, claim, seen, not_connected)
            records = self._lookup.records([(trigger, item.member)])[item.member]
        if claim:
            self._ledger.release(item, records, claim)
        self._ledger.retime(item, self._now() + 1000)
        metrics.RETIMED.labels(trigger.name, "contended").inc()
        return None

    def _prepare(self) -> EspError | None:
        try:
            self._esp.prepare()
        except EspError as error:
            return error
        return None

    def _ends_orphan(self, trigger: Trigger, item: Item, records: Records, decision: Decision, orphan: Claim) -> bool:
        """A worker died between claim and settle: nobody knows if the ESP has the mail. True if that is the end."""
        if trigger.unknown == "resend":
            if orphan.attempts + 1 < MAX_CRASHES:
                return False
            self._ledger.settle(trigger, item, records, decision, orphan, "dead", "poison")
            return True
        self._ledger.settle(trigger, item, records, decision, orphan, "unknown", "worker_died")
        return True

    def _put_off_or_end(self, trigger: Trigger, item: Item, records: Records, decision: Decision) -> None:
        tracing.annotate(outcome=decision.outcome or decision.do, reason=decision.reason)
        if decision.do == "withhold":
            self._ledger.withhold(trigger, item, records.person.id, decision)
        elif decision.do == "retime":
            self._ledger.put_off(trigger, item, records.person.id, decision)
        elif not self._ledger.park(trigger, item, records, decision):
            # The person moved on while we looked; the next look decides.
            self._ledger.retime(item, self._now())

    def _call(self, trigger: Trigger, item: Item, ready: Ready) -> None:
        records, decision, claim, seen, not_connected = ready
        try:
            template_data = trigger.compose(records.person, records.order)
        except Exception:
            # The ESP was not called, so the send is not in doubt.
            self._ledger.release(item, records, claim)
            raise
        message = Message(
            send_id=claim.send_id,
            trigger=trigger.name,
            to=decision.to,
            template_id=trigger.template_id,
            template_data=template_data,
            asm_group_id=trigger.asm_group_id,
        )
        metrics.GATE_TO_CALL.observe(time.monotonic() - seen)
        begun = time.perf_counter()
        try:
            with self._traces.call(self._esp.name, claim.send_id):
                if not_connected:
                    raise not_connected
                result = self._esp.send(message)
                tracing.set_http_status(result.status)
        except EspError as error:
            self._observe_call(begun, "error")
            self._refused(trigger, item, records, decision, claim, error)
            return
        self._observe_call(begun, "accepted")
        accepted = self._now()
        tracing.annotate(outcome="sent", send=claim.send_id)
        labels = (trigger.name, self._esp.name)
        began = max(records.person.received_at, decision.due)
        trace = tracing.exemplar()
        metrics.RECEIVED_TO_ACCEPTED.labels(*labels).observe(max(0, accepted - began) / 1000, trace)
        metrics.OCCURRED_TO_ACCEPTED.labels(*labels).observe(
            max(0, accepted - decision.occurred_at - trigger.delay) / 1000, trace
        )
        self._ledger.settle(trigger, item, records, decision, claim, "sent", result.provider_id, status=result.status)

    def _refused(
        self, trigger: Trigger, item: Item, records: Records, decision: Decision, claim: Claim, error: EspError
    ) -> None:
        kind = (
            "ambiguous"
            if error.ambiguous
            else "permanent"
            if error.permanent
            else "blocked"
            if error.blocked
            else "retry"
        )
        metrics.ESP_ERRORS.labels(self._esp.name, kind).inc()
        tracing.annotate(failed=True, outcome=kind, send=claim.send_id, status=error.status or 0)
        log.warning(
            "esp_refused", esp=self._esp.name, trigger=trigger.name, send=claim.send_id, kind=kind, said=str(error)
        )
        settle = self._ledger.settle
        if error.permanent:
            settle(trigger, item, records, decision, claim, "rejected", str(error), status=error.status)
            return
        if error.ambiguous and trigger.unknown == "hold":
            settle(trigger, item, records, decision, claim, "unknown", str(error), status=error.status)
            return
        due = next_try(self._now(), claim.attempts, error.retry_after_s)
        if due > decision.occurred_at + decision.limit:
            settle(trigger, item, records, decision, claim, "dead", str(error), status=error.status)
            return
        settle(trigger, item, records, decision, claim, "retry", str(error), status=error.status, due=due)

    def _observe_call(self, begun: float, result: str) -> None:
        metrics.ESP_CALL.labels(self._esp.name, result).observe(time.perf_counter() - begun)


def fault_of(error: Exception) -> str:
    """Where our own or the catalog's code failed: class, file and line. The error's own text may quote a customer."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"


def now_ms() -> int:
    """The wall clock, in integer milliseconds."""
    return time.time_ns() // 1_000_000

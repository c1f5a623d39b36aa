"""Carries out sends: gate, claim, call the ESP, settle. A job names timers; the truth is in Redis.

`lanes.py` hands sends over; `lookup.py` reads, `gate.py` decides, `calls.py` calls the ESP, `ledger.py` writes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import randint
from secrets import token_hex
from typing import Any, Protocol

import redis
from msgspec.structs import replace

from freshgate.declare import Trigger
from freshgate.errors import EspError
from freshgate.outcomes import OutcomeRules
from freshgate.queue import Item, Job, queue_name
from freshgate.settings import EspSettings
from freshgate.state.clock import RedisClock
from freshgate.state.records import WITH_ESP, Claim
from freshgate.telemetry import logs, metrics, tracing
from workers.asker import Nobody, Oracle
from workers.asks import AskAnswer, AskRequest
from workers.calls import Calls, WaitingForEsp, alone
from workers.decisions import Decision, Records
from workers.delays import Delays
from workers.esp.base import Esp, max_batch, settles_by_key
from workers.gate import contradiction, decide, send_id_of
from workers.ledger import Attempt, Ledger
from workers.lookup import Lookup
from workers.messages import Messages, compose
from workers.outlet import NO_TURN, Outlet, Turn, Wait
from workers.pending import ClaimedSend, PendingSend

log = logs.get(__name__)

BUDGET_S = 15.0
MAX_ROUNDS = 5
MAX_CRASHES = 3
MAX_CLAIM_TO_CALL_S = 0.1
# A decision that has waited longer for its turn and the connection is made once more: ages go on meanwhile.
MAX_DECISION_AGE_MS = 2000
HELD_FOR_MS = 30_000
# When a send tries once more for whose field a source of truth had no room; spread, so that they do not come at once.
BUSY_MS = (500, 3000)
# Hosts are updated one by one within an hour; after that the trigger is taken for removed.
UNKNOWN_TRIGGER_MS = 60_000
MAX_UNKNOWN_TRIGGER = 60
# What came of a needed field whose value, or what stands in for it, is in the mail.
IN_THE_MAIL = frozenset({"used", "session", "placeholder", "refreshed"})
# The timer that `record.lua` sets when something arrives that occurred before a mail which has left.
LOOKBACK = "lookback"


class Aside(Protocol):
    """The sends of one `carry_out` that wait for a source of truth, and will be carried out once more."""

    def resume(self, item: Item) -> Callable[[], object]:
        """What brings the send back. It may be called before `add`."""

    def add(self, item: Item) -> None:
        """The send is no longer the caller's."""


class Courier:
    """Carries out sends of one ESP account. One a lane; not thread-safe.

    clock    replaces Redis' clock, for tests
    feedback_wait_ms  how long a send that may have left waits for the ESP's report; None where the ESP reports nothing
    batch    how many sends of one trigger may share a call, if the ESP takes several
    waiting  makes a context around whatever waits for the ESP
    outlet   the account, shared by all lanes
    delays   those of before, by which waiting timers were set
    outcomes shop → what it wants to hear of its mails
    oracle   answers for sources of truth, shared by all lanes
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
        batch: int = 1,
        waiting: WaitingForEsp = alone,
        outlet: Outlet | None = None,
        delays: Delays | None = None,
        outcomes: Mapping[str, OutcomeRules] | None = None,
        oracle: Oracle | None = None,
    ) -> None:
        self._triggers = triggers
        self._messages = messages or Messages()
        self._esp = esp
        self._lookup = lookup
        self._deadline_ms = deadline_ms
        self.batch = min(batch, max_batch(esp))
        self._clock = RedisClock(clock, metrics.CLOCK_SKEW.set)
        self._traces = traces
        reports = feedback_wait_ms is not None
        self._ledger = Ledger(client, esp.name, self._clock, feedback=reports, outcomes=outcomes)
        self._feedback_wait_ms = feedback_wait_ms or 0
        self._outlet = outlet or Outlet(client, esp.name, {esp.name: EspSettings()}, self._clock)
        self._oracle = oracle or Nobody()
        self._waiting = waiting
        self._aside: Aside | None = None
        self._calls = Calls(
            esp, self._ledger, self._clock, traces, self._feedback_wait_ms, waiting, self._outlet, delays or Delays()
        )

    def deliver(self, job: Job) -> None:
        """Every send of the job is brought to a state; what the budget has no room for goes back to the timers."""
        expires_at = time.monotonic() + BUDGET_S
        self.carry_out(job, [(item, expires_at) for item in job.sends])

    def carry_out(
        self,
        job: Job,
        sends: Sequence[tuple[Item, float]],
        finish: Callable[[Any], object] | None = None,
        aside: Aside | None = None,
    ) -> None:
        """Brings sends of one shop to a state. Raises RedisError: then the timers bring them back.

        job     theirs, or any of theirs if none of them is traced
        sends   each with the end of its budget, in monotonic seconds
        finish  adds commands to the pipeline that leaves last
        aside   takes sends that wait for a source of truth; without it they wait in this call
        """
        self._aside = aside
        with self._traces.job(queue_name(self._esp.name), len(sends), job.trace, job.id):
            paced = sum(item.paced for item, _ in sends)
            try:
                for group in self._groups(self._pending(job.shop, sends)):
                    try:
                        self._process(group)
                    finally:
                        for pending in group:
                            pending.span.end()
                            paced -= pending.item.paced and (pending.was_called or pending.is_aside)
            finally:
                self._outlet.give_back_paced(paced)
            if finish:
                self._ledger.add(finish)
            self._ledger.flush()

    def close(self) -> None:
        """Closes the connection to the ESP."""
        self._esp.close()

    def _pending(self, shop: str, sends: Sequence[tuple[Item, float]]) -> Iterator[PendingSend]:
        """Those on which there is something to decide; the others are brought to a state."""
        all_records, held = self._read(shop, [item.timer for item, _ in sends])
        for (item, expires_at), records in zip(sends, all_records, strict=True):
            if records.due is None:
                # Somebody brought this send to its end already.
                continue
            if records.timer.trigger == LOOKBACK:
                self._check_lookback(records)
                continue
            trigger = self._triggers.get(records.timer.trigger)
            if trigger is None:
                self._defer_unknown_trigger(item, records)
            elif not self._outlet.serves(trigger):
                self._reroute(records)
            elif self._ledger.holds(trigger, held):
                self._hold(records)
            else:
                span = self._traces.send(trigger.name, records.subject.trace(records.timer.scope))
                yield PendingSend(trigger, item, records, expires_at, span)

    def _groups(self, sends: Iterator[PendingSend]) -> Iterator[list[PendingSend]]:
        """What shares a call: sends of one trigger."""
        by_trigger: dict[str, list[PendingSend]] = {}
        for pending in sends:
            # One that came back may have taken its worker down: its neighbours are unharmed.
            key = f"{pending.trigger.name} {pending.records.timer.text if pending.item.returned else ''}"
            by_trigger.setdefault(key, []).append(pending)
        for group in by_trigger.values():
            for start in range(0, len(group), self.batch):
                yield group[start : start + self.batch]

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
                    decision = contradiction(trigger, sends, claim) if claim.state in WITH_ESP else None
                    if decision:
                        self._ledger.contradict(trigger, sends, claim, decision)
        self._ledger.retime(records, None)

    def _hold(self, records: Records) -> None:
        self._ledger.retime(records, self._clock.now() + HELD_FOR_MS)
        metrics.RETIMED.labels(records.timer.trigger, "held").inc()

    def _process(self, group: list[PendingSend]) -> None:
        """Brings sends of one trigger to a state: what is claimed leaves in one call, what moved on is read anew."""
        not_connected: EspError | None = None
        for _ in range(MAX_ROUNDS):
            started, decided_at = time.perf_counter(), self._clock.now()
            decided, others = _of_same_template(self._decide_all(group))
            if others:
                # A call has one template: those with a fallback leave in calls of their own.
                self._process([send.pending for send in others])
                group = [pending for pending in group if all(pending is not send.pending for send in others)]
            turn, decided = self._take_turn(decided)
            claimed: list[ClaimedSend] = []
            moved: list[PendingSend] = []
            claimed_at = 0.0
            try:
                if decided:
                    # Connecting may take longer than a purchase takes to arrive: the claim and the last look come after
                    # it.
                    not_connected = not_connected or self._calls.prepare()
                    claimed_at = time.monotonic()
                    if self._clock.now() - decided_at > MAX_DECISION_AGE_MS:
                        moved = [send.pending for send in decided]
                    else:
                        claimed, moved = self._claim(decided)
                for pending in group:
                    metrics.GATE.labels(pending.trigger.name).observe((time.perf_counter() - started) / len(group))
                if claimed and not self._call_in_time(claimed, claimed_at, not_connected, turn):
                    moved += [send.pending for send in claimed]
            finally:
                self._outlet.leave(turn)
            group = self._refresh(moved) if moved else []
            if not group:
                return
        for pending in group:
            self._defer_contended(pending, self._clock.now() + 1000)

    def _take_turn(self, decided: list[ClaimedSend]) -> tuple[Turn, list[ClaimedSend]]:
        """The account's room for a call, and the sends that have a place in it; the others wait in their timers."""
        ready: list[ClaimedSend] = []
        for send in decided:
            wait = self._outlet.must_wait(send.trigger, send.possible_at, is_paced=bool(send.pending.item.paced))
            if wait:
                self._wait(send, wait)
            else:
                ready.append(send)
        if not ready:
            return NO_TURN, []
        turn = self._outlet.enter(ready[0].trigger, len(ready), self._calls.pause)
        for send in ready[turn.mails :]:
            self._wait(send, turn.wait)
        return turn, ready[: turn.mails]

    def _wait(self, send: ClaimedSend, wait: Wait) -> None:
        with send.pending.span.active():
            tracing.annotate(outcome="waiting", reason=wait.reason)
            self._ledger.wait(send.records, wait.due, wait.reason)

    def _decide_all(self, group: list[PendingSend]) -> list[ClaimedSend]:
        """The sends that may leave, each with its mail and a claim that is not written; the others reach a state."""
        decided: list[ClaimedSend] = []
        for pending in group:
            if time.monotonic() > pending.expires_at:
                self._ledger.retime(pending.records, self._clock.now())
                continue

            def act(pending: PendingSend = pending) -> None:
                send = self._decide(pending)
                if send:
                    decided.append(send)

            self._calls.guard(pending, act)
        return decided

    def _decide(self, pending: PendingSend) -> ClaimedSend | None:
        """The send with its mail and its claim, which is not written yet; or None, when it was brought to a state."""
        trigger, records = pending.trigger, pending.records
        if pending.item.returned and not pending.is_counted:
            pending.is_counted = True
            if self._ledger.count_failure(records) >= MAX_CRASHES:
                self._ledger.mark_dead(records, "poison")
                return None
        now = self._clock.now()
        decision, own_token = decide(trigger, records, now), ""
        if decision.do == "orphan" and decision.claim:
            if self._ends_orphan(trigger, records, decision, decision.claim):
                return None
            own_token = decision.claim.token
            decision = decide(trigger, records, now, own_token)
        while decision.do == "ask":
            if not self._answers_are_in(pending, decision.requests, now):
                return None
            now = self._clock.now()
            decision = decide(trigger, records, now, own_token)
        if decision.do != "send":
            self._defer_or_finish(trigger, records, decision)
            return None
        claim = Claim(
            send_id_of(records, decision.version),
            "claimed",
            token_hex(6),
            0,
            0,
            decision.attempts,
            decision.version,
            decision.limit if decision.limit > trigger.max_age else 0,
            account=self._esp.name if self._outlet.pins(trigger) else "",
        )
        template_data = compose(trigger, records, decision)
        message = self._messages.build(trigger, records, decision, claim.send_id, template_data)
        attempts = records.subject.claims(records.timer.scope)
        earlier = next((attempt for attempt in attempts if attempt.send_id == claim.send_id), None)
        return ClaimedSend(pending, decision, claim, message, earlier)

    def _answers_are_in(self, pending: PendingSend, requests: Sequence[AskRequest], now: int) -> bool:
        """Whether all that is to be asked for a send was asked, and its records have the answers. False: it was set
        aside until then, or, where a source has no room, brought back to its timer."""
        aside, done = self._aside, threading.Event()
        resume = aside.resume(pending.item) if aside else done.set
        asking = self._oracle.ask(pending.records.shop, requests, now, resume)
        if asking == "busy":
            self._ledger.wait(pending.records, now + randint(*BUSY_MS), "source_busy")
            return False
        if asking == "asking" and aside:
            tracing.annotate(outcome="asking")
            aside.add(pending.item)
            pending.is_aside = True
            return False
        if asking == "asking":
            with self._waiting(is_call=False):
                done.wait()
        answers = {request.key: self._oracle.answer_of(request, now) for request in requests}
        # One that was lost meanwhile is none: nobody is asked for ever.
        known = {key: answer or AskAnswer("unreachable", now) for key, answer in answers.items()}
        pending.records.asked = {**pending.records.asked, **known}
        return True

    def _claim(self, decided: list[ClaimedSend]) -> tuple[list[ClaimedSend], list[PendingSend]]:
        """Those that are claimed on exactly what they were decided on, and those whose records moved on meanwhile."""
        now = self._clock.now()
        sends = [
            replace(send, claim=replace(send.claim, until=now + self._deadline_ms + 5000, at=now)) for send in decided
        ]
        written = self._ledger.claim([Attempt(send.trigger, send.records, send.claim) for send in sends])
        claimed: list[ClaimedSend] = []
        moved: list[PendingSend] = []
        for send, is_written in zip(sends, written, strict=True):
            if not is_written:
                moved.append(send.pending)
            elif self._ledger.is_held(send.trigger):
                self._ledger.release(send.trigger, send.records, send.claim, send.earlier)
                self._hold(send.records)
            else:
                count_needs(send.trigger, send.decision, now)
                claimed.append(send)
        return claimed, moved

    def _refresh(self, group: list[PendingSend]) -> list[PendingSend]:
        """The same sends on what is known by now, without those that somebody brought to their end."""
        # What this lane knows itself counts too: the same send may be in a group twice.
        self._ledger.flush()
        all_records, _ = self._read(group[0].records.shop, [pending.records.timer.text for pending in group])
        for pending, records in zip(group, all_records, strict=True):
            pending.records = records
        return [pending for pending in group if pending.records.due is not None]

    def _ends_orphan(self, trigger: Trigger, records: Records, decision: Decision, orphan: Claim) -> bool:
        """A worker died between claim and settle: nobody knows if the ESP has the mail. True if that is the end."""
        if orphan.version == decision.version and settles_by_key(self._esp, decision.limit):
            return False
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
            count_needs(trigger, decision, self._clock.now())
            self._ledger.withhold(records, decision)
        elif decision.do == "retime":
            self._ledger.defer(records, decision)
        elif not self._ledger.park(trigger, records, decision):
            # The person moved on meanwhile; the next look decides.
            self._ledger.retime(records, self._clock.now())

    def _call_in_time(
        self, sends: list[ClaimedSend], claimed_at: float, not_connected: EspError | None, turn: Turn
    ) -> bool:
        """Calls the ESP while the last look is fresh; False if it no longer was, and the claims were given back."""
        gap = time.monotonic() - claimed_at
        if gap <= MAX_CLAIM_TO_CALL_S:
            metrics.GATE_TO_CALL.observe(gap)
            if self._call(sends, not_connected, turn):
                return True
        for send in sends:
            self._ledger.release(send.trigger, send.records, send.claim, send.earlier)
        if len(sends) == 1:
            return False
        # A batch that was refused as a whole, or took too long to claim: in halves, each of them gated anew.
        self._outlet.leave(turn)
        middle = len(sends) // 2
        for half in (sends[:middle], sends[middle:]):
            group = self._refresh([send.pending for send in half])
            if group:
                self._process(group)
        return True

    def _call(self, sends: list[ClaimedSend], not_connected: EspError | None, turn: Turn) -> bool:
        try:
            return self._calls.call(sends, not_connected, turn)
        except (redis.RedisError, EspError):
            raise
        except Exception as error:  # The ESP's own file failed: whoever was in the call may have been sent.
            for send in sends:
                with send.pending.span.active():
                    self._calls.fail(send.pending, error)
            return True

    def _defer_contended(self, pending: PendingSend, due: int) -> None:
        self._ledger.retime(pending.records, due)
        metrics.RETIMED.labels(pending.trigger.name, "contended").inc()


def _of_same_template(decided: list[ClaimedSend]) -> tuple[list[ClaimedSend], list[ClaimedSend]]:
    """The sends with the first one's template, and the others."""
    same = [send for send in decided if send.message.template_id == decided[0].message.template_id]
    return same, [send for send in decided if send.message.template_id != decided[0].message.template_id]


def count_needs(trigger: Trigger, decision: Decision, now: int) -> None:
    """How fresh the fields were that the mail needs; `now` in ms."""
    for need in decision.needs:
        metrics.NEEDED.labels(trigger.name, need.field, need.state, need.result).inc()
        if need.at:
            is_sent = decision.do == "send" and need.result in IN_THE_MAIL
            sent = "yes" if is_sent else "no"
            metrics.NEED_AGE.labels(trigger.name, need.field, sent).observe(max(0, now - need.at) / 1000)


def _sends_of(trigger: Trigger, records: Records) -> list[Records]:
    """The records as a decision on each subject's sends of this trigger reads them."""
    subjects = [""]
    if isinstance(trigger.subject, tuple):
        subjects = records.person.subject_keys(trigger.name)
    timers = [records.timer._replace(trigger=trigger.name, values=values) for values in subjects]
    return [replace(records, timer=timer) for timer in timers]

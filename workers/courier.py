"""Carries out sends: gate, claim, call the ESP, settle. A job names timers; the truth is in Redis.

`lanes.py` hands sends over; `intake.py` reads them, `decider.py` decides, `calls.py` calls the ESP, `ledger.py` writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import redis
from msgspec.structs import replace

from freshgate.declare import Trigger
from freshgate.errors import EspError
from freshgate.outcomes import OutcomeRules
from freshgate.queue import Item, Job, queue_name
from freshgate.settings import EspSettings
from freshgate.state.clock import RedisClock
from freshgate.telemetry import logs, metrics, tracing
from workers.asker import Nobody, Oracle
from workers.calls import Calls, WaitingForEsp, alone
from workers.decider import Aside, Decider, count_needs
from workers.delays import Delays
from workers.esp.base import Esp, max_batch
from workers.intake import Intake
from workers.ledger import Attempt, Ledger
from workers.lookup import Lookup
from workers.messages import Messages
from workers.outlet import NO_TURN, Outlet, Turn, Wait
from workers.pending import ClaimedSend, PendingSend

log = logs.get(__name__)

BUDGET_S = 15.0
MAX_ROUNDS = 5
MAX_CLAIM_TO_CALL_S = 0.1
# A decision that has waited longer for its turn and the connection is made once more: ages go on meanwhile.
MAX_DECISION_AGE_MS = 2000


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
        self._esp = esp
        self._deadline_ms = deadline_ms
        self.batch = min(batch, max_batch(esp))
        self._clock = RedisClock(clock, metrics.CLOCK_SKEW.set)
        self._traces = traces
        reports = feedback_wait_ms is not None
        self._ledger = Ledger(client, esp.name, self._clock, feedback=reports, outcomes=outcomes)
        self._outlet = outlet or Outlet(client, esp.name, {esp.name: EspSettings()}, self._clock)
        self._intake = Intake(triggers, lookup, self._ledger, self._outlet, self._clock, traces)
        wait_ms = feedback_wait_ms or 0
        self._decider = Decider(
            esp,
            self._ledger,
            self._clock,
            messages or Messages(),
            self._outlet,
            oracle or Nobody(),
            waiting,
            wait_ms,
        )
        self._calls = Calls(esp, self._ledger, self._clock, traces, wait_ms, waiting, self._outlet, delays or Delays())

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
        self._decider.aside = aside
        with self._traces.job(queue_name(self._esp.name), len(sends), job.trace, job.id):
            paced = sum(item.paced for item, _ in sends)
            try:
                for group in self._groups(self._intake.pending(job.shop, sends)):
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
                send = self._decider.decide(pending)
                if send:
                    decided.append(send)

            self._calls.guard(pending, act)
        return decided

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
                self._ledger.hold(send.records)
            else:
                count_needs(send.trigger, send.decision, now)
                claimed.append(send)
        return claimed, moved

    def _refresh(self, group: list[PendingSend]) -> list[PendingSend]:
        """The same sends on what is known by now, without those that somebody brought to their end."""
        # What this lane knows itself counts too: the same send may be in a group twice.
        self._ledger.flush()
        all_records, _ = self._intake.read(group[0].records.shop, [pending.records.timer.text for pending in group])
        for pending, records in zip(group, all_records, strict=True):
            pending.records = records
        return [pending for pending in group if pending.records.due is not None]

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
            self._process(self._refresh([send.pending for send in half]))
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

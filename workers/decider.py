"""Brings one send to the gate and carries out what it says, but for the sending: that takes its mail and its claim.

`courier.py` writes the claim and calls; `gate.py` decides, `asker.py` has the answers of sources of truth.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from random import randint
from secrets import token_hex
from typing import Protocol

from freshgate.declare import Trigger
from freshgate.queue import Item
from freshgate.state.clock import RedisClock
from freshgate.state.records import Claim
from freshgate.telemetry import metrics, tracing
from workers.asker import Oracle
from workers.asks import AskAnswer, AskRequest
from workers.calls import WaitingForEsp
from workers.decisions import Decision, Records
from workers.esp.base import Esp, settles_by_key
from workers.gate import decide, send_id_of
from workers.ledger import Ledger
from workers.messages import Messages, compose
from workers.outlet import Outlet
from workers.pending import ClaimedSend, PendingSend

MAX_CRASHES = 3
# When a send tries once more for whose field a source of truth had no room; spread, so that they do not come at once.
BUSY_MS = (500, 3000)
# What came of a needed field whose value, or what stands in for it, is in the mail.
IN_THE_MAIL = frozenset({"used", "session", "placeholder", "refreshed"})


class Aside(Protocol):
    """The sends of one `carry_out` that wait for a source of truth, and will be carried out once more."""

    def resume(self, item: Item) -> Callable[[], object]:
        """What brings the send back. It may be called before `add`."""

    def add(self, item: Item) -> None:
        """The send is no longer the caller's."""


class Decider:
    """Decides on the sends of one lane.

    aside             takes sends that wait for a source of truth; without it they wait here
    feedback_wait_ms  how long a send that may have left waits for the ESP's report
    """

    def __init__(
        self,
        esp: Esp,
        ledger: Ledger,
        clock: RedisClock,
        messages: Messages,
        outlet: Outlet,
        oracle: Oracle,
        waiting: WaitingForEsp,
        feedback_wait_ms: int,
    ) -> None:
        self._esp = esp
        self._ledger = ledger
        self._clock = clock
        self._messages = messages
        self._outlet = outlet
        self._oracle = oracle
        self._waiting = waiting
        self._feedback_wait_ms = feedback_wait_ms
        self.aside: Aside | None = None

    def decide(self, pending: PendingSend) -> ClaimedSend | None:
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
        aside, done = self.aside, threading.Event()
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


def count_needs(trigger: Trigger, decision: Decision, now: int) -> None:
    """How fresh the fields were that the mail needs; `now` in ms."""
    for need in decision.needs:
        metrics.NEEDED.labels(trigger.name, need.field, need.state, need.result).inc()
        if need.at:
            is_sent = decision.do == "send" and need.result in IN_THE_MAIL
            sent = "yes" if is_sent else "no"
            metrics.NEED_AGE.labels(trigger.name, need.field, sent).observe(max(0, now - need.at) / 1000)

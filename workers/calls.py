"""Calls the ESP with claimed sends, one or a batch, and brings each to the state that the ESP's reply means.

`courier.py` claims them; `esp/` makes the call; `ledger.py` writes what became of it.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol, cast

import redis

from freshgate.errors import EspError
from freshgate.state.clock import RedisClock
from freshgate.telemetry import logs, metrics, tracing
from workers.backoff import next_try
from workers.delays import Delays
from workers.esp.base import BatchEsp, Esp, SendResult, settles_by_key
from workers.ledger import Ledger
from workers.outlet import Outlet, Turn
from workers.pending import ClaimedSend, PendingSend

log = logs.get(__name__)
AFTER_FAULT_MS = 30_000
# For so long after a call its connection is expected to stand: below `connection.MAX_IDLE_S`.
CONNECTED_S = 10.0


class WaitingForEsp(Protocol):
    """Makes a context that is entered around whatever waits for the ESP: other lanes may work meanwhile."""

    def __call__(self, *, is_call: bool) -> AbstractContextManager[object]: ...


def alone(*, is_call: bool) -> AbstractContextManager[object]:
    """Where there are no other lanes."""
    return nullcontext(is_call)


class Calls:
    """The calls of one lane."""

    def __init__(
        self,
        esp: Esp,
        ledger: Ledger,
        clock: RedisClock,
        traces: tracing.Traces,
        feedback_wait_ms: int,
        waiting: WaitingForEsp,
        outlet: Outlet,
        delays: Delays,
    ) -> None:
        self._esp = esp
        self._ledger = ledger
        self._clock = clock
        self._traces = traces
        self._feedback_wait_ms = feedback_wait_ms
        self._waiting = waiting
        self._outlet = outlet
        self._delays = delays
        self._connected_until = 0.0

    def prepare(self) -> EspError | None:
        """Opens the connection unless it stands; why it could not be opened."""
        try:
            if time.monotonic() < self._connected_until:
                self._esp.prepare()
            else:
                with self._waiting(is_call=False):
                    self._esp.prepare()
        except EspError as error:
            return error
        return None

    def pause(self, seconds: float) -> None:
        """Waits for the account's next turn."""
        with self._waiting(is_call=False):
            time.sleep(seconds)

    def call(self, sends: Sequence[ClaimedSend], not_connected: EspError | None, turn: Turn) -> bool:
        """Makes one call for all, and brings each send to a state. False: a batch was refused for good as a whole,
        perhaps for one of its mails; then nothing was done.

        not_connected  why there is no connection; then the call need not be tried
        turn           the account's room for it
        """
        for send in sends:
            send.pending.was_called = True
        first, *neighbours = (send.pending.span for send in sends)
        started = time.perf_counter()
        try:
            with first.active(), self._traces.call(self._esp.name, sends[0].claim.send_id, neighbours):
                if not_connected:
                    raise not_connected
                replies = self._send(sends)
        except EspError as error:
            is_divided = error.permanent and bool(neighbours)
            # Mails that the account does not even put into one call: nobody was called, and nothing has failed.
            if not is_divided or error.status is not None:
                metrics.ESP_CALL.labels(self._esp.name, "error").observe(time.perf_counter() - started)
            self._outlet.called(turn, len(sends), [error])
            if is_divided:
                return False
            metrics.ESP_ERRORS.labels(self._esp.name, error_class(error)).inc()
            replies = [error] * len(sends)
        else:
            metrics.ESP_CALL.labels(self._esp.name, "accepted").observe(time.perf_counter() - started)
            self._outlet.called(turn, len(sends), replies)
            for reply in replies:
                if isinstance(reply, EspError):
                    metrics.ESP_ERRORS.labels(self._esp.name, error_class(reply)).inc()
        for send, reply in zip(sends, replies, strict=True):
            self.guard(send.pending, lambda send=send, reply=reply: self._settle(send, reply))  # type: ignore[misc]
        return True

    def _send(self, sends: Sequence[ClaimedSend]) -> Sequence[SendResult | EspError]:
        metrics.ESP_BATCH.labels(self._esp.name).observe(len(sends))
        messages = [send.message for send in sends]
        self._connected_until = 0.0
        with self._waiting(is_call=True):
            if len(messages) == 1:
                replies: Sequence[SendResult | EspError] = [self._esp.send(messages[0])]
            else:
                replies = cast(BatchEsp, self._esp).send_batch(messages)
        self._connected_until = time.monotonic() + CONNECTED_S
        if len(replies) != len(messages):
            raise ValueError(f"send_batch: {len(replies)} results for {len(messages)} mails")
        for reply in replies:
            if isinstance(reply, SendResult):
                tracing.set_http_status(reply.status)
                break
        return replies

    def _settle(self, send: ClaimedSend, reply: SendResult | EspError) -> None:
        if isinstance(reply, EspError):
            self._handle_error(send, reply)
            return
        trigger, records, decision, claim = send.trigger, send.records, send.decision, send.claim
        accepted = self._clock.now()
        outcome = "fallback_sent" if decision.fallback else "sent"
        tracing.annotate(outcome=outcome, send=claim.send_id)
        if not self._outlet.is_own(trigger):
            metrics.FAILED_OVER.labels(trigger.name, trigger.esp).inc()
        if not send.pending.item.paced:
            # A mail that keeps to its pace is late on purpose.
            self._observe_delay(send, accepted)
        self._ledger.finish(trigger, records, decision, claim, outcome, reply.provider_id, status=reply.status)

    def _observe_delay(self, send: ClaimedSend, accepted: int) -> None:
        trigger, records, decision = send.trigger, send.records, send.decision
        labels = (trigger.name, self._esp.name)
        postponed = self._delays.postponed(trigger, records, decision.due)
        began = max(records.person.received_at, decision.due + postponed)
        trace = tracing.exemplar()
        metrics.RECEIVED_TO_ACCEPTED.labels(*labels).observe(max(0, accepted - began) / 1000, trace)
        metrics.OCCURRED_TO_ACCEPTED.labels(*labels).observe(
            max(0, accepted - decision.occurred_at - trigger.delay - postponed) / 1000, trace
        )

    def _handle_error(self, send: ClaimedSend, error: EspError) -> None:
        trigger, records, decision, claim = send.trigger, send.records, send.decision, send.claim
        kind = error_class(error)
        tracing.annotate(failed=True, outcome=kind, send=claim.send_id, status=error.status or 0)
        log.warning(
            "esp_refused", esp=self._esp.name, trigger=trigger.name, send=claim.send_id, kind=kind, said=str(error)
        )
        finish = self._ledger.finish
        if error.permanent:
            finish(trigger, records, decision, claim, "rejected", str(error), status=error.status)
            return
        has_key = error.ambiguous and settles_by_key(self._esp, decision.limit)
        if error.ambiguous and trigger.unknown == "hold" and not has_key:
            finish(trigger, records, decision, claim, "unknown", str(error), status=error.status)
            return
        due = next_try(self._clock.now(), claim.attempts, error.retry_after_s)
        if error.ambiguous and not has_key:
            due = max(due, self._clock.now() + self._feedback_wait_ms)
        if due > decision.occurred_at + decision.limit:
            state = "unknown" if has_key else "dead"
            finish(trigger, records, decision, claim, state, str(error), status=error.status)
            return
        finish(
            trigger,
            records,
            decision,
            claim,
            "retry",
            str(error),
            status=error.status,
            due=due,
            possible_at=claim.account if error.ambiguous else send.possible_at,
        )

    def guard(self, pending: PendingSend, act: Callable[[], object]) -> None:
        """Acts within the send's span. Its fault must not take its neighbours along: it comes back by itself."""
        with pending.span.active():
            try:
                act()
            except (redis.RedisError, EspError):
                raise
            except Exception as error:  # Our own, the catalog's or an ESP file's code.
                self.fail(pending, error)

    def fail(self, pending: PendingSend, error: Exception) -> None:
        """Our own code failed on this send, within its span: it is tried again by itself."""
        log.exception("send_failed", trigger=pending.trigger.name, error=type(error).__name__)
        metrics.RETIMED.labels(pending.trigger.name, "internal").inc()
        tracing.annotate(failed=True, outcome="internal")
        self._ledger.note_failure(pending.records, fault_of(error))
        self._ledger.retime(pending.records, self._clock.now() + AFTER_FAULT_MS, failed=True)


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

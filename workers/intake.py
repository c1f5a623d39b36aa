"""Reads the sends of a job, and brings those to a state on which there is nothing to decide.

`courier.py` carries out the others; `lookup.py` reads, `ledger.py` writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from freshgate.declare import Trigger
from freshgate.queue import Item
from freshgate.state.clock import RedisClock
from freshgate.state.records import WITH_ESP
from freshgate.telemetry import logs, metrics, tracing
from workers.decisions import Records
from workers.gate import contradiction
from workers.ledger import Ledger
from workers.lookup import Lookup
from workers.outlet import Outlet
from workers.pending import PendingSend

log = logs.get(__name__)

# Hosts are updated one by one within an hour; after that the trigger is taken for removed.
UNKNOWN_TRIGGER_MS = 60_000
MAX_UNKNOWN_TRIGGER = 60
# The timer that `record.lua` sets when something arrives that occurred before a mail which has left.
LOOKBACK = "lookback"


class Intake:
    """The sends of one lane as they come in."""

    def __init__(
        self,
        triggers: Mapping[str, Trigger],
        lookup: Lookup,
        ledger: Ledger,
        outlet: Outlet,
        clock: RedisClock,
        traces: tracing.Traces,
    ) -> None:
        self._triggers = triggers
        self._lookup = lookup
        self._ledger = ledger
        self._outlet = outlet
        self._clock = clock
        self._traces = traces

    def pending(self, shop: str, sends: Sequence[tuple[Item, float]]) -> Iterator[PendingSend]:
        """Those on which there is something to decide; the others are brought to a state."""
        all_records, held = self.read(shop, [item.timer for item, _ in sends])
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
                self._ledger.hold(records)
            else:
                span = self._traces.send(trigger.name, records.subject.trace(records.timer.scope))
                yield PendingSend(trigger, item, records, expires_at, span)

    def read(self, shop: str, timers: list[str]) -> tuple[list[Records], set[str]]:
        """The records of each, and what an operator holds. Raises RedisError."""
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


def _sends_of(trigger: Trigger, records: Records) -> list[Records]:
    """The records as a decision on each subject's sends of this trigger reads them."""
    subjects = [""]
    if isinstance(trigger.subject, tuple):
        subjects = records.person.subject_keys(trigger.name)
    timers = [records.timer._replace(trigger=trigger.name, values=values) for values in subjects]
    return [replace(records, timer=timer) for timer in timers]

"""What became of each send: claims, settlements, puttings-off, and the line on the person's trail for each.

Writes gather and leave together with the next claim, so that a burst costs one trip to Redis a send.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import redis

from freshgate.declare import Trigger
from freshgate.queue import Item
from freshgate.state import keys
from freshgate.state.planner import PERSON_TTL
from freshgate.state.store import fcall
from freshgate.state.views import WENT_OUT, Claim
from freshgate.telemetry import metrics
from workers.gate import Decision, Records

TRAIL_ENTRIES = 100
_encode = msgspec.json.Encoder().encode


class Ledger:
    """One worker's view of claims. Not thread-safe."""

    def __init__(self, client: redis.Redis, esp: str, clock: Callable[[], int]) -> None:
        self._client = client
        self._esp = esp
        self._now = clock
        self._pipe = client.pipeline(transaction=False)
        self._fresh: tuple[list[str], list[str]] | None = None
        self._held: set[str] = set()
        # Settlements on their way: where in the pipe, and their arguments, should the person have moved by then.
        self._settling: list[tuple[int, str, list[Any]]] = []

    def claim(self, trigger: Trigger, item: Item, records: Records, claim: Claim) -> bool:
        """Write the claim if the records are still what was read, and look at the others again, in one trip."""
        owner = records.order if trigger.subject == "order" and records.order else records.person
        key = keys.entity("o" if owner is records.order else "p", owner.id)
        names = _keys(records)
        arguments: list[Any] = [owner.revision, _field(trigger.name, claim), claim.text()]
        if trigger.address_cap and records.address:
            refuses = int(trigger.kind == "marketing")
            arguments += [
                claim.send_id,
                claim.at,
                *trigger.address_cap,
                refuses,
                trigger.name,
                *(trigger.cap or ("", "")),
            ]
        # An operator's hold takes effect between two mails of one job; it costs no trip of its own.
        self._pipe.smembers(keys.HOLD)
        fcall(self._pipe, "fg1_claim", [key, *names], *arguments)
        *_, held, reply = self._execute()
        self._held = {_text(name) for name in held}
        said, *seen = map(_text, reply)
        if said in ("0", "capped") or said.startswith("moved"):
            return False
        owner.revision = said
        self._fresh = (names, seen)
        return True

    def is_held(self, trigger: str) -> bool:
        """Whether an operator held this trigger, or all, when the last claim was written."""
        return trigger in self._held or "*" in self._held

    def is_current(self, records: Records) -> bool:
        """Whether every record that the decision read still stands at that revision, as seen after the claim."""
        names = _keys(records)
        if self._fresh is None or self._fresh[0] != names:
            gathered = len(self._pipe.command_stack)
            for name in names:
                self._pipe.hget(name, "rev")
            self._fresh = (names, [_text(reply or b"0") for reply in self._execute()[gathered:]])
        seen, self._fresh = self._fresh[1], None
        return seen == [view.revision for view in _views(records)]

    def settle(
        self,
        trigger: Trigger,
        item: Item,
        records: Records,
        decision: Decision,
        claim: Claim,
        state: str,
        said: str,
        *,
        status: int | None = None,
        due: int | None = None,
    ) -> None:
        """The claim's end, or its next try at `due` (ms). Token-guarded: whoever was overtaken changes nothing."""
        now = self._now()
        attempts = claim.attempts + (state in {"retry", "dead"})
        ended = msgspec.structs.replace(
            claim,
            state=state,
            # A retry binds whoever comes before its time.
            until=due if state == "retry" and due is not None else claim.until,
            at=claim.at if state == "unknown" else now,
            attempts=attempts,
        )
        owner = self._owner(trigger, item, records)
        field = _field(trigger.name, claim)
        next_due = "" if due is None else due
        arguments = [field, claim.token, ended.text(), item.member, item.due, next_due, now]
        self._settling.append((len(self._pipe.command_stack), records.person.id, arguments))
        fcall(self._pipe, "fg1_settle", [owner], *arguments)
        self._uncount(records, claim, state)
        entry: dict[str, Any] = {"send": claim.send_id, "esp": self._esp, "said": said, "compared": decision.compared}
        if status is not None:
            entry["status"] = status
        if due is not None:
            entry |= {"due": due, "attempts": attempts}
        self._note(records.person.id, trigger.name, state, entry, now)
        if state in metrics.OUTCOMES:
            metrics.SENDS.labels(trigger.name, self._esp, state).inc()
        else:
            metrics.RETIMED.labels(trigger.name, state).inc()

    def release(self, item: Item, records: Records, claim: Claim) -> None:
        """Give a claim back: the decision turned to no on what was read after it. The timer stays as it is."""
        trigger, _, entity_id = keys.parse_member(item.member)
        arguments = [_field(trigger, claim), claim.token, "", "", "", "", self._now()]
        self._settling.append((len(self._pipe.command_stack), entity_id, arguments))
        fcall(self._pipe, "fg1_settle", [keys.owner_key(item.member)], *arguments)
        self._uncount(records, claim, "released")

    def withhold(self, trigger: Trigger, item: Item, person: str, decision: Decision) -> None:
        """The send is over without a call; the reason goes to the trail and to the metrics."""
        self.retime(item, None)
        entry = {"reason": decision.reason, "compared": decision.compared}
        self._note(person, trigger.name, decision.outcome, entry, self._now())
        metrics.SENDS.labels(trigger.name, self._esp, decision.outcome).inc()
        metrics.GATED.labels(trigger.name, decision.outcome, decision.reason).inc()

    def bury(self, trigger: str, item: Item, person: str, reason: str) -> None:
        """The send is `dead` without a claim: it cannot even be decided on. It can be listed and replayed."""
        _, kind, entity_id = keys.parse_member(item.member)
        self.retime(item, None)
        owner = keys.owner_key(item.member)
        field = f"c:{trigger}:{keys.send_id(trigger, entity_id, reason)}"
        # `fg1_replay` takes it off this list again.
        shard = owner[len(keys.PREFIX) : owner.index("}") + 1]
        self._pipe.zadd(f"{keys.PREFIX}{shard}:dead", {f"{owner} {item.member} {field}": self._now()})
        about = person or (entity_id if kind == "p" else "")
        self._note(about, trigger, "dead", {"reason": reason, "compared": {}}, self._now())
        metrics.SENDS.labels(trigger, self._esp, "dead").inc()
        metrics.GATED.labels(trigger, "dead", reason).inc()

    def contradict(self, trigger: Trigger, owner: str, person: str, claim: Claim, decision: Decision) -> None:
        """Something that occurred before this mail, and arrived after it, says that it should not have left."""
        if not self._client.hsetnx(owner, f"z:{trigger.name}:{claim.send_id}", decision.reason):
            return
        entry = {"reason": decision.reason, "send": claim.send_id, "compared": decision.compared}
        self._note(person, trigger.name, "contradicted", entry, self._now())
        metrics.CONTRADICTED.labels(trigger.name, decision.reason).inc()

    def put_off(self, trigger: Trigger, item: Item, person: str, decision: Decision) -> None:
        """Fired too early, or somebody else holds the claim: no outcome, a line on the trail."""
        self.retime(item, decision.due)
        entry = {"reason": decision.reason, "due": decision.due}
        self._note(person, trigger.name, "moved", entry, self._now())
        metrics.RETIMED.labels(trigger.name, decision.reason).inc()

    def park(self, trigger: Trigger, item: Item, records: Records, decision: Decision) -> bool:
        """No address yet: it hangs on the person until one comes, or until it is too old."""
        person = records.person
        entity_id = keys.parse_member(item.member)[2]
        gathered = len(self._pipe.command_stack)
        field = f"k:{keys.shard(entity_id)}:{item.member}"
        waits = f"{trigger.delay} {trigger.settle_ms if trigger.delay else 0}"
        fcall(self._pipe, "fg1_park", [keys.person(person.id)], person.revision, field, waits)
        if _text(self._execute()[gathered]) != "1":
            return False
        self.retime(item, decision.due)
        self._note(person.id, trigger.name, "parked", {"reason": decision.reason, "due": decision.due}, self._now())
        metrics.RETIMED.labels(trigger.name, "parked").inc()
        return True

    def retime(self, item: Item, due: int | None) -> None:
        """The timer fires again at `due` (ms), or never if None. A due that an event set meanwhile stays."""
        fcall(
            self._pipe, "fg1_retime", [keys.owner_key(item.member)], item.member, item.due, "" if due is None else due
        )

    def count_failure(self, item: Item) -> int:
        """How often this send took its worker down, or our own code failed on it; the first time not counted."""
        entity_id = keys.parse_member(item.member)[2]
        count: Any = self._client.hincrby(f"{keys.PREFIX}{keys.shard(entity_id)}:begun", item.member, 1)
        return int(count)

    def retry_failed(self, item: Item, due: int) -> None:
        """The send on which our own code failed comes back at `due` (ms); its failures stay counted."""
        fcall(self._pipe, "fg1_retime", [keys.owner_key(item.member)], item.member, item.due, due, 1)

    def note_failure(self, trigger: Trigger, person: str, reason: str) -> None:
        """A line on the trail for a send on which our own or the catalog's code failed."""
        self._note(person, trigger.name, "failed", {"reason": reason}, self._now())

    def flush(self) -> None:
        """Send what was gathered. Raises RedisError: then the timers bring it back."""
        if self._pipe.command_stack:
            self._execute()

    def hand_over(self, item: Item, person: str) -> None:
        """The timer names a person who is somebody else by now: it goes on under the new name."""
        trigger = keys.parse_member(item.member)[0]
        member = keys.member(trigger, "p", person)
        self._pipe.zadd(keys.timers(keys.shard(person)), {member: item.due}, nx=True)
        self._pipe.hsetnx(keys.person(person), f"f:{member}", str(item.due))
        self.retime(item, None)

    def _execute(self) -> list[Any]:
        settling, self._settling = self._settling, []
        replies: list[Any] = self._pipe.execute()
        for position, claimed_by, arguments in settling:
            said, person = _text(replies[position]), claimed_by
            while said.startswith("moved "):
                # The person was merged while the ESP was called: the claim went along, and so does its end.
                trail, person = f"{keys.person(person)}:dec", said[6:]
                field, token, ended, member, due, next_due, now = arguments
                renamed = keys.member(keys.parse_member(member)[0], "p", person) if member else ""
                moved = [field, token, ended, renamed, due, next_due, now]
                said = _text(fcall(self._client, "fg1_settle", [keys.person(person)], *moved))
                if member:
                    self._client.lmove(trail, f"{keys.person(person)}:dec", "LEFT", "LEFT")
                    fcall(self._client, "fg1_retime", [keys.owner_key(member)], member, due, "")
        return replies

    def _uncount(self, records: Records, claim: Claim, state: str) -> None:
        """A mail that did not leave is not counted among those that the address may get."""
        if records.address and state not in WENT_OUT:
            fcall(self._pipe, "fg1_uncount", [keys.entity("a", records.address.id)], claim.send_id, claim.at)

    def _owner(self, trigger: Trigger, item: Item, records: Records) -> str:
        if trigger.subject == "order":
            return keys.owner_key(item.member)
        return keys.person(records.person.id)

    def _note(self, person: str, trigger: str, state: str, entry: dict[str, Any], now: int) -> None:
        if not person:
            return
        noted = _encode({"t": now, "trigger": trigger, "state": state, **entry})
        fcall(self._pipe, "fg1_note", [f"{keys.person(person)}:dec"], noted, TRAIL_ENTRIES, PERSON_TTL)


def _field(trigger: str, claim: Claim) -> str:
    return f"c:{trigger}:{claim.send_id}"


def _views(records: Records) -> list[Any]:
    return [view for view in (records.person, records.order, records.address) if view is not None]


def _keys(records: Records) -> list[str]:
    names = [keys.person(records.person.id)]
    if records.order is not None:
        names.append(keys.entity("o", records.order.id))
    if records.address is not None:
        names.append(keys.entity("a", records.address.id))
    return names


def _text(reply: Any) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)

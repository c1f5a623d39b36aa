"""What became of each send: claims, settlements, deferrals, and the line on the person's trail for each.

Writes gather and leave together with the next claims, so that a burst costs one trip to Redis a call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import redis

from freshgate.declare import Trigger
from freshgate.outcomes import Outcome, OutcomeRules, event_of
from freshgate.state import keys
from freshgate.state.clock import RedisClock
from freshgate.state.records import WENT_OUT, WITH_ESP, Claim
from freshgate.state.store import fcall
from freshgate.state.subjects import SubjectView, describe
from freshgate.telemetry import logs, metrics
from workers.decisions import Decision, Records

# How many sends of a trigger are remembered with their subject, at least: the newest decides on duplicates, and all
# that lie in the window of a cap count.
MIN_CLAIMS = 20
# A claim that reaches Redis later than this is not written: its worker may have given it up. The timeout of a reply is
# not shorter, and a call that begins later than a tenth of a second after its claim is not made.
MAX_CLAIM_AGE_MS = 1000
HELD_FOR_MS = 30_000
log = logs.get(__name__)
_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode


class Attempt(NamedTuple):
    """A claim that is to be written, and what its decision read."""

    trigger: Trigger
    records: Records
    claim: Claim


class Ledger:
    """One lane's view of claims. Not thread-safe.

    feedback  whether the ESP reports of its mails, so that each send must be found by its id
    outcomes  shop → what it wants to hear of its mails
    """

    def __init__(
        self,
        client: redis.Redis,
        esp: str,
        clock: RedisClock,
        *,
        feedback: bool = False,
        outcomes: Mapping[str, OutcomeRules] | None = None,
    ) -> None:
        self._outcomes = outcomes or {}
        self._client = client
        self._esp = esp
        self._clock = clock
        self._feedback = feedback
        self._pipe = client.pipeline(transaction=False)
        self._held: set[str] = set()

    def claim(self, attempts: Sequence[Attempt]) -> list[bool]:
        """Writes each claim if every record that its decision read is still what was read; one trip for all.

        So the claim is the last look, too: what is recorded before it is seen, and nothing comes between.
        """
        # An operator's hold takes effect between two calls; it costs no trip of its own.
        self._pipe.smembers(keys.HOLD)
        for trigger, records, claim in attempts:
            body: dict[str, Any] = {
                "owner": records.subject.owner,
                "field": f"c:{records.timer.scope}",
                "send": claim.send_id,
                "claim": claim.text(),
                "keep": _keep(trigger),
                "before": claim.at + MAX_CLAIM_AGE_MS,
                "reads": [(view.owner, view.revision) for view in _views(records)],
            }
            if trigger.address_cap and records.counted:
                of_all = (*trigger.address_cap, trigger.kind == "marketing")
                body["address"] = (records.counted.id, trigger.name, of_all, trigger.cap or ())
            fcall(self._pipe, "claim", keys.shop(records.shop), self._clock.override, _pack(body))
        held, *replies = self._pipe.execute()[-len(attempts) - 1 :]
        self._held = {name.decode() for name in held}
        self._clock.set(int(replies[-1][0]))
        return [reply[1] == b"ok" for reply in replies]

    def is_held(self, trigger: Trigger) -> bool:
        """Whether this trigger's mail was on hold when the last claim was written."""
        return self.holds(trigger, self._held)

    def holds(self, trigger: Trigger, held: Collection[str]) -> bool:
        """Whether an operator held this trigger or all; or, for marketing mail, if this account is on hold."""
        is_account_held = trigger.kind == "marketing" and keys.HELD_ESP + self._esp in held
        return trigger.name in held or "*" in held or is_account_held

    def finish(
        self,
        trigger: Trigger,
        records: Records,
        decision: Decision,
        claim: Claim,
        state: str,
        reply: str,
        *,
        status: int | None = None,
        due: int | None = None,
        is_outdated: bool = False,
        possible_at: str = "",
    ) -> None:
        """The claim's end, or its next try at `due` (ms). Token-guarded: whoever was overtaken changes nothing.

        possible_at  the account that may have the mail, though it is tried again
        is_outdated  the claim is of an older version: the timer is that of the newer one, and fires again at once
        """
        now = self._clock.now()
        attempts = claim.attempts + (state in {"retry", "dead"})
        ended = msgspec.structs.replace(
            claim,
            state=state,
            # A retry binds whoever comes before its time.
            until=claim.until if due is None else due,
            at=claim.at if state == "unknown" else now,
            attempts=attempts,
            account=claim.account if state == "unknown" else possible_at,
        )
        entry: dict[str, Any] = {"send": claim.send_id, "esp": self._esp, "said": reply, "compared": decision.compared}
        entry |= _freshness(decision)
        if status is not None:
            entry["status"] = status
        if due is not None:
            entry |= {"due": due, "attempts": attempts}
        self._settle(
            records,
            claim=claim,
            text=ended.text(),
            keep=_keep(trigger),
            due=now if is_outdated else due,
            entry={"trigger": trigger.name, "state": state, **entry},
            # The operator's lists hold exactly the sends that are in that state.
            review=state,
            outcome=self._outcome(records, state, reply if state not in WITH_ESP else "", claim.send_id, decision.to),
        )
        log.info(
            "send",
            outcome=state,
            send=claim.send_id,
            trigger=trigger.name,
            esp=self._esp,
            attempts=attempts,
            **({} if status is None else {"status": status}),
        )
        if state in metrics.OUTCOMES:
            metrics.SENDS.labels(trigger.name, self._esp, state).inc()
        else:
            metrics.RETIMED.labels(trigger.name, state).inc()

    def release(self, trigger: Trigger, records: Records, claim: Claim, earlier: Claim | None = None) -> None:
        """Gives a claim back: no mail left for it. The timer stays as it is.

        earlier  the attempt before: its count, and the limit of a replay, stay known
        """
        body = {
            "owner": records.subject.owner,
            "field": f"c:{records.timer.scope}",
            "send": claim.send_id,
            "token": claim.token,
            "claim": earlier.text() if earlier else "",
            "keep": _keep(trigger),
        }
        if records.counted:
            body["uncount"] = (records.counted.id, claim.at)
        self._gather(records.shop, body)

    def withhold(self, records: Records, decision: Decision) -> None:
        """The send is over without a call; the reason goes to the trail and to the metrics."""
        trigger = records.timer.trigger
        entry = {"reason": decision.reason, "compared": decision.compared, **_freshness(decision)}
        same = f"{trigger} {decision.outcome} {decision.reason} {sorted(decision.compared.items())}"
        send_id = keys.send_id(records.timer.scope, records.subject.id, decision.version)
        outcome = self._outcome(records, decision.outcome, decision.reason, send_id, decision.to)
        self._settle(
            records, entry={"trigger": trigger, "state": decision.outcome, **entry}, same=same, outcome=outcome
        )
        log.info("send", outcome=decision.outcome, reason=decision.reason, send=send_id, trigger=trigger, esp=self._esp)
        metrics.SENDS.labels(trigger, self._esp, decision.outcome).inc()
        metrics.GATED.labels(trigger, decision.outcome, decision.reason).inc()

    def mark_dead(self, records: Records, reason: str) -> None:
        """The send is `dead` without a claim: it cannot even be decided on. It can be listed and replayed."""
        timer = records.timer
        send_id = keys.send_id(timer.scope, timer.id, reason)
        entry = {"trigger": timer.trigger, "state": "dead", "reason": reason, "send": send_id, "compared": {}}
        outcome = self._outcome(records, "dead", reason, send_id)
        body = self._body(records, entry=entry, review="dead", outcome=outcome)
        self._gather(records.shop, body | {"field": f"c:{timer.scope}", "send": send_id})
        log.info("send", outcome="dead", reason=reason, send=send_id, trigger=timer.trigger, esp=self._esp)
        metrics.SENDS.labels(timer.trigger, self._esp, "dead").inc()
        metrics.GATED.labels(timer.trigger, "dead", reason).inc()

    def contradict(self, trigger: Trigger, records: Records, claim: Claim, decision: Decision) -> None:
        """Something that occurred before this mail, and arrived after it, says that it should not have left."""
        # Beside its claim: the record that is the root may be another one by the next time.
        key = keys.shop(records.shop) + claim.owner
        if not self._client.hsetnx(key, f"z:{trigger.name}:{claim.send_id}", decision.reason):
            return
        entry = {"reason": decision.reason, "send": claim.send_id, "compared": decision.compared}
        self._note(records, {"trigger": trigger.name, "state": "contradicted", **entry})
        metrics.CONTRADICTED.labels(trigger.name, decision.reason).inc()

    def defer(self, records: Records, decision: Decision) -> None:
        """Fired too early, or somebody else holds the claim: no outcome, a line on the trail."""
        trigger = records.timer.trigger
        entry = {"trigger": trigger, "state": "moved", "reason": decision.reason, "due": decision.due}
        body = self._body(records, due=decision.due, entry=entry, same=f"{trigger} moved {decision.reason}")
        if decision.reason == "claimed_elsewhere":
            # Whoever has the claim may have ended the send meanwhile: then nothing is left to wait for.
            body["revision"] = records.subject.revision
        self._gather(records.shop, body)
        metrics.RETIMED.labels(trigger, decision.reason).inc()

    def hold(self, records: Records) -> None:
        """An operator holds its trigger: it is looked at again in a while."""
        self.retime(records, self._clock.now() + HELD_FOR_MS)
        metrics.RETIMED.labels(records.timer.trigger, "held").inc()

    def wait(self, records: Records, due: int, reason: str) -> None:
        """The send waits for its account, and is decided on once more at `due` (ms)."""
        trigger = records.timer.trigger
        entry = {"trigger": trigger, "state": "waiting", "reason": reason, "due": due}
        self._settle(records, due=due, entry=entry, same=f"{trigger} waiting {reason}")
        metrics.RETIMED.labels(trigger, reason).inc()

    def park(self, trigger: Trigger, records: Records, decision: Decision) -> bool:
        """No address yet: it hangs on the person until one comes, or until it is too old. False: it moved on."""
        waits = f"{trigger.delay} {trigger.settle_ms if trigger.delay else 0}"
        body = self._body(
            records,
            due=decision.due,
            entry={"trigger": trigger.name, "state": "parked", "reason": decision.reason, "due": decision.due},
            same=f"{trigger.name} parked",
        )
        body |= {
            "owner": records.person.owner,
            "revision": records.person.revision,
            "park": (f"k:{records.timer.text}", waits),
        }
        self._gather(records.shop, body)
        *_, reply = self._pipe.execute()
        if reply != b"1":
            return False
        metrics.RETIMED.labels(trigger.name, "parked").inc()
        return True

    def retime(self, records: Records, due: int | None, *, failed: bool = False) -> None:
        """The timer fires again at `due` (ms), or never if None. A due that an event set meanwhile stays.

        failed  our own code failed on it: such failures stay counted
        """
        self._settle(records, due=due, failed=failed)

    def count_failure(self, records: Records) -> int:
        """How often this send took its worker down, or our own code failed on it; the first time not counted."""
        return int(fcall(self._client, "crash", keys.shop(records.shop), records.timer.text))

    def note_failure(self, records: Records, reason: str) -> None:
        """A line on the trail for a send on which our own or the catalog's code failed."""
        trigger = records.timer.trigger
        same = f"{trigger} failed {reason}"
        self._note(records, {"trigger": trigger, "state": "failed", "reason": reason}, same)

    def add(self, write: Callable[[Any], object]) -> None:
        """Lets `write` add commands of its own to the pipeline, which leave with the rest."""
        write(self._pipe)

    def flush(self) -> None:
        """Sends what was gathered. Raises RedisError: then the timers bring it back."""
        self._pipe.execute()

    def _settle(
        self,
        records: Records,
        *,
        claim: Claim | None = None,
        text: str = "",
        keep: int = MIN_CLAIMS,
        review: str = "",
        **parts: Any,
    ) -> None:
        body = self._body(records, review=review, **parts)
        if claim is not None:
            body |= {
                "owner": claim.owner or records.subject.owner,
                "field": f"c:{records.timer.scope}",
                "send": claim.send_id,
                "token": claim.token,
                "claim": text,
                "keep": keep,
                "deferred": str(claim.until),
            }
            if self._feedback:
                body["feedback"] = self._esp
            # A mail that did not leave is not counted among those that the address may get.
            if records.counted and review not in WENT_OUT:
                body["uncount"] = (records.counted.id, claim.at)
        self._gather(records.shop, body)

    def _body(
        self,
        records: Records,
        *,
        due: int | None = None,
        entry: dict[str, Any] | None = None,
        same: str = "",
        review: str = "",
        failed: bool = False,
        outcome: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "owner": records.subject.owner,
            "timer": records.timer.text,
            "due": "" if records.due is None else str(records.due),
            "next": due,
            "failed": failed,
            "outcome": outcome,
        }
        if review:
            body["list"] = review
        if entry and records.trail:
            body["note"] = self._line(records, entry, same)
        return body

    def _outcome(
        self, records: Records, state: str, reason: str, send_id: str, address: str = ""
    ) -> dict[str, Any] | None:
        """What the shop hears of it; nothing of a state in which the send goes on."""
        rules = self._outcomes.get(records.shop)
        if rules is None:
            return None
        outcome = Outcome(
            event_of(state) if state in metrics.OUTCOMES else "",
            state,
            reason,
            records.timer.trigger,
            send_id,
            self._esp,
            records.person.id,
            self._clock.now(),
            address or records.person.email or "",
        )
        return rules.to_write(outcome)

    def _note(self, records: Records, entry: dict[str, Any], same: str = "") -> None:
        if records.trail:
            self._gather(
                records.shop, {"owner": records.subject.owner, "note": self._line(records, entry, same)}
            )  # fmt: skip

    def _line(self, records: Records, entry: dict[str, Any], same: str) -> tuple[str, str, str]:
        view = records.about
        if isinstance(view, SubjectView):
            # Lines about two subjects of one trigger are not the same thing once more.
            same = same and f"{same} {view.key}"
            entry = {**entry, "subject": {name: describe(value) for name, value in view.fields.items()}}
        text = _encode({"t": self._clock.now(), **entry}).decode()
        return records.trail, same.replace("\t", " "), text

    def _gather(self, shop: str, body: dict[str, Any]) -> None:
        fcall(self._pipe, "settle", keys.shop(shop), self._clock.override, _pack(body))


def _freshness(decision: Decision) -> dict[str, Any]:
    """What the trail says about the fields that the mail needed."""
    entry: dict[str, Any] = {}
    if decision.needs:
        entry["needs"] = decision.needs
    if decision.asked:
        entry["asked"] = decision.asked
    if decision.fallback:
        entry["fallback"] = decision.fallback.template_id
    if decision.segment and decision.fallback and decision.fallback.segment:
        entry["segments"] = {decision.fallback.segment.name: decision.segment}
    return entry


def _keep(trigger: Trigger) -> int:
    return max(MIN_CLAIMS, trigger.cap[0] + 1 if trigger.cap else 0)


def _views(records: Records) -> Sequence[Any]:
    views = (records.person, records.order, records.address, *records.others)
    return [view for view in views if view is not None and view.id]

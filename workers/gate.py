"""The gate decides on each send right before the call to the ESP: a pure function of the state and the time.

`lookup.py` reads the records, `decider.py` carries the decision out. The README's table lists the outcomes.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from freshgate.declare import Trigger
from freshgate.state import keys
from freshgate.state.records import OVER, WENT_OUT, Claim, Mark
from freshgate.state.stamps import millis
from freshgate.state.suppressions import TOPIC, is_opt_out, is_over
from freshgate.state.views import PersonView
from workers.decisions import Decision, Records
from workers.needs import apply_needs

# Settling may defer a mail, but an endless stream of arrivals may not postpone it for ever.
MAX_SETTLES = 10
# kind of mail → the suppressions that withhold it
SUPPRESSED_BY: Mapping[str, tuple[str, ...]] = {
    "marketing": ("unsubscribed", "bounced", "spam"),
    "transactional": ("bounced", "spam"),
}


def decide(  # noqa: PLR0911  # one return a rule
    trigger: Trigger, records: Records, now: int, own_token: str = ""
) -> Decision:
    """The first rule that applies decides; without one, the mail is sent.

    now        milliseconds UTC
    own_token  the token of the claim that the caller holds, which is not held against it
    """
    person, subject = records.person, records.subject
    mark = records.mark(trigger.about)
    if not trigger.enabled:
        return Decision(do="withhold", outcome="cancelled", reason="disabled")
    if mark is None or person.deleted_at >= mark.at:
        outcome, reason = ("suppressed", "deleted") if person.deleted_at > 0 else ("cancelled", "nothing_known")
        return Decision(do="withhold", outcome=outcome, reason=reason)
    if not person.id:
        # Only devices that have met several persons tell of this order.
        return Decision(do="withhold", outcome="cancelled", reason="ambiguous_buyer", occurred_at=mark.at)
    if trigger.subject != "order" and person.unproven:
        return Decision(do="withhold", outcome="cancelled", reason="unproven_identity", occurred_at=mark.at)
    due = due_at(trigger, person, mark, records.timer.scope)
    if now < due:
        return Decision(do="retime", reason="moved", due=due, occurred_at=mark.at)
    settled = _settled_after_gap(trigger, records, due)
    if now < settled:
        # What withdraws this mail may be among the events that were refused, and on its way again.
        return Decision(do="retime", reason="after_gap", due=settled, occurred_at=mark.at)
    version = version_of(trigger, records)
    claims = [claim for claim in subject.claims(records.timer.scope) if claim.token != own_token]
    tries = [claim for claim in claims if claim.version == version]
    send = Decision(
        do="send",
        limit=max([trigger.max_age, *(claim.limit for claim in tries)]),
        version=version,
        occurred_at=mark.at,
        due=due,
        attempts=max((claim.attempts for claim in tries), default=0),
        to=address_of(records) or "",
        compared={trigger.about: mark.at},
    )
    return (
        _already_sent(claims, send, now)  # duplicate; or another worker has it
        or _before_restore(trigger, records, tries, send)  # stale
        or _address_erased(records, send)  # suppressed
        or _suppressed(trigger, records, send)  # suppressed
        or _withdrawn(trigger, records, send)  # superseded, cancelled
        or _stale(records, send, now)  # stale, no_address
        or _capped(trigger, records, own_token, send, now)  # capped
        or _address_capped(trigger, records, send, now)  # capped
        or _without_address(records, send)  # parked until an address arrives
        or _withdrawn_by_answers(trigger, records, apply_needs(trigger, records, send, now))  # stale; or a fallback
    )


def due_at(trigger: Trigger, person: PersonView, mark: Mark, scope: str) -> int:
    """When the mail may leave (ms): after the trigger's delay, and once a burst of arrivals has settled.

    scope  of the send's timer: `keys.TimerRef.scope`
    """
    if trigger.delay == 0:
        return min(mark.at, person.received_at)
    # A clock that runs ahead never delays a mail beyond its arrival + delay.
    newest = max(min(mark.at, person.received_at), person.floor(scope))
    due = newest + trigger.delay
    first_due = person.first_due(scope) or due
    return max(due, min(person.received_at + trigger.settle_ms, first_due + MAX_SETTLES * trigger.settle_ms))


def _settled_after_gap(trigger: Trigger, records: Records, due: int) -> int:
    """When a mail that was due at `due` may leave after events were refused (ms). Refusals without end hold it for ten
    settles at most."""
    if trigger.delay == 0:
        return 0
    bound = max(due, records.refused_since) + MAX_SETTLES * trigger.settle_ms
    return min(records.refused_at + trigger.settle_ms, bound)


def version_of(trigger: Trigger, records: Records) -> str:
    """Which state of the subject the mail is about: a stamp, or "" where the trigger sends once for ever."""
    view = records.person.subject(records.timer.values) if records.timer.values else records.person
    mark = None if trigger.version is None else view.mark(trigger.version)
    return mark.stamp if mark else ""


def address_of(records: Records) -> str | None:
    """The recipient: for mails about an order the order's own address, else the person's."""
    order, person = records.order, records.person
    order_email = order and (order.email or order.guests_email([record_id for record_id, _ in person.records]))
    return order_email or person.email


def _already_sent(claims: list[Claim], send: Decision, now: int) -> Decision | None:
    """`duplicate` if this version is over. An open claim comes first: wait for it, or take over what it left."""
    for claim in claims:
        if claim.state == "claimed":
            if claim.until > now:
                return msgspec.structs.replace(send, do="retime", reason="claimed_elsewhere", due=claim.until)
            return msgspec.structs.replace(send, do="orphan", claim=claim, attempts=claim.attempts)
    for claim in claims:
        if claim.state == "retry" and claim.version == send.version and claim.until > now:
            # A second job names the send before the time that the ESP asked for.
            return msgspec.structs.replace(send, do="retime", reason="retry", due=claim.until)
        if claim.state in OVER and claim.version >= send.version:
            sent_version = {"sent_version": millis(claim.version)} if claim.version else {}
            return _withhold(send, "duplicate", f"already_{claim.state}", sent_version | {"sent_at": claim.at})
    return None


def _before_restore(trigger: Trigger, records: Records, tries: list[Claim], send: Decision) -> Decision | None:
    """`stale` if the store was restored from a copy, and the mail was due while the lost store still sent: it may have
    left. What an operator replays leaves."""
    if send.occurred_at + trigger.delay > records.sent_until or any(claim.state == "replay" for claim in tries):
        return None
    return _withhold(send, "stale", "before_restore", {"sent_until": records.sent_until})


def _address_erased(records: Records, send: Decision) -> Decision | None:
    """`suppressed` if whoever has the address asked to be erased since, perhaps under another id."""
    if records.address is None or records.address.deleted_at < send.occurred_at:
        return None
    return _withhold(send, "suppressed", "deleted", {"deleted": records.address.deleted_at})


def _suppressed(trigger: Trigger, records: Records, send: Decision) -> Decision | None:
    """`suppressed` if the person or the address opted out, bounced or complained, or left the trigger's topic."""
    topic = (f"{TOPIC}{trigger.topic_name}",) if trigger.kind == "marketing" else ()
    for suppression in (*SUPPRESSED_BY[trigger.kind], *topic):
        # A topic is only left by address. What others who had the address refused holds for it, too.
        views = [view for view in (records.person, records.address, *records.others) if view]
        lifted = [records.address.lifted(suppression)] if records.address else []
        opt_ins = [view.suppression("subscribed") for view in views]
        marks = [mark for view in views if (mark := view.suppression(suppression))]
        holding = [mark for mark in marks if not is_over(suppression, mark, lifted, opt_ins)]
        if not holding:
            continue
        mark = max(holding, key=lambda mark: mark.stamp)
        # One that may be older by the clocks of devices: the trail shows both times.
        newer = [opt_in.at for opt_in in opt_ins if opt_in and opt_in.stamp > mark.stamp and is_opt_out(suppression)]
        compared = {suppression: mark.at} | ({"subscribed": max(newer)} if newer else {})
        return _withhold(send, "suppressed", suppression, compared)
    return None


def _withdrawn(trigger: Trigger, records: Records, send: Decision) -> Decision | None:
    """`superseded` or `cancelled` if the trigger's own rule says that the mail is no longer wanted."""
    withdrawn = trigger.withdrawn(records.person, records.about)
    return _withhold(send, withdrawn.outcome, withdrawn.reason, withdrawn.compared) if withdrawn else None


def _withdrawn_by_answers(trigger: Trigger, records: Records, send: Decision) -> Decision:
    """The same rule once more where a source of truth was asked: what it answered may take the mail's reason away."""
    if send.do != "send" or not send.refreshed:
        return send
    withdrawn = trigger.withdrawn(*records.answered(send.refreshed))
    return _withhold(send, withdrawn.outcome, withdrawn.reason, withdrawn.compared) if withdrawn else send


def _stale(records: Records, send: Decision, now: int) -> Decision | None:
    """`stale` if the mail is older than its limit; `no_address` if it was parked for all that time."""
    if now <= send.occurred_at + send.limit:
        return None
    if not send.to and records.person.parked(records.timer.text):
        return _withhold(send, "no_address", "unproven" if records.person.has_unproven_address else "none_arrived")
    return _withhold(send, "stale", "older_than_max_age", {"max_age": send.limit})


def _capped(trigger: Trigger, records: Records, own_token: str, send: Decision, now: int) -> Decision | None:
    """`capped` if this trigger has sent the person, or for the order, as many mails as it may; where the subject is a
    field's value, about all values."""
    if trigger.cap is None:
        return None
    max_mails, window_ms = trigger.cap
    scopes = [trigger.name]
    if records.timer.values:
        scopes += [keys.scope(trigger.name, key) for key in records.person.subject_keys(trigger.name)]
    claims = [claim for scope in scopes for claim in records.subject.claims(scope) if claim.token != own_token]
    sent_at = [claim.at for claim in claims if claim.state in WENT_OUT and claim.at > now - window_ms]
    if len(sent_at) < max_mails:
        return None
    return _withhold(send, "capped", f"{max_mails}_in_{window_ms // 1000}s", {"sent_at": max(sent_at)})


def _address_capped(trigger: Trigger, records: Records, send: Decision, now: int) -> Decision | None:
    """`capped` if this address has got as many mails as it may: of this trigger, and for marketing of all triggers.

    `claim.lua` applies the same rule to sends that are claimed at this moment.
    """
    send_id = send_id_of(records, send.version)
    cap_of_all = trigger.address_cap if trigger.kind == "marketing" else None
    for cap, name in ((trigger.cap, trigger.name), (cap_of_all, "")):
        if cap is None or records.counted is None:
            continue
        sent_at = records.counted.mails(now - cap[1], send_id, name)
        if len(sent_at) >= cap[0]:
            return _withhold(send, "capped", f"address_{cap[0]}_in_{cap[1] // 1000}s", {"sent_at": max(sent_at)})
    return None


def send_id_of(records: Records, version: str) -> str:
    """The send's id: the same for every worker."""
    return keys.send_id(records.timer.scope, records.subject.id, version)


def _without_address(records: Records, send: Decision) -> Decision | None:
    """Parks the send until an address arrives that mail may go to, and at most until it is stale."""
    if send.to:
        return None
    reason = "address_unproven" if records.person.has_unproven_address else "no_address_yet"
    return msgspec.structs.replace(send, do="park", reason=reason, due=send.occurred_at + send.limit + 1)


def _withhold(send: Decision, outcome: str, reason: str, compared: Mapping[str, int] | None = None) -> Decision:
    """The same send, withheld for good. `compared` adds to what the send compared already."""
    compared = dict(send.compared) | dict(compared or {})
    return msgspec.structs.replace(send, do="withhold", outcome=outcome, reason=reason, compared=compared)


def contradiction(trigger: Trigger, records: Records, claim: Claim) -> Decision | None:
    """Why a mail that left at `claim.at` was wrong, by what is known now about that time; None if it was right.

    The mail cannot be called back. This measures how often the system was wrong.
    """
    then = msgspec.structs.replace(
        records,
        person=records.person.as_of(claim.at),
        order=records.order and records.order.as_of(claim.at),
        address=records.address and records.address.as_of(claim.at),
    )
    mark = then.mark(trigger.about)
    if mark is None:
        return None
    send = Decision(do="send", occurred_at=mark.at, compared={trigger.about: mark.at, "sent_at": claim.at})
    if mark.at + trigger.delay > claim.at:
        return _withhold(send, "cancelled", "not_quiet_yet")
    return _suppressed(trigger, then, send) or _withdrawn(trigger, then, send)

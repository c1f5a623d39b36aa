"""The decision right before each send: a pure function of what was read and of the time, with a reason for each answer.

`courier.py` reads the records and carries the decision out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from freshgate.declare import Trigger
from freshgate.state import keys
from freshgate.state.stamps import millis
from freshgate.state.views import OVER, WENT_OUT, AddressView, Claim, Mark, OrderView, PersonView

# Settling may defer a mail, but an endless stream of arrivals may not postpone it for ever.
MAX_SETTLES = 10
SUPPRESSES: Mapping[str, tuple[str, ...]] = {
    "marketing": ("unsubscribed", "bounced", "spam"),
    "transactional": ("bounced", "spam"),
}


class Records(msgspec.Struct):
    """Everything that one decision reads. `address` is None until the person's address is known and looked up."""

    person: PersonView
    order: OrderView | None = None
    address: AddressView | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do with a send.

    do        send; withhold (for good); retime (to `due`); park (until an address comes, at most to `due`);
              orphan (a worker died between claim and settle: `claim` is what it left)
    outcome   for withhold: one of the closed set; reason says which rule
    limit     how old the mail may be (ms): the trigger's max_age, or what a replay raised it to
    compared  the stamps (ms) that the decision looked at
    """

    do: Literal["send", "withhold", "retime", "park", "orphan"]
    outcome: str = ""
    reason: str = ""
    due: int = 0
    version: str = ""
    occurred_at: int = 0
    attempts: int = 0
    limit: int = 0
    to: str = ""
    claim: Claim | None = None
    compared: Mapping[str, int] = {}


def decide(trigger: Trigger, member: str, records: Records, now: int, own_token: str = "") -> Decision:
    """First rule that applies: duplicate, suppressed, withdrawn (superseded, cancelled), stale, capped, no_address."""
    person, order = records.person, records.order
    subject = order if trigger.subject == "order" else person
    about = subject.register(f"m:{trigger.about}") if subject else None
    if not trigger.enabled:
        return Decision(do="withhold", outcome="cancelled", reason="disabled")
    if about is None or person.deleted_at >= about.at:
        erased = person.deleted_at > 0
        return Decision(
            do="withhold",
            outcome="suppressed" if erased else "cancelled",
            reason="deleted" if erased else "nothing_known",
        )
    if trigger.subject == "person" and person.unproven:
        return Decision(do="withhold", outcome="cancelled", reason="unproven_identity", occurred_at=about.at)
    due = due_at(trigger, member, person, about)
    if now < due:
        return Decision(do="retime", reason="moved", due=due, occurred_at=about.at)
    version = _version(trigger, person)
    claims = [claim for claim in (subject.claims(trigger.name) if subject else []) if claim.token != own_token]
    raised = max((claim.limit for claim in claims if claim.version == version), default=0)
    base = Decision(
        do="send",
        limit=max(trigger.max_age, raised),
        version=version,
        occurred_at=about.at,
        due=due,
        to=address_of(trigger, records) or "",
        compared={trigger.about: about.at},
    )
    return (
        _already(trigger, claims, base, now)
        or _suppressed(trigger, records, base)
        or _withdrawn(trigger, records, base)
        or _too_old(member, records, base, now)
        or _capped(trigger, claims, base, now)
        or _address_capped(trigger, member, records, base, now)
        or _parked(base)
        or msgspec.structs.replace(base, attempts=_attempts(claims, base))
    )


def contradiction(trigger: Trigger, records: Records, claim: Claim) -> Decision | None:
    """What the gate would have said when that mail left (`claim.at`), had it known what is known by now; None if yes.

    The mail cannot be called back. This is the system's own measure of mails that were wrong all the same.
    """
    then = Records(
        records.person.as_of(claim.at),
        records.order and records.order.as_of(claim.at),
        records.address and records.address.as_of(claim.at),
    )
    subject = then.order if trigger.subject == "order" else then.person
    about = subject.register(f"m:{trigger.about}") if subject else None
    if about is None:
        return None
    base = Decision(do="send", occurred_at=about.at, compared={trigger.about: about.at, "sent_at": claim.at})
    if trigger.delay and about.at + trigger.delay > claim.at:
        return _withhold(base, "cancelled", "not_quiet_yet", base.compared)
    return _suppressed(trigger, then, base) or _withdrawn(trigger, then, base)


def due_at(trigger: Trigger, member: str, person: PersonView, about: Mark) -> int:
    """When the mail may leave (ms): after the quiet it waits for, and once a burst of arrivals has settled."""
    if trigger.delay == 0:
        return min(about.at, person.received_at)
    # A clock that runs ahead never delays a mail beyond its arrival + delay.
    newest = max(min(about.at, person.received_at), person.floor(member))
    due = newest + trigger.delay
    first = person.first_due(member) or due
    return max(due, min(person.received_at + trigger.settle_ms, first + MAX_SETTLES * trigger.settle_ms))


def address_of(trigger: Trigger, records: Records) -> str | None:
    """The order's own address for its mails, else the person's."""
    if trigger.subject == "order" and records.order is not None:
        own = records.person.order_email(records.order.id)
        if own:
            return own
    return records.person.email


def _version(trigger: Trigger, person: PersonView) -> str:
    if trigger.version is None:
        return ""
    mark = person.mark(trigger.version)
    return mark.stamp if mark else ""


def _already(trigger: Trigger, claims: list[Claim], base: Decision, now: int) -> Decision | None:
    for claim in claims:
        if claim.state == "claimed":
            if claim.until > now:
                return msgspec.structs.replace(base, do="retime", reason="claimed_elsewhere", due=claim.until)
            return msgspec.structs.replace(base, do="orphan", claim=claim, attempts=claim.attempts)
        if claim.state == "retry" and claim.version == base.version and claim.until > now:
            # A second job names the send before the time that the ESP asked for.
            return msgspec.structs.replace(base, do="retime", reason="retry", due=claim.until)
        if claim.state in OVER and claim.version >= base.version:
            compared = dict(base.compared) | ({"sent_version": millis(claim.version)} if claim.version else {})
            return _withhold(base, "duplicate", f"already_{claim.state}", compared | {"sent_at": claim.at})
    return None


def _suppressed(trigger: Trigger, records: Records, base: Decision) -> Decision | None:
    for kind in SUPPRESSES[trigger.kind]:
        told = records.person.suppression(kind) or (records.address.suppression(kind) if records.address else None)
        if told:
            return _withhold(base, "suppressed", kind, dict(base.compared) | {kind: told.at})
    return None


def _withdrawn(trigger: Trigger, records: Records, base: Decision) -> Decision | None:
    told = trigger.withdrawn(records.person, records.order)
    return _withhold(base, told.outcome, told.reason, dict(base.compared) | dict(told.compared)) if told else None


def _too_old(member: str, records: Records, base: Decision, now: int) -> Decision | None:
    if now <= base.occurred_at + base.limit:
        return None
    _, _, entity_id = keys.parse_member(member)
    if not base.to and records.person.parked(keys.shard(entity_id), member):
        return _withhold(base, "no_address", "none_arrived", base.compared)
    return _withhold(base, "stale", "older_than_max_age", dict(base.compared) | {"max_age": base.limit})


def _capped(trigger: Trigger, claims: list[Claim], base: Decision, now: int) -> Decision | None:
    if trigger.cap is None:
        return None
    most, window = trigger.cap
    recent = [claim.at for claim in claims if claim.state in WENT_OUT and claim.at > now - window]
    if len(recent) < most:
        return None
    return _withhold(base, "capped", f"{most}_in_{window // 1000}s", dict(base.compared) | {"sent_at": max(recent)})


def _address_capped(trigger: Trigger, member: str, records: Records, base: Decision, now: int) -> Decision | None:
    """`claim.lua` holds the same against sends that are claimed at this moment."""
    if trigger.address_cap is None or trigger.kind == "transactional" or records.address is None:
        return None
    most, window = trigger.address_cap
    recent = records.address.mails(now - window, send_id_of(trigger, member, records, base.version))
    if len(recent) < most:
        return None
    compared = dict(base.compared) | {"sent_at": max(recent)}
    return _withhold(base, "capped", f"address_{most}_in_{window // 1000}s", compared)


def _parked(base: Decision) -> Decision | None:
    if base.to:
        return None
    return msgspec.structs.replace(base, do="park", reason="no_address_yet", due=base.occurred_at + base.limit + 1)


def _attempts(claims: list[Claim], base: Decision) -> int:
    return max((claim.attempts for claim in claims if claim.version == base.version), default=0)


def _withhold(base: Decision, outcome: str, reason: str, compared: Mapping[str, int]) -> Decision:
    return msgspec.structs.replace(base, do="withhold", outcome=outcome, reason=reason, compared=compared)


def send_id_of(trigger: Trigger, member: str, records: Records, version: str) -> str:
    """The same for whoever decides on this version of the send, whatever its timer was called before a merge."""
    subject = records.person.id if trigger.subject == "person" else keys.parse_member(member)[2]
    return keys.send_id(trigger.name, subject, version)


def owner_key(member: str) -> str:
    """The entity that a send's claim and timer belong to."""
    _, kind, entity_id = keys.parse_member(member)
    return keys.entity(kind, entity_id)

"""What one event changes: registers, the cart, links, timers. Pure; `record.lua` carries it out.

`record.py` and the tests turn events into writes here, so the meaning of every register stands in one file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from freshgate.declare import DAY, EventType, Trigger
from freshgate.events import Event, Product
from freshgate.state import keys
from freshgate.state.stamps import ADD, ORDER, REMOVE, SNAPSHOT, ZERO, stamp
from freshgate.state.views import Order

PERSON_TTL = 180 * DAY
ANONYMOUS_TTL = 30 * DAY
ORDER_TTL = 30 * DAY
MAX_MERGED = 500
# As many lines as a source reads.
MAX_LINES = 250
# RQ is the fast path, never the record: a send that its job did not bring about is taken from the timers after this.
SAFETY_NET_MS = 20_000
_pack = msgspec.msgpack.Encoder().encode
_encode = msgspec.json.Encoder(decimal_format="string").encode


def _json(value: Any) -> str:
    """As text: Redis' unpacker knows no binary type."""
    return _encode(value).decode()


class Write(msgspec.Struct):
    """One entity's part of an event. `body` is the map that `record.lua` documents."""

    key: str
    body: dict[str, Any]

    def packed(self) -> bytes:
        return _pack(self.body)


class Plan(msgspec.Struct):
    """All writes of one event; the first decides its verdict. `sends` are timer members due at once.

    trusted  False: told with a key that anybody can read
    claims   then: the person that the event says it is
    """

    event: Event
    person: str
    writes: list[Write]
    sends: list[tuple[str, int]] = []
    trusted: bool = True
    claims: str | None = None


class Planner:
    """Knows the catalog: which marks an event advances, and which triggers that starts."""

    def __init__(self, events: Iterable[EventType], triggers: Sequence[Trigger], pii_key: bytes) -> None:
        self.types = {event_type.name: event_type for event_type in events}
        self.pii_key = pii_key
        self._starting: dict[str, list[Trigger]] = {
            name: [trigger for trigger in triggers if trigger.enabled and name in trigger.on] for name in self.types
        }

    def plan(self, event: Event, *, again: bool = False, trusted: bool = True) -> Plan:
        """The writes of one event. `again` records past the dedupe window: an intentional replay."""
        event_type = self.types[event.name]
        if not trusted:
            return self._from_browser(event, event_type, again)
        if event.user_id is None and event.anonymous_id is None:
            return self._address_only(event, event_type, again)
        person = keys.person_id(event.id_space, event.user_id, event.anonymous_id)
        plan = Plan(event, person, [])
        self._person(plan, event_type, again)
        if event_type.order and "order_id" in event.fields:
            self._order(plan, event_type)
        self._links(plan, event_type)
        if event.email:
            plan.writes.append(self.address(event, event_type, person, event.email))
        if "order" in event_type.marks and event.fields.get("order_email", event.email) != event.email:
            plan.writes.append(self.address(event, event_type, None, event.fields["order_email"]))
        return plan

    def _from_browser(self, event: Event, event_type: EventType, again: bool) -> Plan:
        """What one device did. Whoever it says it is: a person that is known already does not become theirs by that."""
        person = keys.person_id(event.id_space, None, event.anonymous_id)
        plan = Plan(event, person, [], trusted=False)
        self._person(plan, event_type, again)
        if event.user_id is not None:
            plan.claims = keys.person_id(event.id_space, event.user_id, None)
            plan.writes[0].body["claims"] = plan.claims
            plan.writes.append(Write(keys.person(person), {**_link(plan.claims, event.occurred_at), "claimed": True}))
        return plan

    def address(self, event: Event, event_type: EventType, person: str | None, email: str) -> Write:
        """What an event says about an address: who has it, that it ordered something, and that it must not be written
        to; that never expires."""
        at = stamp(event.occurred_at, event.message_id)
        registers = [("m:who", at, person)] if person else []
        if "order" in event_type.marks:
            # It empties carts as an order does, lines of the same millisecond too.
            registers.append(("m:order", stamp(event.occurred_at, event.message_id, ORDER), _ordered(event)))
        if event_type.suppresses:
            registers.append((f"m:{event_type.suppresses}", at, event.source))
        ttl = 0 if event_type.suppresses else PERSON_TTL
        key = keys.entity("a", keys.address_id(self.pii_key, email))
        return Write(key, {"at": event.occurred_at, "rx": event.received_at, "ttl": ttl, "regs": registers})

    def _address_only(self, event: Event, event_type: EventType, again: bool) -> Plan:
        write = self.address(event, event_type, None, event.email or "")
        write.body |= {"seen": _seen_id(event), "again": again}
        return Plan(event, "", [write])

    def _person(self, plan: Plan, event_type: EventType, again: bool) -> None:
        event = plan.event
        known = event.user_id is not None or event.email is not None
        body: dict[str, Any] = {
            "at": event.occurred_at,
            "rx": event.received_at,
            "ttl": PERSON_TTL if known else ANONYMOUS_TTL,
            "seen": _seen_id(event),
            "trail": _trail(event, self._lacking(plan)),
        }
        if again:
            body["again"] = True
        if event_type.effect == "delete":
            body["del"] = event.occurred_at
            plan.writes.append(Write(keys.person(plan.person), body))
            return
        at = stamp(event.occurred_at, event.message_id)
        registers = [*self._profile(plan, event_type, at), *_marks(plan, event_type, at)]
        _cart(body, registers, event, event_type)
        if event.email and not event_type.suppresses:
            body["addr"] = True
        if event_type.suppresses and not event.email:
            # Meant for the address that the person has, or will have.
            body["sup"] = True
        self._starts(plan, body, registers, at, event_type)
        body["regs"] = registers
        plan.writes.insert(0, Write(keys.person(plan.person), body))

    def _profile(self, plan: Plan, event_type: EventType, at: str) -> Iterable[tuple[str, str, str]]:
        """Traits; and for each that may be an address (`PersonView.email`) its id, so that Redis finds its record."""
        event = plan.event
        if event.user_id is not None and plan.trusted:
            yield "t:id", ZERO, event.user_id
            if "@" in event.user_id:
                yield "A:id", ZERO, keys.address_id(self.pii_key, event.user_id)
        # An address that bounced may be an old one, or another's.
        if event.email and not event_type.suppresses:
            # A register of its own: however new it is, it never takes the place of an address that a server gave.
            name = "email" if plan.trusted else "said_email"
            yield f"t:{name}", at, event.email
            yield f"A:{name}", at, keys.address_id(self.pii_key, event.email)
        for name in event_type.profile:
            value = event.fields.get(name)
            if value not in (None, ""):
                yield f"t:{name}", at, str(value)

    def _starts(self, plan: Plan, body: dict[str, Any], registers: list[Any], at: str, event_type: EventType) -> None:
        event = plan.event
        starts = []
        for trigger in self._starting[event.name]:
            if trigger.subject != "person" or (trigger.starts and not trigger.starts(event)):
                continue
            if not plan.trusted and trigger.kind == "transactional":
                continue
            if trigger.about not in event_type.marks:
                registers.append((f"m:{trigger.about}", at, ""))
            starts.append(self._start(plan, trigger, keys.member(trigger.name, "p", plan.person)))
        if starts:
            body["starts"] = starts

    def _lacking(self, plan: Plan) -> list[str]:
        """Sends that this event should start and cannot, with what it lacks. The event itself is recorded."""
        lacking = []
        for trigger in self._starting[plan.event.name]:
            if not plan.trusted and trigger.kind == "transactional":
                lacking.append(f"{trigger.name}: told by a browser")
                continue
            lacking += [f"{trigger.name}: missing {field}" for field in trigger.needs if field not in plan.event.fields]
        return lacking

    def _start(self, plan: Plan, trigger: Trigger, member: str) -> tuple[str, str, int]:
        event = plan.event
        if trigger.delay == 0:
            due = event.received_at + SAFETY_NET_MS
            plan.sends.append((member, due))
        else:
            # A clock that runs ahead never delays a mail beyond now + delay.
            due = max(min(event.occurred_at, event.received_at) + trigger.delay, event.received_at + trigger.settle_ms)
        return member, f"m:{trigger.about}", due

    def _order(self, plan: Plan, event_type: EventType) -> None:
        event = plan.event
        order = keys.order_id(event.id_space, event.fields["order_id"])
        at = stamp(event.occurred_at, event.message_id)
        body: dict[str, Any] = {"at": event.occurred_at, "rx": event.received_at, "ttl": ORDER_TTL}
        if event_type.order == "completed":
            told = Order(
                order_id=event.fields["order_id"],
                person=plan.person,
                total=str(event.fields.get("total", event.fields.get("revenue", ""))),
                currency=event.fields.get("currency", ""),
                products=event.fields.get("products", ())[:MAX_LINES],
            )
            body["regs"] = [("m:order", at, _json(told))]
            starts = [
                self._start(plan, trigger, keys.member(trigger.name, "o", order))
                for trigger in self._starting[event.name]
                if trigger.subject == "order"
            ]
            if starts:
                body["starts"] = starts
        elif event_type.order == "cancelled":
            body["regs"] = [("m:cancelled", at, "")]
        else:
            total = event.fields.get("total")
            # Only a full refund withdraws the order; whether an amount is all of it is decided beside the order's
            # total. Each amount has a register of its own: a small refund must not hide that all was given back.
            if total is not None:
                body["regs"] = [(f"m:refunded:{total}", at, "")]
            else:
                body["regs"] = [] if event.fields.get("products") else [("m:refunded", at, "")]
        plan.writes.append(Write(keys.entity("o", order), body))

    def _links(self, plan: Plan, event_type: EventType) -> None:
        event = plan.event
        others = set()
        if event.user_id is not None and event.anonymous_id is not None:
            others.add(keys.person_id(event.id_space, None, event.anonymous_id))
        if event_type.effect == "alias" and event.previous_id:
            others.add(keys.person_id(event.id_space, None, event.previous_id))
            others.add(keys.person_id(event.id_space, event.previous_id, None))
        for other in sorted(others - {plan.person}):
            plan.writes.append(Write(keys.person(other), _link(plan.person, event.occurred_at)))


def _seen_id(event: Event) -> str:
    """Times are left out: what a CDP left open is the arrival's, and differs in a redelivery."""
    order = event.fields.get("order_id", "")
    ids = (event.user_id or "", event.anonymous_id or "", event.previous_id or "")
    return keys.seen_id(event.source, event.message_id, event.name, str(order), *ids)


def _link(person: str, at: int) -> dict[str, Any]:
    return {"link": person, "most": MAX_MERGED, "at": at}


def _trail(event: Event, lacking: list[str]) -> str:
    said: dict[str, Any] = {
        "event": event.name,
        "source": event.source,
        "id": event.message_id,
        "at": event.occurred_at,
        "rx": event.received_at,
    }
    if lacking:
        said["rejected"] = lacking
    if event.unreadable:
        said["unreadable"] = event.unreadable
    if event.clamped:
        said["clamped"] = True
    return _json(said)


def _marks(plan: Plan, event_type: EventType, at: str) -> Iterable[tuple[str, str, str]]:
    event = plan.event
    for mark in event_type.marks:
        value = ""
        if mark == "order":
            value = _ordered(event)
            if plan.trusted and "order_id" in event.fields and "order_email" in event.fields:
                order = keys.order_id(event.id_space, event.fields["order_id"])
                yield f"q:{order}", at, event.fields["order_email"]
        elif mark == "view" and "product" in event.fields:
            value = _json(event.fields["product"])
        yield f"m:{mark}", at, value
    if event_type.suppresses and not event.email:
        yield f"m:{event_type.suppresses}", at, event.source


def _ordered(event: Event) -> str:
    """The ids of an order's products, as text."""
    return _json(sorted({line.product_id for line in event.fields.get("products", ())}))


def _cart(body: dict[str, Any], registers: list[Any], event: Event, event_type: EventType) -> None:
    product: Product | None = event.fields.get("product")
    if event_type.cart == "add" and product is not None:
        registers.append(_line(event, product))
    elif event_type.cart == "remove" and product is not None:
        registers.append((f"-{product.line}", stamp(event.occurred_at, event.message_id, REMOVE), ""))
    elif event_type.cart == "snapshot" and "products" in event.fields:
        body["clear"] = stamp(event.occurred_at, event.message_id, SNAPSHOT)
        lines: Mapping[str, Product] = {line.line: line for line in event.fields["products"]}
        registers.extend(_line(event, line) for line in lines.values())
    elif event_type.cart == "clear":
        body["clear"] = stamp(event.occurred_at, event.message_id, ORDER)


def _line(event: Event, product: Product) -> tuple[str, str, str]:
    return f"+{product.line}", stamp(event.occurred_at, event.message_id, ADD), _json(product)

"""What one event changes: registers, the cart, links, orders, addresses, timers. Pure; `record.lua` carries it out.

`record.py` and the tests turn events into writes here; `plans.py` has those about carts and orders, `profiles.py` those
about traits and addresses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from freshgate.declare import DAY, EventType, Trigger
from freshgate.events import Event
from freshgate.ids import address_in
from freshgate.needs import fields_of
from freshgate.state import keys
from freshgate.state.plans import Register, bought_products, plan_cart, plan_order
from freshgate.state.products import product_registers
from freshgate.state.profiles import (
    PERSON_TTL,
    consent_registers,
    contact,
    plan_addresses,
    profile_registers,
    suppression_of,
)
from freshgate.state.stamps import first_stamp, stamp
from freshgate.state.stored import to_json, trail_entry
from freshgate.state.subjects import SubjectIndex, carried, mark_value, subject_key, subject_register, subject_values
from freshgate.state.views import FIRST_EVENT
from freshgate.state.wire import pack_event

ANONYMOUS_TTL = 30 * DAY
# Of one event, in one call.
MAX_PRODUCTS = 50


class Plan(msgspec.Struct):
    """What one event writes. `body` is the map that `record.lua` documents.

    person   id of the record that the event was told of; empty for an address alone
    timers   of the sends that the event starts at once
    starts   names of the triggers that it starts
    lacking  sends that it should start and cannot, with what it lacks
    """

    event: Event
    person: str
    body: dict[str, Any]
    timers: list[str] = []
    starts: list[str] = []
    lacking: list[str] = []

    def packed(self) -> bytes:
        return pack_event(self.body)

    def work(self, size: int) -> float:
        """How much work this is for Redis, at most, in units of some 50 us.

        A line of a cart, or a product, is read, compared and written. A link may reach a person of 200 ids. All of it
        is unpacked, and written to the append-only file.

        size  bytes of the packed plan
        """
        body = self.body
        lines = len(body.get("lines", ())) + len(body.get("products", ()))
        registers, links = len(body.get("regs", ())), len(body.get("links", ()))
        return 1 + lines / 4 + registers / 8 + 7 * links + size / 8192


def move_products(plans: Iterable[Plan]) -> Iterator[Plan]:
    """Takes what servers said of many products out of plans, into plans of their own: it is nobody's, so it need not
    share the event's call, which is long enough with a cart of as many lines."""
    for plan in plans:
        products = plan.body.get("products", ())
        if len(products) > MAX_PRODUCTS:
            plan.body["products"] = products[:MAX_PRODUCTS]
            for first in range(MAX_PRODUCTS, len(products), MAX_PRODUCTS):
                body = {name: plan.body[name] for name in ("at", "stamp")}
                yield Plan(plan.event, "", body | {"products": products[first : first + MAX_PRODUCTS]})


class Planner:
    """Knows the catalog: which marks an event advances, and which triggers that starts.

    page_addresses  whether mail goes to addresses that only a page gave
    shops_with_pages  the id spaces in which pages tell of products: what servers tell of them is kept
    """

    def __init__(
        self,
        events: Iterable[EventType],
        triggers: Sequence[Trigger],
        pii_key: bytes,
        *,
        page_addresses: bool = False,
        shops_with_pages: Collection[str] = (),
    ) -> None:
        self.types = {event_type.name: event_type for event_type in events}
        self.pii_key = pii_key
        self._page_addresses = page_addresses
        self._shops_with_pages = frozenset(shops_with_pages)
        self._subjects = SubjectIndex(self.types.values(), triggers)
        self._keeps_first = any(
            "session.first_seen" in fields_of(trigger.needs, trigger.fallbacks) for trigger in triggers
        )
        # Event type → what it starts, each with the fields that the event must have.
        self._starting: dict[str, list[tuple[Trigger, tuple[str, ...]]]] = {
            name: [(trigger, trigger.event_needs) for trigger in triggers if trigger.enabled and name in trigger.on]
            for name in self.types
        }

    def plan(self, event: Event, *, replay: bool = False, trusted: bool = True) -> Plan:
        """The writes of one event.

        replay   record past the dedupe window: an intentional replay
        trusted  False: sent with a key that anybody can read, so it speaks for one device only
        """
        event_type = self.types[event.name]
        at = stamp(event.occurred_at, event.message_id)
        body: dict[str, Any] = {"at": event.occurred_at, "stamp": at, "seen": _dedupe_id(event)}
        # Asked for up to three times, and the dearest step of a plan.
        address = keys.address_id(self.pii_key, event.email) if event.email else ""
        plan = Plan(event, self._person_id(event, event_type, address, trusted), body, [], [], [])
        if replay:
            body["again"] = True
        if plan.person:
            self._plan_person(plan, event_type, at, address, trusted)
        if event_type.effect != "delete" and trusted:
            plan_addresses(
                plan.body, event, event_type, at, plan.person, address or self._id_address(event), self.pii_key
            )
        if trusted and event.id_space in self._shops_with_pages:
            plan.body["products"] = list(product_registers(event, at))
        return plan

    def _id_address(self, event: Event) -> str:
        """The id of the address that the user id is; empty where it is none."""
        address = address_in(event.user_id or "")
        return keys.address_id(self.pii_key, address) if address else ""

    def _person_id(self, event: Event, event_type: EventType, address: str, trusted: bool) -> str:
        if event.user_id is not None and trusted:
            return keys.person_id(event.id_space, event.user_id)
        if event.anonymous_id is not None:
            return keys.person_id(event.id_space, None, event.anonymous_id)
        if event.email and not (event_type.suppresses or event_type.lifts):
            return keys.person_id(event.id_space, None, None, address)
        return ""

    def _plan_person(self, plan: Plan, event_type: EventType, at: str, address: str, trusted: bool) -> None:
        event, body = plan.event, plan.body
        is_known = event.user_id is not None or event.email is not None
        plan.lacking = self._lacking(event, trusted)
        body |= {
            "id": plan.person,
            "ttl": PERSON_TTL if is_known else ANONYMOUS_TTL,
            "trail": _trail(event, plan.lacking, self._started_subjects(event)),
        }
        if event_type.effect == "delete":
            body["del"] = event.occurred_at
            self._plan_links(plan, event_type, trusted)
            if event.user_id is None and event.anonymous_id is None:
                body["address"] = address
            elif trusted and (id_address := self._id_address(event)):
                # Whoever else is known by that address is meant, too.
                body["address"] = id_address
            return
        if trusted and event.user_id is not None:
            body["srv"] = True
        registers = [
            *profile_registers(
                event, event_type, at, address, self.pii_key, trusted=trusted, page_addresses=self._page_addresses
            ),
            *_marks(event, event_type, at, trusted),
            *self._subjects.registers(event, event_type, at, trusted=trusted),
        ]
        if self._keeps_first and not event.undated:
            registers.append((FIRST_EVENT, first_stamp(event.occurred_at, event.message_id), str(event.occurred_at)))
        plan_cart(body, event, event_type)
        has_address_id = trusted and address_in(event.user_id or "") is not None
        has_address = (event.email and not event_type.suppresses) or has_address_id or contact(event)
        if has_address and (trusted or self._page_addresses):
            body["addr"] = True
        if _is_for_all_addresses(event, event_type, trusted):
            # Meant for the address that the person has, or will have.
            body["sup"] = True
        self._plan_starts(plan, registers, at, event_type, trusted)
        body["regs"] = registers
        if bounds := self._subjects.bounds(registers):
            body["subjects"] = bounds
        self._plan_links(plan, event_type, trusted)
        if event_type.order and "order_id" in event.fields and trusted:
            plan_order(body, event, event_type, at, plan.person, self.pii_key)

    def _plan_starts(
        self, plan: Plan, registers: list[Register], at: str, event_type: EventType, trusted: bool
    ) -> None:
        event, starts = plan.event, []
        if event.undated:
            return
        for trigger, _ in self._starting[event.name]:
            if trigger.starts and not trigger.starts(event):
                continue
            if not trusted and trigger.kind == "transactional":
                continue
            if trigger.subject == "order" and (event_type.order != "completed" or "order_id" not in event.fields):
                continue
            mark: Register = (f"m:{trigger.about}", at, "")
            key = ""
            if isinstance(trigger.subject, tuple):
                values = subject_values(event, trigger.subject)
                if values is None:
                    continue
                key = subject_key(values)
                mark = subject_register(
                    trigger.about, values, carried(event, event_type, trigger.about), at, trusted=trusted
                )
            if trigger.about not in event_type.marks:
                registers.append(mark)
            kind: keys.Entity = "o" if trigger.subject == "order" else "p"
            settle = trigger.settle_ms if trigger.delay else 0
            starts.append((keys.scope(trigger.name, key), kind, mark[0], trigger.delay, settle))
            plan.starts.append(trigger.name)
            if trigger.delay == 0:
                subject = keys.order_id(event.id_space, event.fields["order_id"]) if kind == "o" else plan.person
                plan.timers.append(keys.timer(trigger.name, kind, subject, key))
        if starts:
            plan.body["starts"] = starts

    def _lacking(self, event: Event, trusted: bool) -> list[str]:
        """Sends that this event should start and cannot, with what it lacks. The event itself is recorded."""
        lacking = []
        for trigger, needs in self._starting[event.name]:
            if event.undated:
                # It may be of last year, and a mail must be fresh.
                lacking.append(f"{trigger.name}: time unreadable")
                continue
            if not trusted and trigger.kind == "transactional":
                lacking.append(f"{trigger.name}: told by a browser")
                continue
            lacking += [f"{trigger.name}: missing {field}" for field in needs if field not in event.fields]
        return lacking

    def _started_subjects(self, event: Event) -> dict[str, dict[str, Any]]:
        """The values behind the keys of the subjects that this event may start a send about, for the trail."""
        subjects = {}
        for trigger, _ in self._starting[event.name]:
            values = subject_values(event, trigger.subject) if isinstance(trigger.subject, tuple) else None
            if values:
                subjects[subject_key(values)] = values
        return subjects

    def _plan_links(self, plan: Plan, event_type: EventType, trusted: bool) -> None:
        event = plan.event
        # (id, the id that it belongs to, whether only a page says so)
        links: list[tuple[str, str, bool]] = []
        if event.user_id is not None and event.anonymous_id is not None:
            device = keys.person_id(event.id_space, None, event.anonymous_id)
            user = keys.person_id(event.id_space, event.user_id)
            links.append((device, user, not trusted))
        if trusted and event_type.effect == "alias" and event.previous_id:
            previous = (
                keys.person_id(event.id_space, None, event.previous_id),
                keys.person_id(event.id_space, event.previous_id),
            )
            links += [(record_id, plan.person, False) for record_id in previous if record_id != plan.person]
        if links:
            plan.body["links"] = links


def _is_for_all_addresses(event: Event, event_type: EventType, trusted: bool) -> bool:
    """Whether an opt-out or opt-in is the person's own: it names no address; or it is a user who unsubscribes, perhaps
    by a mail to an older address."""
    # A page's word about a person's traits is none.
    suppression = suppression_of(event, event_type) if trusted else event_type.suppresses
    if not event.email:
        return bool(suppression or event_type.lifts)
    return suppression == "unsubscribed" and event.user_id is not None and trusted


def _dedupe_id(event: Event) -> str:
    """Times are left out: what a CDP left open is the arrival's, and differs in a redelivery."""
    order = event.fields.get("order_id", "")
    ids = (event.user_id or "", event.anonymous_id or "", event.previous_id or "")
    return keys.dedupe_id(event.source, event.message_id, event.name, str(order), *ids)


def _trail(event: Event, lacking: list[str], subjects: dict[str, dict[str, Any]]) -> str:
    notes = {
        "rejected": lacking,
        "unreadable": event.unreadable,
        "doubtful": event.doubtful,
        "clamped": event.clamped,
        "subjects": subjects,
    }
    return trail_entry(event.message_id, event.name, event.source, event.occurred_at, event.received_at, notes)


def _marks(event: Event, event_type: EventType, at: str, trusted: bool) -> Iterable[Register]:
    for mark in event_type.marks:
        if mark == "order" and event_type.order == "completed" and "order_id" in event.fields:
            # Known by its id: see `bought`. The first telling is the purchase.
            continue
        value = mark_value(carried(event, event_type, mark), trusted=trusted)
        if mark == "order":
            value = bought_products(event)
        elif mark == "view" and "product" in event.fields:
            value = to_json(event.fields["product"])
        yield f"m:{mark}", at, value
    if _is_for_all_addresses(event, event_type, trusted):
        yield from consent_registers(event, event_type)

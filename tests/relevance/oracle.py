"""Which mails a shopper should get, said as plainly as possible: replay what is known, moment by moment.

Shares no code with the product: no registers, no stamps, no scripts; lists and loops over the events themselves.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.relevance.shoppers import Shopper, Told

ACTIVITY = ("add", "remove", "cart", "step")


class Rules(NamedTuple):
    """Times of the run, in milliseconds."""

    cart_wait: int
    cart_settle: int
    browse_wait: int
    browse_settle: int
    order_grace: int


class Mail(NamedTuple):
    trigger: str
    to: str
    about: tuple[str, ...]


class Person:
    """Everything that is known of one person at some moment."""

    def __init__(self) -> None:
        self.events: list[Told] = []
        self.waiting: set[str] = set()
        self.parked: set[str] = set()
        self.floor: dict[str, int] = {}
        self.got: set[str] = set()
        self.parked_orders: list[Told] = []
        self.last_arrival = 0

    def absorb(self, other: Person) -> None:
        self.events += other.events
        self.waiting |= other.waiting
        self.parked |= other.parked
        self.got |= other.got
        self.floor |= other.floor
        self.parked_orders += other.parked_orders
        self.last_arrival = max(self.last_arrival, other.last_arrival)

    def newest(self, *names: str) -> int | None:
        return max((event.occurred for event in self.events if event.name in names), default=None)

    def address(self) -> str | None:
        told = (event.fields["email"] for event in self.events if event.name != "stop" and "email" in event.fields)
        return next(told, None)

    def has_opted_out(self) -> bool:
        """As a person, whatever their address is."""
        return any(event.name == "stop" and "email" not in event.fields for event in self.events)

    def cart(self) -> set[str]:
        inside: set[str] = set()
        for event in sorted(self.events, key=lambda one: one.occurred):
            if event.name == "add":
                inside.add(event.fields["product"])
            elif event.name == "remove":
                inside.discard(event.fields["product"])
            elif event.name == "cart":
                inside = set(event.fields["products"])
            elif event.name == "order":
                inside = set()
        return inside


class Oracle:
    """`mails`, and the `moments` (ms) that an arrival raced: at which something fired, or would have without it.

    at_once  order id → when (ms) its confirmation was free to leave, which takes as long as it takes
    """

    def __init__(self, shopper: Shopper, rules: Rules) -> None:
        self.rules = rules
        self.mails: list[Mail] = []
        self.moments: list[int] = []
        self.at_once: dict[str, int] = {}
        self._persons: dict[str, Person] = {}
        self._opted_out: set[str] = set()
        self._seen: set[str] = set()
        self._confirmed: set[str] = set()
        for event in shopper.told:
            self._fire(event.arrives)
            self.moments += [due for due, _, _ in self._pending()]
            self._arrive(event)
        self._fire(10**12)

    def _arrive(self, event: Told) -> None:
        if event.message_id in self._seen:
            return
        self._seen.add(event.message_id)
        person = self._person(event)
        before = {"cart": person.newest(*ACTIVITY), "browse": person.newest("view")}
        person.events.append(event)
        person.last_arrival = event.arrives
        if event.name == "stop":
            self._opted_out.add(event.fields.get("email") or "")
        if person.has_opted_out():
            # Without an address, it is meant for the one that the person has, whenever that becomes known.
            self._opted_out.add(person.address() or "")
        for trigger, names in (("cart", ACTIVITY), ("browse", ("view",))):
            older = before[trigger]
            if event.name in names and (older is None or event.occurred > older):
                person.waiting.add(trigger)
        if person.address() is not None:
            self._release(person, event)
        if event.name == "signup":
            self._welcome(person)
        if event.name == "order":
            self._confirm(person, event)

    def _person(self, event: Told) -> Person:
        name = event.user or event.anon or ""
        person = self._persons.setdefault(name, Person())
        if event.user and event.anon:
            other = self._persons.get(event.anon)
            if other is not None and other is not person:
                person.absorb(other)
            self._persons[event.anon] = person
        return person

    def _release(self, person: Person, event: Told) -> None:
        for trigger in list(person.parked):
            person.parked.discard(trigger)
            if trigger == "welcome":
                self._welcome(person)
            else:
                person.waiting.add(trigger)
                person.floor[trigger] = event.occurred
        orders, person.parked_orders = person.parked_orders, []
        for order in orders:
            self._confirm(person, order)

    def _welcome(self, person: Person) -> None:
        if "welcome" in person.got:
            return
        address = person.address()
        if address is None:
            person.parked.add("welcome")
            return
        person.got.add("welcome")
        self.mails.append(Mail("welcome", address, ()))

    def _confirm(self, person: Person, order: Told) -> None:
        order_id = order.fields["order_id"]
        if order_id in self._confirmed or self._was_cancelled(order):
            return
        address = order.fields.get("order_email") or person.address()
        if address is None:
            person.parked_orders.append(order)
            return
        self._confirmed.add(order_id)
        self.at_once[order_id] = person.last_arrival
        self.mails.append(Mail("order_confirmation", address, (order_id,)))

    def _was_cancelled(self, order: Told) -> bool:
        cancels = [
            event.occurred
            for person in self._persons.values()
            for event in person.events
            if event.name == "cancel" and event.fields["order_id"] == order.fields["order_id"]
        ]
        return bool(cancels) and max(cancels) >= order.occurred

    def _fire(self, until: int) -> None:
        while True:
            ready = [found for found in self._pending() if found[0] <= until]
            if not ready:
                return
            at, trigger, person = min(ready, key=lambda found: found[0])
            self.moments.append(at)
            person.waiting.discard(trigger)
            self._decide(person, trigger)

    def _pending(self) -> list[tuple[int, str, Person]]:
        """What waits at present: when it is due, its trigger, its person."""
        return [
            (self._due(person, trigger), trigger, person)
            for person in {id(one): one for one in self._persons.values()}.values()
            for trigger in person.waiting
        ]

    def _due(self, person: Person, trigger: str) -> int:
        names = ACTIVITY if trigger == "cart" else ("view",)
        wait, settle = (
            (self.rules.cart_wait, self.rules.cart_settle)
            if trigger == "cart"
            else (self.rules.browse_wait, self.rules.browse_settle)
        )
        newest = max(person.newest(*names) or 0, person.floor.get(trigger, 0))
        return max(newest + wait, person.last_arrival + settle)

    def _decide(self, person: Person, trigger: str) -> None:
        if not (self._wants_cart(person) if trigger == "cart" else self._wants_browse(person)):
            return
        if trigger in person.got or person.has_opted_out():
            return
        address = person.address()
        if address in self._opted_out:
            return
        if address is None:
            person.parked.add(trigger)
            return
        person.got.add(trigger)
        if trigger == "cart":
            self.mails.append(Mail("abandoned_cart", address, tuple(sorted(person.cart()))))
        else:
            viewed = max((event for event in person.events if event.name == "view"), key=lambda one: one.occurred)
            self.mails.append(Mail("browse_abandonment", address, (viewed.fields["product"],)))

    def _wants_cart(self, person: Person) -> bool:
        activity = person.newest(*ACTIVITY) or 0
        orders = [event for event in person.events if event.name == "order"]
        cart = person.cart()
        if orders:
            order = max(orders, key=lambda one: one.occurred)
            if order.occurred >= activity:
                return False
            listed = set(order.fields["products"])
            if order.occurred >= activity - self.rules.order_grace and (not listed or cart <= listed):
                return False
        return bool(cart)

    def _wants_browse(self, person: Person) -> bool:
        viewed = person.newest("view") or 0
        since = [person.newest("order"), person.newest("add")]
        return all(at is None or at < viewed for at in since) and not person.cart()

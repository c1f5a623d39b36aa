"""Which mails a shopper should get, computed as plainly as possible: replay the arrivals, moment by moment.

It shares no code with the product: no registers, stamps or scripts, only lists and loops over the events.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.relevance.shoppers import Arrival, Shopper

ACTIVITY = ("add", "remove", "cart", "step")


class Rules(NamedTuple):
    """The delays and settle times of the triggers, and the order grace, in ms."""

    cart_delay: int
    cart_settle: int
    browse_delay: int
    browse_settle: int
    order_grace: int


class Purchase(NamedTuple):
    at: int
    products: set[str]

    def has(self, product: str) -> bool:
        """An order that lists nothing may have had everything."""
        return not self.products or product in self.products


class Mail(NamedTuple):
    trigger: str
    to: str
    about: tuple[str, ...]


class Person:
    """All that is known of one person at some moment.

    floor  trigger → when (ms) the address arrived that released its parked send
    got    triggers whose mail this person got
    """

    def __init__(self) -> None:
        self.events: list[Arrival] = []
        self.waiting: set[str] = set()
        self.parked: set[str] = set()
        self.floor: dict[str, int] = {}
        self.got: set[str] = set()
        self.parked_orders: list[Arrival] = []
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
        return max((event.occurred_at for event in self.events if event.name in names), default=None)

    def address(self) -> str | None:
        addresses = (event.fields["email"] for event in self.events if event.name != "stop" and "email" in event.fields)
        return next(addresses, None)

    def has_opted_out(self) -> bool:
        """Whether the person opted out; an opt-out of an address does not count."""
        return any(event.name == "stop" and "email" not in event.fields for event in self.events)


def _occurred_at(event: Arrival) -> int:
    return event.occurred_at


class Oracle:
    """Computes the mails of one shopper.

    moments   times (ms) at which a timer fired, or would have fired without an arrival: an arrival at one is a race
    free_at   order id → when (ms) its confirmation could be sent
    """

    def __init__(self, shopper: Shopper, rules: Rules) -> None:
        self.rules = rules
        self.mails: list[Mail] = []
        self.moments: list[int] = []
        self.free_at: dict[str, int] = {}
        self._persons: dict[str, Person] = {}
        self._opted_out: set[str] = set()
        # One mail of each marketing trigger a day, for every person with the address.
        self._capped: set[tuple[str, str]] = set()
        self._message_ids: set[str] = set()
        self._confirmed: set[str] = set()
        for event in shopper.arrivals:
            self._fire(event.arrives_at)
            self.moments += [due for due, _, _ in self._pending()]
            self._arrive(event)
        self._fire(10**12)

    def _arrive(self, event: Arrival) -> None:
        if event.message_id in self._message_ids:
            return
        self._message_ids.add(event.message_id)
        person = self._person(event)
        before = {"cart": person.newest(*ACTIVITY), "browse": person.newest("view")}
        person.events.append(event)
        person.last_arrival = event.arrives_at
        if event.name == "stop":
            self._opted_out.add(event.fields.get("email") or "")
        if person.has_opted_out():
            # Without an address, it is meant for the one that the person has, whenever that becomes known.
            self._opted_out.add(person.address() or "")
        for trigger, names in (("cart", ACTIVITY), ("browse", ("view",))):
            older = before[trigger]
            if event.name in names and (older is None or event.occurred_at > older):
                person.waiting.add(trigger)
        if person.address() is not None:
            self._release(person, event)
        if event.name == "signup":
            self._welcome(person)
        if event.name == "order":
            self._confirm(person, event)

    def _person(self, event: Arrival) -> Person:
        name = event.user or event.anon or ""
        person = self._persons.setdefault(name, Person())
        if event.user and event.anon:
            other = self._persons.get(event.anon)
            if other is not None and other is not person:
                person.absorb(other)
            self._persons[event.anon] = person
        return person

    def _release(self, person: Person, event: Arrival) -> None:
        for trigger in list(person.parked):
            person.parked.discard(trigger)
            if trigger == "welcome":
                self._welcome(person)
            else:
                person.waiting.add(trigger)
                person.floor[trigger] = event.occurred_at
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

    def _confirm(self, person: Person, order: Arrival) -> None:
        order_id = order.fields["order_id"]
        if order_id in self._confirmed or self._was_cancelled(order):
            return
        address = order.fields.get("order_email") or person.address()
        if address is None:
            person.parked_orders.append(order)
            return
        self._confirmed.add(order_id)
        self.free_at[order_id] = person.last_arrival
        self.mails.append(Mail("order_confirmation", address, (order_id,)))

    def _was_cancelled(self, order: Arrival) -> bool:
        cancels = [
            event.occurred_at
            for person in self._persons.values()
            for event in person.events
            if event.name == "cancel" and event.fields["order_id"] == order.fields["order_id"]
        ]
        return bool(cancels) and max(cancels) >= order.occurred_at - self.rules.order_grace

    def _fire(self, until: int) -> None:
        while True:
            ready = [timer for timer in self._pending() if timer[0] <= until]
            if not ready:
                return
            at, trigger, person = min(ready, key=lambda timer: timer[0])
            self.moments.append(at)
            person.waiting.discard(trigger)
            self._decide(person, trigger)

    def _pending(self) -> list[tuple[int, str, Person]]:
        """(due in ms, trigger, person) of each send that waits at present."""
        return [
            (self._due(person, trigger), trigger, person)
            for person in {id(person): person for person in self._persons.values()}.values()
            for trigger in person.waiting
        ]

    def _due(self, person: Person, trigger: str) -> int:
        names = ACTIVITY if trigger == "cart" else ("view",)
        delay, settle = (
            (self.rules.cart_delay, self.rules.cart_settle)
            if trigger == "cart"
            else (self.rules.browse_delay, self.rules.browse_settle)
        )
        newest = max(person.newest(*names) or 0, person.floor.get(trigger, 0))
        return max(newest + delay, person.last_arrival + settle)

    def _decide(self, person: Person, trigger: str) -> None:
        if not (self._cart(person) if trigger == "cart" else self._wants_browse(person)):
            return
        if trigger in person.got or person.has_opted_out():
            return
        address = person.address()
        if address in self._opted_out or (address, trigger) in self._capped:
            return
        if address is None:
            person.parked.add(trigger)
            return
        person.got.add(trigger)
        self._capped.add((address, trigger))
        if trigger == "cart":
            self.mails.append(Mail("abandoned_cart", address, tuple(sorted(self._cart(person)))))
        else:
            viewed = max((event for event in person.events if event.name == "view"), key=_occurred_at)
            self.mails.append(Mail("browse_abandonment", address, (viewed.fields["product"],)))

    def _purchases(self, person: Person) -> list[Purchase]:
        """The person's orders, and the newest one that was told with the person's address, or by another person who has
        it."""
        own = [event for event in person.events if event.name == "order"]
        address = person.address()
        of_address = [
            event
            for other in self._persons.values()
            for event in other.events
            if event.name == "order" and address is not None
            if address in (event.fields.get("order_email"), other.address() if other is not person else None)
        ]
        newest = sorted(of_address, key=_occurred_at)[-1:]
        return [Purchase(event.occurred_at, set(event.fields["products"])) for event in own + newest]

    def _cart(self, person: Person) -> set[str]:
        """What is in the cart; an order empties it, and what is only shown once more right after it is not in it."""
        purchases = self._purchases(person)
        emptied_at = max((purchase.at for purchase in purchases), default=-1)
        inside: dict[str, int] = {}
        added_at: dict[str, int] = {}
        for event in sorted(person.events, key=_occurred_at):
            if event.occurred_at <= emptied_at:
                continue
            if event.name == "add":
                product = event.fields["product"]
                inside[product] = inside.get(product, 0) + 1
                added_at[product] = event.occurred_at
            elif event.name == "remove":
                product = event.fields["product"]
                inside[product] = max(0, inside.get(product, 0) - 1)
            elif event.name == "cart":
                inside = dict.fromkeys(event.fields["products"], 1)
                added_at |= dict.fromkeys(event.fields["products"], event.occurred_at)
        return {
            product
            for product, count in inside.items()
            if count > 0 and not self._is_bought(purchases, product, added_at[product])
        }

    def _is_bought(self, purchases: list[Purchase], product: str, at: int) -> bool:
        return any(purchase.at >= at - self.rules.order_grace and purchase.has(product) for purchase in purchases)

    def _wants_browse(self, person: Person) -> bool:
        viewed = max((event for event in person.events if event.name == "view"), key=_occurred_at)
        purchases, added = self._purchases(person), person.newest("add")
        if any(purchase.at >= viewed.occurred_at for purchase in purchases):
            return False
        if self._is_bought(purchases, viewed.fields["product"], viewed.occurred_at):
            return False
        return (added is None or added < viewed.occurred_at) and not self._cart(person)

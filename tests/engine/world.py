"""The engine without its processes: the real planner, functions, gate and ledger on a real Redis, with a fake clock.

Tests record canonical events and read which mails a fake ESP got; `tests/system` has the same with real processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import redis

from adapter.ingest.receive import Receiver
from adapter.ingest.record import WebhookReply
from catalog import EVENTS, TRIGGERS
from freshgate.declare import EventType, Trigger
from freshgate.errors import EspError
from freshgate.events import Event, Product
from freshgate.outcomes import OutcomeRules
from freshgate.queue import Item, Job
from freshgate.routing import Routes
from freshgate.state import keys, store
from freshgate.state.planner import Planner
from freshgate.state.views import PersonView
from workers.asker import Oracle
from workers.courier import Courier
from workers.decisions import Records
from workers.esp.base import Message, SendResult
from workers.lookup import Lookup, transactional_marks

PII_KEY = b"a key for tests"
START = 1_760_000_000_000
SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
SHOP = keys.shop("main")
# As `record.lua` has it.
SAFETY_NET_MS = 20_000


L = TypeVar("L", bound=Lookup)


class RememberingEsp:
    """A fake ESP that accepts each mail, or raises the next of `errors`.

    before_send  called with each message first: what happens while the ESP is being called
    """

    name = "sendgrid"

    def __init__(self) -> None:
        self.mails: list[Message] = []
        self.errors: list[EspError | BaseException] = []
        self.before_send: Callable[[Message], None] | None = None
        self.before_connect: Callable[[], None] | None = None

    def prepare(self) -> None:
        if self.before_connect:
            self.before_connect()

    def send(self, message: Message) -> SendResult:
        if self.before_send:
            self.before_send(message)
        if self.errors:
            raise self.errors.pop(0)
        self.mails.append(message)
        return SendResult(provider_id=f"p{len(self.mails)}", status=202)

    def close(self) -> None:
        pass


class InterruptedLookup(Lookup):
    """Calls `then` after each of its first `times` readings: what happens between a worker's reading and its claim."""

    then: Callable[[], object]
    times = 1

    def read(self, *arguments: Any, **options: Any) -> Any:
        result = super().read(*arguments, **options)
        if self.times:
            self.times -= 1
            self.then()
        return result


class World:
    """One shop, from recorded events to mails.

    `record` what happened, set `now` (ms UTC), `run` the sends that are due, then read `mails` and `outcomes`.

    email_identity, order_grace  as the settings of these names
    has_pages                    whether the shop has a source of pages
    page_addresses               whether mail goes to addresses that only a page gave
    events                       the catalog's event types
    outcomes                     what the shop wants to hear of its mails
    oracle                       answers for sources of truth
    """

    def __init__(
        self,
        client: redis.Redis,
        triggers: Sequence[Trigger] = TRIGGERS,
        esp: RememberingEsp | None = None,
        *,
        email_identity: bool = True,
        order_grace: int = 300_000,
        page_addresses: bool = False,
        has_pages: bool = False,
        events: Sequence[EventType] = EVENTS,
        outcomes: Mapping[str, OutcomeRules] | None = None,
        oracle: Oracle | None = None,
    ) -> None:
        self.client = client
        self.rules = outcomes
        self.oracle = oracle
        self.now = START
        self.esp = esp or RememberingEsp()
        self.triggers = {trigger.name: trigger for trigger in triggers}
        store.load(client)
        self.page_addresses = page_addresses
        self.planner = Planner(
            events, triggers, PII_KEY, page_addresses=page_addresses, shops_with_pages=("main",) if has_pages else ()
        )
        self.receiver = Receiver(client, self.planner, Routes(["test"]), clock=lambda: self.now)
        self.email_identity = email_identity
        self.order_grace = order_grace
        self.courier = self.new_courier()
        self._event_count = 0

    def new_courier(self) -> Courier:
        return self._courier(self.lookup())

    def _courier(self, lookup: Lookup) -> Courier:
        return Courier(
            self.client,
            self.triggers,
            self.esp,
            lookup,
            10_000,
            lambda: self.now,
            outcomes=self.rules,
            oracle=self.oracle,
        )

    def lookup(self) -> Lookup:
        return self._lookup(Lookup)

    def _lookup(self, kind: type[L]) -> L:
        return kind(
            self.client,
            PII_KEY,
            self.order_grace,
            email_identity=self.email_identity,
            transactional=transactional_marks(self.triggers.values()),
            page_addresses=self.page_addresses,
        )

    def interrupted_courier(self, then: Callable[[], object], times: int = 1) -> Courier:
        """A worker's courier; `then` is called after each of its first `times` readings."""
        lookup = self._lookup(InterruptedLookup)
        lookup.then, lookup.times = then, times
        return self._courier(lookup)

    def event(
        self, name: str, *, at: int | None = None, user: str | None = None, anon: str | None = None, **fields: Any
    ) -> Event:
        """A canonical event that occurred at `at` (ms UTC; now if None) and arrives now.

        `message_id`, `email`, `previous_id` and `received_at` set those attributes; other keywords become fields.
        """
        self._event_count += 1
        attributes: dict[str, Any] = {"message_id": f"m{self._event_count}", "received_at": self.now}
        for attribute in ("message_id", "email", "previous_id", "received_at"):
            if attribute in fields:
                attributes[attribute] = fields.pop(attribute)
        return Event(
            source="segment",
            id_space="main",
            name=name,
            occurred_at=self.now if at is None else at,
            user_id=user,
            anonymous_id=anon,
            fields=fields,
            **attributes,
        )

    def record(self, *events: Event, trusted: bool = True) -> WebhookReply:
        """Record events as the receiver does with the elements of one request; returns its counts of verdicts."""
        reply = WebhookReply(refusals=[])
        self.receiver.recorder.record(events, reply, trusted=trusted)
        return reply

    def run(self, until: int | None = None) -> None:
        """Deliver immediate sends, then each timer that is due by `until` (now if None), in the order of their dues.

        `now` moves along, and is at least `until` in the end.
        """
        target = self.now if until is None else until
        # No queue here: the timer that catches what the queue loses stands for an immediate send.
        horizon = self.now + SAFETY_NET_MS + 1
        due_timers = self.due_timers(max(target, horizon))
        immediate = [timer for timer, due in due_timers if due <= horizon and self._is_immediate(timer)]
        for timer in immediate:
            self.deliver(timer)
        # Delivering changes the timers; until then those that were read are the right ones, and spare a trip.
        pending = self.due_timers(target) if immediate else [entry for entry in due_timers if entry[1] <= target]
        while pending:
            timer, due = pending[0]
            self.now = max(self.now, due)
            self.deliver(timer)
            pending = self.due_timers(target)
        self.now = max(self.now, target)

    def _is_immediate(self, timer: str) -> bool:
        trigger = self.triggers.get(keys.TimerRef.parse(timer).trigger)
        return trigger is not None and trigger.delay == 0

    def deliver(self, *timers: str, courier: Courier | None = None) -> None:
        """One job for these timers."""
        # As `fg_claim_due` says it: whether somebody began with it before, and did not bring it to a state.
        items = tuple(Item(timer, int(self.client.hexists(f"{SHOP}begun", timer))) for timer in timers)
        (courier or self.courier).deliver(Job(sends=items, created=self.now, shop="main"))

    def due_timers(self, until: int) -> list[tuple[str, int]]:
        """(timer, due in ms) of each timer that is due by `until`, by due."""
        triggers: Any = self.client.smembers(f"{SHOP}triggers")
        pipe = self.client.pipeline(transaction=False)
        for name in triggers:
            pipe.zrangebyscore(keys.timers("main", name.decode()), "-inf", until, withscores=True)
        timers = [(timer.decode(), int(due)) for rows in pipe.execute() for timer, due in rows]
        return sorted(timers, key=lambda timer: (timer[1], timer[0]))

    def records(self, timer: str) -> Records:
        """What a decision on this timer's send reads."""
        return self.lookup().read("main", [timer], self.now)[1][0]

    def person(self, user: str | None = None, anon: str | None = None) -> PersonView:
        """The person behind an id, as decisions see it."""
        return self.records(keys.timer("welcome", "p", keys.person_id("main", user, anon))).person

    def root(self, user: str | None = None, anon: str | None = None) -> str:
        """The id of the person's record that has its timers."""
        return self.person(user, anon).id

    def record_ids(self, user: str | None = None, anon: str | None = None) -> list[str]:
        """The records that make up the person, the root's first."""
        return [record_id for record_id, _ in self.person(user, anon).records]

    def mails(self) -> list[tuple[str, str]]:
        """(trigger, address) of each mail that the ESP accepted, oldest first."""
        return [(message.trigger, message.to) for message in self.esp.mails]

    def state(self, user: str | None = None, anon: str | None = None) -> dict[str, str]:
        """What is known of a person that must not depend on the order of arrival."""
        return self.person(user, anon).facts()

    def cart(self, user: str | None = None, anon: str | None = None) -> dict[str, int]:
        """The quantity of each line in the person's cart."""
        return {line.product.line: line.product.quantity for line in self.person(user, anon).cart}

    def outcomes(self, user: str | None = None, anon: str | None = None) -> list[tuple[str, str]]:
        """(trigger, state) of each decision on the person's sends, oldest first."""
        entries = self.decisions(user, anon)
        return [(entry["trigger"], entry["state"]) for entry in entries for _ in range(entry["times"])]

    def decisions(self, user: str | None = None, anon: str | None = None) -> list[dict[str, Any]]:
        """The trail's entries on the person's sends, oldest first."""
        entries = []
        for record_id in self.record_ids(user, anon):
            raw: Any = self.client.lrange(f"{keys.person('main', record_id)}:dec", 0, -1)
            for line in reversed(raw):
                times, _, entry = line.split(b"\t", 2)
                entries.append({**msgspec.json.decode(entry), "times": int(times)})
        return sorted(entries, key=lambda entry: int(entry["t"]))


def product(product_id: str, price: str = "10.00", variant: str = "") -> Product:
    return Product(product_id=product_id, name=f"Product {product_id}", price=price, variant=variant)

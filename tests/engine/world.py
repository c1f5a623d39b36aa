"""The engine without its processes: the real planner, functions, gate and ledger on a real Redis, with a fake clock.

Tests record canonical events and read which mails a fake ESP got; `tests/system` has the same with real processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import redis

from adapter.ingest.receive import Receiver
from adapter.ingest.record import WebhookReply
from catalog import EVENTS, TRIGGERS
from freshgate.declare import Trigger
from freshgate.errors import EspError
from freshgate.events import Event, Product
from freshgate.queue import Item, Job
from freshgate.state import keys, store
from freshgate.state.planner import SAFETY_NET_MS, Planner
from workers.courier import Courier
from workers.esp.base import Message, SendResult
from workers.lookup import Lookup

PII_KEY = b"a key for tests"
START = 1_760_000_000_000
SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


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


class World:
    """One shop, from recorded events to mails.

    `record` what happened, set `now` (ms UTC), `run` the sends that are due, then read `mails` and `outcomes`.

    email_identity  whether an address names a person, as the setting of that name says
    """

    def __init__(
        self,
        client: redis.Redis,
        triggers: Sequence[Trigger] = TRIGGERS,
        esp: RememberingEsp | None = None,
        *,
        email_identity: bool = False,
    ) -> None:
        self.client = client
        self.now = START
        self.esp = esp or RememberingEsp()
        self.triggers = {trigger.name: trigger for trigger in triggers}
        store.load(client)
        self.planner = Planner(EVENTS, triggers, PII_KEY)
        self.receiver = Receiver(client, self.planner, "test")
        self.email_identity = email_identity
        self.courier = self.new_courier()
        self._event_count = 0
        # The shards that are searched for timers, all if None: a test that knows its persons is faster with few.
        self.shards: set[str] | None = None

    def new_courier(self) -> Courier:
        lookup = Lookup(self.client, PII_KEY, 120_000, email_identity=self.email_identity)
        return Courier(self.client, self.triggers, self.esp, lookup, deadline_ms=10_000, clock=lambda: self.now)

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
        timers = self.due_timers(max(target, horizon))
        immediate = [(member, due) for member, due in timers if due <= horizon and self._is_immediate(member)]
        for member, due in immediate:
            self._deliver(member, due)
        # Delivering changes the timers; until then those that were read are the right ones, and spare a trip.
        pending = self.due_timers(target) if immediate else [(member, due) for member, due in timers if due <= target]
        while pending:
            member, due = pending[0]
            self.now = max(self.now, due)
            self._deliver(member, due)
            pending = self.due_timers(target)
        self.now = max(self.now, target)

    def _is_immediate(self, member: str) -> bool:
        trigger = self.triggers.get(keys.parse_member(member)[0])
        return trigger is not None and trigger.delay == 0

    def _deliver(self, member: str, due: int) -> None:
        # As `fg1_claim_due` says it: whether somebody began with it before, and did not bring it to a state.
        shard = keys.shard(keys.parse_member(member)[2])
        returned = int(self.client.hexists(f"{keys.PREFIX}{shard}:begun", member))
        self.courier.deliver(Job(sends=(Item(member, due, returned),), created=self.now))

    def due_timers(self, until: int) -> list[tuple[str, int]]:
        """(member, due in ms) of each timer that is due by `until`, by due."""
        pipe = self.client.pipeline(transaction=False)
        for name in keys.all_timers() if self.shards is None else map(keys.timers, self.shards):
            pipe.zrangebyscore(name, "-inf", until, withscores=True)
        timers = [(member.decode(), int(due)) for rows in pipe.execute() for member, due in rows]
        return sorted(timers, key=lambda timer: (timer[1], timer[0]))

    def mails(self) -> list[tuple[str, str]]:
        """(trigger, address) of each mail that the ESP accepted, oldest first."""
        return [(message.trigger, message.to) for message in self.esp.mails]

    def state(self, user: str | None = None, anon: str | None = None) -> dict[str, str]:
        """The registers of a person that must not depend on the order of arrival."""
        person = keys.person_id("main", user, anon)
        raw: Any = self.client.hgetall(keys.person(person))
        return {
            field.decode(): value.decode()
            for field, value in raw.items()
            if field[:2] in (b"m:", b"t:", b"q:") or field[:1] in (b"+", b"-") or field == b"cc"
        }

    def outcomes(self, user: str | None = None, anon: str | None = None) -> list[tuple[str, str]]:
        """(trigger, state) of each decision on the person's sends, oldest first."""
        return [(entry["trigger"], entry["state"]) for entry in self.decisions(user, anon)]

    def decisions(self, user: str | None = None, anon: str | None = None) -> list[dict[str, Any]]:
        """The trail's entries on the person's sends, oldest first."""
        person = keys.person_id("main", user, anon)
        raw: Any = self.client.lrange(f"{keys.person(person)}:dec", 0, -1)
        return [msgspec.json.decode(entry) for entry in reversed(raw)]


def product(product_id: str, price: str = "10.00", variant: str = "") -> Product:
    return Product(product_id=product_id, name=f"Product {product_id}", price=price, variant=variant)

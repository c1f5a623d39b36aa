"""Freshgate without its processes: the real planner, functions, gate and ledger on a real Redis, a clock of one's own.

Events are told as canonical events; mails are remembered by an ESP that only remembers.
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
from freshgate.state.planner import Planner
from workers.courier import Courier
from workers.esp.base import Message, SendResult
from workers.lookup import Lookup

PII_KEY = b"a key of the tests"
START = 1_760_000_000_000
SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


class RememberingEsp:
    """Takes every mail, unless `errors` says what to raise next."""

    name = "sendgrid"

    def __init__(self) -> None:
        self.mails: list[Message] = []
        self.errors: list[EspError | BaseException] = []
        self.before: Callable[[Message], None] | None = None
        self.connecting: Callable[[], None] | None = None

    def prepare(self) -> None:
        if self.connecting:
            self.connecting()

    def send(self, message: Message) -> SendResult:
        if self.before:
            self.before(message)
        if self.errors:
            raise self.errors.pop(0)
        self.mails.append(message)
        return SendResult(provider_id=f"p{len(self.mails)}", status=202)

    def close(self) -> None:
        pass


class World:
    """One shop. `now` is the time, in milliseconds; `tell` what happened; `run` what is due by then."""

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
        self._told = 0
        # Where to look for timers; a test that knows its persons may name fewer.
        self.shards: set[str] | None = None

    def new_courier(self) -> Courier:
        lookup = Lookup(self.client, PII_KEY, 120_000, email_identity=self.email_identity)
        return Courier(self.client, self.triggers, self.esp, lookup, deadline_ms=10_000, clock=lambda: self.now)

    def event(
        self, name: str, *, at: int | None = None, user: str | None = None, anon: str | None = None, **more: Any
    ) -> Event:
        """An event that occurred at `at` (now if None) and arrives now. Further words are fields."""
        self._told += 1
        head = {key: more.pop(key) for key in ("message_id", "email", "previous_id", "received_at") if key in more}
        head.setdefault("message_id", f"m{self._told}")
        head.setdefault("received_at", self.now)
        return Event(
            source="segment",
            id_space="main",
            name=name,
            occurred_at=self.now if at is None else at,
            user_id=user,
            anonymous_id=anon,
            fields=more,
            **head,
        )

    def tell(self, *events: Event, again: bool = False, trusted: bool = True) -> WebhookReply:
        answer = WebhookReply(refusals=[])
        self.receiver.recorder.record(events, answer, again=again, trusted=trusted)
        return answer

    def run(self, until: int | None = None) -> None:
        """Immediate sends first, then every timer that is due by `until` (now if None), in order of due."""
        target = self.now if until is None else until
        waiting = self.due(max(target, self.now + 20_001))
        at_once = [(member, at) for member, at in waiting if at <= self.now + 20_001 and self._is_immediate(member)]
        for send in at_once:
            self._deliver(*send)
        # One look is enough where nothing happens.
        while due := self.due(target) if at_once else [(member, at) for member, at in waiting if at <= target]:
            at_once = due
            self.now = max(self.now, due[0][1])
            self._deliver(*due[0])
        self.now = max(self.now, target)

    def _is_immediate(self, member: str) -> bool:
        trigger = self.triggers.get(keys.parse_member(member)[0])
        return trigger is not None and trigger.delay == 0

    def _deliver(self, member: str, at: int) -> None:
        # As `fg1_claim_due` says it: whether somebody began with it before, and did not bring it to a state.
        shard = keys.shard(keys.parse_member(member)[2])
        returned = int(self.client.hexists(f"{keys.PREFIX}{shard}:begun", member))
        self.courier.deliver(Job(sends=(Item(member, at, returned),), created=self.now))

    def due(self, until: int) -> list[tuple[str, int]]:
        pipe = self.client.pipeline(transaction=False)
        for name in keys.all_timers() if self.shards is None else map(keys.timers, self.shards):
            pipe.zrangebyscore(name, "-inf", until, withscores=True)
        found = [(member.decode(), int(at)) for part in pipe.execute() for member, at in part]
        return sorted(found, key=lambda pair: (pair[1], pair[0]))

    def mails(self) -> list[tuple[str, str]]:
        """(trigger, address) of every mail so far."""
        return [(message.trigger, message.to) for message in self.esp.mails]

    def state(self, user: str | None = None, anon: str | None = None) -> dict[str, str]:
        """The registers of a person, without what only says when things arrived."""
        person = keys.person_id("main", user, anon)
        raw: Any = self.client.hgetall(keys.person(person))
        return {
            field.decode(): value.decode()
            for field, value in raw.items()
            if field[:2] in (b"m:", b"t:", b"q:") or field[:1] in (b"+", b"-") or field == b"cc"
        }

    def outcomes(self, user: str | None = None, anon: str | None = None) -> list[tuple[str, str]]:
        """(trigger, state) of the person's decisions, oldest first."""
        return [(entry["trigger"], entry["state"]) for entry in self.decisions(user, anon)]

    def decisions(self, user: str | None = None, anon: str | None = None) -> list[dict[str, Any]]:
        """What the trail says of the person's sends, oldest first."""
        person = keys.person_id("main", user, anon)
        raw: Any = self.client.lrange(f"{keys.person(person)}:dec", 0, -1)
        return [msgspec.json.decode(entry) for entry in reversed(raw)]


def product(product_id: str, price: str = "10.00", variant: str = "") -> Product:
    return Product(product_id=product_id, name=f"Product {product_id}", price=price, variant=variant)

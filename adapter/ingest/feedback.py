"""The path of an ESP's feedback: verify, read, record; and what log and metrics learn of it.

`adapter/feedback/` verifies and reads, one file a kind of ESP; `feedback.lua` and `wave.py` act on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import redis
from redis.exceptions import RedisError

from adapter.feedback.base import FeedbackEvent, FeedbackReader, FeedbackRequest
from adapter.ingest.wave import Waves
from freshgate.addresses import read_address
from freshgate.errors import NotAuthentic, RequestError
from freshgate.outcomes import REPORTED, Outcome, rules_of
from freshgate.settings import Settings
from freshgate.state import keys
from freshgate.state.clock import RedisClock
from freshgate.state.stamps import stamp
from freshgate.state.store import fcall, shops, unavailable, with_library
from freshgate.telemetry import logs, metrics

log = logs.get(__name__)

# Our kind → the register of the address that it sets.
REGISTERS: Mapping[str, str] = {
    "bounced": "m:bounced",
    "soft_bounced": "m:bounced",
    "complained": "m:spam",
    "unsubscribed": "m:unsubscribed",
    "resubscribed": "m:subscribed",
}
# These happen many times to one mail; all others once.
REPEATABLE = frozenset({"opened", "clicked", "deferred"})
# An ESP may report ahead of our clock; a time beyond that is none.
MAX_AHEAD_MS = 300_000
# Of an event that concerns no shop.
NO_REPLY = (b"unmatched", b"", b"", b"", b"")
_pack = msgspec.msgpack.Encoder().encode


class FeedbackReply(msgspec.Struct, frozen=True):
    """The reply's counts: events that are news, that were known, and that name no mail of ours."""

    accepted: int
    duplicate: int
    unmatched: int


class FeedbackReceiver:
    """Receives the feedback of all accounts of one process. Thread-safe."""

    def __init__(
        self,
        client: redis.Redis,
        settings: Settings,
        readers: Mapping[str, FeedbackReader],
        triggers: Sequence[str],
        clock: RedisClock,
    ) -> None:
        self._client = client
        self._pii_key = settings.pii_key.encode()
        self._esps = settings.esps
        self._own_shops = {source.id_space for source in settings.sources.values()}
        self._readers = readers
        self._triggers = frozenset(triggers)
        self._clock = clock
        self._outcomes = rules_of(settings)
        self._rare_lines = logs.RareLines()
        self._waves = {name: Waves(client, name, settings.esps[name]) for name in readers}

    def receive(self, account: str, request: FeedbackRequest) -> FeedbackReply:
        """Raises NotAuthentic, RequestError, StoreUnavailable."""
        reader = self._readers[account]
        try:
            reader.verify(request)
        except NotAuthentic as error:
            metrics.UNAUTHENTIC_FEEDBACK.labels(account).inc()
            if self._rare_lines.is_due(error.hint):
                log.warning("feedback_refused", esp=account, hint=error.hint)
            raise
        try:
            events = reader.read(request)
        except RequestError as error:
            log.warning("feedback_unreadable", esp=account, reason=error.reason)
            raise
        try:
            return self._record(account, events)
        except RedisError as error:
            raise unavailable(error) from error

    def _record(self, account: str, events: Sequence[FeedbackEvent]) -> FeedbackReply:
        if not events:
            return FeedbackReply(0, 0, 0)
        targets = self._find_shops(events)
        rows = with_library(self._client, lambda: self._call(account, events, targets))
        counts = {"new": 0, "duplicate": 0, "unmatched": 0}
        fresh = []
        for event, replies in zip(events, rows, strict=True):
            status = self._observe(account, event, replies)
            counts[status] += 1
            if status != "duplicate":
                fresh.append(event.kind)
        self._waves[account].count(fresh, self._clock.now())
        return FeedbackReply(counts["new"], counts["duplicate"], counts["unmatched"])

    def _find_shops(self, events: Sequence[FeedbackEvent]) -> list[list[str]]:
        """The shops that each event concerns: the one that sent the mail; all where nobody knows it.

        What is said of an unknown mail only ever withholds mail: of several shops an opt-in is of none.
        """
        names = sorted(self._own_shops.union(shops(self._client)))
        if len(names) == 1:
            return [names] * len(events)
        pipe = self._client.pipeline(transaction=False)
        for event in events:
            for shop in names:
                pipe.hexists(keys.sent(shop, event.send_id), "o")
        known = pipe.execute()
        rows = [known[i : i + len(names)] for i in range(0, len(known), len(names))]
        senders = [[shop for shop, has in zip(names, row, strict=True) if has] for row in rows]
        return [
            known_to or ([] if event.kind == "resubscribed" else names)
            for event, known_to in zip(events, senders, strict=True)
        ]

    def _call(self, account: str, events: Sequence[FeedbackEvent], targets: Sequence[Sequence[str]]) -> list[list[Any]]:
        pipe = self._client.pipeline(transaction=False)
        for event, names in zip(events, targets, strict=True):
            body = self._body(account, event)
            for shop in names:
                outcome = self._outcome(account, event, shop)
                own = body if outcome is None else body | {"outcome": outcome}
                fcall(pipe, "feedback", keys.shop(shop), self._clock.override, _pack(own))
        replies = iter(pipe.execute())
        return [[next(replies) for _ in names] for names in targets]

    def _outcome(self, account: str, event: FeedbackEvent, shop: str) -> dict[str, Any] | None:
        """What the shop hears of it; Redis adds whose mail it was."""
        rules, name = self._outcomes.get(shop), REPORTED.get(event.kind)
        if rules is None or name is None or not event.send_id:
            return None
        address = (event.email and read_address(event.email)) or ""
        return rules.to_write(
            Outcome(
                name,
                event.kind,
                event.reason,
                send_id=event.send_id,
                esp=account,
                at=self._time_of(event),
                address=address,
            )
        )

    def _time_of(self, event: FeedbackEvent) -> int:
        now = self._clock.now()
        return event.at if 0 < event.at <= now + MAX_AHEAD_MS else now

    def _body(self, account: str, event: FeedbackEvent) -> dict[str, Any]:
        at = self._time_of(event)
        address = read_address(event.email)
        field = REGISTERS.get(event.kind, "")
        soft = self._esps[account].soft_bounces
        value = f"{soft} soft bounces in a row" if event.kind == "soft_bounced" else f"reported by {account}"
        body: dict[str, Any] = {
            "send": event.send_id,
            "key": f"{event.kind}:{at}" if event.kind in REPEATABLE else event.kind,
            "kind": event.kind,
            "at": at,
            "reason": event.reason,
            "esp": account,
            "address": keys.address_id(self._pii_key, address) if address else "",
            "soft": soft,
        }
        if field:
            body |= {"field": field, "stamp": stamp(at, f"{account} {event.kind} {event.send_id}"), "value": value}
        return body

    def _observe(self, account: str, event: FeedbackEvent, replies: Sequence[Any]) -> str:
        """Metrics of one event; returns new, duplicate or unmatched."""
        by_status = {reply[0].decode(): reply for reply in replies}
        status = next((status for status in ("new", "duplicate") if status in by_status), "unmatched")
        if status == "duplicate":
            return status
        reply = by_status.get(status, NO_REPLY)
        trigger = reply[1].decode()
        label = trigger if trigger in self._triggers else "none"
        metrics.FEEDBACK.labels(account, label, event.kind).inc()
        if event.kind == "delivered" and reply[2]:
            metrics.ACCEPTED_TO_DELIVERED.labels(label, account).observe(max(0, event.at - int(reply[2])) / 1000)
        if reply[3]:
            metrics.SETTLED_BY_FEEDBACK.labels(label, account).inc()
        if any(each[4] for each in replies):
            log.info("suppressed_by_feedback", esp=account, kind=event.kind)
        return status

"""Finds a person by any id and reads what is shown of them: one trip to Redis, whether the cache helps or not."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import msgspec
import redis
from redis.exceptions import RedisError

from adapter.people.caches import Cache, CachedDocument
from adapter.people.document import Document, build_document
from freshgate.errors import RateLimited
from freshgate.ids import address_in, trim
from freshgate.state import keys
from freshgate.state.records import to_fields
from freshgate.state.store import fcall, unavailable, with_library
from freshgate.state.stored import TrailEvent, read_trail_entry
from freshgate.state.views import AddressView, PersonView
from freshgate.telemetry import metrics

MAX_RECENT = 50
# Locks against several threads that build the same document at once.
STRIPES = 64


class Answer(msgspec.Struct, frozen=True):
    """A document as of `now` (ms, Redis' clock)."""

    now: int
    document: Document


class People:
    """Reads persons of the shops that the settings name. Thread-safe.

    order_grace  the setting of that name (ms)
    limit        requests of one token in a window (ms)
    """

    def __init__(
        self,
        client: redis.Redis,
        cache: Cache,
        shops: Sequence[str],
        pii_key: bytes,
        order_grace: int,
        limit: tuple[int, int],
    ) -> None:
        self._client = client
        self._cache = cache
        self._shops = list(shops)
        self._pii_key = pii_key
        self._order_grace = order_grace
        self._limit = limit
        self._locks = [Lock() for _ in range(STRIPES)]

    @property
    def shops(self) -> Sequence[str]:
        return self._shops

    def read(self, searched_id: str, token_id: str, shop: str | None = None) -> Answer | None:
        """The person of that user id, anonymous id or address; None if nobody is known by it.

        shop  only this one; all of them where it is None, in the order of the settings
        Raises RateLimited, StoreUnavailable.
        """
        for name in [shop] if shop else self._shops:
            answer = self._read(name, searched_id, token_id)
            if answer:
                return answer
        return None

    def recent(
        self, searched_id: str, token_id: str, shop: str | None = None
    ) -> tuple[int, list[dict[str, Any]]] | None:
        """Redis' time (ms) and the newest events of a person, newest first; None if nobody is known by the id.

        Raises RateLimited, StoreUnavailable.
        """
        for name in [shop] if shop else self._shops:
            reply = self._call(token_id, "recent", name, MAX_RECENT, *self._candidates(name, searched_id))
            if reply:
                now, _, trail = reply
                entries = [_action(read_trail_entry(raw)) for raw in trail]
                entries.sort(key=lambda entry: int(entry["at"]), reverse=True)
                return int(now), entries[:MAX_RECENT]
        return None

    def _read(self, shop: str, searched_id: str, token_id: str) -> Answer | None:
        candidates = self._candidates(shop, searched_id)
        key = f"{shop}:{candidates[1]}"
        cached = self._cache.get(key)
        reply = self._call(token_id, "person", shop, cached.version if cached else "", *candidates)
        if reply and len(reply) > len(("now", "root", "version")):
            metrics.PEOPLE_CACHE.labels("stale" if cached else "miss").inc()
            with self._locks[hash(key) % STRIPES]:
                return self._build(key, reply)
        if reply and cached:
            metrics.PEOPLE_CACHE.labels("hit").inc()
            metrics.PEOPLE_CACHE_AGE.observe(max(0, int(reply[0]) - cached.at) / 1000)
            return Answer(int(reply[0]), cached.document)
        return None

    def _build(self, key: str, reply: Sequence[Any]) -> Answer:
        now, root, version, persons, addresses, trail = reply
        known = self._cache.get(key)
        if known and known.version == version.decode():
            # Another thread was faster.
            return Answer(int(now), known.document)
        records = [(record_id.decode(), to_fields(flat)) for record_id, flat in persons]
        person = PersonView(root.decode(), records, self._order_grace)
        views = [AddressView(address_id.decode(), to_fields(flat)) for address_id, flat in addresses]
        if person.email:
            own = keys.address_id(self._pii_key, person.email)
            person.see_address(next((view.ordered for view in views if view.id == own), None))
        document = build_document(person, views, trail)
        self._cache.put(CachedDocument(key, version.decode(), document, int(now)))
        return Answer(int(now), document)

    def _candidates(self, shop: str, searched_id: str) -> list[str]:
        """The address id, or "", then the ids of records that may be meant."""
        text = trim(searched_id)
        address = address_in(text)
        text = address or text
        address_id = keys.address_id(self._pii_key, address) if address else ""
        ids = [keys.person_id(shop, text), keys.person_id(shop, None, text)]
        if address_id:
            ids.append(keys.person_id(shop, None, None, address_id))
        return [address_id, *ids]

    def _call(self, token_id: str, function: str, shop: str, *arguments: Any) -> list[Any]:
        limit, window_ms = self._limit

        def call() -> list[Any]:
            pipe = self._client.pipeline(transaction=False)
            pipe.incr(keys.PEOPLE_LIMIT + token_id)
            pipe.pexpire(keys.PEOPLE_LIMIT + token_id, window_ms, nx=True)
            pipe.pttl(keys.PEOPLE_LIMIT + token_id)
            fcall(pipe, function, keys.shop(shop), "", *arguments)
            return pipe.execute()

        try:
            count, _, remaining_ms, reply = with_library(self._client, call)
        except RedisError as error:
            raise unavailable(error) from error
        if count > limit:
            raise RateLimited("too many requests", limit="api", retry_after_s=max(1, -(-int(remaining_ms) // 1000)))
        rows: list[Any] = reply
        return rows


def _action(event: TrailEvent) -> dict[str, Any]:
    return {
        "event": event.name,
        "at": event.at,
        "source": event.source,
        "received_at": event.received_at,
        "id": event.message_id,
        "verdict": event.verdict,
    }

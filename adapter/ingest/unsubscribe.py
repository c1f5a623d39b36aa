"""What a click on a link to unsubscribe does: the token is opened, and the address gets no more of a topic, or of all.

`routes/unsubscribe.py` has the pages; `freshgate/state/suppressions.py` writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis.exceptions import RedisError

from freshgate.declare import ALL_TOPICS
from freshgate.errors import RateLimited
from freshgate.links import LinkError, LinkToken, LinkTokens
from freshgate.outcomes import REPORTED, Outcome, OutcomeRules
from freshgate.state import keys, suppressions
from freshgate.state.store import unavailable
from freshgate.telemetry import logs, metrics

log = logs.get(__name__)
# Changes of one address; whoever has a link may press its buttons a few times.
MAX_CHANGES, WINDOW_S = 20, 3600


class Unsubscriber:
    """Opens tokens, and writes what their owner wants. Thread-safe.

    topics    those that the catalog declares
    clock     ms UTC
    outcomes  shop → what it wants to hear
    """

    def __init__(
        self,
        client: Any,
        tokens: LinkTokens,
        topics: Sequence[str],
        clock: Callable[[], int],
        outcomes: Mapping[str, OutcomeRules] | None = None,
    ) -> None:
        self._outcomes = outcomes or {}
        self._client = client
        self._tokens = tokens
        self._topics = tuple(topics)
        self._clock = clock

    def open(self, text: str) -> LinkToken:
        """What the token says; nothing is read or written. Raises LinkError."""
        try:
            return self._tokens.open(text, self._clock())
        except LinkError as error:
            metrics.UNSUBSCRIBES.labels("expired" if error.expired else "refused").inc()
            raise

    def topics(self, token: LinkToken) -> list[str]:
        """What a reader of that mail may leave alone, the mail's own topic first; none where there is but one."""
        known = [topic for topic in self._topics if topic != token.topic]
        return [token.topic, *known] if known and token.topic in self._topics else known if len(known) > 1 else []

    def leave(self, token: LinkToken, choice: str) -> None:
        """No more mail of a topic, or with ALL_TOPICS no more marketing mail, for the address.

        Raises LinkError for a topic that does not exist, RateLimited, StoreUnavailable.
        """
        if choice != ALL_TOPICS and choice not in self._topics:
            raise LinkError("no such topic")
        kind = "unsubscribed" if choice == ALL_TOPICS else suppressions.TOPIC + choice
        try:
            self._limit(token)
            raw = self._client.hgetall(keys.address(token.shop, token.address))
            if kind in suppressions.in_force(raw):
                # A second click, or a replay: there is nothing to write, and nothing for the trail.
                metrics.UNSUBSCRIBES.labels("repeated").inc()
                return
            change = suppressions.Change(
                address=token.address,
                kind=kind,
                at=self._clock(),
                author=token.send_id,
                value=f"by the link of send {token.send_id}",
                state="unsubscribed by link",
                details={"send": token.send_id},
                outcome=self._outcome(token, choice),
            )
            suppressions.write(self._client, token.shop, change)
        except RedisError as error:
            raise unavailable(error) from error
        metrics.UNSUBSCRIBES.labels("all" if choice == ALL_TOPICS else "topic").inc()
        log.info("unsubscribed", send=token.send_id, kind=kind)

    def _outcome(self, token: LinkToken, choice: str) -> dict[str, Any] | None:
        rules = self._outcomes.get(token.shop)
        if rules is None:
            return None
        reason = "all" if choice == ALL_TOPICS else choice
        return rules.to_write(
            Outcome(REPORTED["unsubscribed"], "unsubscribed", reason, send_id=token.send_id, at=self._clock())
        )

    def _limit(self, token: LinkToken) -> None:
        key = f"{keys.shop(token.shop)}limit:unsubscribe:{token.address}"
        pipe = self._client.pipeline(transaction=True)
        pipe.incr(key)
        pipe.expire(key, WINDOW_S, nx=True)
        count, _ = pipe.execute()
        if count > MAX_CHANGES:
            metrics.UNSUBSCRIBES.labels("limited").inc()
            raise RateLimited("too many requests", limit="unsubscribe", retry_after_s=WINDOW_S)

"""Waves of bounces and complaints: an account's marketing mail is held before its reputation is gone.

`ingest/feedback.py` counts; workers read the hold with every job; `python -m workers release` ends it.
"""

from __future__ import annotations

from collections.abc import Sequence

import redis

from freshgate.settings import EspSettings
from freshgate.state import keys
from freshgate.telemetry import logs

log = logs.get(__name__)

BUCKET_MS = 300_000
WINDOW_MS = 3_600_000
TTL_MS = 2 * WINDOW_MS
# A share of few mails says nothing.
MIN_BOUNCES = 20
MIN_COMPLAINTS = 5
COUNTED = ("delivered", "bounced", "complained")


class Waves:
    """The last hour of one account, in Redis, over all receivers."""

    def __init__(self, client: redis.Redis, account: str, settings: EspSettings) -> None:
        self._client = client
        self._account = account
        self._key = keys.FEEDBACK + account
        self._limits = {
            "bounced": (settings.bounce_limit, MIN_BOUNCES),
            "complained": (settings.complaint_limit, MIN_COMPLAINTS),
        }

    def count(self, kinds: Sequence[str], now: int) -> None:
        """Counts what was reported (ms), and holds the account's marketing mail above a limit. Raises RedisError."""
        counted = [kind for kind in kinds if kind in COUNTED]
        if not counted:
            return
        bucket = now // BUCKET_MS
        pipe = self._client.pipeline(transaction=False)
        for kind in set(counted):
            pipe.hincrby(self._key, f"{bucket} {kind}", counted.count(kind))
        pipe.pexpire(self._key, TTL_MS)
        pipe.hgetall(self._key)
        totals = self._total(pipe.execute()[-1], bucket)
        mails = totals["delivered"] + totals["bounced"]
        for kind, (limit, floor) in self._limits.items():
            if kind in counted and totals[kind] >= floor and totals[kind] > limit * mails:
                self._hold(kind, totals[kind], mails)

    def _total(self, raw: dict[bytes, bytes], bucket: int) -> dict[str, int]:
        totals = dict.fromkeys(COUNTED, 0)
        old = []
        for name, count in raw.items():
            at, kind = name.decode().split(" ")
            if int(at) > bucket - WINDOW_MS // BUCKET_MS:
                totals[kind] += int(count)
            else:
                old.append(name)
        if old:
            self._client.hdel(self._key, *old)
        return totals

    def _hold(self, kind: str, count: int, mails: int) -> None:
        if self._client.sadd(keys.HOLD, keys.HELD_ESP + self._account):
            log.error(
                "account_held",
                esp=self._account,
                reason=kind,
                count=count,
                mails=mails,
                hint=f"its marketing mail waits; `freshgate release {keys.HELD_ESP}{self._account}` ends that",
            )

"""Workers that share an account's limits and breaker through Redis; each `Worker` here is a process."""

from __future__ import annotations

from typing import Any

from redis import Redis

from freshgate.errors import EspError
from freshgate.settings import EspSettings
from freshgate.state.clock import RedisClock
from tests.engine.world import START
from workers.account import Account, Admission

SECOND = 1000
BLOCKED = EspError("401", blocked=True, status=401)
FAILED = EspError("503", status=503)
HUNG = EspError("timeout", ambiguous=True)
LIMITED = EspError("429", status=429)


class Clock:
    def __init__(self) -> None:
        self.now = START


class Worker:
    """A worker's view of the account, whose knowledge is always fresh, as it is a second later."""

    def __init__(self, redis: Redis, clock: Clock, **settings: Any) -> None:
        self.clock = clock
        self.slept = 0.0
        self.account = Account(redis, "shop", EspSettings(**settings), RedisClock(lambda: clock.now))

    def admit(self, mails: int = 1, kind: str = "transactional") -> Admission:
        self.account._synced_at = float("-inf")
        return self.account.admit(mails, kind, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def call(self, error: EspError | None = None, mails: int = 1) -> Admission:
        """Asks, calls if it may, and reports."""
        admission = self.admit(mails)
        if admission.mails:
            self.account.report(admission, 0 if error else admission.mails, error)
        return admission

    @property
    def learned(self) -> float:
        self.account._synced_at = float("-inf")
        return self.account.state.learned

    @property
    def breaker(self) -> str:
        self.account._synced_at = float("-inf")
        return self.account.state.breaker


def trips(redis: Redis) -> int:
    """Calls of functions that Redis has carried out."""
    stats: Any = redis.info("commandstats")
    return int(stats["cmdstat_fcall"]["calls"])

"""What the boards show of ESP accounts: breaker, learned limit, calls at once, and the mails that wait for each.

`redis_monitor.py` polls it, in the timers process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import redis

from freshgate.declare import Trigger
from freshgate.routing import Routes
from freshgate.settings import EspSettings
from freshgate.state import keys
from freshgate.state.clock import RedisClock
from freshgate.telemetry import metrics
from workers.account import Account


class AccountMonitor:
    """Polls the accounts of the settings. `poll` first, then `waits_for` each trigger that has timers."""

    def __init__(
        self, client: redis.Redis, routes: Routes, triggers: Iterable[Trigger], settings: Mapping[str, EspSettings]
    ) -> None:
        self._client = client
        self._routes = routes
        self._settings = {name: settings.get(name, EspSettings()) for name in routes.accounts}
        self._marketing = {trigger.name for trigger in triggers if trigger.kind == "marketing"}
        clock = RedisClock()
        self._accounts = {
            name: Account(client, name, account, clock, sync_interval_s=0.0) for name, account in self._settings.items()
        }
        self._reasons: dict[str, str] = {}

    def poll(self, now_ms: int) -> None:
        """Sets the metrics of the accounts. Raises RedisError."""
        states = {name: account.state for name, account in self._accounts.items()}
        pipe = self._client.pipeline(transaction=False)
        for name in states:
            pipe.zcount(f"{keys.account(name)}flights", now_ms, "+inf")
        in_flight: list[Any] = pipe.execute()
        metrics.BREAKER_OPEN.set({(name,): state.breaker != "closed" for name, state in states.items()})
        metrics.LEARNED_LIMIT.set({(name,): state.learned for name, state in states.items()})
        metrics.CALLS_AT_ONCE.set({(name,): count for name, count in zip(states, in_flight, strict=True)})
        self._reasons = {}
        for name, state in states.items():
            failover = self._settings[name].failover
            if state.breaker != "closed" and (failover is None or states[failover].breaker != "closed"):
                self._reasons[name] = "breaker_open"
            elif state.pause > now_ms or state.learned or self._settings[name].rate:
                self._reasons[name] = "limited"

    def waits_for(self, trigger: str) -> tuple[str, str] | None:
        """The account of the trigger, and why its timers that are due may wait; None if they may not."""
        account = self._routes.account(trigger)
        settings = self._settings[account]
        reason = self._reasons.get(account)
        if reason != "breaker_open" and trigger in self._marketing and (settings.pace or settings.ramp):
            reason = "paced"
        return (account, reason) if reason else None

    def no_mails_waiting(self) -> dict[tuple[str, ...], float]:
        """A zero for each account and reason."""
        return {(name, reason): 0 for name in self._accounts for reason in metrics.ACCOUNT_WAITS}

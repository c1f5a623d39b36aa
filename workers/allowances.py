"""How many timers may become jobs for each account now: not while its queue is full or its breaker open, no more than
its rate, its pace and its ramp let leave.

`timers.py` asks before it claims; what may not be claimed waits in its timers, in the order of the dues.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import redis

from freshgate.declare import Trigger
from freshgate.queue import queue_name, queue_names
from freshgate.routing import Routes
from freshgate.settings import EspSettings
from freshgate.state import keys
from freshgate.state.clock import RedisClock
from workers.account import Account
from workers.pace import Pace

_pack = msgspec.msgpack.Encoder().encode
# Beyond this many jobs in one of an account's queues of timers nothing is claimed for it: leases must not run out
# there. An account that makes few calls at once gets as many jobs as calls.
MAX_QUEUED = 20
MIN_QUEUED = 2
# The same where a rate is known: jobs, and what a job holds at most, in seconds of the rate.
MAX_QUEUED_LIMITED, LIMITED_JOB_S = 2, 0.5
SYNC_INTERVAL_S = 0.25
MAX_RESERVED = 100


class Allowances:
    """What one look may claim, over all shops. `refresh` begins a look, `claimed` counts, `finish` ends it.

    A trigger belongs to a group, which shares an allowance: all of its account's, where a rate or the breaker limits
    it; else those with the same queue, transactional or marketing; or its account's paced mails.
    """

    def __init__(
        self, client: redis.Redis, routes: Routes, triggers: Iterable[Trigger], settings: Mapping[str, EspSettings]
    ) -> None:
        self._client = client
        self._routes = routes
        self._settings = {name: settings.get(name, EspSettings()) for name in routes.accounts}
        clock = RedisClock()
        self.accounts = {
            name: Account(client, name, account, clock, sync_interval_s=SYNC_INTERVAL_S)
            for name, account in self._settings.items()
        }
        self._paces = {name: Pace(client, name, account) for name, account in self._settings.items()}
        self._marketing = {trigger.name for trigger in triggers if trigger.kind == "marketing"}
        self._clock = clock
        # account -> the one that sends in its place; group -> how many may be claimed, if that is limited.
        self.instead: dict[str, str] = {}
        # Accounts whose transactional and marketing mails share one allowance.
        self._shared: set[str] = set()
        self._allowed: dict[str, int] = {}
        # Accounts whose pace gave turns to this look.
        self._reserved: list[str] = []

    def refresh(self, shops: Sequence[str]) -> None:
        """Reads the queues and the accounts. Raises RedisError."""
        names = self._routes.accounts
        pipe = self._client.pipeline(transaction=False)
        for name in names:
            for queue in queue_names(name):
                pipe.llen(f"rq:queue:{queue}")
        lengths = iter(pipe.execute())
        self.instead, self._allowed, self._reserved, self._shared = {}, {}, [], set()
        for name in names:
            queued = {queue: next(lengths) for queue in queue_names(name)}
            of_timers = sum(queued[queue_name(name, marketing=kind, timers=True)] for kind in (False, True))
            limit = self._limit(name, of_timers, is_idle=not any(queued.values()))
            if limit is not None:
                self._shared.add(name)
                self._allowed[name] = limit
            else:
                self._limit_by_queues(name, queued)
        self._reserve(shops)

    def _limit(self, name: str, jobs: int, *, is_idle: bool) -> int | None:
        """How many timers may become jobs of the account; None is any number.

        jobs     those that wait already; jobs that webhooks started hold no timer back
        is_idle  no job at all waits
        """
        state, settings = self.accounts[name].state, self._settings[name]
        if state.breaker == "ready" and is_idle:
            # It becomes the probe.
            return 1
        if state.breaker != "closed":
            other = settings.failover
            if other is None or self.accounts[other].state.breaker != "closed":
                return 0
            self.instead[name] = other
            return None
        if state.pause > self._clock.now():
            return 0
        rates = [rate for rate in (state.learned, settings.rate and settings.rate[0] * 1000 / settings.rate[1]) if rate]
        if not rates:
            return None
        return 0 if jobs >= MAX_QUEUED_LIMITED else math.ceil(min(rates) * LIMITED_JOB_S)

    def _limit_by_queues(self, name: str, queued: Mapping[str, int]) -> None:
        limit = max(MIN_QUEUED, min(MAX_QUEUED, self._settings[name].concurrency))
        for group, is_marketing in ((name, False), (_marketing(name), True)):
            if queued[queue_name(name, marketing=is_marketing, timers=True)] >= limit:
                self._allowed[group] = 0

    def _reserve(self, shops: Sequence[str]) -> None:
        """Takes as many mails of each pace as could leave; `finish` gives back what was not claimed."""
        backlogs = Counter[str]()
        timers = [(shop, trigger) for shop in shops for trigger in self._marketing if self.is_paced(trigger)]
        pipe = self._client.pipeline(transaction=False)
        for shop, trigger in timers:
            pipe.zcount(keys.timers(shop, trigger), "-inf", self._clock.now())
        for (_, trigger), count in zip(timers, pipe.execute(), strict=True):
            backlogs[self._target(trigger)] += count
        for name, backlog in backlogs.items():
            group = name if name in self._shared else _marketing(name)
            limit = min(backlog, self._allowed.get(group, backlog), MAX_RESERVED)
            self._allowed[_paced(name)] = self._paces[name].take(limit)
            self._reserved.append(name)

    def _target(self, trigger: str) -> str:
        account = self._routes.account(trigger)
        return self.instead.get(account, account)

    def _group(self, trigger: str) -> str:
        target = self._target(trigger)
        if trigger not in self._marketing:
            return target
        if self._paces[target].is_set:
            return _paced(target)
        return target if target in self._shared else _marketing(target)

    def is_paced(self, trigger: str) -> bool:
        """Whether its mails leave by the pace of the account that sends them now."""
        return trigger in self._marketing and self._paces[self._target(trigger)].is_set

    def is_limited(self, trigger: str) -> bool:
        """Whether its timers may have waited for something else than this process."""
        return self._group(trigger) in self._allowed

    def packed(self) -> bytes:
        """The argument of `fg_claim_due`."""
        groups = {trigger: self._group(trigger) for trigger in self._routes.triggers()}
        groups["*"] = self._target("")
        return _pack({"groups": groups, "left": self._allowed})

    def claimed(self, trigger: str) -> None:
        """One timer of this trigger was claimed."""
        group = self._group(trigger)
        if group in self._allowed:
            self._allowed[group] -= 1

    def finish(self) -> None:
        """Gives back what was reserved and not claimed. Raises RedisError."""
        for name in self._reserved:
            self._paces[name].take(-self._allowed.pop(_paced(name)))


# Groups; no account's name has a space.
def _paced(name: str) -> str:
    return f"{name} paced"


def _marketing(name: str) -> str:
    return f"{name} marketing"

"""Whether sends may leave through this worker's account now: breaker, limits, pace, failover. One a worker process.

`courier.py` opens a turn for what shares a call; `account.py` and `pace.py` know the account.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec
import redis
from redis.exceptions import RedisError

from freshgate.declare import Trigger
from freshgate.errors import EspError
from freshgate.settings import EspSettings
from freshgate.state.clock import RedisClock
from workers.account import Account, Admission
from workers.pace import Pace

# The timers find out within a quarter of a second that another account sends.
FAILOVER_MS = 300


class Wait(NamedTuple):
    """Why a send has to wait, one of metrics.ACCOUNT_WAITS, and until when (ms)."""

    reason: str
    due: int


class Turn(msgspec.Struct):
    """Room for one call of so many mails. Whoever gets one calls `called` after the call, and `leave` in any case.

    wait  for the other mails
    """

    admission: Admission
    wait: Wait
    is_over: bool = False

    @property
    def mails(self) -> int:
        return self.admission.mails


NO_TURN = Turn(Admission(0), Wait("", 0), is_over=True)


class Outlet:
    """Thread-safe.

    name      the account of this worker
    settings  those of all accounts, by name
    """

    def __init__(self, client: redis.Redis, name: str, settings: Mapping[str, EspSettings], clock: RedisClock) -> None:
        self.name = name
        self._settings = settings[name]
        self._clock = clock
        self._account = Account(client, name, self._settings, clock)
        self._pace = Pace(client, name, self._settings)
        # Whose mails leave here while their breaker is open.
        self._covered = {
            other: Account(client, other, account, clock)
            for other, account in settings.items()
            if account.failover == name
        }
        failover = self._settings.failover
        self._failover = Account(client, failover, settings[failover], clock) if failover else None

    def is_own(self, trigger: Trigger) -> bool:
        """Whether this is the trigger's account."""
        return trigger.esp in (None, self.name)

    def serves(self, trigger: Trigger) -> bool:
        """Whether the trigger's mails leave here: by its settings, or in place of its account. Raises RedisError."""
        covered = self._covered.get(trigger.esp or "")
        return self.is_own(trigger) or (covered is not None and covered.is_open())

    def pins(self, trigger: Trigger) -> bool:
        """Whether a claim names the account, since another one may get the send."""
        return self._failover is not None or not self.is_own(trigger)

    def must_wait(self, trigger: Trigger, possible_at: str, *, is_paced: bool) -> Wait | None:
        """Why a send may not leave here, whatever room there is. Raises RedisError.

        possible_at  the account that may have the mail from before; else ""
        is_paced     it has its turn at the pace
        """
        now = self._clock.now()
        if not self.is_own(trigger) and possible_at not in ("", self.name):
            # Its own account may have the mail: only that one may ask once more.
            return Wait("breaker_open", max(now + 1000, self._covered[trigger.esp or ""].state.until))
        if trigger.kind == "marketing" and self._pace.is_set and not is_paced:
            return Wait("paced", now)
        return None

    def enter(self, trigger: Trigger, mails: int, sleep: Callable[[float], object] = time.sleep) -> Turn:
        """Room for one call, waited for where that takes a moment. Raises RedisError."""
        admission = self._account.admit(mails, trigger.kind, sleep)
        wait = Wait(admission.reason, admission.due)
        if admission.mails < mails:
            now = self._clock.now()
            wait = Wait(admission.reason, max(admission.due, now + 1))
            if admission.reason == "breaker_open" and self._failover and not self._failover.is_open():
                wait = Wait(admission.reason, now + FAILOVER_MS)
        if admission.mails and admission.wait_s:
            sleep(admission.wait_s)
        return Turn(admission, wait)

    def called(self, turn: Turn, mails: int, replies: Sequence[object]) -> None:
        """The call of so many mails is over, with a reply for each mail, or an error for all."""
        turn.is_over = True
        errors = [reply for reply in replies if isinstance(reply, EspError)]
        taken = len(replies) - len(errors)
        # What Redis does not learn of this call, it learns of the next.
        with suppress(RedisError):
            self._account.report(turn.admission, taken, errors[0] if errors and not taken else None)
            if mails < turn.mails:
                self._account.give_back(turn.admission, turn.mails - mails)

    def leave(self, turn: Turn) -> None:
        """Gives the turn back, unless a call was made."""
        if turn.mails and not turn.is_over:
            turn.is_over = True
            with suppress(RedisError):
                self._account.give_back(turn.admission, turn.mails)

    def give_back_paced(self, mails: int) -> None:
        """So many sends had their turn at the pace, and no mail left for them."""
        with suppress(RedisError):
            self._pace.take(-mails)

    def close(self) -> None:
        """Hands over what was counted."""
        self._account.flush()

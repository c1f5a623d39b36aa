"""What an ESP account allows right now: its breaker, its limits of rate and of calls at once, over all workers.

`courier.py` asks before it claims and reports after the call; the rules are in `freshgate/state/lua/account.lua`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from secrets import token_hex
from typing import Any

import msgspec
import redis
from redis.exceptions import RedisError

from freshgate.errors import EspError
from freshgate.settings import EspSettings
from freshgate.state import keys
from freshgate.state.clock import RedisClock
from freshgate.state.store import fcall, with_library

_pack = msgspec.msgpack.Encoder().encode
# How old may be what is known of the account: so long other workers' calls go on after one has opened the breaker.
SYNC_INTERVAL_S = 1.0
# How long a mail waits for its turn at a limit, in its worker. Whoever waits longer goes back to the timers. Marketing
# mails stay behind transactional ones.
PATIENCE_MS = {"transactional": 500, "marketing": 250}
BUSY_POLL_S = 0.02
# A batch that fails weighs as much as so many single mails: it may leave more in doubt.
MAX_WEIGHT = 3
# A call that has not ended so long after its deadline died with its worker.
LEASE_MARGIN_MS = 5000


class AccountState(msgspec.Struct, frozen=True):
    """What Redis said of an account. Times in ms, `learned` in mails a second; 0 is none.

    breaker  "closed", "open", "held" by an operator, "probing", or "ready": the next call is the probe
    until    when a probe may try
    reason   why the breaker is open: "blocked", "failing", or an operator's words
    """

    breaker: str = "closed"
    until: int = 0
    reason: str = ""
    learned: float = 0.0
    pause: int = 0


class Admission(msgspec.Struct, frozen=True):
    """How many mails may leave now.

    reason   why others may not: "breaker_open" or "limited"; "" if all may
    due      when the others may ask (ms)
    wait_s   how long until the last of those that may leave has its turn
    token    names a call of which Redis knows that it is under way; "" if it need not know
    """

    mails: int
    reason: str = ""
    due: int = 0
    wait_s: float = 0.0
    token: str = ""
    is_probe: bool = False
    is_limited: bool = False


class Account:
    """One account, as one worker process sees it. Thread-safe.

    Without a limit and with a closed breaker `admit` and `report` make no trip, but for one a second.

    sync_interval_s  how old its knowledge may be
    """

    def __init__(
        self,
        client: redis.Redis,
        name: str,
        settings: EspSettings,
        clock: RedisClock,
        *,
        sync_interval_s: float = SYNC_INTERVAL_S,
    ) -> None:
        self._client = client
        self._key = keys.account(name)
        self._rate = settings.rate
        self._max_in_flight = settings.max_in_flight
        self._wait_ms = settings.breaker_wait
        self._lease_ms = int(settings.timeout_s * 1000) + LEASE_MARGIN_MS
        self._sync_interval_s = sync_interval_s
        self._clock = clock
        self._lock = threading.Lock()
        self._state = AccountState()
        self._synced_at = float("-inf")
        self._calls = self._failures = self._weight = self._mails = 0

    @property
    def state(self) -> AccountState:
        """At most `sync_interval_s` old. Raises RedisError."""
        if time.monotonic() - self._synced_at >= self._sync_interval_s:
            self._synced_at = time.monotonic()
            self._report({})
        return self._state

    def is_open(self) -> bool:
        """Whether no mail may leave but a probe. Raises RedisError."""
        return self.state.breaker != "closed"

    def admit(self, mails: int, kind: str, sleep: Callable[[float], object] = time.sleep) -> Admission:
        """Asks for so many mails of one call. Whoever is admitted calls `report`, or `give_back`. Raises RedisError.

        kind   "transactional" or "marketing"
        sleep  waits for a place among the calls at once; the caller waits `wait_s` itself
        """
        state = self.state
        now = self._clock.now()
        if state.breaker == "closed" and not (self._rate or self._max_in_flight or state.learned or state.pause > now):
            return Admission(mails)
        if now < state.until:
            return Admission(0, "breaker_open", state.until)
        patience_ms, token = PATIENCE_MS[kind], token_hex(6)
        asked = {
            "mails": mails,
            "patience": patience_ms,
            "token": token,
            "lease": self._lease_ms,
            "rate": self._rate,
            "most": self._max_in_flight,
        }
        give_up_at = time.monotonic() + patience_ms / 1000
        while True:
            now, count, at, reason, due, is_probe = self._call("admit", asked)
            if reason != b"busy" or time.monotonic() >= give_up_at:
                break
            sleep(BUSY_POLL_S)
        if reason == b"busy":
            reason, due = b"limited", now + patience_ms
        return Admission(
            int(count),
            reason.decode(),
            int(float(due)),
            max(0, int(at) - int(now)) / 1000,
            token if self._max_in_flight or is_probe else "",
            bool(is_probe),
            is_limited=True,
        )

    def report(self, admission: Admission, taken: int, error: EspError | None) -> None:
        """One call is over: the ESP took so many mails, or answered with this error. Raises RedisError."""
        is_limited = error is not None and error.status == 429
        is_failure = error is not None and not error.permanent and not is_limited
        with self._lock:
            # A 429 is neither a success nor a failure: it says something about the rate.
            self._calls += not is_limited
            self._failures += is_failure
            self._weight += min(admission.mails, MAX_WEIGHT) if is_failure else 0
            self._mails += taken
        body: dict[str, Any] = {}
        if error is not None and error.blocked:
            body["blocked"] = True
        if is_limited and error is not None:
            body["limited"] = int((error.retry_after_s or 0.0) * 1000)
        if admission.is_probe:
            body["probe"] = (admission.token, "failed" if is_failure else "taken")
        elif admission.token:
            body["flight"] = admission.token
        # A failure is known at once, so that the breaker opens before many more calls begin.
        if body or is_failure:
            self._report(body)

    def give_back(self, admission: Admission, mails: int) -> None:
        """So many of the admitted mails did not leave, perhaps none at all. Raises RedisError."""
        if not admission.is_limited:
            return
        body: dict[str, Any] = {"unused": mails}
        if admission.is_probe:
            # It has taken no turn of the rate.
            body = {"probe": (admission.token, "unused")}
        elif admission.token:
            body["flight"] = admission.token
        self._report(body)

    def flush(self) -> None:
        """Hands over what was counted, at the end of the process. A Redis that is away learns nothing."""
        with suppress(RedisError):
            self._report({})

    def _report(self, body: dict[str, Any]) -> None:
        with self._lock:
            counts = {
                "calls": self._calls,
                "failures": self._failures,
                "weight": self._weight,
                "mails": self._mails,
            }
            self._calls = self._failures = self._weight = self._mails = 0
        body |= {name: count for name, count in counts.items() if count}
        body |= {"rate": self._rate}
        _, breaker, until, reason, learned, pause = self._call("report", body | {"wait": self._wait_ms})
        self._state = AccountState(
            breaker.decode(), int(float(until)), reason.decode(), int(learned) / 1000, int(float(pause))
        )
        self._synced_at = time.monotonic()

    def _call(self, function: str, body: dict[str, Any]) -> list[Any]:
        packed = _pack(body)
        reply: list[Any] = with_library(
            self._client, lambda: fcall(self._client, function, self._key, self._clock.override, packed)
        )
        reply[0] = int(reply[0])
        self._clock.set(reply[0])
        return reply

"""The faults that the sandbox is to play: a queue, each entry for the next so many calls.

`server.py` takes the next one at each call of an ESP's API.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from typing import Annotated, Literal

import msgspec

from freshgate.errors import FreshgateError
from workers.sandbox.apis import PROVIDERS
from workers.sandbox.outcomes_api import OUTCOMES

MAX_FAULTS = 1000
ALLOWED = (
    'allowed: {"provider": a kind of ESP; none is any, '
    '"kind": "status"|"slow"|"hang"|"drop"|"drop_before_read"|"dribble", "count": 1 to 1000000, '
    '"status": 200 to 599, "headers": {name: text}, "seconds": 0 to 600, "accept": true|false}'
)


class FaultError(FreshgateError):
    """The body does not describe a fault that the sandbox knows; the text says what is allowed."""


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=False):
    """How the next `count` calls, of one provider or of any, go wrong.

    accept  the mail is in the outbox all the same
    """

    provider: str | None = None
    kind: Literal["status", "slow", "hang", "drop", "drop_before_read", "dribble"]
    count: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 503
    headers: dict[str, str] = {}
    seconds: Annotated[float, msgspec.Meta(ge=0, le=600)] | None = None
    accept: bool | None = None

    @property
    def accepts(self) -> bool:
        """Whether the mail is accepted. Slow and dribbled replies accept by default, the other kinds do not."""
        return self.kind in ("slow", "dribble") if self.accept is None else self.accept or self.kind == "slow"

    @property
    def wait_s(self) -> float:
        """`seconds`, or the default of its kind."""
        if self.seconds is None:
            return 30.0 if self.kind == "hang" else 0.5
        return self.seconds


class Faults:
    """The queue: first in, first out; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[Fault] = deque()

    def add(self, body: bytes) -> None:
        """Queues the fault that this JSON describes. Raises FaultError."""
        try:
            fault = msgspec.json.decode(body, type=Fault)
        except (ValueError, RecursionError) as error:
            raise FaultError(f"{error}; {ALLOWED}") from None
        if fault.provider is not None and fault.provider not in PROVIDERS:
            raise FaultError(f"no such provider; known: {', '.join(PROVIDERS)}; {ALLOWED}")
        for name, value in fault.headers.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not re.fullmatch(r"[\x20-\x7e]*", value):
                raise FaultError(f"this header cannot be sent; {ALLOWED}")
        with self._lock:
            if len(self._queue) >= MAX_FAULTS:
                raise FaultError(f"{MAX_FAULTS} faults are waiting; DELETE /faults clears them")
            self._queue.append(fault)

    def next(self, provider: str) -> Fault | None:
        """The next fault for a call of this provider, which has one call less to go; None if there is none."""
        # What is told of mails is no mail: only a fault that names it concerns it.
        wanted = (provider,) if provider == OUTCOMES else (None, provider)
        with self._lock:
            fault = next((fault for fault in self._queue if fault.provider in wanted), None)
            if fault is None:
                return None
            fault.count -= 1
            if fault.count == 0:
                # By identity: two faults may be equal.
                self._queue = deque(queued for queued in self._queue if queued is not fault)
            return fault

    def clear(self) -> None:
        with self._lock:
            self._queue.clear()

    def as_json(self) -> bytes:
        """The queued faults as a JSON list, next first."""
        with self._lock:
            return msgspec.json.encode(list(self._queue))

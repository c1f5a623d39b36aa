"""What the sandbox was told to do wrong: a queue of faults, each for the next so many calls.

`server.py` asks for the next one at each mail/send.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from typing import Annotated, Literal

import msgspec

from freshgate.errors import FreshgateError

ALLOWED = (
    'allowed: {"kind": "status"|"slow"|"hang"|"drop"|"drop_before_read"|"dribble", "count": 1 to 1000000, '
    '"status": 200 to 599, "headers": {name: text}, "seconds": 0 to 600, "accept": true|false}'
)


class FaultError(FreshgateError):
    """Not a fault that the sandbox knows; the text says what is allowed."""


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=False):
    """The next `count` calls go wrong in this way. `accept`: whether the mail is in the outbox all the same."""

    kind: Literal["status", "slow", "hang", "drop", "drop_before_read", "dribble"]
    count: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 503
    headers: dict[str, str] = {}
    seconds: Annotated[float, msgspec.Meta(ge=0, le=600)] | None = None
    accept: bool | None = None

    @property
    def accepts(self) -> bool:
        """Slow and dribbling answers are answers; the other kinds accept only when told so."""
        return self.kind in ("slow", "dribble") if self.accept is None else self.accept or self.kind == "slow"

    @property
    def wait_s(self) -> float:
        if self.seconds is None:
            return 30.0 if self.kind == "hang" else 0.5
        return self.seconds


class Faults:
    """First in, first out; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Fault] = deque()

    def add(self, body: bytes) -> None:
        """Raises FaultError."""
        try:
            fault = msgspec.json.decode(body, type=Fault)
        except (ValueError, RecursionError) as error:
            raise FaultError(f"{error}; {ALLOWED}") from None
        for name, value in fault.headers.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not re.fullmatch(r"[\x20-\x7e]*", value):
                raise FaultError(f"this header cannot be sent; {ALLOWED}")
        with self._lock:
            if len(self._waiting) >= 1000:
                raise FaultError("1000 faults are waiting; DELETE /faults clears them")
            self._waiting.append(fault)

    def next(self) -> Fault | None:
        """The fault of this call, counted down."""
        with self._lock:
            if not self._waiting:
                return None
            fault = self._waiting[0]
            fault.count -= 1
            if fault.count == 0:
                self._waiting.popleft()
            return fault

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def listed(self) -> bytes:
        """What is left, next first, as a JSON list."""
        with self._lock:
            return msgspec.json.encode(list(self._waiting))

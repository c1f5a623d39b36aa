"""The pace of an account's marketing mails, over all workers: `pace` and `ramp` of its settings.

`allowances.py` takes turns for the timers; `outlet.py` gives back those without a mail.
"""

from __future__ import annotations

from typing import Any

import msgspec
import redis

from freshgate.settings import EspSettings
from freshgate.state import keys
from freshgate.state.store import fcall, with_library

_pack = msgspec.msgpack.Encoder().encode


class Pace:
    """What marketing mails of an account are held to, over all workers: `pace` and `ramp` of its settings."""

    def __init__(self, client: redis.Redis, name: str, settings: EspSettings) -> None:
        self._client = client
        self._key = keys.account(name)
        self._asked: dict[str, Any] = {}
        if settings.pace:
            self._asked["rate"] = settings.pace
        if settings.ramp:
            first, factor, last = settings.ramp
            self._asked["ramp"] = (f"{first}/d x{factor:g} to {last}/d", first, factor, last)

    @property
    def is_set(self) -> bool:
        return bool(self._asked)

    def take(self, mails: int) -> int:
        """How many of so many may leave now; fewer than 0 gives some back. Raises RedisError."""
        if not mails:
            return 0
        packed = _pack(self._asked | {"mails": mails})
        reply: Any = with_library(self._client, lambda: fcall(self._client, "pace", self._key, "", packed))
        return int(reply[1])

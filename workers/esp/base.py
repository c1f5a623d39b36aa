"""What every ESP offers: one message in, one result or one EspError out. It never loops and never sleeps.

`courier.py` calls it; `ESPS` in `__init__` lists the kinds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol

import msgspec

from freshgate.errors import EspError


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One mail to one address. `send_id` and `trigger` travel as custom arguments; no address is among them."""

    send_id: str
    trigger: str
    to: str
    template_id: str
    data: Mapping[str, Any]
    asm_group_id: int | None = None


class SendResult(msgspec.Struct, frozen=True):
    """The ESP has it. `provider_id` is the ESP's own id for the request, where it gave one."""

    provider_id: str
    status: int


class Esp(Protocol):
    """One account at one ESP. Not thread-safe: one a worker."""

    name: str

    def send(self, message: Message) -> SendResult:
        """Raises EspError, which says whether trying again helps; nothing else."""

    def close(self) -> None: ...


class OnlyTo:
    """An ESP that mails nobody but those whose address matches a pattern: for staging."""

    def __init__(self, esp: Esp, patterns: Sequence[str]) -> None:
        self.name = esp.name
        self._esp = esp
        self._patterns = tuple(pattern.lower() for pattern in patterns)

    def send(self, message: Message) -> SendResult:
        """As every ESP; a permanent EspError for everybody else."""
        if not any(fnmatchcase(message.to.lower(), pattern) for pattern in self._patterns):
            raise EspError(f"{self.name}: recipient not in only_to", permanent=True)
        return self._esp.send(message)

    def close(self) -> None:
        self._esp.close()


def guarded(esp: Esp, only_to: Sequence[str]) -> Esp:
    """The ESP itself, or behind the list of those who may be mailed, whatever its kind."""
    return OnlyTo(esp, only_to) if only_to else esp

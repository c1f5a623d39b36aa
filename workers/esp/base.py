"""What every ESP offers: one message in, one result or one EspError out. It never loops and never sleeps.

`jobs.py` calls it; `ESPS` in `__init__` lists the kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec


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

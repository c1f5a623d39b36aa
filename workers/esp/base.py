"""The seam to ESPs: one message in, one result or one EspError out. An ESP never loops, retries or sleeps.

`courier.py` calls it and acts on the error; `ESPS` in `__init__.py` lists the kinds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol

import msgspec

from freshgate.errors import EspError


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One mail to one address. Subject and text are the template's, which is stored at the ESP.

    send_id, trigger  travel along, so that the ESP's own events can be matched to the send
    template_data     fills the variables of the template
    asm_group_id      SendGrid's unsubscribe group
    """

    send_id: str
    trigger: str
    to: str
    template_id: str
    template_data: Mapping[str, Any]
    asm_group_id: int | None = None


class SendResult(msgspec.Struct, frozen=True):
    """The ESP has accepted the mail. `provider_id` is its own id for the request, "" where it gave none."""

    provider_id: str
    status: int


class Esp(Protocol):
    """One account at one ESP. Not thread-safe: each worker process has its own."""

    name: str

    def prepare(self) -> None:
        """Opens the connection unless it stands: the last look at Redis comes after it. Raises EspError, retryable."""

    def send(self, message: Message) -> SendResult:
        """Hands one mail over, in `timeout_s` at most. Raises EspError only, which says whether a retry may help."""

    def close(self) -> None:
        """Closes the connection. The next `send` opens a new one."""


class OnlyTo:
    """Wraps an ESP for staging: mails go to addresses that match a pattern, such as `*@example.com`."""

    def __init__(self, esp: Esp, patterns: Sequence[str]) -> None:
        self.name = esp.name
        self._esp = esp
        self._patterns = tuple(pattern.lower() for pattern in patterns)

    def prepare(self) -> None:
        self._esp.prepare()

    def send(self, message: Message) -> SendResult:
        """Raises a permanent EspError for every other address."""
        if not any(fnmatchcase(message.to.lower(), pattern) for pattern in self._patterns):
            raise EspError(f"{self.name}: recipient not in only_to", permanent=True)
        return self._esp.send(message)

    def close(self) -> None:
        self._esp.close()


def limit_recipients(esp: Esp, only_to: Sequence[str]) -> Esp:
    """The ESP behind the setting `only_to`; an empty list limits nothing."""
    return OnlyTo(esp, only_to) if only_to else esp

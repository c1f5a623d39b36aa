"""The seam to ESPs: one message or a batch in, results or an EspError out. An ESP never loops, retries or sleeps.

`courier.py` calls it and acts on the error; `ESPS` in `__init__.py` lists the kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol, cast

import msgspec

from freshgate.errors import EspError
from freshgate.settings import EspSettings
from freshgate.templates import Content
from workers.esp.capabilities import Capabilities


def no_template() -> Content:
    """Stands for the rendering of a message that nobody gave a template."""
    raise EspError("no template of the catalog for this mail", permanent=True)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One mail to one address. `workers/messages.py` makes it.

    A kind whose templates are stored at the ESP sends `template_id` and `template_data`. A kind without stored
    templates calls `render` in `send`, before it says anything to the ESP: that returns subject, text and HTML in the
    reader's language, and raises a permanent EspError where the data lacks what the template needs. Either kind adds
    `headers` to the mail, if its API has a place for them.

    send_id, trigger  travel along, so that the ESP's own events can be matched to the send
    template_data     fills the variables of the template
    asm_group_id      SendGrid's unsubscribe group
    headers           List-Unsubscribe and List-Unsubscribe-Post of marketing mail: names and values are ASCII, on one
                      line, and no header that a kind writes itself is among them
    render            the mail's content by the catalog's template
    """

    send_id: str
    trigger: str
    to: str
    template_id: str
    template_data: Mapping[str, Any]
    asm_group_id: int | None = None
    headers: Mapping[str, str] = {}
    render: Callable[[], Content] = no_template


class SendResult(msgspec.Struct, frozen=True):
    """The ESP has accepted the mail. `provider_id` is its own id for the request, "" where it gave none."""

    provider_id: str
    status: int


class Esp(Protocol):
    """One connection to one account at one ESP. Not thread-safe: each lane of a worker has its own."""

    name: str

    def prepare(self) -> None:
        """Opens the connection unless it stands: the last look at Redis comes after it. Raises EspError, retryable."""

    def send(self, message: Message) -> SendResult:
        """Hands one mail over, in `timeout_s` at most. Raises EspError only, which says whether a retry may help."""

    def close(self) -> None:
        """Closes the connection. The next `send` opens a new one."""


class BatchEsp(Esp, Protocol):
    """An ESP that takes many mails with template data of their own in one call. `max_batch` is how many, at least 2.

    An ESP that takes a mail a call has neither of these.
    """

    max_batch: int

    def send_batch(self, messages: Sequence[Message]) -> Sequence[SendResult | EspError]:
        """Hands over 2 to `max_batch` mails in one call, in `timeout_s` at most; what became of each, in their order.

        All are of one trigger: template, unsubscribe group and trigger are the same. An EspError in the list is about
        that mail alone; it has left the others as they are. Raises EspError for the whole call: none of the mails was
        accepted, or with `ambiguous` each may have been. A permanent one makes the caller look for the mail that is at
        fault, in halves.
        """


def max_batch(esp: Esp) -> int:
    """How many mails this ESP takes in one call; 1 for an ESP that is no BatchEsp."""
    return int(getattr(esp, "max_batch", 1))


def idempotency_s(esp: Esp) -> int:
    """For so long after a call, a second one with the same send id sends no second mail; 0 for an ESP without a key."""
    return int(getattr(esp, "idempotency_s", 0))


def settles_by_key(esp: Esp, limit_ms: int) -> bool:
    """Whether the ESP knows a send by its id for as long as the mail may leave: then a second call settles what became
    of the first. None of them is older than what the mail is about, so that `limit_ms`, its largest age, bounds all."""
    return limit_ms <= idempotency_s(esp) * 1000


class EspKind(Protocol):
    """A kind of ESP: what it can do, and how an account of it is built. Raises SettingsError."""

    @property
    def capabilities(self) -> Capabilities: ...

    def __call__(self, name: str, settings: EspSettings) -> Esp: ...


class OnlyTo:
    """Wraps an ESP for staging: mails go to addresses that match a pattern, such as `*@example.com`."""

    def __init__(self, esp: Esp, patterns: Sequence[str]) -> None:
        self.name = esp.name
        self.idempotency_s = idempotency_s(esp)
        self._esp = esp
        self._patterns = tuple(pattern.lower() for pattern in patterns)

    def prepare(self) -> None:
        self._esp.prepare()

    def send(self, message: Message) -> SendResult:
        """Raises a permanent EspError for every other address."""
        if not self._allows(message):
            raise self._refusal()
        return self._esp.send(message)

    def close(self) -> None:
        self._esp.close()

    def _allows(self, message: Message) -> bool:
        return any(fnmatchcase(message.to.lower(), pattern) for pattern in self._patterns)

    def _refusal(self) -> EspError:
        return EspError(f"{self.name}: recipient not in only_to", permanent=True)


class BatchOnlyTo(OnlyTo):
    """The same around a BatchEsp."""

    def __init__(self, esp: BatchEsp, patterns: Sequence[str]) -> None:
        super().__init__(esp, patterns)
        self._batch_esp = esp
        self.max_batch = esp.max_batch

    def send_batch(self, messages: Sequence[Message]) -> Sequence[SendResult | EspError]:
        """Every other address gets a permanent EspError of its own; its neighbours leave."""
        allowed = [message for message in messages if self._allows(message)]
        if len(allowed) > 1:
            replies = iter(self._batch_esp.send_batch(allowed))
        else:
            replies = iter([self._esp.send(message) for message in allowed])
        return [next(replies) if self._allows(message) else self._refusal() for message in messages]


def limit_recipients(esp: Esp, only_to: Sequence[str]) -> Esp:
    """The ESP behind the setting `only_to`; an empty list limits nothing."""
    if not only_to:
        return esp
    return BatchOnlyTo(cast(BatchEsp, esp), only_to) if max_batch(esp) > 1 else OnlyTo(esp, only_to)

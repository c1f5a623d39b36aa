"""The vocabulary of the catalog: event types and triggers, declared as typed, frozen values.

`catalog/` uses it; the engine only ever sees these values, never a shop's names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from freshgate.state.views import OrderView, PersonView

# What a field may hold. An unreadable field is left out and counted, it never refuses the event.
FieldType = Literal["id", "text", "money", "number", "time", "products", "product", "flag"]

Path = str | tuple[str, ...]
Cart = Literal["add", "remove", "snapshot", "clear"]
Suppression = Literal["unsubscribed", "bounced", "spam"]


class From(msgspec.Struct, frozen=True):
    """How one CDP spells an event type.

    when   top-level members that must match; a tuple lists alternatives: {"type": "track", "event": ("A", "Old A")}
    paths  canonical field -> dotted path, or a tuple of paths of which the first present wins
    read   for what no path can say: a function from the raw element (a dict) to further fields
    """

    when: Mapping[str, str | tuple[str, ...]]
    paths: Mapping[str, Path] = {}
    read: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None


class EventType(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can happen to a person.

    fields      canonical field -> kind
    sources     kind of source -> its spelling
    marks       the versions it advances: "cart", "activity", "added", "view", "order", "signup"
    cart        what it does to the cart
    order       what it does to the order named by its `order_id` field
    suppresses  what it says about the address: its own, else the person's
    profile     fields that become the person's traits
    effect      what the call itself does: "alias" links two ids, "delete" erases the person
    """

    name: str
    fields: Mapping[str, FieldType] = {}
    sources: Mapping[str, From] = {}
    marks: tuple[str, ...] = ()
    cart: Cart | None = None
    order: Literal["completed", "cancelled", "refunded"] | None = None
    suppresses: Suppression | None = None
    profile: tuple[str, ...] = ()
    effect: Literal["alias", "delete"] | None = None


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """One rule: on which events a mail is considered, how long to wait, and what must be true when it leaves.

    on          names of event types; each must advance the mark `about`
    about       the mark whose newest stamp is the send's version
    subject     whose send it is: one a person, or one an order
    kind        "transactional" mail ignores an unsubscribe, "marketing" does not
    delay       milliseconds of quiet after the newest start; 0 sends at once
    settle      milliseconds of quiet after the newest arrival; None is the smaller of `delay` and 2 min
    max_age     milliseconds after which the mail is no longer worth sending
    version     the mark that makes two sends different; None allows one send for ever
    cap         (n, milliseconds): at most n in that time
    address_cap the same for an address, over all triggers; counts every mail, withholds marketing only (a setting)
    starts      a further condition on the starting event
    needs       fields of the event without which there is nothing to send: {"order_id"}
    withdrawn   the reason why the mail is no longer wanted, or None. Reads state only; called at the gate
    compose     the template's data, from the state that the gate saw
    """

    name: str
    on: tuple[str, ...]
    about: str
    kind: Literal["transactional", "marketing"]
    max_age: int
    template_id: str
    withdrawn: Callable[[PersonView, OrderView | None], Withdrawn | None]
    compose: Callable[[PersonView, OrderView | None], dict[str, Any]]
    subject: Literal["person", "order"] = "person"
    delay: int = 0
    settle: int | None = None
    version: str | None = None
    cap: tuple[int, int] | None = None
    address_cap: tuple[int, int] | None = None
    starts: Callable[[Any], bool] | None = None
    needs: tuple[str, ...] = ()
    unknown: Literal["hold", "resend"] = "hold"
    asm_group_id: int | None = None
    enabled: bool = True

    @property
    def settle_ms(self) -> int:
        """Milliseconds without arrivals before a waiting trigger may fire."""
        return min(self.delay, 120_000) if self.settle is None else self.settle


class Withdrawn(msgspec.Struct, frozen=True):
    """Why a trigger no longer wants its mail: the outcome, a closed reason, and the stamps that were compared."""

    outcome: Literal["cancelled", "superseded", "rejected"]
    reason: str
    compared: Mapping[str, int] = {}


MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

"""What the People API shows of a person: each field with its value, and when and by which source it was told last.

Built from the same view that decides on mails. A document says no ages, so that it stays right while nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from freshgate.declare import FIRST_EVENT_MARK
from freshgate.state.records import Mark
from freshgate.state.stamps import LENGTH, TIME_LENGTH, millis, tail
from freshgate.state.stored import decode_product, read_trail_entry
from freshgate.state.subjects import FROM_PAGE
from freshgate.state.suppressions import is_over
from freshgate.state.views import AddressView, PersonView

# In a record: what a server told, what was typed into the shop's form, what a page said; the best first.
TRUST = (("", "server"), ("typed_", "form"), ("said_", "page"))
SUPPRESSIONS = ("unsubscribed", "bounced", "spam")
# These are shown as consent, or belong to the engine.
HIDDEN_MARKS = frozenset({*SUPPRESSIONS, "subscribed", FIRST_EVENT_MARK})


class Field(msgspec.Struct, frozen=True):
    """One fact.

    at      when it was told last, ms UTC
    source  which source told it; None where that is longer ago than the trail reaches
    trust   "server", "form" or "page": whose word it is
    """

    value: Any
    at: int
    source: str | None
    trust: str


class Document(msgspec.Struct, frozen=True):
    """A person. `person` is the id in Freshgate; `cart` has the lines, oldest first."""

    person: str
    fields: dict[str, Field]
    cart: list[dict[str, Any]]
    consent: dict[str, Any]


def build_document(person: PersonView, addresses: Sequence[AddressView], trail: Iterable[bytes]) -> Document:
    """The document of one person. `trail` are entries of the trail, for the sources."""
    sources = sources_by_stamp(trail)

    def field(mark: Mark, value: Any, trust: str) -> Field:
        return Field(value, mark.at, sources.get(_key(mark.stamp)), trust)

    fields = {}
    names = {name[2:] for name in person.fields("m:")} - HIDDEN_MARKS
    for name in sorted({*names, "order"}):
        mark = person.mark(name)
        if mark:
            fields[name] = field(mark, _carried(name, mark), "page" if mark.value.startswith(FROM_PAGE) else "server")
    fields |= {name: field(mark, mark.value, trust) for name, mark, trust in _traits(person)}
    cart = [
        {
            "product": msgspec.to_builtins(line.product),
            "quantity": line.product.quantity,
            "at": millis(line.stamp),
            "source": sources.get(_key(line.stamp)),
        }
        for line in person.cart
    ]
    return Document(person.id, fields, cart, _consent(person, addresses))


def _traits(person: PersonView) -> Iterable[tuple[str, Mark, str]]:
    """(name, register, trust) of each trait, by the most trusted who told it."""
    names = {name[2:] for name in person.fields("t:")}
    plain = {name.removeprefix("typed_").removeprefix("said_") for name in names}
    for name in sorted(plain):
        for prefix, trust in TRUST:
            mark = person.register(f"t:{prefix}{name}")
            if mark:
                yield name, mark, trust
                break


def _carried(name: str, mark: Mark) -> Any:
    """What a mark carries beside its time: the viewed product, an order's products, fields of the event; or None."""
    if name == "view" and mark.value:
        return msgspec.to_builtins(decode_product(mark.value))
    if name == "order":
        return msgspec.json.decode(mark.value or "[]")
    return dict(mark.fields) or None


def _consent(person: PersonView, addresses: Sequence[AddressView]) -> dict[str, Any]:
    """Since when which mail is withheld (ms), by the person or any of the addresses; None where it is not."""
    consent: dict[str, Any] = {}
    views: list[PersonView | AddressView] = [person, *addresses]
    opt_ins = [view.suppression("subscribed") for view in views]
    for kind in SUPPRESSIONS:
        marks = [mark for view in views if (mark := view.suppression(kind))]
        lifted = [address.lifted(kind) for address in addresses]
        holding = [mark.at for mark in marks if not is_over(kind, mark, lifted, opt_ins)]
        consent[kind] = max(holding, default=None)
    consent["marketing"] = not any(consent[kind] for kind in SUPPRESSIONS)
    consent["transactional"] = not any(consent[kind] for kind in ("bounced", "spam"))
    return consent


def sources_by_stamp(trail: Iterable[bytes]) -> dict[tuple[int, str], str]:
    """(occurred_at, the stamp's end) → the source, for each event on the trail."""
    events = map(read_trail_entry, trail)
    return {(event.at, tail(event.message_id)): event.source for event in events if event.message_id}


def _key(stamp: str) -> tuple[int, str]:
    return millis(stamp), stamp[TIME_LENGTH + 1 : LENGTH]

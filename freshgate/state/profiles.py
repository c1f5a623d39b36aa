"""What an event writes about a person's traits, and about the addresses that it names. Pure.

`planner.py` puts it together with the rest; `record.lua` carries it out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from freshgate.declare import DAY, EventType
from freshgate.events import CONTACT_EMAIL, ORDER_EMAIL, Event
from freshgate.ids import address_in
from freshgate.state import keys
from freshgate.state.plans import Register, bought_products, purchase_stamp
from freshgate.state.stamps import ADD, BY_DEVICE, GUESSED, stamp

PERSON_TTL = 180 * DAY


def profile_registers(
    event: Event,
    event_type: EventType,
    at: str,
    address_id: str,
    pii_key: bytes,
    *,
    trusted: bool,
    page_addresses: bool,
) -> Iterable[Register]:
    """Traits; and for each address that mail may go to (`PersonView.email`) its id, so that Redis finds its record, and
    that of its mailbox where it is an alias.

    What a page says has registers of its own: however new it is, it never takes the place of what a server said.
    Neither does what was typed into a form.

    address_id  of the event's `email`, where it has one
    """
    prefix = "" if trusted else "said_"
    email = f"{prefix}email"
    if event.user_id is not None and trusted:
        yield "t:id", at, event.user_id
        if (own_address := address_in(event.user_id)) is not None:
            yield "A:id", at, keys.address_id(pii_key, own_address)
            if mailbox := keys.alias_mailbox_id(pii_key, own_address):
                yield "M:id", at, mailbox
    address: str | None
    # An address that bounced may be an old one, or another's.
    if event.email and not event_type.suppresses:
        address = event.email
    else:
        address, address_id = contact(event), ""
        email = "typed_email" if trusted else "said_email"
    if address:
        yield f"t:{email}", at, address
        if trusted or page_addresses:
            yield f"A:{email}", at, address_id or keys.address_id(pii_key, address)
            if mailbox := keys.alias_mailbox_id(pii_key, address):
                yield f"M:{email}", at, mailbox
    for name in event_type.profile:
        value = event.fields.get(name)
        if value not in (None, ""):
            yield f"t:{prefix}{name}", at, str(value)


def contact(event: Event) -> str | None:
    """What a customer typed into a form, of whom the event has no address; it may be another's, so a server's word
    outweighs it. A guest's is the event's own."""
    contact: str | None = event.fields.get(CONTACT_EMAIL) if event.email is None else None
    return contact


def suppression_of(event: Event, event_type: EventType) -> str | None:
    """Why the person or the address gets no mail from now on; None where the event is no reason."""
    opts_out = event_type.opt_out is not None and event.fields.get(event_type.opt_out) is True
    return event_type.suppresses or ("unsubscribed" if opts_out else None)


def consent_registers(event: Event, event_type: EventType) -> Iterable[Register]:
    """An opt-out or an opt-in, of the person or of an address. Its stamp says whose clock its time is by.

    An opt-in whose time cannot be read is none: it may be older than any opt-out.
    """
    is_guessed = event.clamped or "occurred_at" in event.doubtful
    rank = GUESSED if is_guessed else ADD if event.anonymous_id is None else BY_DEVICE
    at = stamp(event.occurred_at, event.message_id, rank)
    if suppression := suppression_of(event, event_type):
        yield f"m:{suppression}", at, event.source
    if event_type.lifts and not event.undated:
        yield "m:subscribed", at, event.source


def plan_addresses(
    body: dict[str, Any], event: Event, event_type: EventType, at: str, person: str, address_id: str, pii_key: bytes
) -> None:
    """What the event says about its addresses; `address_id` is that of the event's `email`, or of a user id that is an
    address, where it has one."""
    addresses = []
    if address_id:
        addresses.append(_address(event, event_type, at, address_id, person))
    other = event.fields.get(ORDER_EMAIL)
    if "order" in event_type.marks and other and other != event.email:
        other_id = keys.address_id(pii_key, other)
        if other_id != address_id:
            addresses.append(_address(event, event_type, at, other_id, ""))
    if addresses:
        body["addresses"] = addresses


def _address(event: Event, event_type: EventType, at: str, address_id: str, person: str) -> tuple[Any, ...]:
    """What an event says about an address: who has it, that it ordered something, and that it must not be written
    to; that never expires."""
    registers = [(f"h:{person}", at, "")] if person else []
    if "order" in event_type.marks:
        # It empties carts as an order does, lines of the same millisecond too.
        registers.append(("m:order", purchase_stamp(event), bought_products(event)))
    registers += consent_registers(event, event_type)
    ttl = 0 if suppression_of(event, event_type) else PERSON_TTL
    return address_id, registers, ttl

"""Folds the records of one person into one: of each register the newest, of the cart's changes and purchases all.

`lookup.py` reads the records, `views.py` shows the folded one to gate and triggers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from freshgate.ids import address_in
from freshgate.state.cart import with_changes
from freshgate.state.stamps import LENGTH, millis

REFUSALS = frozenset({"m:unsubscribed", "m:bounced", "m:spam", "m:subscribed"})


# What a guest tells, who uses a device after its user.
EMAIL = "t:email"
OPT_IN = "m:subscribed"
NAMES = frozenset({"t:first_name", "t:last_name", "t:name"})


def fold(
    records: Sequence[tuple[str, Mapping[str, str]]],
    deleted_at: int,
    moment: int | None = None,
    *,
    newest_name: bool = False,
) -> dict[str, str]:
    """One record of several: of each register the newest; changes of the cart and purchases of all.

    An address or a name that a device alone told may be a guest's: it is the person's only while none of the user is
    known.

    newest_name  takes the newest name all the same: a mail about what was told just now
    moment  leaves out what is later (ms), but for the products of the cart, of which only the newest form is kept
    """
    folded: dict[str, str] = {}
    purchases: dict[str, tuple[str, str]] = {}
    guests: dict[str, str] = {}
    lent, has_user = {EMAIL} if newest_name else {EMAIL, *NAMES}, bool(records) and not is_device(records[0][0])
    for number, (record_id, fields) in enumerate(records):
        cut, is_lent = fields.get("cut", ""), is_device(record_id)
        # A device may have been erased along with a user that it no longer belongs to.
        erased = max(deleted_at, int(fields.get("del", "0")))
        for field, value in with_changes(fields):
            head = field[:2]
            if head == "n:":
                entries = [entry for entry in value.split(" ") if _counts(entry, cut, erased, moment)]
                known = folded[field].split(" ") if field in folded else []
                folded[field] = " ".join(dict.fromkeys([*known, *entries]))
            elif field == "O":
                _add_purchases(purchases, [line for line in value.split("\n") if _counts(line, cut, erased, moment)])
            elif is_lent and (field in lent or (field == OPT_IN and has_user)):
                if _counts(value, cut, erased, moment):
                    guests[field] = max(guests.get(field, ""), value)
            elif head in ("m:", "s:", "t:") or field == "cc" or field[0] in "+-":
                # Refusals outlive an erasure: see `erasure.lua`.
                since = -1 if field in REFUSALS else erased
                # Of equal stamps, such as those of user ids, the text decides: who is the root depends on arrival.
                if _counts(value, cut, since, None if field[0] == "+" else moment) and folded.get(field, "") < value:
                    folded[field] = value
            elif field == "rx":
                folded[field] = max(folded.get(field, ""), value, key=lambda text: int(text or "0"))
            elif number == 0:
                # Timers, parked sends and the revision are the root's alone.
                folded[field] = value
    # Whoever uses a device by now does not speak for its user, who may have opted out.
    guests.pop(OPT_IN, None)
    has_name, has_address = bool(NAMES & folded.keys()), address_in(folded.get("t:id", "")[LENGTH:])
    for field, value in guests.items():
        if not (has_address if field == EMAIL else has_name):
            folded.setdefault(field, value)
    folded["O"] = "\n".join(f"{stamp} {order}\t{products}" for order, (stamp, products) in purchases.items())
    return folded


def is_device(record_id: str) -> bool:
    """Whether it is the record of an anonymous id."""
    return record_id.startswith("a")


def _add_purchases(purchases: dict[str, tuple[str, str]], lines: Sequence[str]) -> None:
    """Of an order that several ids told, the first telling's time, and the longer list of products."""
    for line in lines:
        head, _, products = line.partition("\t")
        stamp, _, order = head.partition(" ")
        known = purchases.get(order, (stamp, products))
        purchases[order] = (min(known[0], stamp), max(known[1], products, key=lambda text: (len(text), text)))


def _counts(stamped: str, cut: str, deleted_at: int, moment: int | None) -> bool:
    """Whether this belongs to the person: told before the device met somebody else, and not erased since."""
    stamp = stamped[:LENGTH]
    at = millis(stamp)
    return not (cut and stamp >= cut) and at > deleted_at and (moment is None or at <= moment)

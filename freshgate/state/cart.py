"""Adds up a cart: lines whose quantities add and subtract, whatever order the events arrived in.

`cart.lua` keeps the changes, `planner.py` writes them, `views.py` shows the cart to triggers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from freshgate.events import Product
from freshgate.state.stamps import LENGTH, millis
from freshgate.state.stored import decode_line, decode_product

UNREADABLE = "-?"


class Line(msgspec.Struct, frozen=True):
    """A product in the cart with its present quantity, and the stamp of the event that added to it last."""

    product: Product
    stamp: str

    @property
    def at(self) -> int:
        """When that event occurred, in milliseconds."""
        return millis(self.stamp)


class Purchase(msgspec.Struct, frozen=True):
    """One order of the person: when it was completed, and the ids of its products; empty where it listed none.

    An id is a product's `product_id`, its SKU or what the source calls `id`.
    """

    stamp: str
    at: int
    products: frozenset[str]

    def has(self, product: Product) -> bool:
        """Whether the product was bought with it; an order that lists nothing may have had everything."""
        return self.has_any(_keys(product))

    def has_any(self, product_keys: set[str]) -> bool:
        return not self.products or bool(product_keys & self.products)


# (stamp, line, amount): one event may change two lines that turn out to be of one product.
_Change = tuple[str, str, str]


class _Line(msgspec.Struct):
    """What is told of one product: by one key, or by several events with keys in common.

    since  stamp of the first addition that counts
    """

    product: Product
    stamp: str
    since: str
    names: set[str]
    keys: set[str]
    changes: set[_Change]


def with_changes(fields: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The fields of one record, with the changes of every line: the only change of a line stands in its product's
    register, before the JSON."""
    for field, value in fields.items():
        if field[0] == "+" and (product := value.find("{", LENGTH)) > LENGTH:
            if (changes := f"n:{field[1:]}") not in fields:
                yield changes, value[:product]
            yield field, value[:LENGTH] + value[product:]
        else:
            yield field, value


def add_up(raw: Mapping[str, str], cleared: str, purchases: Sequence[Purchase], grace: int) -> tuple[Line, ...]:
    """The lines that are in the cart, oldest first.

    raw        the record's fields, as `cart.lua` lists them
    cleared    stamp of the newest moment at which the cart was emptied
    purchases  a line that only shows once more what was bought is left out: a thank-you page does that, and two clocks
               differ by up to `grace` (ms)
    """
    groups = _group(raw, cleared)
    for field, value in raw.items():
        if field[0] == "-":
            _apply_removal(groups, field[1:], decode_product(value[LENGTH:]), raw, cleared)
    lines = []
    for group in groups:
        quantity = 0
        for _, _, amount in sorted(group.changes):
            quantity = 0 if amount == "x" else max(0, quantity + int(amount))
        if quantity == 0:
            continue
        added_at = millis(group.stamp)
        if any(purchase.at >= added_at - grace and purchase.has_any(group.keys) for purchase in purchases):
            continue
        lines.append(Line(replace(group.product, quantity=quantity), group.stamp))
    return tuple(sorted(lines, key=lambda line: line.stamp))


def _group(raw: Mapping[str, str], cleared: str) -> list[_Line]:
    groups: list[_Line] = []
    # In an order of their own: that of the fields is the order of their arrival.
    for field, value in sorted(raw.items()):
        if field[0] != "+":
            continue
        name, stamp = field[1:], value[:LENGTH]
        product = decode_line(name, value[LENGTH:])
        changes = {change for change in _changes(raw, name, cleared) if change[2][0] == "+"}
        if not changes:
            continue
        line = _Line(product, stamp, min(changes)[0], {name}, _keys(product), changes)
        for other in [group for group in groups if group.keys & line.keys and group.product.variant == product.variant]:
            # One source names the product by its id, another one by its SKU.
            groups.remove(other)
            newest = max(line, other, key=lambda line: line.stamp)
            line = _Line(
                newest.product, newest.stamp, min(line.since, other.since), line.names | other.names,
                line.keys | other.keys, line.changes | other.changes,
            )  # fmt: skip
        groups.append(line)
    return sorted(groups, key=lambda group: (group.since, sorted(group.names)))


def _apply_removal(groups: Sequence[_Line], name: str, removed: Product, raw: Mapping[str, str], cleared: str) -> None:
    """A removal that names no variant takes every variant along, and one that names a variant the line that names none,
    where none has that variant: one of two sources may not know it. A removal with a quantity reduces one line: of
    several, the one that came into the cart last before it."""
    changes = {change for change in _changes(raw, name, cleared) if change[2][0] != "+"}
    exact = [group for group in groups if name in group.names]
    keys = _keys(removed)
    of_product = [group for group in groups if group.keys & keys]
    alike = [group for group in of_product if removed.variant in ("", group.product.variant)]
    alike = alike or [group for group in of_product if not group.product.variant]
    for change in changes:
        before = [group for group in exact or alike if group.since <= change[0]]
        for group in alike if change[2] == "x" else before[-1:]:
            group.changes.add(change)


def _changes(raw: Mapping[str, str], name: str, cleared: str) -> list[_Change]:
    """Each change since the cart was emptied; its amount is "+2", "-1", or "x" for all."""
    entries = raw.get(f"n:{name}", "").split(" ")
    return [(entry[:LENGTH], name, entry[LENGTH:]) for entry in entries if entry[:LENGTH] > cleared]


def _keys(product: Product) -> set[str]:
    return {key for key in (product.product_id, product.sku, product.id) if key}

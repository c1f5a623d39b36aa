"""The fields of a person's state by name, each with the time at which it was told: "profile.first_name", "cart.prices".

`Needs` names them (`freshgate/needs.py`); `workers/needs.py` compares their ages. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from freshgate.events import Product
from freshgate.state.orders import OrderView
from freshgate.state.records import Mark
from freshgate.state.subjects import SubjectView
from freshgate.state.views import PersonView

About = OrderView | SubjectView | None
ORDER_FIELDS = ("total", "currency", "products", "email")
_product = msgspec.json.Decoder(Product)


class FieldValue(NamedTuple):
    """A field's value and when it was told last (occurred_at, ms); whether another event of the session told it."""

    value: Any
    at: int
    from_session: bool = False


def read_field(
    name: str, person: PersonView, about: About = None, since: int | None = None, mark: Mark | None = None
) -> FieldValue | None:
    """The field as a decision sees it; None where nobody told it.

    mark  what the mail is about, for "session.<trait>": the session is the one in which it was told

    A trait that only a page said counts where no server told one, and where the server's is older than `since` (ms)
    and the page's is not. Transactional mail never sees a page's.
    """
    values = list(_session(name, person, mark) if name.startswith("session.") else _candidates(name, person, about))
    if since is not None:
        values = [value for value in values if value.at >= since] or values
    return values[0] if values else None


def _candidates(name: str, person: PersonView, about: About) -> Iterable[FieldValue]:
    """What is known of the field, best first."""
    head, _, rest = name.partition(".")
    if head == "profile":
        pages = [] if person.trusted_only else [f"t:said_{rest}"]
        marks = [person.register(field) for field in (f"t:{rest}", *pages)]
        yield from (FieldValue(mark.value, mark.at) for mark in marks if mark)
    elif head == "cart":
        yield from _cart(person, rest)
    elif head == "order":
        yield from _order(about, rest)
    elif head == "last_order":
        if person.last_order:
            yield FieldValue(person.last_order, person.last_order.at)
    elif head == "consent":
        if mark := person.suppression("subscribed"):
            yield FieldValue(True, mark.at)
    elif head == "subject":
        if isinstance(about, SubjectView):
            yield from _of_marks(about.marks.values(), rest)
            yield from _completed(person, about.marks.values(), rest)
    elif (mark := person.mark(head)) and name == "view.product":
        product = _product.decode(mark.value) if mark.value else None
        if product and product.name:
            yield FieldValue(product, mark.at)
    elif mark:
        yield from _of_marks([mark], rest)
        yield from _completed(person, [mark], rest)


def _session(name: str, person: PersonView, mark: Mark | None) -> Iterable[FieldValue]:
    """What the session said; the moment at which its person was seen first."""
    trait = name.removeprefix("session.")
    if trait == "first_seen":
        if person.first_seen is not None:
            yield FieldValue(person.first_seen, person.first_seen)
    elif mark and (word := person.in_session(mark, trait)):
        yield FieldValue(word.value, word.at)


def _completed(person: PersonView, marks: Iterable[Mark], rest: str) -> Iterable[FieldValue]:
    """A field that the newest event of a mark lacks, from the same session's newest event that had it."""
    newest = max(marks, key=lambda mark: mark.stamp, default=None)
    if rest and newest and (word := person.in_session(newest, rest)):
        yield FieldValue(word.value, word.at, from_session=True)


def _cart(person: PersonView, rest: str) -> Iterable[FieldValue]:
    """The cart as it changed last; its prices as old as the one that was told longest ago."""
    if not person.cart or person.is_cart_unknown:
        return
    if rest == "prices":
        if all(line.product.price for line in person.cart):
            prices = {line.product.line: line.product.price for line in person.cart}
            yield FieldValue(prices, min(line.at for line in person.cart))
    elif not rest:
        changed = person.mark("cart")
        newest = max(line.at for line in person.cart)
        yield FieldValue(person.cart, max(newest, changed.at) if changed else newest)


def _order(about: About, rest: str) -> Iterable[FieldValue]:
    if not isinstance(about, OrderView) or about.completed is None or about.order is None:
        return
    value = about.email if rest == "email" else getattr(about.order, rest, None) if rest else about.order
    if value:
        yield FieldValue(value, about.completed.at)


def _of_marks(marks: Iterable[Mark], rest: str) -> Iterable[FieldValue]:
    """A mark itself, or a field that it carries; the newest first. A product without a name is its id alone."""
    for mark in sorted(marks, key=lambda mark: mark.stamp, reverse=True):
        if not rest:
            yield FieldValue(mark.value, mark.at)
            continue
        value = mark.fields.get(rest)
        if value not in (None, "") and not (isinstance(value, Product) and not value.name):
            yield FieldValue(value, mark.at)

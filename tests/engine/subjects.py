"""A small catalog whose mails are about one product each, for tests: back in stock, and a price that dropped."""

from __future__ import annotations

from typing import Any

from freshgate import EventType, PersonView, SubjectView, Trigger, Withdrawn, first_name

RESTOCKED = EventType(
    name="Product Restocked",
    fields={"product_id": "id", "title": "text", "price": "money", "product": "product"},
    marks=("restocked",),
    carries={"restocked": ("title", "price", "product")},
)
SOLD_OUT = EventType(name="Product Sold Out", fields={"product_id": "id"}, marks=("sold_out",))


def _withdrawn(person: PersonView, subject: SubjectView) -> Withdrawn | None:
    restocked, sold_out = subject.mark("restocked"), subject.mark("sold_out")
    if restocked and sold_out and sold_out.at >= restocked.at:
        return Withdrawn("superseded", "sold_out", {"sold_out": sold_out.at})
    return None


def _compose(person: PersonView, subject: SubjectView) -> dict[str, Any]:
    return {"first_name": first_name(person), **{name: str(value) for name, value in subject.fields.items()}}


BACK_IN_STOCK = Trigger(
    name="back_in_stock",
    on=("Product Restocked",),
    about="restocked",
    version="restocked",
    subject=("product_id",),
    marks=("sold_out",),
    kind="marketing",
    delay="10m",
    max_age="1d",
    cap="5/24h",
    template_id="d-back-in-stock",
    withdrawn=_withdrawn,
    compose=_compose,
)
SUBJECT_EVENTS = (RESTOCKED, SOLD_OUT)

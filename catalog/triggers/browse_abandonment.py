"""Browse abandonment: "still looking?", with the product viewed last.

Sent      an hour after the newest Product Viewed, at most once in 24 hours. Of a product without a name it is about the
          category; where that is not known either, nothing is sent (`stale`).
Not sent  when the shopper ordered or added a product to the cart since, the cart is not empty (`abandoned_cart` is for
          that), the view is older than 24 hours, or the person unsubscribed. A thank-you page shows the ordered product
          once more, and two clocks are never the same: within `order_grace` that is not a new view.
"""

from __future__ import annotations

from typing import Any

import msgspec

from freshgate import (
    DAY,
    HOUR,
    Fallback,
    Needs,
    OrderView,
    PersonView,
    Product,
    Trigger,
    Withdrawn,
    first_name,
    template_product,
)

from ..segments import VIEWED_CATEGORY

# Of a product that nobody told in full, its category is what is left to write about.
OF_CATEGORY = Fallback(template_id="d-browse-category", template="browse_category", segment=VIEWED_CATEGORY)


def _withdrawn(person: PersonView, order: OrderView | None) -> Withdrawn | None:
    view, added, ordered = person.mark("view"), person.mark("added"), person.last_order
    compared = {"view": view.at if view else 0}
    if view is None:
        return Withdrawn("cancelled", "no_view")
    viewed = msgspec.json.decode(view.value, type=Product) if view.value else Product()
    if ordered and (ordered.at >= view.at or person.has_bought(viewed, view.at)):
        return Withdrawn("cancelled", "ordered", compared | {"order": ordered.at})
    if added and added.at >= view.at:
        return Withdrawn("cancelled", "added_to_cart", compared | {"added": added.at})
    if person.cart:
        return Withdrawn("cancelled", "cart_not_empty", compared)
    return None


def _compose(person: PersonView, order: OrderView | None) -> dict[str, Any]:
    view = person.mark("view")
    products = [msgspec.json.decode(view.value, type=Product)] if view and view.value else []
    return {
        "first_name": first_name(person),
        "products": [template_product(product) for product in products],
    }


BROWSE_ABANDONMENT = Trigger(
    name="browse_abandonment",
    on=("Product Viewed",),
    about="view",
    version="view",
    kind="marketing",
    delay=HOUR,
    max_age=DAY,
    cap=(1, DAY),
    topic="product_reminders",
    template_id="d-browse-abandonment",
    needs=(Needs("view.product", otherwise=OF_CATEGORY),),
    withdrawn=_withdrawn,
    compose=_compose,
)

"""You left something: half an hour after the cart fell quiet, never after the purchase, never for an empty cart."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any

from freshgate import DAY, MINUTE, OrderView, PersonView, Trigger, Withdrawn, template_product


def _withdrawn(person: PersonView, order: OrderView | None) -> Withdrawn | None:
    activity, ordered, cart = person.mark("activity"), person.last_order, person.cart
    compared = {"activity": activity.at if activity else 0}
    if ordered is not None:
        compared["order"] = ordered.at
        # The order emptied the cart, so what is in it now came after. A thank-you page shows the ordered products once
        # more, and two clocks are never the same: within the grace, nothing but what was ordered is no new cart.
        in_grace = activity is None or ordered.at >= activity.at - person.order_grace
        bought = not ordered.products or all(line.product.product_id in ordered.products for line in cart)
        if in_grace and bought:
            return Withdrawn("cancelled", "ordered", compared)
    if not cart:
        return Withdrawn("cancelled", "cart_empty", compared)
    return None


def _compose(person: PersonView, order: OrderView | None) -> dict[str, Any]:
    lines = [line.product for line in person.cart]
    told: dict[str, Any] = {
        "first_name": person.trait("first_name") or "",
        "products": [template_product(line) for line in lines],
    }
    # A line without a price: a total that leaves it out would be wrong.
    with suppress(InvalidOperation):
        told["total"] = str(sum((Decimal(line.price) * line.quantity for line in lines), Decimal(0)))
    return told


ABANDONED_CART = Trigger(
    name="abandoned_cart",
    on=(
        "Product Added",
        "Product Removed",
        "Wishlist Product Added to Cart",
        "Cart Viewed",
        "Checkout Started",
        "Checkout Step Viewed",
        "Checkout Step Completed",
        "Payment Info Entered",
        "Coupon Entered",
        "Coupon Applied",
        "Coupon Denied",
        "Coupon Removed",
    ),
    about="activity",
    version="cart",
    kind="marketing",
    delay=30 * MINUTE,
    max_age=DAY,
    cap=(1, DAY),
    template_id="d-abandoned-cart",
    withdrawn=_withdrawn,
    compose=_compose,
)

"""Abandoned cart: "you left something in your cart".

Sent      30 minutes after the newest cart or checkout event, at most once in 24 hours. Without prices where one of them
          is not known, or was told more than 24 hours ago.
Not sent  when the shopper ordered since, the cart is empty, the newest event is older than 24 hours, or the person
          unsubscribed. An order within `order_grace` before the newest event counts, too: see `_withdrawn`.
"""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any

from freshgate import (
    DAY,
    MINUTE,
    Fallback,
    Needs,
    OrderView,
    PersonView,
    Trigger,
    Withdrawn,
    first_name,
    money,
    template_product,
)

# Prices that were told more than a day ago may be others by now, and those that nobody told are none.
WITHOUT_PRICES = Fallback(template_id="d-abandoned-cart-without-prices")


def _withdrawn(person: PersonView, order: OrderView | None) -> Withdrawn | None:
    activity, ordered = person.mark("activity"), person.last_order
    compared = {"activity": activity.at if activity else 0}
    if ordered is not None:
        compared["order"] = ordered.at
    if person.is_cart_unknown:
        return Withdrawn("cancelled", "cart_unknown", compared)
    if person.cart:
        return None
    # A thank-you page may report the ordered products once more, and two clocks differ: within the grace, a cart of
    # nothing else is not a new one, and `person.cart` leaves it out.
    if ordered and (activity is None or ordered.at >= activity.at - person.order_grace):
        return Withdrawn("cancelled", "ordered", compared)
    return Withdrawn("cancelled", "cart_empty", compared)


def _compose(person: PersonView, order: OrderView | None) -> dict[str, Any]:
    products = [line.product for line in person.cart]
    template_data: dict[str, Any] = {
        "first_name": first_name(person),
        "products": [template_product(product) for product in products],
    }
    # No total where a product has no price, since it would be too low.
    with suppress(InvalidOperation):
        total = sum((Decimal(product.price) * product.quantity for product in products), Decimal(0))
        template_data["total"] = money(total)
    return template_data


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
    topic="cart_reminders",
    template_id="d-abandoned-cart",
    needs=(Needs("cart.prices", fresh_for="24h", otherwise=WITHOUT_PRICES),),
    withdrawn=_withdrawn,
    compose=_compose,
)

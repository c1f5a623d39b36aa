"""Order confirmation: "thank you for your order".

Sent      at once, on Order Completed with an `order_id`; once for each order.
Not sent  when the order was cancelled or fully refunded before the mail left, or was completed more than 24 hours ago.
          Two clocks differ, so a cancellation up to `order_grace` earlier than the order counts.
          An unsubscribe does not stop it: the mail is transactional.
"""

from __future__ import annotations

from typing import Any

from freshgate import DAY, OrderView, PersonView, Trigger, Withdrawn, first_name, money, template_product


def _withdrawn(person: PersonView, order: OrderView | None) -> Withdrawn | None:
    if order is None or order.completed is None or order.order is None:
        return Withdrawn("cancelled", "no_order")
    completed = order.completed
    compared = {"order": completed.at}
    # Two clocks differ: what withdraws an order occurred after it, also where its time is a little earlier.
    earliest = completed.at - person.order_grace
    if order.cancelled and order.cancelled.at >= earliest:
        return Withdrawn("superseded", "order_cancelled", compared | {"cancelled": order.cancelled.at})
    if order.refunded and order.refunded.at >= earliest:
        return Withdrawn("superseded", "order_refunded", compared | {"refunded": order.refunded.at})
    return None


def _compose(person: PersonView, order: OrderView | None) -> dict[str, Any]:
    purchase = order.order if order else None
    if purchase is None:
        return {}
    return {
        "first_name": first_name(person),
        "order_id": purchase.order_id,
        "total": money(purchase.total, purchase.currency),
        "currency": purchase.currency,
        "products": [template_product(product, purchase.currency) for product in purchase.products],
    }


ORDER_CONFIRMATION = Trigger(
    name="order_confirmation",
    on=("Order Completed",),
    about="order",
    subject="order",
    kind="transactional",
    max_age=DAY,
    template_id="d-order-confirmation",
    needs=("order_id",),
    withdrawn=_withdrawn,
    compose=_compose,
)

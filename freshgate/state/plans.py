"""What an event writes about carts and orders: changes of lines, purchases, refunds. Pure.

`planner.py` puts them together with the rest; `cart.lua` and `record.lua` carry them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from freshgate.declare import DAY, EventType
from freshgate.events import ORDER_EMAIL, Event, Product
from freshgate.state import keys
from freshgate.state.stamps import ADD, ORDER, REMOVE, SNAPSHOT, stamp, tail
from freshgate.state.stored import Order, encode_line, encode_order, encode_product, to_json

# As many lines as a source reads.
MAX_LINES = 250
ORDER_TTL = 30 * DAY
# (field, stamp, text)
Register = tuple[str, str, str]
# (line, stamp, amount, JSON of the product)
Change = tuple[str, str, str, str]


def refund_registers(event: Event, at: str) -> list[Register]:
    """Only a full refund withdraws the order. Whether an amount, or the items, are all of it is decided beside the
    order (`OrderView.refunded`), so each refund has a register of its own: a small one must not hide a full one."""
    total, products = event.fields.get("total"), event.fields.get("products")
    if total is not None:
        return [(f"m:refunded:{total}", at, "")]
    if products:
        items = [(sorted(product_keys(line)), line.quantity) for line in products]
        return [(f"m:returned:{tail(event.message_id)}", at, to_json(items))]
    # Neither amount nor items were sent: all of it. What was sent and cannot be read is no full refund.
    is_unreadable = "total" in event.unreadable or "products" in event.unreadable
    return [] if is_unreadable else [("m:refunded", at, "")]


def read_order(event: Event) -> Order:
    return Order(
        order_id=event.fields["order_id"],
        # The revenue is another amount: without tax and shipping.
        total=str(event.fields.get("total", "")),
        currency=event.fields.get("currency", ""),
        products=event.fields.get("products", ())[:MAX_LINES],
    )


def purchase_stamp(event: Event) -> str:
    return stamp(event.occurred_at, event.message_id, ORDER)


def product_keys(product: Product) -> set[str]:
    """The ids by which another event may name the same product."""
    return {key for key in (product.product_id, product.sku, product.id) if key}


def bought_products(event: Event) -> str:
    """The ids of an order's products, as text. None where a line has no id: it may be any product."""
    lines = [product_keys(line) for line in event.fields.get("products", ())]
    return to_json(sorted(set().union(*lines)) if all(lines) else [])


def plan_order(body: dict[str, Any], event: Event, event_type: EventType, at: str, person: str, pii_key: bytes) -> None:
    firsts: list[Register] = []
    registers: list[Register] = []
    if event_type.order == "completed":
        firsts += [("F:order", at, encode_order(read_order(event))), (f"w:{person}", at, "")]
        email, field, name = event.fields.get(ORDER_EMAIL), "F:email", "order"
        if not email and event.user_id is None and event.anonymous_id is not None:
            email, field, name = event.email, "F:guest", "guest"
        if email:
            firsts += [(field, at, email), (f"A:{name}", at, keys.address_id(pii_key, email))]
            if mailbox := keys.alias_mailbox_id(pii_key, email):
                firsts.append((f"M:{name}", at, mailbox))
    elif event_type.order == "cancelled":
        registers.append(("m:cancelled", at, ""))
    else:
        registers += refund_registers(event, at)
    body["order"] = (keys.order_id(event.id_space, event.fields["order_id"]), registers, firsts, ORDER_TTL)


def plan_cart(body: dict[str, Any], event: Event, event_type: EventType) -> None:
    product: Product | None = event.fields.get("product")
    if event_type.cart == "add" and product is not None:
        body["lines"] = [_added(event, [product])]
    elif event_type.cart == "remove":
        if product is None or "product.quantity" in event.unreadable:
            body["lines"] = [_unknown(event)]
        else:
            amount = f"-{product.quantity}" if product.has_quantity else "x"
            name = Product(product.product_id, product.variant, sku=product.sku, id=product.id)
            at = stamp(event.occurred_at, event.message_id, REMOVE)
            body["lines"] = [(name.line, at, amount, encode_product(name))]
    elif event_type.cart == "snapshot" and "products" in event.fields:
        body["clear"] = stamp(event.occurred_at, event.message_id, SNAPSHOT)
        lines: dict[str, list[Product]] = {}
        for line in event.fields["products"]:
            if line.product_id and line.quantity:
                lines.setdefault(line.line, []).append(line)
        body["lines"] = [_added(event, same) for same in lines.values()]
    elif event_type.cart == "snapshot" and "products" in event.unreadable:
        body["lines"] = [_unknown(event)]
    elif event_type.cart == "clear":
        order = event.fields.get("order_id")
        if event_type.order == "completed" and order is not None:
            body["bought"] = (keys.order_id(event.id_space, order), purchase_stamp(event), bought_products(event))
        else:
            body["clear"] = purchase_stamp(event)


def _unknown(event: Event) -> Change:
    """A change that cannot be read: nobody knows what is left. See `PersonView.is_cart_unknown`."""
    return "?", stamp(event.occurred_at, event.message_id, REMOVE), "x", "{}"


def _added(event: Event, products: Sequence[Product]) -> Change:
    count, product = sum(line.quantity for line in products), products[-1]
    return product.line, stamp(event.occurred_at, event.message_id, ADD), f"+{count}", encode_line(product)

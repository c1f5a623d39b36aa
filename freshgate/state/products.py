"""What servers told of products, for mails about what a page told: names, prices, links and pictures. Pure.

`planner.py` writes the registers where a shop has a source with `trust = "browser"`, `lookup.py` reads them, `views.py`
shows them to triggers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from msgspec.structs import replace

from freshgate.declare import DAY
from freshgate.events import Event, Product
from freshgate.state import keys
from freshgate.state.plans import MAX_LINES, Register
from freshgate.state.stamps import LENGTH

TTL = 30 * DAY
# What a page may not say of a product of which a server said it.
FIELDS = ("name", "price", "url", "image_url")


def product_registers(event: Event, at: str) -> Iterator[tuple[str, list[Register], int]]:
    """(id, registers, TTL in ms) of each product of the event; a register for each field that was sent."""
    for value in event.fields.values():
        lines = value if type(value) is tuple else (value,)
        for line in lines[:MAX_LINES]:
            if isinstance(line, Product) and line.product_id:
                registers = [(field, at, text) for field in FIELDS if (text := getattr(line, field))]
                if registers:
                    yield keys.product_id(event.id_space, line.line), registers, TTL


def parse_product(raw: Mapping[bytes, bytes]) -> Product:
    """The product as servers told it, of its record in Redis."""
    fields = {name.decode(): text.decode("utf-8", "replace")[LENGTH:] for name, text in raw.items()}
    return msgspec.convert(fields, Product)


def with_server_data(line: Product, products: Mapping[str, Product]) -> Product:
    """The line of a page, with what servers told of the product in place of the page's word."""
    known = products.get(line.line)
    if known is None or not line.from_page:
        return line
    return replace(line, **{field: getattr(known, field) or getattr(line, field) for field in FIELDS})

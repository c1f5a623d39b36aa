"""Lists of products in every form in which CDPs, SDKs and shop plugins send them → the lines of `product_lines.py`."""

from __future__ import annotations

from typing import Any

from adapter.sources.reading.product_lines import (
    ID_NAMES,
    NESTED,
    LineRules,
    decode_text,
    read_unusual_line,
    read_usual_line,
    spelled_as_declared,
)
from freshgate.events import Product

MAX_LINES = 250
# Of the names of what cannot be read in one field; a body must not make the trail long.
MAX_FAULTS = 10
MAX_KEY_LENGTH = 40
# Where an object that is a cart or an order has its lines.
LIST_NAMES = ("products", "items", "line_items", "lineItems")
# Without one of them an object is not a product.
PRODUCT_NAMES = frozenset((*ID_NAMES, "name"))


def read_products(
    value: Any, name: str, unreadable: list[str], rules: LineRules, element: Any
) -> tuple[Product, ...] | None:
    """The lines that can be read, at most 250; None if there are lines, and none can be. Names the others.

    `element`: what they are of.
    """
    faults: list[str] = []
    values = value if type(value) is list else _as_list(value)
    if values is None:
        unreadable.append(name)
        return None
    lines = []
    for index, sent in enumerate(values[:MAX_LINES]):
        line = read_usual_line(sent)
        if line is None:
            line = read_unusual_line(sent, f"{name}.{index}", faults, rules, element)
            if line is None:
                continue
        lines.append(line)
    if values and not lines:
        unreadable.append(name)
        return None
    if len(values) > MAX_LINES:
        faults.append(f"{name}.{MAX_LINES} and later")
    if faults:
        _add_faults(unreadable, faults, name)
    return tuple(lines)


def read_product(value: Any, name: str, unreadable: list[str], rules: LineRules, element: Any) -> Product | None:
    """The one product, or None without an id. Names what cannot be read of it, or `name` alone where it is none."""
    line = read_usual_line(value)
    if line is not None:
        return line
    faults: list[str] = []
    line = read_unusual_line(_as_product(value), name, faults, rules._replace(needs_id=True), element)
    _add_faults(unreadable, faults, name)
    return line


def _as_list(value: Any) -> list[Any] | None:
    """The lines of a list in another form: JSON text, a map as PHP encodes arrays with gaps, or one product."""
    value = spelled_as_declared(decode_text(value))
    if type(value) is not dict:
        return value if type(value) is list else None
    nested = next((value[name] for name in LIST_NAMES if type(value.get(name)) is list), None)
    if nested is not None:
        return list(nested)
    is_product = any(name in value and type(value[name]) is not dict for name in PRODUCT_NAMES)
    if is_product or any(type(value.get(name)) is dict and value[name] for name in NESTED):
        return [value]
    if not all(type(line) is dict for line in value.values()):
        return None
    if all(key.isdecimal() and len(key) <= MAX_KEY_LENGTH for key in value):
        return [value[key] for key in sorted(value, key=int)]
    return list(value.values())


def _as_product(value: Any) -> Any:
    """The one product of a list of one, also where an object has that list in place of an id; or the value."""
    value = decode_text(value)
    if type(value) is dict and PRODUCT_NAMES.isdisjoint(value):
        lists = (decode_text(value.get(name)) for name in LIST_NAMES)
        value = next((lines for lines in lists if type(lines) is list), value)
    return value[0] if type(value) is list and len(value) == 1 else value


def _add_faults(unreadable: list[str], faults: list[str], name: str) -> None:
    unreadable.extend(faults[:MAX_FAULTS])
    if len(faults) > MAX_FAULTS:
        unreadable.append(f"{name}: more")

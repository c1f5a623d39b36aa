"""Addresses with something around them that has one reading, such as `Ada <ada@example.com>`.

`fields.py` and `paths.py` read with it. Workers know only what `freshgate.addresses` reads, the address itself.
"""

from __future__ import annotations

import re
from typing import Any

from freshgate.addresses import is_ordinary, read_address

# A display name without an address of its own, and the address in brackets (RFC 5322).
NAMED = re.compile(r"(?:\"[^\"]*\"|[^<>@\"]*)\s*<([^<>]+)>")
QUOTES = '"`\u00b4\u2018\u2019\u201c\u201d'
# `undefined@undefined`, `null@null`: put together, and a part was missing.
NOBODY_BEGINS, NOBODY_ENDS = "undefined@", ("@undefined", "@null", "@none", "@nan", "@nil")
MAX_SENT_LENGTH = 600


def read_sent_address(value: Any) -> str | None:
    """The value as one address, as `read_address` has it; None for what is none, or more than one."""
    if type(value) is str and is_ordinary(value) and "%%" not in value:
        return value
    address = read_address(value)
    if address is None:
        address = read_address(_without_wrapping(value))
    lowered = "" if address is None else address.lower()
    return None if lowered.endswith(NOBODY_ENDS) or lowered.startswith(NOBODY_BEGINS) else address


def _without_wrapping(value: Any) -> str | None:
    if type(value) is list and len(value) == 1:
        value = value[0]
    if type(value) is not str or len(value) > MAX_SENT_LENGTH:
        return None
    text = value.strip()
    # What is left is read as a whole, so that two addresses stay two.
    if text.endswith((";", ",")):
        # The end of a list of one.
        text = text[:-1].rstrip()
    if (named := NAMED.fullmatch(text)) is not None:
        text = named[1].strip()
    if text[:7].lower() == "mailto:":
        text = text[7:].partition("?")[0]
    return text[1:-1] if text[:1] in QUOTES and text[-1:] in QUOTES else text

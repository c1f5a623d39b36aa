"""Addresses with something around them that has one reading, such as `Ada <ada@example.com>`.

`fields.py` and `paths.py` read with it. Workers know only what `freshgate.addresses` reads, the address itself.
"""

from __future__ import annotations

import re
from typing import Any

from freshgate.addresses import read_address

# A display name without an address of its own, and the address in brackets (RFC 5322).
NAMED = re.compile(r"(?:\"[^\"]*\"|[^<>@\"]*)\s*<([^<>]+)>")
QUOTES = '"`\u00b4\u2018\u2019\u201c\u201d'
# `undefined@undefined`, `null@null`: put together, and a part was missing.
NOBODY_BEGINS, NOBODY_ENDS = "undefined@", ("@undefined", "@null", "@none", "@nan", "@nil")
MAX_SENT_LENGTH = 600


def read_sent_address(value: Any) -> str | None:
    """The value as one address, as `read_address` has it; None for what is none, or more than one."""
    address = read_address(value)
    if address is not None:
        return None if _is_nobodys(address) else address
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
    if text[:1] in QUOTES and text[-1:] in QUOTES:
        text = text[1:-1]
    address = read_address(text)
    return None if address is None or _is_nobodys(address) else address


def _is_nobodys(address: str) -> bool:
    lowered = address.lower()
    return lowered.endswith(NOBODY_ENDS) or lowered.startswith(NOBODY_BEGINS)

"""Ids and addresses of people: what is one, and what only looks like one.

Used by every source kind, before anything is recorded under the id.
"""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from typing import Any

# What broken tracking code sends for "nobody". Whoever shares such an id would become one person.
JUNK_IDS = frozenset(
    {
        "",
        "null",
        "undefined",
        "0",
        "none",
        "guest",
        "anonymous",
        "nan",
        "nil",
        "00000000-0000-0000-0000-000000000000",
    }
)
MAX_ID_LENGTH = 256
MAX_MESSAGE_ID_LENGTH = 200
MAX_EMAIL_LENGTH = 254
ADDRESS = re.compile(r"[^\s@,;:<>()\[\]\\\"\x00-\x1f\x7f]+@[^\s@,;:<>()\[\]\\\"\x00-\x1f\x7f]+")


def person_id(value: Any, junk: frozenset[str] = JUNK_IDS) -> str | None:
    """The id as text, or None where the value identifies nobody. Whole numbers become text exactly."""
    if type(value) is str:
        text = value
    elif type(value) is int:
        text = str(value)
    else:
        return None
    # A replacement character stands for something lost: two people could share the rest.
    if len(text) > MAX_ID_LENGTH or text.strip().lower() in junk or "\ufffd" in text:
        return None
    return text


def address(value: Any) -> str | None:
    """The value as one e-mail address without display name, or None."""
    if type(value) is not str:
        return None
    text = value.strip()
    return text if len(text) <= MAX_EMAIL_LENGTH and ADDRESS.fullmatch(text) else None


def message_id_of(source: str, told: bytes) -> str:
    """The id of a message that has none: the same bytes from the same source are the same message, told again."""
    digest = blake2b(source.encode() + b"\0" + told, digest_size=16)
    return f"h-{digest.hexdigest()}"


def canonical(value: Any) -> bytes:
    """The same bytes for the same value, in whatever order its members came."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

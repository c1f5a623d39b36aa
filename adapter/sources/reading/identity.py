"""Ids: what is one, and what only looks like one.

Every source kind asks before anything is recorded under an id.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from adapter.sources.reading.converters import id_text
from freshgate.ids import address_in, is_ordinary, junk_key, names_nobody
from freshgate.settings import SourceSettings

MAX_MESSAGE_ID_LENGTH = 200


def junk_ids(settings: SourceSettings) -> frozenset[str]:
    """The source's ids of nobody, as `names_nobody` compares them."""
    return frozenset(key for junk in settings.junk_ids for key in (junk.strip().lower(), junk_key(junk)))


def person_id(value: Any, junk: frozenset[str]) -> str | None:
    """The id as text, or None where the value identifies nobody. An address used as an id is in lower case."""
    # Most ids need no closer look; this path is taken three times an event.
    if type(value) is str and is_ordinary(value):
        return None if value.lower() in junk else value
    text = id_text(value)
    # A replacement character stands for something lost: two people could share the rest.
    if text is None or "\ufffd" in text or names_nobody(text, junk):
        return None
    return (address_in(text) or text) if "@" in text else text


def order_id(junk: frozenset[str]) -> Callable[[Any], str | None]:
    """The converter of order ids: an id of nobody is the id of no order, either."""

    def convert(value: Any) -> str | None:
        text = id_text(value)
        return None if text is None or names_nobody(text, junk) else text

    return convert


def sent_message_id(value: Any, junk: frozenset[str]) -> str | None:
    """The id that the CDP gave a message, or None where the value is not one that a redelivery could repeat."""
    if type(value) is str and is_ordinary(value):
        return None if value.lower() in junk else value
    message_id = id_text(value)
    usable = message_id is not None and len(message_id) <= MAX_MESSAGE_ID_LENGTH and not names_nobody(message_id, junk)
    return message_id if usable else None


def message_id_of(source: str, raw: bytes) -> str:
    """A computed message id, where none was sent: the same bytes from the same source are a redelivery."""
    digest = blake2b(source.encode() + b"\0" + raw, digest_size=16)
    return f"h-{digest.hexdigest()}"


def canonical(value: Any) -> bytes:
    """The value as JSON whose bytes do not depend on the order of its members."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

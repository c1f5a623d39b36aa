"""Ids: what is one, and what only looks like one.

Every source kind asks before anything is recorded under an id.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

from adapter.sources.reading.converters import MAX_ID_LENGTH, id_text
from freshgate.settings import SourceSettings

MAX_MESSAGE_ID_LENGTH = 200


def junk_ids(settings: SourceSettings) -> frozenset[str]:
    """The source's ids of nobody, as `person_id` and `sent_message_id` compare them."""
    return frozenset(junk.strip().lower() for junk in settings.junk_ids)


def person_id(value: Any, junk: frozenset[str]) -> str | None:
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


def sent_message_id(value: Any, junk: frozenset[str]) -> str | None:
    """The id that the CDP gave a message, or None where the value is not one that a redelivery could repeat."""
    message_id = id_text(value)
    usable = message_id is not None and len(message_id) <= MAX_MESSAGE_ID_LENGTH and message_id.lower() not in junk
    return message_id if usable else None


def message_id_of(source: str, raw: bytes) -> str:
    """A computed message id, where none was sent: the same bytes from the same source are a redelivery."""
    digest = blake2b(source.encode() + b"\0" + raw, digest_size=16)
    return f"h-{digest.hexdigest()}"


def canonical(value: Any) -> bytes:
    """The value as JSON whose bytes do not depend on the order of its members."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

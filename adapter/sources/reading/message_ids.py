"""Message ids that a CDP sent: which of them can identify an event.

Beside `identity.py`, which builds the id of an event that has none.
"""

from __future__ import annotations

from typing import Any

from adapter.sources.reading.converters import id_text
from adapter.sources.reading.identity import MAX_MESSAGE_ID_LENGTH


def valid_message_id(value: Any, junk_ids: frozenset[str]) -> str | None:
    """The value as a message id; None for what is too long, not an id, or one of the source's junk ids."""
    text = id_text(value)
    if text is None or len(text) > MAX_MESSAGE_ID_LENGTH or text.lower() in junk_ids:
        return None
    return text

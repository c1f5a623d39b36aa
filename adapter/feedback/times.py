"""Times as ESPs write them in JSON: ISO 8601 with an offset, at any precision."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

# Some write nine digits of a second, of which Python 3.11 reads six.
FRACTION = re.compile(r"(\.\d{1,6})\d*")


def read_iso(value: Any) -> int:
    """The time in ms UTC; 0 for what cannot be read. A time without an offset is UTC."""
    if not isinstance(value, str):
        return 0
    try:
        moment = datetime.fromisoformat(FRACTION.sub(r"\1", value.strip(), count=1))
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return max(0, int(moment.timestamp() * 1000))
    except OverflowError:
        return 0

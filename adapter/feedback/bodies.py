"""Bodies of feedback, read once they are verified: JSON, and forms as Mailchimp posts them."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec

from freshgate.errors import RequestError

# A form has a handful of fields; many would cost time.
MAX_FIELDS = 200
_decode = msgspec.json.Decoder().decode


def read_json(body: bytes | str) -> Any:
    """The decoded JSON. Raises RequestError."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestError("not JSON") from None


def read_form(body: bytes) -> list[tuple[str, str]]:
    """The fields in their order. Raises RequestError for what is no form."""
    try:
        return parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="surrogateescape"
        )
    except (ValueError, UnicodeDecodeError):
        raise RequestError("not a form") from None

"""Reads a request's body, within its limit; what cannot be read is the caller's fault."""

from __future__ import annotations

from flask import request
from gunicorn.http.errors import ParseException

from freshgate.errors import RequestError


def read_body(max_bytes: int) -> bytes:
    """The body as it was sent. Raises RequestEntityTooLarge above the limit, RequestError for broken chunks.

    Nothing is logged of a broken body: gunicorn's errors quote it.
    """
    # Beyond the proxy, which costs as much as what is asked for.
    own = request._get_current_object()  # type: ignore[attr-defined]  # werkzeug types its proxies as what they stand for
    own.max_content_length = max_bytes
    try:
        return own.get_data(cache=False)  # type: ignore[no-any-return]  # as above
    except (OSError, ParseException):
        raise RequestError("malformed body") from None

"""Reads a request's body, within its limit; what cannot be read is the caller's fault."""

from __future__ import annotations

from flask import request
from gunicorn.http.errors import ParseException
from werkzeug.wsgi import get_input_stream

from freshgate.errors import RequestError


def read_body(max_bytes: int) -> bytes:
    """The body as it was sent. Raises RequestEntityTooLarge above the limit, RequestError for broken chunks.

    Nothing is logged of a broken body: gunicorn's errors quote it. Raises EOFError for one that `server/framing.py` has
    cut although its URL takes it, which is a fault of ours.
    """
    try:
        body: bytes = get_input_stream(request.environ, max_content_length=max_bytes).read()
    except (OSError, ParseException):
        raise RequestError("malformed body") from None
    length = request.environ.get("CONTENT_LENGTH")
    if length and len(body) < int(length):
        raise EOFError(f"{len(body)} bytes of {length}")
    return body

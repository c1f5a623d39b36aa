"""JSON replies, and the replies to errors, which each family of URLs has in its own form.

Every route replies through `reply`; `app.py` installs the error handlers.
"""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from freshgate.errors import NotAuthentic, RateLimited, RequestError, StoreUnavailable
from freshgate.telemetry import logs

log = logs.get(__name__)
_encode = msgspec.json.Encoder().encode
RETRY_AFTER_S = 5
LOG_INTERVAL_S = 1.0
TRACKING_PREFIXES = ("/v1/", "/beacon/v1/")
# HTTP status → the code in the tracking API's errors.
CODES = {
    400: "invalid_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
    503: "unavailable",
}


def reply(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    """A JSON reply."""
    return Response(_encode(body), status, headers, content_type="application/json")


def fault(status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    """A reply that refuses the whole request, in the form that callers of its URL read."""
    body = tracking_error(status, reason) if request.path.startswith(TRACKING_PREFIXES) else {"error": reason}
    return reply(status, body, headers)


def tracking_error(status: int, text: str) -> dict[str, str]:
    """An error of the tracking API. In any other form, analytics-python repeats the request
    (segment/analytics/request.py)."""
    return {"code": CODES.get(status, "error"), "message": text}


def add_error_handlers(app: Flask) -> None:
    """Turns every error of a route into a reply that tells the caller little; the log has the rest."""
    rare_lines = logs.RareLines()

    @app.errorhandler(RequestError)
    def request_error(error: RequestError) -> Response:
        reason = "signature rejected" if isinstance(error, NotAuthentic) else error.reason
        headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, RateLimited) else None
        return fault(error.status, reason, headers)

    @app.errorhandler(StoreUnavailable)
    def store_unavailable(error: StoreUnavailable) -> Response:
        # While Redis is away, that is all requests.
        if rare_lines.is_due("store_unavailable", LOG_INTERVAL_S):
            log.error("store_unavailable", error=str(error))
        return fault(error.status, "try again later", {"Retry-After": str(RETRY_AFTER_S)})

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        allowed = getattr(error, "valid_methods", None)
        headers = {"Allow": ", ".join(sorted(allowed))} if allowed else None
        return fault(error.code or 500, error.name.lower(), headers)

    @app.errorhandler(Exception)
    def unexpected_error(error: Exception) -> Response:
        # The log has where it happened, without the error's own text, which may quote the request.
        log.exception("unexpected", error=type(error).__name__)
        return fault(503, "try again later", {"Retry-After": str(RETRY_AFTER_S)})

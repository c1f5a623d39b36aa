"""The routes of Segment's HTTP Tracking API, for SDKs of which only the host was changed.

`sources/tracking.py` proves and reads the bodies; `receive.py` does the rest, as for webhooks.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from flask import Flask, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from adapter.ingest.receive import Receiver
from adapter.routes.answers import TRACKING_PREFIX, reply, tracking_error
from adapter.sources import SOURCES
from adapter.sources.base import RequestContext, Source
from adapter.sources.tracking import MAX_BYTES
from freshgate.clock import now_ms
from freshgate.errors import NotAuthentic, RequestError, TooLarge, UnsupportedBody
from freshgate.settings_parsing import setting_name
from freshgate.telemetry import logs

log = logs.get(__name__)
# analytics.js posts to the first letter; a screen's is `s` (packages/browser/src/plugins/segmentio).
CALLS = {name[0]: name for name in ("track", "identify", "page", "screen", "group", "alias", "batch")}
PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST, OPTIONS",
    "Access-Control-Allow-Headers": "authorization, content-type, content-encoding, x-retry-count",
    "Access-Control-Max-Age": "86400",
}


class NotForPages(RequestError):
    """A page of a browser used a key that is a server's."""

    status = 403


def add_tracking(app: Flask, receiver: Receiver, sources: Mapping[str, Source]) -> None:
    """POST /v1/<call> for the sources of kind `tracking`; with none of them, nobody's write key is right."""
    ours = [source for source in sources.values() if SOURCES[source.settings.kind].endpoint == "tracking_api"]

    @app.post("/v1/<call>", provide_automatic_options=False)
    def call(call: str) -> Response:
        if call == "m":
            # The SDK's measurements of itself.
            return reply(200, {"success": True})
        name = CALLS.get(call, call)
        if name not in CALLS.values():
            return reply(404, tracking_error(404, "no such call"))
        received_at = now_ms()
        body = _body()
        source = _owner(ours, body)
        _refuse_pages(source)
        remote = request.remote_addr or ""
        receiver.receive(source, body, request.headers, received_at, context=RequestContext(call=name), remote=remote)
        return reply(200, {"success": True})

    @app.route("/v1/<call>", methods=["OPTIONS"])
    def preflight(call: str) -> Response:
        return Response(status=204, headers=PREFLIGHT)

    @app.after_request
    def allow_pages(response: Response) -> Response:
        """A page may read the answer, the reason of a refusal too; without credentials: there are no cookies here."""
        if request.path.startswith(TRACKING_PREFIX):
            origin = request.headers.get("Origin")
            allowed = _allowed(ours)
            if origin and (origin in allowed or not allowed):
                response.headers["Access-Control-Allow-Origin"] = origin if allowed else "*"
                response.headers["Access-Control-Expose-Headers"] = "Retry-After"
            response.headers["Vary"] = "Origin"
        return response


def _body() -> bytes:
    """The body's plain bytes. Raises TooLarge before more than the limit is in memory, RequestError for broken gzip."""
    request.max_content_length = MAX_BYTES
    too_large = TooLarge(f"more than {MAX_BYTES} bytes", "the tracking API takes no larger body, gzipped or not")
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge:
        raise too_large from None
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise UnsupportedBody("content encoding not supported", "gzip is")
    unpacking = zlib.decompressobj(wbits=31)
    try:
        plain = unpacking.decompress(body, MAX_BYTES + 1)
    except zlib.error:
        raise RequestError("not gzip") from None
    if len(plain) > MAX_BYTES:
        raise too_large
    if not unpacking.eof:
        raise RequestError("not gzip")
    return plain


def _owner(ours: list[Source], body: bytes) -> Source:
    """The source whose write key the request has. Raises NotAuthentic if it has nobody's."""
    if not ours:
        kinds = " or ".join(repr(kind.name) for kind in SOURCES.values() if kind.endpoint == "tracking_api")
        raise NotAuthentic("write key rejected", f"no source has kind = {kinds}")
    for source in ours[:-1]:
        try:
            source.verify(body, request.headers)
        except NotAuthentic:
            continue
        return source
    # The receiver verifies it, and counts what is not authentic.
    return ours[-1]


def _refuse_pages(source: Source) -> None:
    """A server's key works in no page, so nobody puts one there by mistake, for all to read."""
    origin = request.headers.get("Origin")
    if origin is None:
        return
    if source.settings.trust == "server":
        key = setting_name("sources", source.name, "trust")
        log.warning("key_in_a_page", source=source.name, hint=f'{key}: write "browser" for a key that stands in a page')
        raise NotForPages("this write key is a server's; a page needs one of a source with trust = browser")
    allowed = source.settings.allowed_origins
    if allowed and origin not in allowed:
        key = setting_name("sources", source.name, "allowed_origins")
        log.warning("origin_not_allowed", source=source.name, hint=f"{key} does not have the page's origin")
        raise NotForPages("this page may not use this write key")


def _allowed(ours: list[Source]) -> set[str]:
    """The pages that may call us, of all sources together: a preflight has no key. Empty is all."""
    browsers = [source.settings.allowed_origins for source in ours if source.settings.trust == "browser"]
    return set() if not all(browsers) else {origin for origins in browsers for origin in origins}

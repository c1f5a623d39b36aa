"""The routes of Segment's HTTP Tracking API, `/v1/<call>`, for Segment's SDKs with another host.

`sources/tracking.py` verifies and reads the bodies; `ingest/receive.py` does the rest, as for webhooks.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence

from flask import Flask, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from adapter.ingest.bodies import plain_body
from adapter.ingest.receive import Receiver, WebhookRequest
from adapter.routes.answers import TRACKING_PREFIXES, reply, tracking_error
from adapter.routes.bodies import read_body
from adapter.routes.replays import asks_for_replay
from adapter.sources import SOURCES
from adapter.sources.base import Headers, RequestContext, Source
from adapter.sources.tracking import MAX_BYTES, TrackingSource
from adapter.sources.write_keys import key_in_header, sent_key
from freshgate.errors import NotAuthentic, RequestError, TooLarge
from freshgate.settings_parsing import setting_name
from freshgate.telemetry import logs

log = logs.get(__name__)
# analytics.js posts to the first letter of a call; a screen's is `s` (packages/browser/src/plugins/segmentio).
CALLS = {name[0]: name for name in ("track", "identify", "page", "screen", "group", "alias", "batch")}
# Older SDKs send their batches here (analytics-ruby, defaults.rb; analytics-android, Client).
CALLS["import"] = "batch"
PREFLIGHT = {"Access-Control-Allow-Methods": "POST, OPTIONS", "Access-Control-Max-Age": "86400"}
ALLOWED_HEADERS = "authorization, content-type, content-encoding, x-retry-count"
HEADER_NAMES = re.compile(r"[A-Za-z0-9-]{1,40}(?:, ?[A-Za-z0-9-]{1,40}){0,20}", re.ASCII)


class KeyInQuery:
    """The headers of a request whose write key stands in its URL, as if it stood in them."""

    def __init__(self, headers: Headers, key: str) -> None:
        self._headers = headers
        self._basic = "Basic " + base64.b64encode(f"{key}:".encode()).decode()

    def get(self, name: str, /) -> str | None:
        """The field's text, None where it was not sent."""
        return self._basic if name == "Authorization" else self._headers.get(name)


class NotForPages(RequestError):
    """A browser's page used a key that it may not use."""

    status = 403


def add_tracking(app: Flask, receiver: Receiver, sources: Mapping[str, Source]) -> None:
    """The routes for the sources of kind `tracking`. Without such a source, every write key is rejected."""
    tracking_sources = [source for source in sources.values() if isinstance(source, TrackingSource)]

    refusals = logs.RareLines()

    # RudderStack's browser SDK sends beacons to the second (rudder-sdk-js, beaconQueue), which cannot have headers.
    @app.post("/v1/<call>", provide_automatic_options=False)
    @app.post("/beacon/v1/<call>", provide_automatic_options=False)
    def call(call: str) -> Response:
        if call == "m":
            # analytics.js reports metrics about itself here.
            return reply(200, {"success": True})
        name = CALLS.get(call, call)
        if name not in CALLS.values():
            return reply(404, tracking_error(404, "no such call"))
        received_at = receiver.clock.now()
        headers = _headers()
        source, body = _read(tracking_sources, headers)
        _refuse_pages(source, refusals)
        context = RequestContext(call=name)
        replay, remote = asks_for_replay(request.headers, source.settings), request.remote_addr or ""
        receiver.receive(source, WebhookRequest(body, headers, received_at, context, replay=replay, remote_ip=remote))
        return reply(200, {"success": True})

    @app.route("/v1/<call>", methods=["OPTIONS"])
    @app.route("/beacon/v1/<call>", methods=["OPTIONS"])
    def preflight(call: str) -> Response:
        """SDKs have headers of their own, as RudderStack's AnonymousId. None is sent along with cookies, so a page may
        send any."""
        asked = request.headers.get("Access-Control-Request-Headers", "").strip()
        allowed = f"{ALLOWED_HEADERS}, {asked}" if HEADER_NAMES.fullmatch(asked) else ALLOWED_HEADERS
        return Response(status=204, headers={**PREFLIGHT, "Access-Control-Allow-Headers": allowed})

    @app.after_request
    def allow_pages(response: Response) -> Response:
        """Lets a page read the reply, a refusal's reason too. Credentials are not allowed: there are no cookies."""
        if request.path.startswith(TRACKING_PREFIXES):
            origin = request.headers.get("Origin")
            allowed = _allowed_origins(tracking_sources)
            if origin and (origin in allowed or not allowed):
                response.headers["Access-Control-Allow-Origin"] = origin if allowed else "*"
                response.headers["Access-Control-Expose-Headers"] = "Retry-After"
            response.headers["Vary"] = "Origin"
        return response


def _headers() -> Headers:
    key = request.args.get("writeKey", "")
    return KeyInQuery(request.headers, key) if key and key_in_header(request.headers) is None else request.headers


def _read(sources: Sequence[TrackingSource], headers: Headers) -> tuple[TrackingSource, bytes]:
    """The source of the request's write key, and the body, unzipped. A wrong key in the header is enough to know.

    Without a right key the last source, whose verification then fails and is counted. Raises NotAuthentic without any
    source, RequestError for a body that cannot be read.
    """
    if not sources:
        kinds = " or ".join(repr(kind.name) for kind in SOURCES.values() if kind.endpoint == "tracking_api")
        raise NotAuthentic("write key rejected", f"no source has kind = {kinds}")
    key = key_in_header(headers)
    if key is not None and not any(source.knows(key) for source in sources):
        return sources[-1], b""
    body = _body()
    sent = sent_key(body, headers) if key is None else key
    return next((source for source in sources if source.knows(sent)), sources[-1]), body


def _body() -> bytes:
    """The body, unzipped. Raises TooLarge before more than the limit is in memory, RequestError for broken gzip."""
    hint = "the tracking API takes no larger body, gzipped or not"
    try:
        body = read_body(MAX_BYTES)
    except RequestEntityTooLarge:
        raise TooLarge(f"more than {MAX_BYTES} bytes", hint) from None
    return plain_body(body, request.headers.get("Content-Encoding"), MAX_BYTES, hint)


def _refuse_pages(source: Source, refusals: logs.RareLines) -> None:
    """Raises NotForPages for a server's key, which must not be published, and for an origin that is not allowed."""
    origin = request.headers.get("Origin")
    if origin is None:
        return
    if source.settings.trust == "server":
        key = setting_name("sources", source.name, "trust")
        if refusals.is_due(key):
            log.warning("key_in_a_page", source=source.name, hint=f'{key}: write "browser" for a key that pages use')
        raise NotForPages("this write key is a server's; a page needs one of a source with trust = browser")
    allowed = source.settings.allowed_origins
    if allowed and origin not in allowed:
        key = setting_name("sources", source.name, "allowed_origins")
        if refusals.is_due(key):
            log.warning("origin_not_allowed", source=source.name, hint=f"{key} does not list the page's origin")
        raise NotForPages("this page may not use this write key")


def _allowed_origins(sources: Sequence[Source]) -> set[str]:
    """The origins that any source allows, since a preflight has no key. Empty is every origin."""
    browsers = [source.settings.allowed_origins for source in sources if source.settings.trust == "browser"]
    return set() if not all(browsers) else {origin for origins in browsers for origin in origins}

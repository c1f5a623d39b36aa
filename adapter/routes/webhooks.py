"""The routes `/webhooks/<source>`, to which CDPs post; sources that allow it may be sent by GET, too.

`ingest/receive.py` does the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from flask import Flask, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from adapter.ingest.receive import Receiver, WebhookRequest
from adapter.routes.answers import reply
from adapter.routes.bodies import read_body
from adapter.routes.headers import RequestHeaders
from adapter.routes.replays import asks_for_replay
from adapter.sources import SOURCES
from adapter.sources.base import FORM_CONTENT_TYPE, RequestContext, Source
from freshgate.errors import TooLarge
from freshgate.settings_parsing import setting_name

WITH_BODY = ["POST", "PUT", "PATCH"]


def add_webhooks(app: Flask, receiver: Receiver, sources: Mapping[str, Source]) -> None:
    """The routes of every configured source but those of the tracking API, whose routes check a page's origin, too."""
    webhook_sources = {
        name: source for name, source in sources.items() if SOURCES[source.settings.kind].endpoint == "webhook"
    }

    @app.route("/webhooks/<name>", methods=WITH_BODY)
    @app.route("/webhooks/<name>/<audience>/<any(joined, left):turn>", methods=WITH_BODY)
    def webhook(name: str, audience: str = "", turn: Literal["", "joined", "left"] = "") -> Response:
        source = webhook_sources.get(name)
        if source is None or (audience and not SOURCES[source.settings.kind].has_audiences):
            return no_such_source(name)
        received_at = receiver.clock.now()
        try:
            body = read_body(source.settings.max_bytes or 0)
        except RequestEntityTooLarge:
            key = setting_name("sources", name, "max_bytes")
            error = TooLarge(f"more than {source.settings.max_bytes} bytes", f"{name}: batch less, or raise {key}")
            receiver.refuse(source, error, is_proven=False)
            raise error from None
        headers = RequestHeaders(request.environ)
        content_type = headers.get("Content-Type") or ""
        return receive(source, body, headers, RequestContext(content_type, audience, turn), received_at)

    @app.get("/webhooks/<name>")
    @app.get("/webhooks/<name>/<audience>/<any(joined, left):turn>")
    def webhook_in_query(name: str, audience: str = "", turn: Literal["", "joined", "left"] = "") -> Response:
        source = webhook_sources.get(name)
        if source is None:
            return no_such_source(name)
        is_allowed = SOURCES[source.settings.kind].has_audiences and source.settings.allow_get
        # Flask adds HEAD to GET; no CDP posts events with it.
        if not is_allowed or request.method != "GET":
            return reply(405, {"error": "method not allowed"}, {"Allow": ", ".join(WITH_BODY)})
        received_at = receiver.clock.now()
        # A query is encoded like a form.
        context = RequestContext(FORM_CONTENT_TYPE, audience, turn)
        return receive(source, request.query_string, RequestHeaders(request.environ), context, received_at)

    def no_such_source(name: str) -> Response:
        is_tracking = name in sources and name not in webhook_sources
        hint = "; it takes the tracking API: post to /v1/batch with its write key" if is_tracking else ""
        return reply(404, {"error": f"no such source{hint}"})

    def receive(
        source: Source, body: bytes, headers: RequestHeaders, context: RequestContext, received_at: int
    ) -> Response:
        replay = asks_for_replay(headers, source.settings)
        remote = request.remote_addr or ""
        encoding = headers.get("Content-Encoding") or ""
        return reply(
            200,
            receiver.receive(source, WebhookRequest(body, headers, received_at, context, encoding, replay, remote)),
        )

"""create_app: routes, and errors as statuses. No business logic.

gunicorn serves `adapter.app:from_environment()`; `receive.py` does the work.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import redis
from flask import Flask, Response, request
from prometheus_flask_exporter import PrometheusMetrics
from prometheus_flask_exporter.multiprocess import GunicornPrometheusMetrics
from redis.exceptions import RedisError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.middleware.proxy_fix import ProxyFix

from adapter.ingest.receive import Receiver
from adapter.routes.openapi import document
from adapter.routes.snippet import add_snippet
from adapter.routes.tracking_api import PREFIX, add_tracking, error_body
from adapter.sources import SOURCES
from adapter.sources.base import About, Source
from freshgate.catalogs import events_of, triggers_of
from freshgate.errors import (
    FreshgateError,
    NotAuthentic,
    RateLimited,
    RequestError,
    SettingsError,
    StoreUnavailable,
    TooLarge,
)
from freshgate.queue import queue_name
from freshgate.settings import Settings, load, require_pii_key
from freshgate.settings_parsing import key_text
from freshgate.state import store
from freshgate.state.planner import Planner
from freshgate.telemetry import logs, metrics, tracing

log = logs.get(__name__)
_json = msgspec.json.Encoder().encode
RETRY_AFTER_S = 5
WITH_BODY = ["POST", "PUT", "PATCH"]
FORM = "application/x-www-form-urlencoded"
# Kinds that have audiences with URLs of their own, and may be told by GET.
OF_TEALIUM = frozenset({"tealium"})


def from_environment() -> Flask:
    """The app as gunicorn serves it."""
    settings = load(os.environ)
    logs.configure(settings.log_level, json=not sys.stderr.isatty())
    try:
        check(settings)
    except FreshgateError as error:
        # What gunicorn says of it ends with "Worker failed to boot", which helps nobody.
        log.critical("cannot_start", reason=str(error))
        raise
    client = store.connect(settings.redis_url)
    traces = tracing.setup(settings, "receiver")
    # A worker of gunicorn ends in order, and then sends what it still has.
    atexit.register(traces.close)
    try:
        store.load(client)
    except RedisError as error:
        # Redis may come later: /readyz says so, and the functions are loaded with the first event.
        log.warning("redis_unavailable", error=type(error).__name__)
    return create_app(settings, client, traces)


def check(settings: Settings) -> None:
    """Raises SettingsError or CatalogError for whatever would keep the receiver from starting."""
    require_pii_key(settings)
    configure_sources(settings)
    triggers_of(settings)


def create_app(settings: Settings, client: redis.Redis, traces: tracing.Traces = tracing.OFF) -> Flask:
    """An app on one Redis. Raises SettingsError or CatalogError, which stop the start."""
    app = Flask("freshgate")
    if settings.trusted_proxies:
        # Of all that a proxy may say, we need to know who the visitor is.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.trusted_proxies, x_proto=0, x_host=0)  # type: ignore[method-assign]  # as Flask's documentation has it
    app.config["MAX_CONTENT_LENGTH"] = max((one.max_bytes for one in settings.sources.values()), default=1 << 24)
    require_pii_key(settings)
    sources = configure_sources(settings)
    receiver = receiver_of(settings, client, traces)
    metrics.prepare_receiver(sources)
    _add_webhooks(app, receiver, sources)
    add_tracking(app, receiver, sources)
    add_snippet(app)
    _add_health(app, client)
    _add_document(app)
    _add_errors(app)
    exporter = GunicornPrometheusMetrics if "PROMETHEUS_MULTIPROC_DIR" in os.environ else PrometheusMetrics
    exporter(
        app,
        path=None,
        group_by="url_rule",
        defaults_prefix="freshgate_receiver",
        excluded_paths=["/healthz", "/readyz"],
    )
    return app


def receiver_of(settings: Settings, client: redis.Redis, traces: tracing.Traces = tracing.OFF) -> Receiver:
    """What records and enqueues as the settings say."""
    planner = Planner(events_of(settings), triggers_of(settings), settings.pii_key.encode())
    return Receiver(client, planner, queue_name(next(iter(settings.esps), "sendgrid")), traces)


def configure_sources(settings: Settings) -> dict[str, Source]:
    """Every source of the settings, ready to verify and read. No secret, no start."""
    catalog = events_of(settings)
    sources = {}
    for name, one in settings.sources.items():
        kind = SOURCES.get(one.kind)
        if kind is None:
            known = ", ".join(sorted(SOURCES))
            raise SettingsError(f"{key_text('sources', name, 'kind')}: {one.kind!r}; write which CDP it is: {known}")
        sources[name] = kind.configure(name, one, catalog)
    return sources


def _add_webhooks(app: Flask, receiver: Receiver, sources: Mapping[str, Source]) -> None:
    @app.route("/webhooks/<name>", methods=WITH_BODY)
    @app.route("/webhooks/<name>/<audience>/<any(joined, left):turn>", methods=WITH_BODY)
    def webhook(name: str, audience: str = "", turn: Literal["", "joined", "left"] = "") -> Response:
        source = sources.get(name)
        if source is None or (audience and source.settings.kind not in OF_TEALIUM):
            return _answer(404, {"error": "no such source"})
        received_at = time.time_ns() // 1_000_000
        request.max_content_length = source.settings.max_bytes
        try:
            body = request.get_data(cache=False)
        except RequestEntityTooLarge:
            key = key_text("sources", name, "max_bytes")
            error = TooLarge(f"more than {source.settings.max_bytes} bytes", f"{name}: batch less, or raise {key}")
            receiver.refuse(source, error)
            raise error from None
        return receive(source, body, About(request.headers.get("Content-Type", ""), audience, turn), received_at)

    @app.get("/webhooks/<name>")
    @app.get("/webhooks/<name>/<audience>/<any(joined, left):turn>")
    def webhook_in_query(name: str, audience: str = "", turn: Literal["", "joined", "left"] = "") -> Response:
        source = sources.get(name)
        if source is None:
            return _answer(404, {"error": "no such source"})
        allowed = source.settings.kind in OF_TEALIUM and source.settings.allow_get
        # HEAD comes with GET, and nobody tells of events with it.
        if not allowed or request.method != "GET":
            return _answer(405, {"error": "method not allowed"}, {"Allow": ", ".join(WITH_BODY)})
        received_at = time.time_ns() // 1_000_000
        # A query is written as a form is.
        return receive(source, request.query_string, About(FORM, audience, turn), received_at)

    def receive(source: Source, body: bytes, about: About, received_at: int) -> Response:
        # The signature or the token has been checked before this header is believed.
        replay = request.headers.get("X-Freshgate-Replay") == "1" and "X-Freshgate-Token" in request.headers
        again = replay and bool(source.settings.tokens)
        remote = request.remote_addr or ""
        told = receiver.receive(source, body, request.headers, received_at, about=about, again=again, remote=remote)
        return _answer(200, told)


def _add_health(app: Flask, client: redis.Redis) -> None:
    @app.get("/healthz")
    def healthz() -> Response:
        return _answer(200, {"status": "ok"})

    @app.get("/readyz")
    def readyz() -> Response:
        problems = store.check(client)
        return _answer(503 if problems else 200, {"status": "not ready" if problems else "ready", "problems": problems})


def _add_document(app: Flask) -> None:
    told = _json(document())

    @app.get("/openapi.json")
    def openapi() -> Response:
        return Response(told, mimetype="application/json", headers={"Cache-Control": "max-age=3600"})


def _add_errors(app: Flask) -> None:
    @app.errorhandler(RequestError)
    def refused(error: RequestError) -> Response:
        # The caller learns little; the log has said what to look at.
        reason = "signature rejected" if isinstance(error, NotAuthentic) else error.reason
        later = {"Retry-After": str(error.retry_after_s)} if isinstance(error, RateLimited) else None
        return _fault(error.status, reason, later)

    @app.errorhandler(StoreUnavailable)
    def unavailable(error: StoreUnavailable) -> Response:
        log.error("store_unavailable", error=str(error))
        return _fault(error.status, "try again later", {"Retry-After": str(RETRY_AFTER_S)})

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        allowed = getattr(error, "valid_methods", None)
        return _fault(error.code or 500, error.name.lower(), {"Allow": ", ".join(sorted(allowed))} if allowed else None)

    @app.errorhandler(Exception)
    def ours(error: Exception) -> Response:
        log.exception("unexpected", error=type(error).__name__)
        return _fault(503, "try again later", {"Retry-After": str(RETRY_AFTER_S)})


def _fault(status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    return _answer(
        status, error_body(status, reason) if request.path.startswith(PREFIX) else {"error": reason}, headers
    )


def _answer(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(_json(body), status, headers, mimetype="application/json")

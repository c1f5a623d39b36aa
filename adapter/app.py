"""The composition root of process 1: builds the sources, the connection to Redis and the Flask app from the settings.

gunicorn serves `adapter.app:from_environment()`; `routes/` has the URLs, `ingest/receive.py` the path of a webhook.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import suppress

import redis
from flask import Flask
from prometheus_flask_exporter import PrometheusMetrics
from prometheus_flask_exporter.multiprocess import GunicornPrometheusMetrics
from redis.exceptions import RedisError

from adapter.feedback import configure_feedback
from adapter.feedback.base import KINDS
from adapter.ingest.feedback import FeedbackReceiver
from adapter.ingest.receive import Receiver
from adapter.ingest.unsubscribe import Unsubscriber
from adapter.people import process
from adapter.people.caches import build_cache, parse_cache
from adapter.people.lookup import People
from adapter.routes.answers import add_error_handlers
from adapter.routes.feedback import add_feedback
from adapter.routes.health import add_health
from adapter.routes.methods import KnownMethods
from adapter.routes.openapi import add_openapi, document, people_document
from adapter.routes.people import add_people
from adapter.routes.proxies import ForwardedFor
from adapter.routes.slashes import SingleSlashes
from adapter.routes.snippet import add_snippet
from adapter.routes.tracking_api import add_tracking
from adapter.routes.unsubscribe import add_unsubscribe
from adapter.routes.webhooks import add_webhooks
from adapter.sources import configure_sources
from freshgate.catalogs import load_event_types, load_triggers
from freshgate.errors import FreshgateError
from freshgate.links import LinkTokens
from freshgate.outcomes import rules_of
from freshgate.routing import routes_of
from freshgate.settings import Settings
from freshgate.settings_file import load, require_pii_key, require_redis
from freshgate.settings_parsing import setting_name
from freshgate.state import store
from freshgate.state.planner import Planner
from freshgate.telemetry import first_series, logs, tracing

log = logs.get(__name__)


def from_environment() -> Flask:
    """The app that gunicorn serves. Raises FreshgateError, with the reason in the log."""
    settings = load(os.environ)
    logs.configure(settings.log_level, json=not sys.stderr.isatty())
    try:
        check(settings)
        require_redis(settings)
    except FreshgateError as error:
        # gunicorn's own message is "Worker failed to boot", which does not say why.
        log.critical("cannot_start", reason=str(error))
        raise
    if settings.page_addresses == "proven" and all(source.trust == "browser" for source in settings.sources.values()):
        hint = f'{setting_name("page_addresses")}: no source with trust = "server" gives an address that mail may go to'
        log.warning("no_proven_addresses", hint=hint)
    client = store.connect(settings.redis_url, queue_url=settings.queue_redis_url, fails_fast=True)
    traces = tracing.setup(settings, "receiver")
    # A worker that stops in order then exports the spans that it still has.
    atexit.register(traces.close)
    try:
        store.load(client)
        store.open_shops(client, (source.id_space for source in settings.sources.values()))
    except RedisError as error:
        # Redis may come up later: /readyz reports it, and the first event loads the functions.
        log.warning("redis_unavailable", error=type(error).__name__)
    except FreshgateError as error:
        log.critical("cannot_start", reason=str(error))
        raise
    return create_app(settings, client, traces)


def people_from_environment() -> Flask:
    """The People API alone, as gunicorn serves it in a process of its own. Raises SettingsError."""
    settings = load(os.environ)
    logs.configure(settings.log_level, json=not sys.stderr.isatty())
    try:
        process.check(settings)
        require_pii_key(settings)
        require_redis(settings)
        client = store.connect(settings.redis_url, queue_url=settings.queue_redis_url, fails_fast=True)
        with suppress(RedisError):
            store.load(client)
        return create_people_app(settings, client)
    except FreshgateError as error:
        log.critical("cannot_start", reason=str(error))
        raise


def check(settings: Settings) -> None:
    """Raises SettingsError or CatalogError for anything that would keep the receiver from starting."""
    require_pii_key(settings)
    configure_sources(settings)
    configure_feedback(settings)
    parse_cache(settings.people_cache)
    load_triggers(settings)


def create_app(settings: Settings, client: redis.Redis, traces: tracing.Traces = tracing.OFF) -> Flask:
    """The app on one Redis. Raises SettingsError or CatalogError, which stop the start."""
    app = new_flask(settings)
    require_pii_key(settings)
    sources = configure_sources(settings)
    receiver = build_receiver(settings, client, traces)
    try:
        receiver.synchronize()
    except RedisError:
        # The first request that Redis answers does this, and tells what else could not be told at the start: until then
        # events were not taken.
        for source in sources.values():
            receiver.recorder.note_gap(source.settings.id_space)
    first_series.prepare_receiver(sources)
    add_webhooks(app, receiver, sources)
    add_tracking(app, receiver, sources)
    add_account_feedback(app, settings, client, receiver)
    if settings.api_tokens and not settings.people_port:
        add_people(app, build_people(settings, client), settings.api_tokens)
    add_unsubscribe(app, build_unsubscriber(settings, client, receiver.clock.now))
    add_snippet(app)
    add_health(app, client)
    add_openapi(app, document())
    finish(app)
    return app


def create_people_app(settings: Settings, client: redis.Redis) -> Flask:
    """The People API alone, on one Redis. Raises SettingsError."""
    app = new_flask(settings)
    first_series.prepare_people()
    add_people(app, build_people(settings, client), settings.api_tokens)
    add_health(app, client)
    add_openapi(app, people_document())
    finish(app)
    return app


def new_flask(settings: Settings) -> Flask:
    """An app without routes."""
    app = Flask("freshgate")
    # A host with a slash at its end, or a path with one, is how people set up SDKs and webhooks.
    app.url_map.strict_slashes = False
    app.wsgi_app = SingleSlashes(app.wsgi_app)  # type: ignore[method-assign]  # as Flask's documentation has it
    if settings.trusted_proxies:
        # The visitor's address is all that we need from the proxy's headers.
        app.wsgi_app = ForwardedFor(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign]  # as Flask's documentation has it
    # The routes that read a body set their own limit.
    app.config["MAX_CONTENT_LENGTH"] = 0
    return app


def finish(app: Flask) -> None:
    """What comes after the routes: replies to errors, and metrics of the requests."""
    add_error_handlers(app)
    exporter = GunicornPrometheusMetrics if "PROMETHEUS_MULTIPROC_DIR" in os.environ else PrometheusMetrics
    exporter(
        app,
        path=None,
        group_by="url_rule",
        defaults_prefix="freshgate_receiver",
        excluded_paths=["/healthz", "/readyz"],
    )
    # The exporter has the method as a label, so it must see only methods that exist.
    app.wsgi_app = KnownMethods(app.wsgi_app)  # type: ignore[method-assign]  # as above


def build_unsubscriber(settings: Settings, client: redis.Redis, clock: Callable[[], int]) -> Unsubscriber:
    """Opens links to unsubscribe, for the topics of the catalog's marketing triggers. `clock` returns ms UTC."""
    tokens = LinkTokens(settings.pii_key.encode(), settings.unsubscribe_secrets)
    triggers = load_triggers(settings)
    topics = dict.fromkeys(trigger.topic_name for trigger in triggers if trigger.kind == "marketing")
    return Unsubscriber(client, tokens, [*topics], clock, rules_of(settings))


def build_receiver(settings: Settings, client: redis.Redis, traces: tracing.Traces = tracing.OFF) -> Receiver:
    """A receiver for the settings' catalog, which enqueues each send for the account of its trigger."""
    triggers = load_triggers(settings)
    planner = Planner(
        load_event_types(settings),
        triggers,
        settings.pii_key.encode(),
        page_addresses=settings.page_addresses == "any",
        shops_with_pages={source.id_space for source in settings.sources.values() if source.trust == "browser"},
    )
    return Receiver(client, planner, routes_of(settings, triggers), traces)


def add_account_feedback(app: Flask, settings: Settings, client: redis.Redis, receiver: Receiver) -> None:
    """The routes of the accounts whose ESP reports back."""
    readers = configure_feedback(settings)
    triggers = [trigger.name for trigger in load_triggers(settings)]
    first_series.prepare_feedback(readers, triggers, KINDS)
    add_feedback(app, FeedbackReceiver(client, settings, readers, triggers, receiver.clock), readers)


def build_people(settings: Settings, client: redis.Redis) -> People:
    """What the People API reads. Raises SettingsError for an unknown cache."""
    pii_key = settings.pii_key.encode()
    return People(
        client,
        build_cache(settings.people_cache, client, pii_key),
        list(dict.fromkeys(source.id_space for source in settings.sources.values())),
        pii_key,
        settings.order_grace,
        settings.api_rate,
    )

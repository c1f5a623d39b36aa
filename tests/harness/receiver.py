"""Receivers within the tests' process, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from redis import Redis

from adapter.app import create_app
from freshgate.settings import Settings

Serve = Callable[[Settings], FlaskClient]


@contextmanager
def serving(redis: Redis) -> Iterator[Serve]:
    """A function that returns the client of a receiver with these settings, and ends the one before.

    The exporter registers its series once a process, so those of one app must go before the next app starts.
    """
    registered = set(REGISTRY._collector_to_names)

    def forget() -> None:
        for collector in set(REGISTRY._collector_to_names) - registered:
            REGISTRY.unregister(collector)

    def serve(settings: Settings) -> FlaskClient:
        forget()
        return create_app(settings, redis).test_client()

    try:
        yield serve
    finally:
        forget()

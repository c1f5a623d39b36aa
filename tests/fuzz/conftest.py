"""A receiver with the sources that a test chooses, on the tests' Valkey."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from redis import Redis

from adapter.app import create_app
from freshgate.settings import Settings, SourceSettings
from freshgate.state import store

Serve = Callable[[Mapping[str, SourceSettings]], FlaskClient]


@pytest.fixture(scope="module")
def serve(redis_server: str) -> Iterator[Serve]:
    """A function that returns the client of a receiver with these sources; call it once in a module."""
    before = set(REGISTRY._collector_to_names)
    redis = Redis.from_url(redis_server)
    redis.flushdb()
    store.load(redis)
    yield lambda sources: create_app(Settings(pii_key="for tests", sources=sources), redis).test_client()
    for collector in set(REGISTRY._collector_to_names) - before:
        REGISTRY.unregister(collector)

"""A receiver with the sources that a test chooses, on the tests' Valkey."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest
from flask.testing import FlaskClient
from redis import Redis

from freshgate.settings import Settings, SourceSettings
from freshgate.state import store
from tests.harness.receiver import serving

Serve = Callable[[Mapping[str, SourceSettings]], FlaskClient]


@pytest.fixture(scope="module")
def serve(redis_server: str) -> Iterator[Serve]:
    """A function that returns the client of a receiver with these sources; call it once in a module."""
    redis = Redis.from_url(redis_server)
    redis.flushdb()
    store.load(redis)
    with serving(redis) as serve:
        yield lambda sources: serve(
            Settings(pii_key="for tests", sources=sources, api_tokens=("for tests",), api_rate=(10**6, 1000))
        )

"""What the tests of accounts share."""

from __future__ import annotations

import pytest
from redis import Redis

from freshgate.state import store
from tests.engine.accounts import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def library(redis: Redis) -> None:
    """A Redis with the function library."""
    store.load(redis)

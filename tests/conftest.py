"""The fixtures of all tests: a Valkey of their own, and free ports.

`redis` is empty for each test; functions and scripts that an earlier test loaded may still be there.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from redis import Redis

from adapter.local import embedded
from freshgate.telemetry import logs
from tests.harness.ports import free_ports


@pytest.fixture(autouse=True)
def unconfigured_logs() -> Iterator[None]:
    """What a test sets up for its logs ends with it: the stream that they go to does, too."""
    yield
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if type(handler) is logging.StreamHandler]:
        root.removeHandler(handler)
        root.setLevel(logging.WARNING)
        for name in logs.NOISY_LOGGERS:
            logging.getLogger(name).setLevel(logging.NOTSET)
        structlog.reset_defaults()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The URL of a Valkey that lives as long as the test session."""
    # Not pytest's own folder: its path may be too long for a socket.
    with tempfile.TemporaryDirectory(prefix="freshgate-test-") as folder:
        server = embedded.prepare(Path(folder) / "redis", log=Path(folder) / "redis.log")
        process = embedded.start(server)
        yield server.url
        embedded.stop(server, process)


@pytest.fixture
def redis(redis_server: str) -> Iterator[Redis]:
    """A client that answers bytes, on an empty database."""
    client = Redis.from_url(redis_server, decode_responses=False)
    client.flushdb()
    yield client
    client.close()


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function: each call gives another TCP port of 127.0.0.1 on which nothing listens."""
    return lambda: free_ports(1)[0]

"""Fixtures for all tests: a Valkey server and free ports.

`redis` is empty at the start of each test, but for functions and scripts that an earlier test loaded.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from redis import Redis
from structlog._config import BoundLoggerLazyProxy

from adapter.local import embedded
from freshgate.state.cluster import is_cluster
from freshgate.telemetry import logs
from tests.harness.cluster import whole_cluster
from tests.harness.ports import free_ports

# Files and folders that `make check` leaves out: they start the whole product or many processes, or try many inputs.
SLOW = (
    "adapter/commands/test_example.py",
    "adapter/commands/test_new.py",
    "adapter/local/test_launcher.py",
    "adapter/server/test_hostile.py",
    "adapter/server/test_worker.py",
    "deploy/test_by_hand.py",
    "deploy/test_hosts.py",
    "freshgate/state/test_cluster.py",
    "freshgate/state/test_failover.py",
    "freshgate/telemetry/test_metric_files.py",
    "freshgate/telemetry/test_processes.py",
    "freshgate/test_printable.py",
    "fuzz/",
    "relevance/",
    "sdks/",
    "system/",
    "test_cookbook.py",
)
# Property tests that every source has, with hundreds of inputs each.
SLOW_TESTS = "test_wrong_types_in_any_"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests, before pytest selects by markers. Their files come first, so that none is left at the end
    while the other processes have nothing to do."""
    for item in items:
        if is_slow_file(item) or item.name.startswith(SLOW_TESTS):
            item.add_marker(pytest.mark.slow)
    items.sort(key=is_slow_file, reverse=True)


def is_slow_file(item: pytest.Item) -> bool:
    return item.path.relative_to(Path(__file__).parent).as_posix().startswith(SLOW)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores: the slow tests mostly wait."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture(autouse=True)
def unconfigured_logs() -> Iterator[None]:
    """Undo a test's logging setup after it, since the stream that it writes to is closed then."""
    yield
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if type(handler) is logging.StreamHandler]:
        root.removeHandler(handler)
        root.setLevel(logging.WARNING)
        for name in logs.NOISY_LOGGERS:
            logging.getLogger(name).setLevel(logging.NOTSET)
    if structlog.is_configured():
        structlog.reset_defaults()
        for module in list(sys.modules.values()):
            # A logger that was used keeps its configuration there, and no later test could capture its lines.
            logger = getattr(module, "log", None)
            if isinstance(logger, BoundLoggerLazyProxy):
                vars(logger).pop("bind", None)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The URL of a Valkey that lives as long as the test session; or of the one that `make mutants` starts for many."""
    running = os.environ.get("FRESHGATE_TEST_REDIS_URL")
    if running:
        yield running
        return
    # Not pytest's folder, whose path may be too long for a Unix socket.
    with tempfile.TemporaryDirectory(prefix="freshgate-test-") as folder:
        server = embedded.prepare(Path(folder) / "redis", log=Path(folder) / "redis.log")
        process = embedded.start(server)
        yield server.url
        embedded.stop(server, process)


@pytest.fixture
def redis(redis_server: str) -> Iterator[Redis]:
    """A client whose replies are bytes, on an empty database."""
    if is_cluster(redis_server):
        client = whole_cluster(redis_server, os.environ["FRESHGATE_TEST_QUEUE_REDIS_URL"])
    else:
        client = Redis.from_url(redis_server, decode_responses=False)
    client.flushdb()
    yield client
    client.close()


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that returns another free TCP port of 127.0.0.1 at each call."""
    return lambda: free_ports(1)[0]

"""A failover as clients see it: behind an address another server becomes the primary, old connections stay open."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ReadOnlyError

from adapter.local import embedded
from freshgate.state import store
from tests.harness.ports import free_ports
from tests.harness.receiver_process import ROOT, Receiver


class Address:
    """One TCP port that leads to a server; `target` may change, and connections that are open stay where they lead."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._stopped = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def close(self) -> None:
        self._stopped = True
        self._thread.join()

    def _run(self) -> None:
        with ExitStack() as opened, selectors.DefaultSelector() as selector:
            opened.enter_context(self._listener)
            selector.register(self._listener, selectors.EVENT_READ, None)
            while not self._stopped:
                for key, _ in selector.select(0.1):
                    if key.data is None:
                        near, _ = self._listener.accept()
                        far = socket.socket(socket.AF_UNIX)
                        far.connect(str(self.target))
                        for source, target in ((near, far), (far, near)):
                            opened.enter_context(source)
                            selector.register(source, selectors.EVENT_READ, target)
                        continue
                    end: socket.socket = key.data
                    piece = b""
                    with suppress(OSError):
                        piece = key.fileobj.recv(65536)  # type: ignore[union-attr]  # a socket
                    if piece:
                        with suppress(OSError):
                            end.sendall(piece)
                    else:
                        selector.unregister(key.fileobj)
                        with suppress(OSError):
                            end.shutdown(socket.SHUT_WR)


class Pair:
    """Two servers, and the address of whichever is the primary."""

    def __init__(self, folders: list[Path]) -> None:
        self._servers = [embedded.prepare(folder / "redis", log=folder / "log") for folder in folders]
        self._processes = [embedded.start(server) for server in self._servers]
        self.old, self.new = (Redis.from_url(server.url) for server in self._servers)
        self.address = Address(self._servers[0].socket)

    def fail_over(self) -> None:
        """The old primary becomes a replica of something, without losing its clients; the address leads to the new."""
        self.old.replicaof("127.0.0.1", "1")
        self.address.target = self._servers[1].socket

    def close(self) -> None:
        for client in (self.old, self.new):
            client.close()
        self.address.close()
        for server, process in zip(self._servers, self._processes, strict=True):
            embedded.stop(server, process)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ExitStack() as folders:
        pair = Pair([Path(folders.enter_context(tempfile.TemporaryDirectory(prefix="freshgate-"))) for _ in "ab"])
        yield pair
        pair.close()


def write_in_pipeline(client: Redis, transaction: bool) -> None:
    pipe = client.pipeline(transaction=transaction)
    pipe.set("a", 1)
    pipe.execute()


WRITES: dict[str, Callable[[Redis], object]] = {
    "a command": lambda client: client.set("a", 1),
    "a pipeline": lambda client: write_in_pipeline(client, False),
    "a transaction": lambda client: write_in_pipeline(client, True),
}


@pytest.mark.parametrize("name", WRITES)
def test_after_a_failover_one_write_fails_and_the_next_one_reaches_the_new_primary(pair: Pair, name: str) -> None:
    client = store.connect(pair.address.url)
    # Several connections, all of them to the old primary.
    taken = [client.connection_pool.get_connection() for _ in range(3)]
    for connection in taken:
        client.connection_pool.release(connection)
    WRITES[name](client)
    pair.fail_over()
    with pytest.raises(ReadOnlyError):
        WRITES[name](client)
    for _ in range(5):
        WRITES[name](client)
    assert pair.new.get("a") == b"1"
    client.close()


def test_a_connection_that_was_in_use_meanwhile_is_made_anew_too(pair: Pair) -> None:
    client = store.connect(pair.address.url)
    busy, idle = (client.connection_pool.get_connection() for _ in range(2))
    client.connection_pool.release(idle)
    pair.fail_over()
    with pytest.raises(ReadOnlyError):
        client.set("a", 1)
    client.connection_pool.release(busy)
    both = [client.connection_pool.get_connection() for _ in range(2)]
    for connection in both:
        connection.send_command("ROLE")
        assert connection.read_response()[0] == b"master"
        client.connection_pool.release(connection)
    client.close()


def test_asking_whether_it_is_ready_finds_the_new_primary_without_a_write(pair: Pair) -> None:
    client = store.connect(pair.address.url)
    assert store.check(client) == ([], [])
    pair.fail_over()
    assert store.check(client) == (["redis: this is a read-only replica"], [])
    assert store.check(client) == ([], [])
    client.close()


def test_the_receiver_takes_orders_again_by_itself(pair: Pair) -> None:
    with Receiver(pair.address.url) as receiver:
        assert [receiver.order()[0] for _ in range(8)] == [200] * 8
        pair.fail_over()
        statuses = [receiver.order()[0] for _ in range(20)]
        assert set(statuses) <= {200, 503} and statuses[-4:] == [200] * 4


def test_a_worker_that_ends_since_redis_takes_no_writes_does_not_end_with_0(pair: Pair, tmp_path: Path) -> None:
    (sandbox, metrics) = free_ports(2)
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FRESHGATE_")},
        "FRESHGATE_REDIS_URL": pair.address.url,
        "FRESHGATE_PII_KEY": "for tests",
        "FRESHGATE_SANDBOX_PORT": str(sandbox),
        "FRESHGATE_WORKER_METRICS_PORT": str(metrics),
        "FRESHGATE_ESPS__SENDGRID__API_KEY": "for-tests",
    }

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / "log").open("ab") as log:
            command = [sys.executable, "-m", "workers", "deliver"]
            return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)

    def wait_for_idle_worker(client: Redis) -> None:
        """Until it waits in its blocking pop: then it has started as a whole, with its signals."""
        deadline = time.monotonic() + 30
        while not client.info("clients")["blocked_clients"]:
            assert time.monotonic() < deadline, (tmp_path / "log").read_text(encoding="utf-8")
            time.sleep(0.05)

    worker = start()
    try:
        wait_for_idle_worker(pair.old)
        pair.fail_over()
        # It waits in a blocking pop, which the server ends; what it does next is a write.
        assert worker.wait(60) == 1
        worker = start()
        wait_for_idle_worker(pair.new)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    finally:
        worker.kill()
        worker.wait()

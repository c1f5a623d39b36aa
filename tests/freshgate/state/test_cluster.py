"""Shops on a Cluster of three real nodes: each on its own, while slots move and a primary dies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from freshgate.events import Event
from freshgate.queue import push
from freshgate.state import cluster, keys, store
from tests.engine.world import World
from tests.harness.cluster import Cluster, wait_until

ROOT = Path(__file__).resolve().parents[3]
ADA = "ada@example.com"
# Tests of the engine that ask one server for its figures, or replace its connection.
SINGLE_SERVER_TESTS = (
    "tests/engine/test_bounds.py::test_a_person_of_200_devices_is_decided_on_in_one_trip_and_the_201st_displaces_the_oldest",
    "tests/engine/test_bounds.py::test_libraries_of_two_releases_work_side_by_side",
    "tests/engine/test_crash_points.py",
    "tests/engine/test_crash_points_of_lanes.py",
    "tests/engine/test_timers.py::test_the_jobs_of_a_look_are_written_all_at_once",
)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), replicas=1) as running:
        yield running


@pytest.fixture
def client(nodes: Cluster) -> Iterator[Any]:
    client: Any = nodes.client()
    client.flushdb()
    yield client
    client.close()


def shops_of_each_node(nodes: Cluster) -> list[str]:
    """The name of a shop on each of the three nodes."""
    third = 16384 // 3
    names: dict[int, str] = {}
    for number in range(1000):
        names.setdefault(min(2, cluster.slot_of(f"shop-{number}") // third), f"shop-{number}")
    return [names[node] for node in range(3)]


def order(world: World, shop: str, number: int = 1) -> Event:
    event = world.event("Order Completed", user="ada", email=ADA, order_id=str(number))
    return msgspec.structs.replace(event, id_space=shop)


def orders_of(client: Any, shop: str) -> int:
    return len(client.keys(f"{keys.shop(shop)}o:*"))


@pytest.mark.parametrize(
    ("key", "tag"),
    [
        ("fg:{main}:p:u1", "main"),
        ("fg:hold", "fg:hold"),
        ("a{}b", "a{}b"),
        ("{a}{b}", "a"),
        ("a}b{c}", "c"),
        ("a{b", "a{b"),
    ],
)
def test_the_slot_follows_from_the_text_between_the_first_braces(client: Any, key: str, tag: str) -> None:
    assert cluster.tag_of(key) == tag
    assert client.primaries()[0].execute_command("CLUSTER", "KEYSLOT", key) == cluster.slot_of(tag)


def test_three_shops_stand_on_three_nodes_and_each_has_its_own_state(nodes: Cluster, client: Any) -> None:
    world = World(client)
    shops = shops_of_each_node(nodes)
    for shop in shops:
        assert world.record(order(world, shop)).accepted == 1
        assert world.record(order(world, shop)).accepted == 1
    for number, shop in enumerate(shops):
        held = {key for node in nodes.nodes[:3] for key in node.keys(f"{keys.shop(shop)}*")}
        assert held == set(nodes.nodes[number].keys(f"{keys.shop(shop)}*"))
        assert orders_of(client, shop) == 1
    assert sorted(store.shops(client)) == sorted(shops)


def test_jobs_stand_in_the_redis_of_the_queues_and_only_behind_what_was_recorded(client: Any) -> None:
    world = World(client)
    world.record(order(world, "main"))
    assert client.queues.llen("rq:queue:freshgate-test") == 1
    pipe = client.pipeline(transaction=False)
    pipe.execute_command("FCALL", "nothing", 1, keys.shop("main"))
    push(pipe, "freshgate-test", "main", [("welcome|p:u1", 0)], world.now)
    with pytest.raises(RedisError):
        pipe.execute()
    assert client.queues.llen("rq:queue:freshgate-test") == 1


def test_a_node_without_the_functions_is_given_them(nodes: Cluster, client: Any) -> None:
    world = World(client)
    for node in nodes.nodes[:3]:
        node.function_flush()
    assert [world.record(order(world, shop)).accepted for shop in shops_of_each_node(nodes)] == [1, 1, 1]
    assert store.check(client)[0] == []


def test_a_shop_waits_while_its_slot_moves_and_is_whole_on_the_other_node(nodes: Cluster, client: Any) -> None:
    """Half of the records are on each node then. A function that reached only these would decide wrongly."""
    world = World(client)
    shop, other, _ = shops_of_each_node(nodes)
    assert world.record(order(world, shop, 1)).accepted == 1
    slot = cluster.slot_of(shop)
    for source, target in ((0, 1), (1, 0)):
        for number, step in enumerate(nodes.move_slot(slot, source, target)):
            if step != "closed":
                with pytest.raises(cluster.SlotMoving):
                    world.record(order(world, shop, 2 + number))
                assert world.record(order(world, other, 2 + number)).refused == 0
        held = len(nodes.nodes[target].keys(f"{keys.shop(shop)}*"))
        assert held == len(client.keys(f"{keys.shop(shop)}*")) > 0
        assert world.record(order(world, shop, 1)).refused == 0
        assert orders_of(client, shop) == 1
    assert world.record(order(world, shop, 9)).accepted == 1
    assert orders_of(client, shop) == 2


def test_a_replica_takes_over_and_the_other_shops_do_not_notice(nodes: Cluster, client: Any) -> None:
    world = World(client)
    shop, other, _ = shops_of_each_node(nodes)
    assert world.record(order(world, shop)).accepted == 1
    assert nodes.nodes[0].wait(1, 5000) == 1
    nodes.kill(0)
    refused = 0

    def is_taken() -> bool:
        nonlocal refused
        # Nobody waits for a neighbour.
        assert world.record(order(world, other, 100 + refused)).accepted == 1
        try:
            return world.record(order(world, shop, 2)).accepted == 1
        except RedisConnectionError:
            refused += 1
            return False
        except RedisError:
            return False

    wait_until(is_taken)
    assert refused > 0
    assert orders_of(client, shop) == 2


@pytest.mark.tools
@pytest.mark.timeout(600)
def test_the_engines_tests_pass_on_three_nodes(tmp_path: Path) -> None:
    with Cluster(tmp_path / "engine") as running:
        environ = {
            **os.environ,
            "FRESHGATE_TEST_REDIS_URL": running.url,
            "FRESHGATE_TEST_QUEUE_REDIS_URL": running.queue_url,
        }
        ignored = [f"--deselect={name}" for name in SINGLE_SERVER_TESTS]
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", *ignored]
        done = subprocess.run(
            [*command, "tests/engine"], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=590, check=False
        )
    assert done.returncode == 0, done.stdout[-4000:]

"""What one call reads of a person for the People API and for `why`: order, bounds, and the version."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from adapter.ingest.unmapped import Unmapped
from freshgate.events import Ignored
from freshgate.state import keys, suppressions
from freshgate.state.store import fcall
from tests.engine.world import PII_KEY, SHOP, START, World

ADA = "ada@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    """Ada, whose phone became hers."""
    world = World(redis)
    world.record(world.event("Page", anon="phone"), world.event("Identify", user="ada", anon="phone", email=ADA))
    return world


def read(world: World, version: str = "") -> Any:
    return fcall(world.client, "person", SHOP, "", version, "", keys.person_id("main", "ada"))


def recent(world: World, limit: int) -> list[bytes]:
    trail: Any = fcall(world.client, "recent", SHOP, "", limit, "", keys.person_id("main", "ada"))[2]
    return list(trail)


def fill_trails(redis: Redis, world: World, devices: int) -> None:
    """As many devices, each of which has a hundred events."""
    ids = [f"device{number}" for number in range(devices)]
    redis.hset(keys.person("main", world.root("ada")), "ids", " ".join(ids))
    pipe = redis.pipeline()
    for id_ in [world.root("ada"), *ids]:
        pipe.delete(f"{SHOP}p:{id_}:ev")
        pipe.rpush(f"{SHOP}p:{id_}:ev", *range(100))
    pipe.execute()


def test_the_records_begin_with_the_root(world: World) -> None:
    root, records = read(world)[1], read(world)[3]
    assert [record_id.decode() for record_id, _ in records] == world.record_ids("ada")
    assert records[0][0] == root
    assert len(records) == 2


def test_a_version_ends_with_a_change_of_the_person_or_of_an_address(world: World) -> None:
    version = read(world)[2]
    assert read(world, version.decode())[2:] == [version]
    opt_out = suppressions.Change(
        address=keys.address_id(PII_KEY, ADA),
        kind="unsubscribed",
        at=START,
        author="o",
        value="asked",
        state="suppressed",
    )
    suppressions.write(world.client, "main", opt_out)
    later = read(world, version.decode())[2]
    assert later != version
    world.record(world.event("Page", user="ada"))
    assert read(world, later.decode())[2] not in (version, later)


def test_as_many_addresses_are_read_as_decisions_read(world: World, redis: Redis) -> None:
    stamp = read_stamp(redis, world)
    redis.hset(keys.person("main", world.root("ada")), mapping={f"A:more{n}": f"{stamp}{n:032}" for n in range(9)})
    assert len(read(world)[4]) == 8


def read_stamp(redis: Redis, world: World) -> str:
    value: Any = redis.hget(keys.person("main", world.root("ada")), "A:email")
    return str(value.decode().removesuffix(keys.address_id(PII_KEY, ADA)))


def test_an_event_that_nobody_reads_is_recent_and_no_action(world: World) -> None:
    Unmapped(world.client).note_on_trails("segment", "main", [Ignored("Scroll", user_id="ada")], START, trusted=True)
    assert any(b"Scroll" in entry for entry in recent(world, 9))
    assert not any(b"Scroll" in entry for entry in read(world)[5])


@pytest.mark.parametrize(
    ("devices", "limit", "entries"),
    [
        (0, 1, 1),
        (0, 50, 50),
        # Two thousand of all lists at most: of each the same share,
        (49, 50, 50 * 20),
        # and ten, however many there are.
        (149, 50, 150 * 10),
        (149, 5, 150 * 5),
    ],
)
def test_of_many_devices_fewer_events_of_each_are_read(
    world: World, redis: Redis, devices: int, limit: int, entries: int
) -> None:
    fill_trails(redis, world, devices)
    assert len(recent(world, limit)) == entries

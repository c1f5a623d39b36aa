"""Copies of a working store, and what a store that was restored from one does: with real Valkeys.

`tests/system/test_restore.py` has the same with the whole product under load.
"""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from adapter.local import embedded
from freshgate.errors import FreshgateError
from freshgate.settings import Settings
from freshgate.state import keys
from freshgate.state.records import Claim
from freshgate.state.restored import beat, hold_if_restored, note_stop, read_restored, settle_restored
from tests.engine.world import MINUTE, PII_KEY, START, World
from tests.harness.operator import Operator
from workers import backup
from workers.restore import AOF_FOLDER, copied_at, restore, write_data
from workers.snapshot import _until_mark

ROOT = Path(__file__).parents[2]
HOUR_MS = 3_600_000


def settings(url: str) -> Settings:
    return Settings(redis_url=url, pii_key=PII_KEY.decode())


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Path], Redis]]:
    """A function that starts a Valkey on a folder of data, and returns a client."""
    started = []

    def run(folder: Path) -> Redis:
        server = embedded.prepare(folder, log=tmp_path / "redis.log")
        started.append((server, embedded.start(server)))
        return Redis.from_url(server.url)

    yield run
    for server, process in started:
        embedded.stop(server, process)


def order(world: World, number: int) -> str:
    world.record(world.event("Order Completed", user=f"u{number}", email=f"u{number}@x.org", order_id=str(number)))
    return keys.order("main", keys.order_id("main", str(number)))


def test_a_copy_made_while_orders_arrive_has_each_that_was_acknowledged_before(
    redis: Redis, redis_server: str, tmp_path: Path, start: Callable[[Path], Redis]
) -> None:
    world, acknowledged, enough = World(redis), list[str](), threading.Event()

    def shop() -> None:
        while not enough.is_set():
            acknowledged.append(order(world, len(acknowledged)))

    thread = threading.Thread(target=shop)
    thread.start()
    while len(acknowledged) < 50:
        time.sleep(0.01)
    before = list(acknowledged)
    copy = backup.make_copy(settings(redis_server), tmp_path / "copies", keep=1)
    during = len(acknowledged)
    while len(acknowledged) < during + 5:
        time.sleep(0.01)
    enough.set()
    thread.join()
    assert write_data(copy, tmp_path / "new", START) is None
    restored = start(tmp_path / "new")
    assert [name for name in before if not restored.exists(name)] == []
    assert not restored.exists(acknowledged[-1])
    # From its first moment on, nothing leaves.
    assert restored.smembers(keys.HOLD) == {b"*"}
    mark = read_restored(restored)
    assert mark is not None
    assert mark == (copied_at(copy), START)


def test_what_was_due_before_the_restore_never_leaves_and_what_comes_afterwards_does(
    redis: Redis, redis_server: str, tmp_path: Path, start: Callable[[Path], Redis], capsys: pytest.CaptureFixture[str]
) -> None:
    lost = World(redis)
    for number in range(3):
        order(lost, number)
    copy = backup.make_copy(settings(redis_server), tmp_path / "copies", keep=1)
    lost.run()
    assert len(lost.mails()) == 3
    write_data(copy, tmp_path / "new", START + 10 * MINUTE)
    world = World(start(tmp_path / "new"))
    operator = Operator(world, f"unix://{world.client.connection_pool.connection_kwargs['path']}")
    world.now = START + 11 * MINUTE
    world.run()
    late = order(world, 9)
    world.run()
    assert (world.mails(), world.client.exists(late)) == ([], 1)
    assert operator.run("release") == 1
    asked = capsys.readouterr().out
    assert "all mail is held" in asked
    assert "--sent-until 2025-10-09T09:03:20Z" in asked
    assert operator.run("hold", "--list") == 0
    assert "Waiting and due: 4 (" in capsys.readouterr().out
    assert operator.run("release", "--sent-until", "2025-10-09T09:03:20") == 0
    # The CDP sends an order of the lost time once more.
    world.record(
        world.event("Order Completed", at=START + MINUTE, user="u5", email="u5@x.org", order_id="5"),
    )
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", "u9@x.org")]
    (withheld,) = [entry for entry in world.decisions("u1") if entry["state"] == "stale"]
    assert (withheld["reason"], withheld["compared"]["sent_until"]) == ("before_restore", START + 10 * MINUTE)
    assert world.outcomes("u5")[-1] == ("order_confirmation", "stale")
    assert operator.run("release") == 1


def test_an_operator_may_let_everything_leave(
    redis: Redis, redis_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world, operator = World(redis), Operator(World(redis), redis_server)
    order(world, 1)
    redis.hset(keys.RESTORED, mapping={"copied_at": START, "restored_at": START + MINUTE})
    redis.sadd(keys.HOLD, "*")
    world.run()
    assert world.mails() == []
    assert operator.run("release", "--sent-until", "none") == 0
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", "u1@x.org")]
    assert operator.run("release", "--sent-until", "none") == 1
    assert "was not restored" in capsys.readouterr().out


def test_what_an_operator_replays_leaves_though_it_was_due_before_the_restore(redis: Redis) -> None:
    world = World(redis)
    name = order(world, 1)
    settle_restored(redis, world.now)
    redis.hset(name, "c:order_confirmation", "s1 " + Claim("s1", "replay", "-", 0, START, 0, "").text())
    world.run()
    assert world.mails() == [("order_confirmation", "u1@x.org")]


def test_a_second_restore_forgets_the_time_of_the_first(redis: Redis) -> None:
    settle_restored(redis, START)
    settle_restored(redis, START + MINUTE)
    assert redis.smembers(keys.HOLD) == {f"sent_until:{START + MINUTE}".encode()}
    settle_restored(redis, 0)
    assert not redis.exists(keys.HOLD)


# ---- recognised without our own restore


@pytest.mark.parametrize(
    ("silent_ms", "is_stopped", "is_held"),
    [(HOUR_MS, False, True), (HOUR_MS, True, False), (5 * MINUTE, False, False), (None, False, False)],
)
def test_a_new_server_whose_timers_fell_silent_long_ago_without_a_stop_holds_its_mail(
    tmp_path: Path, start: Callable[[Path], Redis], silent_ms: int | None, *, is_stopped: bool, is_held: bool
) -> None:
    client = start(tmp_path / "data")
    if silent_ms is not None:
        beat(client, time.time_ns() // 1_000_000 - silent_ms)
    if is_stopped:
        note_stop(client)
    assert hold_if_restored(client) is is_held
    assert (client.smembers(keys.HOLD) == {b"*"}, read_restored(client) is not None) == (is_held, is_held)
    # Once released, a worker that starts later holds nothing.
    settle_restored(client, 0)
    beat(client, time.time_ns() // 1_000_000)
    assert hold_if_restored(client) is False


@pytest.mark.parametrize(("lost_ms", "is_held"), [(HOUR_MS, True), (5_000, False)])
def test_a_copy_that_takes_the_stores_place_below_running_timers_is_noticed(
    redis: Redis, lost_ms: int, *, is_held: bool
) -> None:
    now = time.time_ns() // 1_000_000
    beat(redis, now - 10_000)
    # What the copy has, or what a failover has kept.
    redis.set(keys.HEARTBEAT, now - 10_000 - lost_ms)
    beat(redis, now, now - 10_000)
    assert (redis.smembers(keys.HOLD) == {b"*"}, read_restored(redis) is not None) == (is_held, is_held)
    beat(redis, now + 5_000, now)
    assert redis.get(keys.HEARTBEAT) == str(now + 5_000).encode()


# ---- the command


def test_a_schedule_makes_copies_keeps_the_newest_and_ends_when_told_to(
    redis: Redis, redis_server: str, tmp_path: Path
) -> None:
    environ = {"FRESHGATE_REDIS_URL": redis_server, "FRESHGATE_PII_KEY": "k" * 32, "PATH": ""}
    words = [sys.executable, "-m", "workers", "backup", str(tmp_path / "c"), "--every", "1s", "--keep", "2"]
    process = subprocess.Popen(words, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    copies = [process.stdout.readline().split()[0] for _ in range(3)]
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    stay = [str(file) for file in backup.copies(tmp_path / "c")]
    assert len(stay) == 2 and copies[0] not in stay
    assert {file.stat().st_mode & 0o777 for file in backup.copies(tmp_path / "c")} == {0o600}
    assert [file.suffix for file in (tmp_path / "c").iterdir()] == [".rdb", ".rdb"]
    noted = redis.hgetall(keys.BACKUP)
    assert noted[b"interval"] == b"1000"
    assert abs(int(noted[b"at"]) - time.time() * 1000) < 60_000


def test_what_is_no_copy_changes_nothing_and_old_data_is_moved_aside(
    redis: Redis, redis_server: str, tmp_path: Path
) -> None:
    (tmp_path / "text.rdb").write_text("no copy", encoding="utf-8")
    data = tmp_path / "data"
    (data / AOF_FOLDER).mkdir(parents=True)
    (data / AOF_FOLDER / "old").write_text("old", encoding="utf-8")
    for name in ("text.rdb", "nothing.rdb"):
        with pytest.raises(FreshgateError, match=name):
            write_data(tmp_path / name, data, START)
    assert (data / AOF_FOLDER / "old").exists()
    copy = backup.make_copy(settings(redis_server), tmp_path / "copies", keep=1)
    aside = write_data(copy, data, START)
    assert aside is not None
    assert (aside / "old").read_text(encoding="utf-8") == "old"
    assert sorted(file.name for file in (data / AOF_FOLDER).iterdir()) == [
        "appendonly.aof.1.base.rdb",
        "appendonly.aof.1.incr.aof",
        "appendonly.aof.manifest",
    ]


def test_nothing_is_restored_below_a_server_that_runs(redis: Redis, redis_server: str, tmp_path: Path) -> None:
    copy = backup.make_copy(settings(redis_server), tmp_path / "copies", keep=1)
    with pytest.raises(FreshgateError, match="the store runs"):
        restore(settings(redis_server), copy, tmp_path / "data")
    assert not (tmp_path / "data").exists()


class Pieces:
    """A stream whose reads return what the network would, a piece at a time."""

    def __init__(self, text: bytes, size: int) -> None:
        self._stream, self._size = io.BytesIO(text), size

    def read1(self, _length: int) -> bytes:
        return self._stream.read(self._size)


@pytest.mark.parametrize("size", [1, 7, 39, 40, 41, 1000])
def test_a_copy_ends_at_its_mark_however_it_arrives_and_one_that_is_cut_off_is_none(size: int) -> None:
    mark, text = b"m" * 40, bytes(range(256))
    assert b"".join(_until_mark(Pieces(text + mark, size), mark)) == text
    with pytest.raises(RedisError, match="cut off"):
        b"".join(_until_mark(Pieces(text + mark[:-1], size), mark))

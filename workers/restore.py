"""Writes the files that a new store starts from, out of a copy, with all mail held.

`python -m workers restore` calls it. `backup.py` makes the copies.
"""

from __future__ import annotations

import calendar
import os
import shutil
import time
from pathlib import Path
from typing import Any, BinaryIO

import redis
from redis.exceptions import BusyLoadingError, RedisError

from freshgate.errors import FreshgateError
from freshgate.local_settings import connect_local_store
from freshgate.settings import Settings
from freshgate.state import keys
from freshgate.state.restored import ALL

PREFIX, SUFFIX = "freshgate-", ".rdb"
TIME_FORMAT = "%Y%m%dT%H%M%SZ"
MAGIC = (b"REDIS", b"VALKEY")
CHUNK_BYTES = 1 << 20
AOF_FOLDER, AOF_NAME = "appendonlydir", "appendonly.aof"


def restore(settings: Settings, copy: Path, data: Path) -> int:
    """Returns the exit code. Raises FreshgateError."""
    if _answers(settings):
        raise FreshgateError("restore: the store runs; stop it first, for it would write over what is restored")
    db = _database(settings.redis_url) if settings.redis_url else 0
    aside = write_data(copy, data, time.time_ns() // 1_000_000, db)
    print(f"restored {copy.name} into {data / AOF_FOLDER}" + (f"; what was there is in {aside.name}" if aside else ""))
    print(
        "Start the store, then the processes. All mail is held; `python -m workers release` says what to do about it."
    )
    return 0


def _database(url: str) -> int:
    """The number of the database that the URL names."""
    pool: Any = redis.ConnectionPool.from_url(url)
    return int(pool.connection_kwargs.get("db") or 0)


def _answers(settings: Settings) -> bool:
    if not settings.redis_url:
        return False
    client = connect_local_store(settings)
    try:
        return bool(client.ping())
    except BusyLoadingError:
        return True
    except RedisError:
        return False
    finally:
        client.close()


def write_data(copy: Path, data: Path, restored_at: int, db: int = 0) -> Path | None:
    """Writes the append-only files of a store that starts from the copy with all mail held. Returns where the files are
    that were there. Raises FreshgateError for what is no copy.

    restored_at  now (ms)
    db           the number of the database
    """
    try:
        with copy.open("rb") as source:
            is_copy = source.read(6).startswith(MAGIC)
    except OSError as error:
        raise FreshgateError(f"{copy}: {error.strerror}") from None
    if not is_copy:
        raise FreshgateError(f"{copy}: not a copy of a store")
    folder = data / AOF_FOLDER
    aside = None
    if folder.exists():
        aside = data / f"{AOF_FOLDER}.before-{time.strftime(TIME_FORMAT, time.gmtime(restored_at / 1000))}"
        folder.rename(aside)
    new = data / f"{AOF_FOLDER}.new"
    # Of a restore that was stopped half-way.
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700, parents=True)
    with copy.open("rb") as source, create_private(new / f"{AOF_NAME}.1.base.rdb") as target:
        while chunk := source.read(CHUNK_BYTES):
            target.write(chunk)
        target.flush()
        os.fsync(target.fileno())
    mark = {"copied_at": str(copied_at(copy) or restored_at), "restored_at": str(restored_at)}
    commands = [
        ("SELECT", str(db)),
        ("SADD", keys.HOLD, ALL),
        ("HSET", keys.RESTORED, *(word for pair in mark.items() for word in pair)),
    ]
    _write(new / f"{AOF_NAME}.1.incr.aof", b"".join(map(_as_protocol, commands)))
    lines = (f"file {AOF_NAME}.1.base.rdb seq 1 type b\n", f"file {AOF_NAME}.1.incr.aof seq 1 type i\n")
    _write(new / f"{AOF_NAME}.manifest", "".join(lines).encode())
    # The last step: a server finds all of it, or what was there before.
    new.rename(folder)
    sync_folder(data)
    return aside


def copied_at(copy: Path) -> int:
    """When the copy was made (ms), by its name; 0 for a name that somebody else gave it."""
    text = copy.name.removeprefix(PREFIX).removesuffix(SUFFIX)
    try:
        return calendar.timegm(time.strptime(text, TIME_FORMAT)) * 1000
    except ValueError:
        return 0


def _as_protocol(words: tuple[str, ...]) -> bytes:
    """A command as it stands in an append-only file."""
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def _write(file: Path, text: bytes) -> None:
    with create_private(file) as output:
        output.write(text)
        output.flush()
        os.fsync(output.fileno())


def create_private(file: Path) -> BinaryIO:
    """Opens a new file that nobody else reads, for writing."""
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

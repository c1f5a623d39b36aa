"""Copies of the store, made while it works, once or on a schedule: `python -m workers backup` and `restore`.

`snapshot.py` reads the data, `restore.py` writes the files of a new store.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from redis.exceptions import MovedError, RedisError

from freshgate.errors import FreshgateError, SettingsError
from freshgate.local_settings import connect_local_store
from freshgate.settings import Settings
from freshgate.settings_parsing import duration_ms
from freshgate.state import cluster, keys
from freshgate.telemetry import logs
from workers.restore import PREFIX, SUFFIX, TIME_FORMAT, copied_at, create_private, restore, sync_folder
from workers.snapshot import read_snapshot

log = logs.get(__name__)
HELP = {
    "backup": "copy the store into a folder, once or on a schedule",
    "restore": "write the files that a new store starts from, out of a copy; its mail is held",
}
EPILOGS = {
    "backup": """examples:
  python -m workers backup var/backups
  python -m workers backup /backups --every 6h --keep 28       (a process, until it is stopped)

The copy is of the moment at which it begins. It holds addresses: keep it as safe as the store, and on another disk.""",
    "restore": """examples:
  python -m workers restore var/backups/freshgate-20261130T120000Z.rdb --data var/redis

Stop the store first. What it had in that folder is moved aside, not removed. All mail is held when the new one starts,
because the copy does not know which mails left after it: `python -m workers release` says what to do about them.""",
}
RETRY_S = 60.0


def add_commands(commands: Any) -> None:
    """Declares both commands."""
    raw = argparse.RawDescriptionHelpFormatter
    parsers = {
        name: commands.add_parser(name, help=text, description=text, epilog=EPILOGS[name], formatter_class=raw)
        for name, text in HELP.items()
    }
    parsers["backup"].add_argument("folder", type=Path, help="where the copies are")
    parsers["backup"].add_argument("--every", default="0s", help="such as 6h; once if left out")
    parsers["backup"].add_argument("--keep", type=int, default=28, help="how many of the newest copies stay (28)")
    parsers["restore"].add_argument("file", type=Path, help="the copy")
    parsers["restore"].add_argument("--data", type=Path, required=True, help="the folder of the new store's data")


def run(settings: Settings, chosen: Any) -> int:
    """The exit code. Raises FreshgateError."""
    if chosen.command == "restore":
        return restore(settings, chosen.file, chosen.data)
    if cluster.is_cluster(settings.redis_url):
        raise SettingsError(
            "backup: a Cluster is copied node by node; give redis_url the address of one node at a time"
        )
    interval_ms = duration_ms(chosen.every, "--every")
    if chosen.keep < 1:
        raise SettingsError("--keep: at least 1")
    if not interval_ms:
        _report(make_copy(settings, chosen.folder, chosen.keep))
        return 0
    return _run_schedule(settings, chosen.folder, interval_ms, chosen.keep)


def make_copy(settings: Settings, folder: Path, keep: int, interval_ms: int = 0) -> Path:
    """One copy, complete and synced to the disk, or none. Raises FreshgateError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    client = connect_local_store(settings)
    part = folder / f"{PREFIX}{os.getpid()}.part"
    try:
        started_at: Any = client.time()
        with create_private(part) as output:
            size = sum(output.write(chunk) for chunk in read_snapshot(client))
            output.flush()
            os.fsync(output.fileno())
        file = folder / f"{PREFIX}{time.strftime(TIME_FORMAT, time.gmtime(started_at[0]))}{SUFFIX}"
        part.rename(file)
        sync_folder(folder)
        noted: dict[Any, Any] = {"at": started_at[0] * 1000, "bytes": size}
        # A node of a Cluster may not have this key.
        with suppress(MovedError):
            client.hset(keys.BACKUP, mapping=noted | ({"interval": interval_ms} if interval_ms else {}))
    except (RedisError, OSError) as error:
        raise FreshgateError(f"backup: {type(error).__name__}: {error}") from None
    finally:
        part.unlink(missing_ok=True)
        client.close()
    for old in copies(folder)[:-keep]:
        old.unlink()
    return file


def copies(folder: Path) -> list[Path]:
    """The oldest first."""
    return sorted(folder.glob(f"{PREFIX}*{SUFFIX}"))


def _run_schedule(settings: Settings, folder: Path, interval_ms: int, keep: int) -> int:
    """A copy now if the newest is older than the schedule, and then one each time, until told to stop."""
    stopped = threading.Event()

    def stop(_signum: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    # Of a copy that was stopped half-way.
    for part in folder.glob(f"{PREFIX}*.part"):
        part.unlink()
    while not stopped.is_set():
        newest = copies(folder)[-1:]
        wait_s = copied_at(newest[0]) / 1000 + interval_ms / 1000 - time.time() if newest else 0.0
        if wait_s <= 0:
            try:
                _report(make_copy(settings, folder, keep, interval_ms))
                continue
            except FreshgateError as error:
                log.error("backup_failed", reason=str(error))
                wait_s = RETRY_S
        stopped.wait(wait_s)
    return 0


def _report(file: Path) -> None:
    with suppress(OSError):
        print(f"{file}  {file.stat().st_size} bytes", flush=True)

"""The files in which gunicorn's workers keep their metrics, bounded, whatever becomes of the workers.

`adapter/gunicorn_conf.py` calls this from gunicorn's hooks; prometheus_client reads and writes the files themselves.
"""

from __future__ import annotations

import os
import shutil
import struct
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Metric
from prometheus_client import values as metric_values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from freshgate.telemetry import exemplars, logs

log = logs.get(__name__)
# prometheus_client has no types for these.
_Values: Any = MmapedDict
_merge: Any = MultiProcessCollector.merge
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# The name in place of a process id, for what processes that ended have counted.
ENDED = "ended"
# Files that are added up, and those of which the newest value counts. Any other gauge ends with its process.
SUMMED, NEWEST = ("counter", "histogram", "summary"), "gauge_mostrecent"
# What a process reserves for each of its files, so that no write finds the disk full: that would end it by SIGBUS.
RESERVED_BYTES = {"counter": 512 * 1024, "histogram": 2 * 1024 * 1024, NEWEST: 128 * 1024, "gauge_livesum": 64 * 1024}
# More than all labels of a hundred sources need. Beyond it the past is given up.
MAX_ENDED_BYTES = 8 * 1024 * 1024
BROKEN = (OSError, ValueError, RuntimeError, struct.error)


class MetricFiles:
    """The folder of the files, as gunicorn's master sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # A scrape must not see what is being moved twice, or not at all.
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Begins anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def retire(self, pid: int) -> None:
        """Adds what a process that ended has counted to one set of files, so that restarts do not add files."""
        with self._lock:
            for file in self.folder.glob(f"*_{pid}.db"):
                kind = file.name.removesuffix(f"_{pid}.db")
                if kind in SUMMED or kind == NEWEST:
                    try:
                        self._add(file, kind)
                    except BROKEN as error:
                        log.warning("metrics_lost", error=type(error).__name__)
                        self._ended(kind).unlink(missing_ok=True)
                file.unlink(missing_ok=True)
            exemplars.file_of(self.folder, pid).unlink(missing_ok=True)

    def _ended(self, kind: str) -> Path:
        return self.folder / f"{kind}_{ENDED}.db"

    def _add(self, file: Path, kind: str) -> None:
        total = self._ended(kind)
        if total.exists() and total.stat().st_size > MAX_ENDED_BYTES:
            log.warning("metrics_cleared", file=total.name)
            total.unlink()
        read = list(_Values.read_all_values_from_file(str(file)))
        room = total.stat().st_size if total.exists() else 0
        _reserve(total, max(room, RESERVED_BYTES[kind], file.stat().st_size))
        sums = _Values(str(total))
        try:
            for key, value, timestamp, _ in read:
                known, known_at = sums.read_value(key)
                if kind == NEWEST:
                    if timestamp >= known_at:
                        sums.write_value(key, value, timestamp)
                else:
                    sums.write_value(key, known + value, 0.0)
        finally:
            sums.close()

    def registry(self) -> CollectorRegistry:
        """What the metrics port serves: all processes together."""
        registry = CollectorRegistry()
        registry.register(_Collector(self))
        return registry

    def collect(self) -> Iterable[Metric]:
        """All metrics; a file that is broken is left out."""
        with self._lock:
            files = sorted(str(file) for file in self.folder.glob("*.db"))
            try:
                return exemplars.attach(_merge(files), self.folder)
            except BROKEN as error:
                log.warning("metrics_broken", error=type(error).__name__)
                return list(_merge([file for file in files if _is_whole(file)]))


class _Collector(MultiProcessCollector):
    def __init__(self, files: MetricFiles) -> None:
        self._files = files

    def collect(self) -> Any:
        return self._files.collect()


def prepare_process(folder: Path, reserved_bytes: dict[str, int] | None = None) -> None:
    """Reserves this process' files. A full disk is cleared of what other processes have left; if that does not help,
    this process counts in its own memory, where nobody scrapes it, and works.

    Called in the new process, before any metric exists.
    """
    sizes = reserved_bytes or RESERVED_BYTES
    own = {folder / f"{kind}_{os.getpid()}.db": size for kind, size in sizes.items()}
    for attempt in ("at first", "after clearing"):
        try:
            for file, size in own.items():
                _reserve(file, size)
            exemplars.keep(folder)
            return
        except OSError as error:
            for file in own:
                file.unlink(missing_ok=True)
            if attempt == "at first":
                log.error("metrics_folder_full", error=error.strerror, cleared=_clear_leftovers(folder))
    log.critical("metrics_off", hint=f"{folder} has no room for metrics: make room, then restart the receiver")
    os.environ.pop(FOLDER_VARIABLE, None)
    metric_values.ValueClass = metric_values.MutexValue


def _clear_leftovers(folder: Path) -> int:
    """Removes the files of processes that are not running; how many."""
    removed = 0
    for file in folder.glob("*.db"):
        pid = file.stem.rpartition("_")[2]
        if not (pid.isdigit() and Path(f"/proc/{pid}").exists()):
            with suppress(OSError):
                file.unlink()
                removed += 1
    return removed


def _reserve(file: Path, size: int) -> None:
    """Makes the file so large, with blocks behind it. Raises OSError where there is no room."""
    with file.open("a+b") as handle:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle.fileno(), 0, size)
        elif os.fstat(handle.fileno()).st_size < size:
            handle.truncate(size)


def _is_whole(file: str) -> bool:
    try:
        list(_Values.read_all_values_from_file(file))
    except BROKEN:
        return False
    return True

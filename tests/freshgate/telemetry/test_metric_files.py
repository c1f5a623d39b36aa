"""The files of the receiver's metrics: they stay few and small, and a full disk does not end a worker."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from freshgate.telemetry import metric_files
from freshgate.telemetry.metric_files import MetricFiles, prepare_process
from tests.harness.receiver_process import Receiver

# No process has so high a number.
GONE = 2**22 + 1


@pytest.fixture
def files(tmp_path: Path) -> MetricFiles:
    files = MetricFiles(tmp_path / "metrics")
    files.clear()
    return files


def count(files: MetricFiles, pid: int | str, value: float, kind: str = "counter", at: float = 0.0) -> None:
    """What prometheus_client writes in the process `pid`."""
    values = MmapedDict(str(files.folder / f"{kind}_{pid}.db"))
    values.write_value(mmap_key("orders", "orders_total", ["source"], ["shop"], "Orders"), value, at)
    values.close()


def exported(files: MetricFiles) -> str:
    return generate_latest(files.registry()).decode()


def test_what_a_process_counted_stays_when_it_ends_and_its_files_go(files: MetricFiles) -> None:
    for pid in range(1, 41):
        count(files, pid, 2)
        files.retire(pid)
    count(files, 41, 3)
    assert 'orders_total{source="shop"} 83.0' in exported(files)
    assert sorted(file.name for file in files.folder.iterdir()) == ["counter_41.db", "counter_ended.db"]


def test_of_a_gauge_the_newest_value_counts_whoever_ends_first(files: MetricFiles) -> None:
    count(files, 1, 7, "gauge_mostrecent", at=20)
    count(files, 2, 5, "gauge_mostrecent", at=10)
    files.retire(1)
    files.retire(2)
    assert '{source="shop"} 7.0' in exported(files)


def test_a_process_that_counts_in_its_own_memory_keeps_its_traces(tmp_path: Path) -> None:
    prepare_process(tmp_path)
    registry = CollectorRegistry()
    Histogram("own_seconds", "Waits", registry=registry).observe(1, {"trace_id": "mine"})
    assert '{trace_id="mine"} 1.0' in openmetrics(registry).decode()
    assert list(tmp_path.glob("exemplars_*")) == []


OBSERVE = """
import sys
from pathlib import Path
from freshgate.telemetry.metric_files import prepare_process
prepare_process(Path(sys.argv[1]))
from prometheus_client import Histogram
seconds = Histogram("wait_seconds", "Waits", ["shop"], buckets=(1, 5))
seconds.labels("main").observe(float(sys.argv[2]), {"trace_id": sys.argv[3]})
"""


def test_the_newest_trace_of_each_bucket_is_served_for_all_processes(files: MetricFiles) -> None:
    """One scrape shows what each of several workers observed, so that a graph leads to a trace; see TRACING.md."""
    observed = [("0.5", "older"), ("0.7", "newer"), ("3", "slow")]
    processes = []
    for seconds, trace in observed:
        command = [sys.executable, "-c", OBSERVE, str(files.folder), seconds, trace]
        with subprocess.Popen(command, env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(files.folder)}) as process:
            assert process.wait(60) == 0
        processes.append(process.pid)
    served = openmetrics(files.registry()).decode()
    assert re.findall(r'le="([^"]+)"\S* \S+ # \{trace_id="(\w+)"\} (\S+)', served) == [
        ("1.0", "newer", "0.7"),
        ("5.0", "slow", "3.0"),
    ]
    (files.folder / f"exemplars_{processes[0]}.json").write_text("[[torn", encoding="utf-8")
    assert openmetrics(files.registry()).decode() == served
    for pid in processes:
        files.retire(pid)
    assert 'wait_seconds_count{shop="main"} 3.0' in openmetrics(files.registry()).decode()
    assert list(files.folder.glob("exemplars_*")) == []


@pytest.mark.parametrize("broken", [b"", b"\xff" * 4096, b"\x40\x00\x00\x00" + b"\xff" * 60])
def test_a_broken_file_costs_itself_and_no_scrape(files: MetricFiles, broken: bytes) -> None:
    count(files, 1, 2)
    (files.folder / "counter_2.db").write_bytes(broken)
    assert 'orders_total{source="shop"} 2.0' in exported(files)
    files.retire(2)
    files.retire(1)
    assert 'orders_total{source="shop"} 2.0' in exported(files)


def test_files_beyond_their_bound_are_given_up(files: MetricFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_files, "MAX_ENDED_BYTES", 1000)
    count(files, 1, 2)
    files.retire(1)
    count(files, 2, 3)
    files.retire(2)
    assert 'orders_total{source="shop"} 3.0' in exported(files)


SMALL_DISK = """
import os, sys
from pathlib import Path
from prometheus_client import values
from freshgate.telemetry import metric_files

def reserve(file, size):
    if len(list(file.parent.glob("*.db"))) >= int(sys.argv[2]):
        raise OSError(28, "No space left on device")
    real(file, size)

real, metric_files._reserve = metric_files._reserve, reserve
folder = Path(sys.argv[1])
metric_files.prepare_process(folder)
print(len(list(folder.glob("*.db"))), values.ValueClass is values.MutexValue, "PROMETHEUS_MULTIPROC_DIR" in os.environ)
"""


@pytest.mark.parametrize(
    ("room", "outcome"), [(5, "5 False True"), (1, "1 True False")], ids=["room after clearing", "no room"]
)
def test_whoever_finds_the_disk_full_clears_it_and_works_on(files: MetricFiles, room: int, outcome: str) -> None:
    count(files, GONE, 1)
    count(files, os.getpid(), 1)
    command = [sys.executable, "-c", SMALL_DISK, str(files.folder), str(room)]
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(files.folder)}
    completed = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    assert completed.stdout.splitlines()[-1] == outcome
    assert not (files.folder / f"counter_{GONE}.db").exists()
    assert (files.folder / f"counter_{os.getpid()}.db").exists()


def test_a_process_reserves_blocks_and_not_a_size_alone(files: MetricFiles) -> None:
    prepare_process(files.folder, {"counter": 1 << 20})
    (file,) = files.folder.glob("*.db")
    assert file.stat().st_blocks * 512 >= 1 << 20


def series(receiver: Receiver) -> set[str]:
    return set(re.findall(r"^[^#].*(?= )", receiver.metrics(), re.MULTILINE))


def files_of(receiver: Receiver) -> list[Path]:
    return list((receiver.var / "metrics" / "receiver").iterdir())


def has_other_workers(receiver: Receiver, gone: int) -> bool:
    return bool(receiver.workers()) and gone not in receiver.workers()


def is_exported(receiver: Receiver, line: str) -> bool:
    return line in receiver.metrics()


def test_workers_that_are_killed_leave_neither_files_nor_gaps(redis_server: str) -> None:
    with Receiver(redis_server, {"FRESHGATE_RECEIVER_WORKERS": "1"}) as receiver:
        for number in range(1, 6):
            assert receiver.order()[0] == 200
            (worker,) = receiver.workers()
            os.kill(worker, signal.SIGKILL)
            receiver.wait_for(partial(has_other_workers, receiver, worker))
            accepted = f'freshgate_events_total{{source="segment",verdict="accepted"}} {number}.0'
            receiver.wait_for(partial(is_exported, receiver, accepted))
        assert len(files_of(receiver)) <= 7


def test_no_word_of_a_caller_becomes_a_series(redis_server: str) -> None:
    with Receiver(redis_server, {"FRESHGATE_RECEIVER_WORKERS": "1"}) as receiver:

        def attack(word: str) -> None:
            for line in (
                f"{word} /webhooks/segment HTTP/1.1\r\nHost: {word}.example",
                f"{word.lower()} / HTTP/1.1\r\nHost: {word}.example",
                f"GET /{word} HTTP/1.1\r\nHost: {word}.example",
                f"GET /webhooks/{word} HTTP/1.1\r\nHost: {word}.example\r\ntraceparent: {word}",
                f"POST /webhooks/{word}/{word}/joined HTTP/1.1\r\nHost: {word}\r\nContent-Type: {word}",
                f"POST /v1/{word} HTTP/1.1\r\nHost: {word}\r\nOrigin: {word}\r\nUser-Agent: {word}",
                f"GET /healthz HTTP/1.1\r\nHost: x\r\nX-HTTP-Method-Override: {word}",
            ):
                assert receiver.raw(f"{line}\r\nConnection: close\r\n\r\n".encode()).startswith(b"HTTP/1.1 ")

        attack("FIRST")
        before = series(receiver)
        sizes = sum(file.stat().st_size for file in files_of(receiver))
        for number in range(50):
            attack("INVENTED" + chr(65 + number % 26) * (1 + number // 26))
        assert series(receiver) == before
        assert sum(file.stat().st_size for file in files_of(receiver)) == sizes
        assert "INVENTED" not in receiver.metrics() and "FIRST" not in receiver.metrics()


def test_a_method_that_http_does_not_have_is_405(redis_server: str) -> None:
    with Receiver(redis_server, {"FRESHGATE_RECEIVER_WORKERS": "1"}) as receiver:
        request = b"BREW /webhooks/segment HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert receiver.raw(request).startswith(b"HTTP/1.1 405 ")

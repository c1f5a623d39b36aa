"""Runs the engine's tests against one mutant after the other, each in a process that is forked when all is loaded.

In the fork the code of the changed functions is replaced, or the text of a Lua file. So a mutant costs little more than
the test that notices it: tests come in the order of their speed, those first that noticed a mutant near by.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
import redis

from adapter.local import embedded
from tests.mutants.operators import Mutant
from tests.mutants.plant import plant
from tests.mutants.touched import ROOT, Recorder, Touched
from workers import courier

# All tests together take less. With a mutant, which may loop for ever, each has ten times what it takes without: of the
# processor's time, since others may have it, and more of the clock's, for a loop inside Redis.
BASELINE_TIMEOUT_S = 600
MIN_TIMEOUT_S, MAX_SLOWER, CLOCK = 15, 10, 8
BASELINES = ROOT / ".pytest_cache" / "mutants"
PASSED, NOTICED, BROKEN = 0, 1, 3


class Result(NamedTuple):
    """Whether a test noticed the mutant, and which; "" where the process died or took too long."""

    mutant: Mutant
    is_noticed: bool
    test: str


class Baseline(msgspec.Struct):
    """The tests without a mutant: which functions each calls, and how long it takes (s)."""

    calls: dict[str, Touched] = {}
    seconds: dict[str, float] = {}


class Slot:
    """A Valkey of its own for one mutant at a time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.noticed_by = folder / "noticed_by"
        self._folder = folder
        self._start()

    @property
    def url(self) -> str:
        return self._server.url

    def _start(self) -> None:
        self._server = embedded.prepare(self._folder / "redis", log=self._folder / "redis.log")
        self._process = embedded.start(self._server)

    def close(self) -> None:
        embedded.stop(self._server, self._process)

    def fork(self, run_tests: Callable[[], int]) -> int:
        """Runs that in a fork on this slot's Valkey; returns its pid."""
        self.noticed_by.unlink(missing_ok=True)
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            code = BROKEN
            try:
                silence = os.open(os.devnull, os.O_WRONLY)
                os.dup2(silence, 1)
                os.dup2(silence, 2)
                os.environ["FRESHGATE_TEST_REDIS_URL"] = self.url
                code = run_tests()
            finally:
                os._exit(code)
        return pid

    def clean(self) -> str:
        """Makes the Valkey ready for the next mutant. Returns the test that noticed this one."""
        client = redis.Redis.from_url(self.url, socket_timeout=5)
        try:
            client.function_flush()
        except redis.RedisError:
            # A function that never ends.
            self._process.kill()
            self.close()
            self._start()
        finally:
            client.close()
        return self.noticed_by.read_text() if self.noticed_by.exists() else ""


class MutantRun:
    """A pytest plugin: instead of running the collected tests once, it runs them for each mutant."""

    def __init__(self, mutants: Iterable[Mutant], slots: int, report: Callable[[Result], None]) -> None:
        self._mutants = mutants
        self._slot_count = slots
        self._report = report
        self._noticed: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.failure = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        # With random inputs the score would differ from run to run.
        items[:] = [item for item in items if not hasattr(getattr(item, "obj", None), "hypothesis")]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        with tempfile.TemporaryDirectory(prefix="freshgate-mutants-") as folder:
            slots = [Slot(Path(folder) / str(number)) for number in range(self._slot_count)]
            try:
                baseline = self._run_baseline(session, slots[0])
                if baseline:
                    self._run_mutants(session, slots, baseline)
            finally:
                for slot in slots:
                    slot.close()
        return True

    def _run_baseline(self, session: pytest.Session, slot: Slot) -> Baseline | None:
        """Runs the tests without a mutant, unless they ran with this code before."""
        file = BASELINES / f"{_digest(session.config.args)}.json"
        if not file.exists():
            os.waitpid(slot.fork(lambda: _write_baseline(session.items, slot, file)), 0)
            test = slot.clean()
            if not file.exists():
                self.failure = f"the tests fail without a mutant: {test or 'they take too long'}"
                return None
        return msgspec.json.decode(file.read_bytes(), type=Baseline)

    def _run_mutants(self, session: pytest.Session, slots: list[Slot], baseline: Baseline) -> None:
        free, running = list(slots), dict[int, tuple[Slot, Mutant]]()

        def wait() -> None:
            pid, status = os.waitpid(-1, 0)
            if pid not in running:
                return
            slot, mutant = running.pop(pid)
            result = Result(mutant, os.waitstatus_to_exitcode(status) != PASSED, slot.clean())
            self._noticed[mutant.file][result.test] += 1
            self._noticed[mutant.file + mutant.function][result.test] += 1
            free.append(slot)
            self._report(result)

        for mutant in self._mutants:
            while not free:
                wait()
            slot = free.pop()
            items = self._select(session.items, mutant, baseline)
            pid = slot.fork(lambda: _run_mutant(mutant, items, slot, baseline))  # noqa: B023
            running[pid] = slot, mutant
        while running:
            wait()

    def _select(self, items: list[pytest.Item], mutant: Mutant, baseline: Baseline) -> list[pytest.Item]:
        """The tests that call the mutant's function; outside of functions those that call any of its file."""

        def is_concerned(item: pytest.Item) -> bool:
            calls = baseline.calls[item.nodeid]
            if mutant.function:
                return (mutant.file, mutant.function) in calls
            # All Lua files are one text, in which a constant is known to those below.
            return mutant.file.endswith(".lua") or any(file == mutant.file for file, _ in calls)

        in_function, in_file = self._noticed[mutant.file + mutant.function], self._noticed[mutant.file]

        def order(item: pytest.Item) -> tuple[float, ...]:
            return -in_function[item.nodeid], -in_file[item.nodeid], baseline.seconds[item.nodeid]

        return sorted(filter(is_concerned, items), key=order)


def _digest(tests: Iterable[str]) -> str:
    """Names the code of this moment, and the tests."""
    digest = blake2b("\n".join(tests).encode(), digest_size=8)
    for folder in ("adapter", "catalog", "freshgate", "tests", "workers"):
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix in (".py", ".lua"):
                digest.update(f"{file}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def _write_baseline(items: list[pytest.Item], slot: Slot, file: Path) -> int:
    _take_time()
    baseline = Baseline()
    recorder = Recorder(slot.url)
    with recorder.installed():
        for item in items:
            started = time.perf_counter()
            recorder.start()
            failed = run_items([item], slot.noticed_by)
            baseline.calls[item.nodeid] = recorder.stop()
            baseline.seconds[item.nodeid] = time.perf_counter() - started
            if failed:
                return NOTICED
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.encode(baseline))
    return PASSED


def _run_mutant(mutant: Mutant, items: list[pytest.Item], slot: Slot, baseline: Baseline) -> int:
    plant(ROOT / mutant.file, mutant.source)
    _take_time()
    return run_items(items, slot.noticed_by, baseline.seconds)


def _take_time() -> None:
    """On a busy machine a mail would be put off, and a test fail that notices nothing."""
    courier.MAX_CLAIM_TO_CALL_S = 10.0


def run_items(items: list[pytest.Item], noticed_by: Path, seconds: Mapping[str, float] | None = None) -> int:
    """Runs the tests up to the first that fails, and writes down its name. The process ends where one takes too long.

    seconds  how long each takes without a mutant
    """
    for item, following in zip(items, [*items[1:], None], strict=True):
        if seconds is not None:
            timeout_s = MIN_TIMEOUT_S + MAX_SLOWER * seconds[item.nodeid]
            signal.setitimer(signal.ITIMER_PROF, timeout_s)
            signal.setitimer(signal.ITIMER_REAL, CLOCK * timeout_s)
        else:
            signal.alarm(BASELINE_TIMEOUT_S)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if item.session.testsfailed:
            noticed_by.write_text(item.nodeid)
            return NOTICED
    return PASSED


def run(mutants: list[Mutant], tests: Iterable[str], slots: int, report: Callable[[Result], None]) -> None:
    """Reports each result as it comes. Raises RuntimeError where the tests fail without any mutant."""
    plugin = MutantRun(mutants, slots, report)
    # Nobody reads a traceback; to write one takes longer than most tests.
    pytest.main(["-q", "-s", "-p", "no:cacheprovider", "--timeout=0", "--tb=no", *tests], plugins=[plugin])
    if plugin.failure:
        raise RuntimeError(plugin.failure)

"""Runs the engine's tests against one mutant after the other, each in a process that is forked when all is loaded.

In the fork the code of the changed functions is replaced, or the text of a Lua file. So a mutant costs little more than
the test that notices it: tests come in the order of their speed, those first that noticed a mutant of the same file.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest
import redis

from adapter.local import embedded
from tests.mutants.operators import Mutant
from tests.mutants.plant import plant

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests" / "engine"
# All tests together take less. A mutant, which may loop for ever, has three times what its tests take without it.
TIMEOUT_S = 300
MIN_TIMEOUT_S = 10
PASSED, NOTICED, BROKEN = 0, 1, 3


class Result(NamedTuple):
    """Whether a test noticed the mutant, and which; "" where the process died or took too long."""

    mutant: Mutant
    is_noticed: bool
    test: str


class Baseline(NamedTuple):
    """The tests without a mutant: which function each calls, as (file, name), and how long it takes (s)."""

    calls: dict[str, set[tuple[str, str]]]
    seconds: dict[str, float]


class Slot:
    """A Valkey of its own for one mutant at a time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.noticed_by = folder / "noticed_by"
        self._folder = folder
        self._start()

    def _start(self) -> None:
        self._server = embedded.prepare(self._folder / "redis", log=self._folder / "redis.log")
        self._process = embedded.start(self._server)

    def close(self) -> None:
        embedded.stop(self._server, self._process)

    def fork(self, run_tests: Callable[[], int], timeout_s: int) -> int:
        """Runs that in a fork on this slot's Valkey; returns its pid."""
        self.noticed_by.unlink(missing_ok=True)
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            code = BROKEN
            try:
                signal.alarm(timeout_s)
                silence = os.open(os.devnull, os.O_WRONLY)
                os.dup2(silence, 1)
                os.dup2(silence, 2)
                os.environ["FRESHGATE_TEST_REDIS_URL"] = self._server.url
                code = run_tests()
            finally:
                os._exit(code)
        return pid

    def clean(self) -> str:
        """Makes the Valkey ready for the next mutant. Returns the test that noticed this one."""
        client = redis.Redis.from_url(self._server.url, socket_timeout=5)
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
        results = slot.noticed_by.with_name("baseline")

        def run_tests() -> int:
            baseline = Baseline({}, {})
            files = {mutant.file for mutant in self._mutants}
            for item in session.items:
                calls = baseline.calls[item.nodeid] = set()
                started = time.perf_counter()
                sys.setprofile(_recorder(files, calls))
                failed = run_items([item], slot.noticed_by)
                sys.setprofile(None)
                baseline.seconds[item.nodeid] = time.perf_counter() - started
                if failed:
                    return NOTICED
            results.write_bytes(pickle.dumps(baseline))
            return PASSED

        os.waitpid(slot.fork(run_tests, TIMEOUT_S), 0)
        test = slot.clean()
        if not results.exists():
            self.failure = f"the tests fail without a mutant: {test or 'they take too long'}"
            return None
        baseline: Baseline = pickle.loads(results.read_bytes())  # noqa: S301  # written above
        return baseline

    def _run_mutants(self, session: pytest.Session, slots: list[Slot], baseline: Baseline) -> None:
        free, running = list(slots), dict[int, tuple[Slot, Mutant]]()

        def wait() -> None:
            pid, status = os.waitpid(-1, 0)
            if pid not in running:
                return
            slot, mutant = running.pop(pid)
            result = Result(mutant, os.waitstatus_to_exitcode(status) != PASSED, slot.clean())
            self._noticed[mutant.file][result.test] += 1
            free.append(slot)
            self._report(result)

        for mutant in self._mutants:
            while not free:
                wait()
            slot = free.pop()
            items = self._select(session.items, mutant, baseline)
            timeout_s = MIN_TIMEOUT_S + 3 * int(sum(baseline.seconds[item.nodeid] for item in items))
            pid = slot.fork(lambda: _run_mutant(mutant, items, slot.noticed_by), timeout_s)  # noqa: B023
            running[pid] = slot, mutant
        while running:
            wait()

    def _select(self, items: list[pytest.Item], mutant: Mutant, baseline: Baseline) -> list[pytest.Item]:
        """The tests that call the mutant's function; all of them for a Lua file."""
        changed = (mutant.file, mutant.function)
        calling = [item for item in items if not mutant.function or changed in baseline.calls[item.nodeid]]
        noticed = self._noticed[mutant.file]
        return sorted(calling, key=lambda item: (-noticed[item.nodeid], baseline.seconds[item.nodeid]))


def _run_mutant(mutant: Mutant, items: list[pytest.Item], noticed_by: Path) -> int:
    plant(ROOT / mutant.file, mutant.source)
    return run_items(items, noticed_by)


def run_items(items: list[pytest.Item], noticed_by: Path) -> int:
    """Runs the tests up to the first that fails, and writes down its name."""
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if item.session.testsfailed:
            noticed_by.write_text(item.nodeid)
            return NOTICED
    return PASSED


def _recorder(files: set[str], calls: set[tuple[str, str]]) -> Callable[[FrameType, str, Any], None]:
    def record(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            code = frame.f_code
            if code.co_filename.startswith(str(ROOT)):
                file = code.co_filename.removeprefix(f"{ROOT}/")
                if file in files:
                    calls.add((file, code.co_qualname.partition(".<locals>")[0]))

    return record


def run(mutants: list[Mutant], slots: int, report: Callable[[Result], None]) -> None:
    """Reports each result as it comes. Raises RuntimeError where the tests fail without any mutant."""
    plugin = MutantRun(mutants, slots, report)
    pytest.main(["-q", "-s", "-p", "no:cacheprovider", str(TESTS)], plugins=[plugin])
    if plugin.failure:
        raise RuntimeError(plugin.failure)

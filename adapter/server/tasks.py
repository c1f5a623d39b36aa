"""Requests that wait for Redis without a thread: each is a task, and while it waits, the worker's loop goes on.

Threads that share one interpreter hand it to each other at every wait, and from one core to another. Tasks do not: one
after the other runs on the loop's own thread until it has to wait. `worker.py` decides which requests are tasks.
"""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from greenlet import getcurrent, greenlet

T = TypeVar("T")
# At work at once; others wait for their turn. Enough to keep this process and Redis busy, even milliseconds away. With
# more, what is planned and waits drives what is worked on out of the core's cache: batches then cost a quarter more.
MAX_AT_WORK = 4
# How long tasks are begun before the loop looks at everything else again. One that was begun runs until it waits.
TURN_S = 0.01
# They make connections to Redis, which no task may wait for on the loop.
THREADS = 8


class _Wait(NamedTuple):
    """Of a task, for a socket.

    deadline  by `time.monotonic`
    """

    sock: Any
    deadline: float


class ServerTasks:
    """The tasks of one worker process. All is called on the thread of its loop.

    `Tasks` of freshgate/sockets.py says what tasks themselves call.
    """

    def __init__(self) -> None:
        self._loop: Any = None
        self._poller: selectors.BaseSelector
        self._defer: Callable[..., None]
        self._threads = ThreadPoolExecutor(THREADS, "connect")
        self._queued: deque[tuple[Callable[[], Any], Callable[[Any], None]]] = deque()
        self._at_work: dict[Any, Callable[[Any], None]] = {}
        self._waits: dict[Any, _Wait] = {}

    def attach(self, poller: selectors.BaseSelector, defer: Callable[..., None]) -> None:
        """The caller's loop begins.

        poller  calls what was registered as data with the socket, when that is ready
        defer   calls a function in the loop, from any thread
        """
        self._poller, self._defer, self._loop = poller, defer, getcurrent()

    def start(self, work: Callable[[], T], on_end: Callable[[T], None]) -> None:
        """Has `run` do the work as a task; it must not raise. Then the loop calls `on_end`."""
        self._queued.append((work, on_end))

    def run(self) -> None:
        """Begins tasks, as many as may be at work. To be called in each round of the loop."""
        deadline = time.monotonic() + TURN_S
        while self._queued and len(self._at_work) < MAX_AT_WORK:
            work, on_end = self._queued.popleft()
            task = greenlet(work, self._loop)
            self._at_work[task] = on_end
            self._go_on(task)
            if time.monotonic() > deadline:
                return

    def expire(self) -> None:
        """Ends the waits whose time is over."""
        now = time.monotonic()
        for task, wait in list(self._waits.items()):
            if wait.deadline <= now:
                self._wake(task, wait, is_ready=False)

    def remaining_s(self) -> float:
        """For how long there is nothing to do, if no socket becomes ready."""
        if self._queued and len(self._at_work) < MAX_AT_WORK:
            return 0.0
        deadline = min((wait.deadline for wait in self._waits.values()), default=float("inf"))
        return max(0.0, deadline - time.monotonic())

    def is_inside(self) -> bool:
        # A thread's own greenlet has no parent.
        return self._loop is not None and getcurrent().parent is self._loop

    def wait(self, sock: Any, *, writable: bool, timeout_s: float | None) -> bool:
        task = getcurrent()
        wait = _Wait(sock, float("inf") if timeout_s is None else time.monotonic() + timeout_s)
        event = selectors.EVENT_WRITE if writable else selectors.EVENT_READ
        self._poller.register(sock, event, lambda _: self._wake(task, wait, is_ready=True))
        self._waits[task] = wait
        return bool(self._loop.switch())

    def in_thread(self, call: Callable[[], T]) -> T:
        task, future = getcurrent(), self._threads.submit(call)
        future.add_done_callback(lambda _: self._defer(self._go_on, task))
        self._loop.switch()
        return future.result()

    def close(self) -> None:
        """Begins no more threads."""
        self._threads.shutdown(wait=False)

    def _wake(self, task: Any, wait: _Wait, *, is_ready: bool) -> None:
        # Both may come in one round of the loop.
        if self._waits.get(task) is not wait:
            return
        del self._waits[task]
        self._poller.unregister(wait.sock)
        self._go_on(task, is_ready)

    def _go_on(self, task: Any, *answer: Any) -> None:
        """Until it waits again, or ends."""
        result = task.switch(*answer)
        if task.dead:
            on_end = self._at_work.pop(task)
            on_end(result)

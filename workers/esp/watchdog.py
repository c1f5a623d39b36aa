"""A thread that shuts sockets down at their deadline: a socket's own timeout is per operation, and servers dribble.

`connection.py` guards each call with it, `workers/asker.py` each request.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

NEVER = float("inf")


class Guard:
    """One guarded call, as a context manager. `expired` says afterwards whether the deadline ended it.

    on_expire  called at the deadline, by the watchdog's thread; it must not take long
    """

    def __init__(self, watchdog: Watchdog, deadline: float, on_expire: Callable[[], object] | None = None) -> None:
        self.deadline = deadline
        self.on_expire = on_expire
        self.expired = False
        self.sock: socket.socket | None = None
        self._watchdog = watchdog

    def watch(self, sock: socket.socket) -> None:
        """From now on this socket is shut down at the deadline."""
        self.sock = sock

    def __enter__(self) -> Guard:
        self._watchdog.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._watchdog.remove(self)


class Watchdog:
    """Sleeps until the earliest deadline and not until each call's end: a busy worker wakes it once a timeout."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._guards: set[Guard] = set()
        self._thread: threading.Thread | None = None
        self._wakes_at = NEVER
        # Threads do not survive a fork; the child starts its own.
        os.register_at_fork(after_in_child=self._reset)

    def guard(self, deadline: float, on_expire: Callable[[], object] | None = None) -> Guard:
        """`deadline` in seconds of time.monotonic()."""
        return Guard(self, deadline, on_expire)

    def add(self, guard: Guard) -> None:
        with self._changed:
            self._guards.add(guard)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="esp-watchdog", daemon=True)
                self._thread.start()
            elif guard.deadline < self._wakes_at:
                self._changed.notify()

    def remove(self, guard: Guard) -> None:
        with self._changed:
            self._guards.discard(guard)

    def _reset(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._guards = set()
        self._thread = None
        self._wakes_at = NEVER

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                expired = [guard for guard in self._guards if guard.deadline <= now]
                for guard in expired:
                    self._expire(guard)
                self._wakes_at = min((guard.deadline for guard in self._guards), default=NEVER)
                if not any(guard.on_expire for guard in expired):
                    self._changed.wait(None if self._wakes_at == NEVER else self._wakes_at - now)
            # Without the lock: what is called may guard something itself.
            for guard in expired:
                if guard.on_expire:
                    guard.on_expire()

    def _expire(self, guard: Guard) -> None:
        guard.expired = True
        self._guards.discard(guard)
        if guard.sock is not None:
            with suppress(OSError):
                # Not SSLSocket.shutdown: that drops the TLS layer, and the reader would go on with raw bytes.
                socket.socket.shutdown(guard.sock, socket.SHUT_RDWR)


WATCHDOG = Watchdog()

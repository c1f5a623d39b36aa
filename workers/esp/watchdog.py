"""One thread that ends connections at their deadline: socket timeouts are per operation, and a server can dribble.

`transport.py` guards each call with it; nothing else does.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress

FOREVER = float("inf")


class Guard:
    """One guarded call, as a context manager. `expired` tells afterwards whether the deadline struck."""

    def __init__(self, watchdog: Watchdog, deadline: float) -> None:
        self.deadline = deadline
        self.expired = False
        self.connected: socket.socket | None = None
        self._watchdog = watchdog

    def watch(self, connected: socket.socket) -> None:
        """From here on it is this socket that is shut down at the deadline."""
        self.connected = connected

    def __enter__(self) -> Guard:
        self._watchdog.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._watchdog.remove(self)


class Watchdog:
    """Wakes at the earliest deadline that it knows, not at each call: a busy worker wakes it once a timeout."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._guards: set[Guard] = set()
        self._thread: threading.Thread | None = None
        self._wakes_at = FOREVER
        # Threads don't survive a fork; the child starts its own.
        os.register_at_fork(after_in_child=self._reset)

    def guard(self, deadline: float) -> Guard:
        """`deadline` in seconds of time.monotonic()."""
        return Guard(self, deadline)

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
        self._wakes_at = FOREVER

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for guard in [guard for guard in self._guards if guard.deadline <= now]:
                    self._end(guard)
                self._wakes_at = min((guard.deadline for guard in self._guards), default=FOREVER)
                self._changed.wait(None if self._wakes_at == FOREVER else self._wakes_at - now)

    def _end(self, guard: Guard) -> None:
        guard.expired = True
        self._guards.discard(guard)
        if guard.connected is not None:
            with suppress(OSError):
                # Not SSLSocket.shutdown: that drops the TLS layer, and the reader would go on with raw bytes.
                socket.socket.shutdown(guard.connected, socket.SHUT_RDWR)


WATCHDOG = Watchdog()

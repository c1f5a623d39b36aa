"""The processes that the launcher keeps alive: started, watched, restarted, ended.

launcher.py says which they are and in what order; this file knows nothing of what they do.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

FIRST_BACKOFF_S = 0.2
MAX_BACKOFF_S = 5.0
STEADY_AFTER_S = 30.0
KILL_AFTER_S = 10.0
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
WARNINGS = (b'"level": "warning"', b'"level": "error"', b'"level": "critical"')


class Child:
    """One process, its log under var/log and its pid under var/pids.

    pass_fds  gives, before each start, the file descriptors that the process shall hold; ours are closed after it
    """

    def __init__(
        self,
        name: str,
        command: tuple[str, ...],
        environ: Mapping[str, str],
        var: Path,
        pass_fds: Callable[[], tuple[int, ...]] = tuple,
    ) -> None:
        self.name = name
        self.log = var / "log" / f"{name}.log"
        self._command = command
        self._environ = environ
        self._pid_file = var / "pids" / name
        self._pass_fds = pass_fds
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._restart_at: float | None = None
        self._backoff_s = FIRST_BACKOFF_S
        self._log_read = 0

    def start(self) -> None:
        """A session of its own, so that a terminal's Ctrl-C reaches the launcher alone, which ends all in order."""
        launcher = os.getpid()
        fds = self._pass_fds()
        try:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command,
                    env=self._environ,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=fds,
                    preexec_fn=lambda: die_with(launcher),  # noqa: PLW1509  # this process has one thread
                )
        finally:
            for fd in fds:
                os.close(fd)
        self._started_at = time.monotonic()
        self._restart_at = None
        self._pid_file.write_text(f"{self._process.pid}\n", encoding="ascii")

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def watch(self, say: Callable[[str], None]) -> None:
        """One look: says that it died, or starts it again when its pause is over. Call it every 0.1 s or so."""
        if self.alive or self._process is None:
            return
        now = time.monotonic()
        if self._restart_at is None:
            self._sweep()
            if now - self._started_at > STEADY_AFTER_S:
                self._backoff_s = FIRST_BACKOFF_S
            self._restart_at = now + self._backoff_s
            say(f"{self.name} {_ending(self._process.returncode)}; again in {self._backoff_s:g} s (see {self.log})")
            self._backoff_s = min(self._backoff_s * 2, MAX_BACKOFF_S)
        elif now >= self._restart_at:
            self.start()
            say(f"{self.name} started again")

    def stop(self) -> None:
        """SIGTERM, and after 10 s the end of its whole process group."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(KILL_AFTER_S)
        self._sweep()
        self._process.wait()
        self._pid_file.unlink(missing_ok=True)

    def reload(self) -> None:
        """SIGHUP: the process takes up anew what it was started with."""
        if self._process is not None and self.alive:
            self._process.send_signal(signal.SIGHUP)

    def _sweep(self) -> None:
        # A master that died at once may leave workers behind, which would hold its port.
        with suppress(ProcessLookupError, PermissionError):
            if self._process is not None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def rotate_log(self) -> None:
        """The log of the run before stays as `<name>.log.1`."""
        with suppress(FileNotFoundError):
            self.log.replace(self.log.with_suffix(".log.1"))

    def last_line(self) -> str:
        """What it said last: mostly why it ended."""
        with suppress(OSError):
            lines = self.log.read_bytes()[-4000:].decode(errors="replace").strip().splitlines()
            return lines[-1] if lines else ""
        return ""

    def new_warnings(self) -> list[str]:
        """The lines at level warning or above since the last call."""
        with suppress(OSError), self.log.open("rb") as log:
            log.seek(self._log_read)
            text = log.read(1_000_000)
            whole = text[: text.rfind(b"\n") + 1]
            self._log_read += len(whole)
            return [line.decode(errors="replace") for line in whole.splitlines() if any(w in line for w in WARNINGS)]
        return []


def die_with(launcher: int) -> None:
    """In the new process: asks Linux for a SIGTERM when the launcher is gone, however it went."""
    if LIBC is None:
        return
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != launcher:
        os._exit(1)


def _ending(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

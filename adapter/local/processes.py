"""A child process of the launcher: started, watched, restarted, reloaded, stopped.

`launcher.py` says which children there are and in what order; this file does not know what they do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from freshgate.child_processes import die_with

# The pause before a restart doubles, and starts anew once the child has run for STEADY_AFTER_S.
FIRST_BACKOFF_S = 0.2
MAX_BACKOFF_S = 5.0
STEADY_AFTER_S = 30.0
STOP_TIMEOUT_S = 10.0
WARNINGS = (b'"level": "warning"', b'"level": "error"', b'"level": "critical"')


class Child:
    """One process, its log in var/log and its pid in var/pids.

    pass_fds  returns, before each start, the file descriptors that the process inherits; ours are closed after it
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
        self._log_offset = 0

    def start(self) -> None:
        """Starts the process in a session of its own: Ctrl-C reaches the launcher alone, which stops all in order."""
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
        # Renamed into place: a reader never sees it empty.
        written = self._pid_file.with_name(f".{self._pid_file.name}.new")
        written.write_text(f"{self._process.pid}\n", encoding="ascii")
        written.replace(self._pid_file)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def watch(self, say: Callable[[str], None]) -> None:
        """Reports that the process died, or restarts it once its pause is over. Call it about every 0.1 s."""
        if self.alive or self._process is None:
            return
        now = time.monotonic()
        if self._restart_at is None:
            self._kill_group()
            if now - self._started_at > STEADY_AFTER_S:
                self._backoff_s = FIRST_BACKOFF_S
            self._restart_at = now + self._backoff_s
            say(f"{self.name} {_ending(self._process.returncode)}; again in {self._backoff_s:g} s (see {self.log})")
            self._backoff_s = min(self._backoff_s * 2, MAX_BACKOFF_S)
        elif now >= self._restart_at:
            self.start()
            say(f"{self.name} started again")

    def stop(self) -> None:
        """Sends SIGTERM, and kills the whole process group after 10 s."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        self._kill_group()
        self._process.wait()
        self._pid_file.unlink(missing_ok=True)

    def reload(self) -> None:
        """Sends SIGHUP, on which the process loads its catalog again."""
        if self._process is not None and self.alive:
            self._process.send_signal(signal.SIGHUP)

    def _kill_group(self) -> None:
        # A master that was killed may leave workers behind, which would hold its port.
        with suppress(ProcessLookupError, PermissionError):
            if self._process is not None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def rotate_log(self) -> None:
        """Keeps the log of the previous run as `<name>.log.1`."""
        with suppress(FileNotFoundError):
            self.log.replace(self.log.with_suffix(".log.1"))

    def last_line(self) -> str:
        """The last line of its log, which mostly says why it ended."""
        with suppress(OSError):
            lines = self.log.read_bytes()[-4000:].decode(errors="replace").strip().splitlines()
            return lines[-1] if lines else ""
        return ""

    def new_warnings(self) -> list[str]:
        """The log's lines at level warning or above since the last call."""
        with suppress(OSError), self.log.open("rb") as log:
            log.seek(self._log_offset)
            text = log.read(1_000_000)
            complete = text[: text.rfind(b"\n") + 1]
            self._log_offset += len(complete)
            lines = complete.splitlines()
            return [line.decode(errors="replace") for line in lines if any(level in line for level in WARNINGS)]
        return []


def _ending(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

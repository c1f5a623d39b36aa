"""A Valkey for `run.py`, in a process of its own: the one that forks must not have the engine's modules loaded."""

from __future__ import annotations

import sys
from pathlib import Path

from adapter.local import embedded


def serve(folder: str) -> None:
    """Prints the pid and URL of a Valkey with its data in `folder`, and stops it when standard input ends."""
    server = embedded.prepare(Path(folder) / "redis", log=Path(folder) / "redis.log")
    process = embedded.start(server)
    print(process.pid, server.url, flush=True)
    sys.stdin.read()
    embedded.stop(server, process)

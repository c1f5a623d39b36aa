"""TCP ports on which nothing listens.

The fixtures and system.py use them.
"""

from __future__ import annotations

import os
import random
import socket
from contextlib import ExitStack
from itertools import cycle

# Below those that a system gives to outgoing connections; a part of its own for each of the processes that run tests.
FIRST, EACH, PARTS = 12_000, 2_000, 10
_part = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PARTS
_start = random.randrange(EACH)  # noqa: S311  # no secret
_ports = cycle(FIRST + _part * EACH + (_start + step) % EACH for step in range(EACH))


def free_ports(count: int) -> list[int]:
    """Distinct ports of 127.0.0.1, none of which was given lately; they are held together while they are found."""
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = next(_ports)
            listener = held.enter_context(socket.socket())
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
        return ports

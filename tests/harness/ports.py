"""Free TCP ports, for fixtures and `system.py`."""

from __future__ import annotations

import os
import random
import socket
from contextlib import ExitStack
from itertools import cycle

# Below the ports that Linux gives to outgoing connections; each process that runs tests has a range of its own.
FIRST_PORT, RANGE_SIZE, RANGES = 12_000, 2_000, 10
_range = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % RANGES
_start = random.randrange(RANGE_SIZE)  # noqa: S311  # not a secret
_ports = cycle(FIRST_PORT + _range * RANGE_SIZE + (_start + step) % RANGE_SIZE for step in range(RANGE_SIZE))


def free_ports(count: int) -> list[int]:
    """Distinct ports of 127.0.0.1 on which nothing listens, none of which was returned lately."""
    # All stay bound until the last is known, so that none is returned twice.
    with ExitStack() as listeners:
        ports: list[int] = []
        while len(ports) < count:
            port = next(_ports)
            listener = listeners.enter_context(socket.socket())
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
        return ports

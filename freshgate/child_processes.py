"""What a process does right after its start, so that it never outlives the process that started it.

`adapter/local/processes.py` and `workers/supervisor.py` start children.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with(parent: int) -> None:
    """Asks Linux for a SIGTERM when the parent ends, however it ends. Runs in the new process."""
    if LIBC is None:
        return
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)

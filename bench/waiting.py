"""Waits for the effects of other processes."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(is_done: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Checks every 50 ms. Raises RuntimeError, which names `what`, after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not is_done():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.05)

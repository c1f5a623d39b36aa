"""The one function that a job of RQ may name. It is never called: `rq_worker.py` reads the jobs itself."""

from __future__ import annotations

from typing import Any

from freshgate.errors import FreshgateError


def deliver(job: Any) -> None:
    """Raises FreshgateError: whatever calls it is not our worker. The timers bring the job's sends back."""
    raise FreshgateError("only `python -m workers deliver` carries out jobs; this is another worker of RQ")

"""What RQ calls: `workers.jobs.deliver`, the one function that a job may name.

A job that RQ loses or repeats does no harm: the timers are the record, and the claim lets only one worker send.
"""

from __future__ import annotations

from typing import Any

import msgspec

from freshgate.queue import WIRE_VERSION, Job
from freshgate.telemetry import logs
from workers.courier import Courier

log = logs.get(__name__)

# RQ can only call a function by its name, so the composition root leaves the courier here.
_installed: list[Courier] = []


def install(courier: Courier) -> None:
    """Makes `deliver` use this courier."""
    _installed[:] = [courier]


def deliver(job: Any) -> None:
    """Carries out one job, given as the JSON of a `Job`. Raises RuntimeError outside of a worker."""
    if not _installed:
        raise RuntimeError("no courier installed: start the worker with `python -m workers deliver`")
    if job.get("v") != WIRE_VERSION:
        # A newer release wrote it, while hosts are updated one by one: its lease expires, and a newer worker gets it.
        log.warning("job_of_another_version", version=job.get("v"))
        return
    _installed[0].deliver(msgspec.convert(job, Job))

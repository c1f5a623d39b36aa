"""What RQ calls: `workers.jobs.deliver`, the one function that a job may name.

A job that RQ lost or repeats does no harm: the timer is the record, and the claim lets one of them through.
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
    """From now on `deliver` uses this courier."""
    _installed[:] = [courier]


def deliver(job: Any) -> None:
    """What RQ calls. The argument is JSON of a `Job`."""
    if not _installed:
        raise RuntimeError("no courier installed: start the worker with `python -m workers deliver`")
    if job.get("v") != WIRE_VERSION:
        # Written by a newer release, while hosts are updated one by one: the lease runs out, and a newer worker has it.
        log.warning("job_of_another_version", version=job.get("v"))
        return
    _installed[0].deliver(msgspec.convert(job, Job))

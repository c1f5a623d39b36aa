"""The series with which each process begins, so that no ratio and no panel starts out empty.

`metrics.py` declares them; the composition roots call this.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence

from prometheus_client import REGISTRY

from freshgate import outcomes
from freshgate.telemetry import metrics, processes
from freshgate.telemetry.polled import PolledMetrics
from freshgate.version import VERSION


def prepare_receiver(sources: Iterable[str]) -> None:
    """Creates the receiver's series, so that no ratio starts out empty."""
    for source in sources:
        for verdict in metrics.VERDICTS:
            metrics.EVENTS.labels(source, verdict)
        for reason in metrics.REFUSED_ELEMENTS:
            metrics.REFUSALS.labels(source, reason)
        for status in metrics.REFUSED_BODIES:
            metrics.REQUESTS_REFUSED.labels(source, status)
        for limit in metrics.LIMITS:
            metrics.RATE_LIMITED.labels(source, limit)
        for reason in metrics.UNAUTHENTIC_REASONS:
            metrics.UNAUTHENTIC.labels(source, reason)
        for series in (
            metrics.VERIFY,
            metrics.READ,
            metrics.RECORD,
            metrics.SOURCE_DELAY,
            metrics.UNREADABLE,
            metrics.CLAMPED,
        ):
            series.labels(source)
    for reason in metrics.DROPPED_CONNECTIONS:
        metrics.CONNECTIONS_DROPPED.labels(reason)
    _prepare_people_cache()
    for result in metrics.IDENTITY:
        metrics.IDENTITY_LINKS.labels(result)
    for result in metrics.UNSUBSCRIBE_RESULTS:
        metrics.UNSUBSCRIBES.labels(result)
    _set_build_info("receiver")


def prepare_people() -> None:
    """Creates the series of the People API as a process of its own."""
    _prepare_people_cache()
    _set_build_info("people")


def _prepare_people_cache() -> None:
    for result in metrics.PEOPLE_CACHE_RESULTS:
        metrics.PEOPLE_CACHE.labels(result)


def prepare_feedback(esps: Iterable[str], triggers: Sequence[str], kinds: Sequence[str]) -> None:
    """Creates the series of feedback, so that no ratio starts out empty.

    kinds  what an ESP may report of a mail
    """
    for esp in esps:
        metrics.UNAUTHENTIC_FEEDBACK.labels(esp)
        for trigger in (*triggers, "none"):
            for kind in kinds:
                metrics.FEEDBACK.labels(esp, trigger, kind)
        for trigger in triggers:
            metrics.SETTLED_BY_FEEDBACK.labels(trigger, esp)
            metrics.ACCEPTED_TO_DELIVERED.labels(trigger, esp)


def prepare_worker(
    triggers: Iterable[str], esp: str, asks: Iterable[str] = (), failing_over: Iterable[tuple[str, str]] = ()
) -> None:
    """Creates the worker's series; `esp` is the account that it sends through.

    failing_over  triggers of other accounts that it sends for while these fail, each with its own account
    """
    for trigger, account in failing_over:
        metrics.FAILED_OVER.labels(trigger, account)
    for ask in asks:
        for result in metrics.ASK_RESULTS:
            metrics.ASKS.labels(ask, result)
        metrics.ASK_SECONDS.labels(ask)
    for trigger in triggers:
        for outcome in metrics.OUTCOMES:
            metrics.SENDS.labels(trigger, esp, outcome)
        for reason in metrics.RETIMED_REASONS:
            metrics.RETIMED.labels(trigger, reason)
        for reason in metrics.SUPPRESSIONS:
            metrics.GATED.labels(trigger, "suppressed", reason)
        for reason in metrics.CONTRADICTIONS:
            metrics.CONTRADICTED.labels(trigger, reason)
        metrics.RECEIVED_TO_ACCEPTED.labels(trigger, esp)
        metrics.OCCURRED_TO_ACCEPTED.labels(trigger, esp)
        metrics.GATE.labels(trigger)
    for error in metrics.ERROR_CLASSES:
        metrics.ESP_ERRORS.labels(esp, error)
    for result in metrics.CALL_RESULTS:
        metrics.ESP_CALL.labels(esp, result)
    metrics.ESP_BATCH.labels(esp)
    _set_build_info("worker")
    _serve_process("worker")


def prepare_timers(shops: Iterable[str] = ()) -> None:
    """Makes this process serve the polled metrics; `shops` are those that hear of their outcomes."""
    for shop in shops:
        for event in outcomes.EVENTS:
            for result in metrics.OUTCOME_RESULTS:
                metrics.OUTCOMES_SENT.labels(shop, event, result)
        for error in metrics.ERROR_CLASSES:
            metrics.OUTCOME_ERRORS.labels(shop, error)
    REGISTRY.register(PolledMetrics(metrics.POLLED_METRICS))
    _set_build_info("timers")
    _serve_process("timers")


def _set_build_info(process: str) -> None:
    metrics.BUILD.labels(process, VERSION, platform.python_version()).set(1)


def _serve_process(name: str) -> None:
    """For a process that serves its own metrics: what others serve together has no registry of its own."""
    REGISTRY.register(processes.ProcessMetrics(lambda: {name: os.getpid()}))

"""The composition root of process 2: turns settings into connections, an ESP, a worker or a timers process.

`python -m workers deliver` and `python -m workers timers` call it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping, Sequence
from types import FrameType

from rq.serializers import JSONSerializer

from freshgate.catalogs import load_triggers
from freshgate.declare import Trigger
from freshgate.errors import SettingsError
from freshgate.queue import queue_name
from freshgate.routing import routes_of
from freshgate.settings import EspSettings, Settings, require_pii_key
from freshgate.settings_parsing import setting_name
from freshgate.state.store import connect, load
from freshgate.telemetry import logs, metrics, tracing
from freshgate.telemetry.metrics_port import serve_metrics
from freshgate.templates import load_templates
from workers.courier import Courier
from workers.esp import ESPS
from workers.esp.base import Esp, limit_recipients
from workers.jobs import install
from workers.lookup import Lookup
from workers.messages import Messages
from workers.redis_monitor import RedisMonitor
from workers.rq_worker import DeliverQueue, DeliverWorker
from workers.supervisor import supervise
from workers.timers import Timers

log = logs.get(__name__)
# The worker ends after so many jobs, and its supervisor starts it again.
MAX_JOBS = 100_000
WORKER_TTL_S = 30


def deliver(settings: Settings, account: str | None = None) -> int:
    """Works on the queue of an account until told to stop; without one, on those of all accounts, in a process each.
    Returns 1 if it ended for another reason. Raises SettingsError.
    """
    accounts = esp_accounts(settings)
    require_pii_key(settings)
    triggers = load_triggers(settings)
    if account is None and len(accounts) > 1:
        for name, esp_settings in accounts.items():
            # A fault in the settings of one stops the start of all.
            build_esp(name, esp_settings).close()
        return supervise(settings, [("--esp", name) for name in accounts])
    name = account or next(iter(accounts))
    if name not in accounts:
        raise SettingsError(f"--esp {name}: there is no account [esps.{name}]; write one of: {', '.join(accounts)}")
    return _work(settings, name, triggers)


def _work(settings: Settings, name: str, triggers: Sequence[Trigger]) -> int:
    esp_settings = settings.esps[name]
    client = connect(settings.redis_url, timeout_s=5.0)
    load(client)
    esp = build_esp(name, esp_settings)
    traces = tracing.setup(settings, "worker")
    courier = Courier(
        client,
        {trigger.name: trigger for trigger in triggers},
        esp,
        Lookup(
            client,
            settings.pii_key.encode(),
            settings.order_grace,
            email_identity=settings.email_identity,
            transactional=[trigger.name for trigger in triggers if trigger.kind == "transactional"],
            page_addresses=settings.page_addresses == "any",
        ),
        deadline_ms=int(esp_settings.timeout_s * 1000),
        traces=traces,
        messages=Messages(load_templates(settings.catalog)),
        feedback_wait_ms=esp_settings.feedback_wait if esp_settings.wants_feedback else None,
    )
    install(courier)
    metrics.prepare_worker([trigger.name for trigger in triggers if trigger.esp == name], name)
    serve_metrics(settings.metrics_host, settings.worker_metrics_port)
    # RQ waits for the next job in a blocking pop, longer than any other reply may take.
    blocking_client = connect(settings.redis_url, timeout_s=None)
    queue = DeliverQueue(queue_name(name), connection=blocking_client, serializer=JSONSerializer)
    worker = DeliverWorker([queue], connection=blocking_client, serializer=JSONSerializer, worker_ttl=WORKER_TTL_S)
    log.info("worker_ready", queue=queue.name)
    try:
        worker.work(logging_level="WARNING", max_jobs=MAX_JOBS)
    finally:
        esp.close()
        traces.close()
    if worker.was_stopped or worker.executed >= MAX_JOBS:
        return 0
    # RQ logs why, and returns: Redis took no writes, or did not answer. The supervisor must see that it was no stop.
    log.error("worker_ended", hint="Redis failed; a new worker connects anew")
    return 1


def timers(settings: Settings) -> int:
    """Turns due timers into jobs until told to stop."""
    esp_accounts(settings)
    triggers = load_triggers(settings)
    routes = routes_of(settings, triggers)
    client = connect(settings.redis_url, timeout_s=5.0)
    load(client)
    serve_metrics(settings.metrics_host, settings.timers_metrics_port)
    stopped = threading.Event()

    def stop(_signum: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    max_settle_ms = max((trigger.settle_ms for trigger in triggers), default=0)
    metrics.prepare_timers()
    queues = [queue_name(name) for name in routes.accounts]
    RedisMonitor(connect(settings.redis_url, timeout_s=2.0), queues).start(stopped)
    log.info("timers_ready", queues=queues)
    Timers(client, routes, max_settle_ms).run(stopped.is_set)
    return 0


def esp_accounts(settings: Settings) -> Mapping[str, EspSettings]:
    """The accounts, the first one first. Raises SettingsError if there is none, or one whose kind does not exist."""
    if not settings.esps:
        raise SettingsError("no ESP is configured: add a table [esps.sendgrid] to the settings")
    for name, esp in settings.esps.items():
        if esp.kind not in ESPS:
            known = ", ".join(ESPS)
            raise SettingsError(f"{setting_name('esps', name, 'kind')}: {esp.kind!r}; write which ESP it is: {known}")
    return settings.esps


def build_esp(name: str, settings: EspSettings) -> Esp:
    """The account's ESP, not connected. Raises SettingsError."""
    return limit_recipients(ESPS[settings.kind](name, settings), settings.only_to)

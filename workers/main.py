"""The composition root of process 2: turns settings into connections, an ESP, a worker or a timers process.

`python -m workers deliver` and `python -m workers timers` call it.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

from prometheus_client import start_http_server
from rq.serializers import JSONSerializer

from freshgate.catalogs import load_triggers
from freshgate.errors import SettingsError
from freshgate.queue import queue_name
from freshgate.settings import EspSettings, Settings, require_pii_key
from freshgate.settings_parsing import setting_name
from freshgate.state.store import connect, load
from freshgate.telemetry import logs, metrics, tracing
from workers.courier import Courier
from workers.esp import ESPS
from workers.esp.base import limit_recipients
from workers.jobs import install
from workers.lookup import Lookup
from workers.redis_monitor import RedisMonitor
from workers.rq_worker import DeliverQueue, DeliverWorker
from workers.timers import Timers

log = logs.get(__name__)
# The worker ends after so many jobs, and its supervisor starts it again.
MAX_JOBS = 100_000
WORKER_TTL_S = 30


def deliver(settings: Settings) -> int:
    """Works on the queue of the ESP account until told to stop. Returns 1 if it ended for another reason."""
    name, esp_settings = first_esp(settings)
    require_pii_key(settings)
    triggers = load_triggers(settings)
    client = connect(settings.redis_url, timeout_s=5.0)
    load(client)
    esp = limit_recipients(ESPS[esp_settings.kind](name, esp_settings), esp_settings.only_to)
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
        ),
        deadline_ms=int(esp_settings.timeout_s * 1000),
        traces=traces,
    )
    install(courier)
    metrics.prepare_worker([trigger.name for trigger in triggers], name)
    _export_metrics(settings.metrics_host, settings.worker_metrics_port)
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
    name, _ = first_esp(settings)
    client = connect(settings.redis_url, timeout_s=5.0)
    load(client)
    _export_metrics(settings.metrics_host, settings.timers_metrics_port)
    stopped = threading.Event()

    def stop(_signum: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    max_settle_ms = max((trigger.settle_ms for trigger in load_triggers(settings)), default=0)
    metrics.prepare_timers()
    RedisMonitor(connect(settings.redis_url, timeout_s=2.0), [queue_name(name)]).start(stopped)
    log.info("timers_ready", queue=queue_name(name))
    Timers(client, queue_name(name), max_settle_ms).run(stopped.is_set)
    return 0


def first_esp(settings: Settings) -> tuple[str, EspSettings]:
    """Name and settings of the account that sends all mails. Raises SettingsError unless there is exactly one."""
    if not settings.esps:
        raise SettingsError("no ESP is configured: add a table [esps.sendgrid] to the settings")
    for name, esp in settings.esps.items():
        if esp.kind not in ESPS:
            known = ", ".join(ESPS)
            raise SettingsError(f"{setting_name('esps', name, 'kind')}: {esp.kind!r}; write which ESP it is: {known}")
    if len(settings.esps) > 1:
        names = ", ".join(f"[esps.{name}]" for name in settings.esps)
        raise SettingsError(f"{names}: all mails leave through one account; keep one of these tables")
    return next(iter(settings.esps.items()))


def _export_metrics(host: str, port: int) -> None:
    if not port:
        return
    try:
        start_http_server(port, addr=host)
    except OSError as error:
        # The port belongs to another worker on this host: mails matter more than metrics.
        log.warning("metrics_port_taken", port=port, error=str(error))

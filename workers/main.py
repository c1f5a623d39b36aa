"""The composition root of process 2: settings become connections, an ESP, a worker, a timers process.

`python -m workers deliver` and `python -m workers timers` call it.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

from prometheus_client import start_http_server
from rq import Queue
from rq.serializers import JSONSerializer

from freshgate.catalogs import triggers_of
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
from workers.redis_monitor import Health
from workers.rq_worker import DeliverWorker
from workers.timers import Timers

log = logs.get(__name__)
MAX_JOBS = 100_000
WORKER_TTL_S = 30


def deliver(settings: Settings) -> int:
    """Work on the one queue of the first ESP until told to stop."""
    name, esp_settings = first_esp(settings)
    require_pii_key(settings)
    triggers = triggers_of(settings)
    client = connect(settings.redis_url, timeout_s=5.0)
    load(client)
    esp = limit_recipients(ESPS[esp_settings.kind](name, esp_settings), esp_settings.only_to)
    traces = tracing.setup(settings, "worker")
    courier = Courier(
        client,
        {trigger.name: trigger for trigger in triggers},
        esp,
        Lookup(client, settings.pii_key.encode(), settings.order_grace, email_identity=settings.email_identity),
        deadline_ms=int(esp_settings.timeout_s * 1000),
        traces=traces,
    )
    install(courier)
    metrics.prepare_worker([trigger.name for trigger in triggers], name)
    _export(settings.metrics_host, settings.worker_metrics_port)
    # A blocking pop waits longer than any other answer may take.
    popping = connect(settings.redis_url, timeout_s=None)
    queue = Queue(queue_name(name), connection=popping, serializer=JSONSerializer)
    worker = DeliverWorker([queue], connection=popping, serializer=JSONSerializer, worker_ttl=WORKER_TTL_S)
    log.info("worker_ready", queue=queue.name)
    try:
        worker.work(logging_level="WARNING", max_jobs=MAX_JOBS)
    finally:
        esp.close()
        traces.close()
    return 0


def timers(settings: Settings) -> int:
    """Turn due timers into jobs until told to stop."""
    name, _ = first_esp(settings)
    client = connect(settings.redis_url, timeout_s=5.0)
    load(client)
    _export(settings.metrics_host, settings.timers_metrics_port)
    stopped = threading.Event()

    def stop(_signum: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    settle = max((trigger.settle_ms for trigger in triggers_of(settings)), default=0)
    metrics.prepare_timers()
    Health(connect(settings.redis_url, timeout_s=2.0), [queue_name(name)]).start(stopped)
    log.info("timers_ready", queue=queue_name(name))
    Timers(client, queue_name(name), settle).run(stopped.is_set)
    return 0


def first_esp(settings: Settings) -> tuple[str, EspSettings]:
    """The account that mails leave through. Raises SettingsError unless it is exactly one, of a known kind."""
    if not settings.esps:
        raise SettingsError("no ESP is set: add a table [esps.sendgrid] to the settings")
    for name, esp in settings.esps.items():
        if esp.kind not in ESPS:
            raise SettingsError(f"{setting_name('esps', name, 'kind')}: {esp.kind!r}; known kinds: {', '.join(ESPS)}")
    if len(settings.esps) > 1:
        names = ", ".join(f"[esps.{name}]" for name in settings.esps)
        raise SettingsError(f"{names}: mails leave through one account; keep one of these tables")
    return next(iter(settings.esps.items()))


def _export(host: str, port: int) -> None:
    if not port:
        return
    try:
        start_http_server(port, addr=host)
    except OSError as error:
        # A second worker of one host: its mails matter more than its figures.
        log.warning("metrics_port_taken", port=port, error=str(error))

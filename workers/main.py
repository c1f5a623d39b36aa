"""The composition root of process 2: turns settings into connections, an ESP, a worker or a timers process.

`python -m workers deliver` and `python -m workers timers` call it.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from types import FrameType

from redis.exceptions import RedisError
from rq.serializers import JSONSerializer

from freshgate.catalogs import load_triggers
from freshgate.declare import Trigger
from freshgate.errors import CatalogError, SettingsError
from freshgate.links import Links, LinkTokens
from freshgate.outcomes import rules_of
from freshgate.queue import queue_names
from freshgate.routing import routes_of
from freshgate.settings import AskSettings, EspSettings, Settings
from freshgate.settings_file import require_pii_key, require_redis
from freshgate.settings_parsing import setting_name
from freshgate.state.clock import RedisClock
from freshgate.state.restored import hold_if_restored
from freshgate.state.store import connect, load, note_outage, redis_now_ms
from freshgate.telemetry import first_series, logs, metrics, tracing
from freshgate.telemetry.metrics_port import serve_metrics
from freshgate.templates import load_templates
from workers.account_monitor import AccountMonitor
from workers.asker import Asker
from workers.calls import WaitingForEsp
from workers.courier import Courier
from workers.delays import note_delays
from workers.esp import ESPS, with_max_calls
from workers.esp.base import Esp, limit_recipients
from workers.lanes import Lanes
from workers.lookup import Lookup, transactional_marks
from workers.messages import Messages
from workers.outcomes import build_destination
from workers.outcomes.sender import OutcomeSender
from workers.outlet import Outlet
from workers.redis_monitor import RedisMonitor
from workers.rq_jobs import DeliverQueue
from workers.rq_worker import DeliverWorker, LaneStuck
from workers.supervisor import supervise
from workers.timers import Timers

log = logs.get(__name__)
# The worker ends after so many jobs, and its supervisor starts it again.
MAX_JOBS = 1_000_000
WORKER_TTL_S = 30
# Python lets another thread run after 5 ms: too long for one whose claim ages meanwhile.
SWITCH_INTERVAL_S = 0.001


def deliver(settings: Settings, account: str | None = None, processes: int | None = None) -> int:
    """Works on the queues of an account until told to stop; without one, on those of all accounts.

    processes  how many for each account; None is the setting `worker_processes`

    More than one process runs under a supervisor. Returns 1 if it ended for another reason. Raises SettingsError.
    """
    accounts = esp_accounts(settings)
    require_pii_key(settings)
    require_redis(settings)
    triggers = load_triggers(settings)
    if account is not None and account not in accounts:
        known = ", ".join(accounts)
        raise SettingsError(f"--esp {account}: there is no account [esps.{account}]; write one of: {known}")
    if processes is not None and processes < 1:
        raise SettingsError(f"--processes {processes}: out of range; write a number from 1 or more")
    names = [account] if account is not None else list(accounts)
    each = processes or settings.worker_processes
    if len(names) * each == 1:
        return _work(settings, accounts, names[0], triggers)
    for name in names:
        # A fault in the settings of one stops the start of all.
        build_esp(name, accounts[name]).close()
        build_messages(settings, name, triggers)
    children = {
        f"worker-{name}-{number}": ("--esp", name, "--processes", "1")
        for name in names
        for number in range(1, each + 1)
    }
    return supervise(settings, children)


def _work(settings: Settings, accounts: Mapping[str, EspSettings], name: str, triggers: Sequence[Trigger]) -> int:
    esp_settings = accounts[name]
    asks = {ask.name: ask for trigger in triggers if name in _senders(trigger, settings) for ask in trigger.asks}
    asking = sum(settings.asks.get(ask, AskSettings()).concurrency for ask in asks)
    # A connection for each lane, and for each request to a source of truth.
    client = connect(
        settings.redis_url,
        timeout_s=5.0,
        pool=esp_settings.concurrency + asking + 8,
        queue_url=settings.queue_redis_url,
    )
    load(client)
    hold_if_restored(client)
    traces = tracing.setup(settings, "worker")
    lookup = Lookup(
        client,
        settings.pii_key.encode(),
        settings.order_grace,
        email_identity=settings.email_identity,
        transactional=transactional_marks(triggers),
        page_addresses=settings.page_addresses == "any",
        session_window=settings.session_window,
    )
    messages = build_messages(settings, name, triggers)
    asker = Asker(client, asks.values(), settings.asks)
    outlet = Outlet(client, name, accounts, RedisClock(None, metrics.CLOCK_SKEW.set))
    delays = note_delays(client, triggers, redis_now_ms(client))

    def build_courier(waiting: WaitingForEsp) -> Courier:
        return Courier(
            client,
            {trigger.name: trigger for trigger in triggers},
            build_esp(name, esp_settings),
            lookup,
            deadline_ms=int(esp_settings.timeout_s * 1000),
            traces=traces,
            messages=messages,
            feedback_wait_ms=esp_settings.feedback_wait if esp_settings.wants_feedback else None,
            batch=esp_settings.batch,
            waiting=waiting,
            outlet=outlet,
            delays=delays,
            outcomes=rules_of(settings),
            oracle=asker,
        )

    # RQ waits for the next job in a blocking pop, longer than any other reply may take.
    blocking_client = connect(settings.queue_redis_url or settings.redis_url, timeout_s=None)
    queues = [DeliverQueue(queue, connection=blocking_client, serializer=JSONSerializer) for queue in queue_names(name)]
    worker = DeliverWorker(queues, connection=blocking_client, serializer=JSONSerializer, worker_ttl=WORKER_TTL_S)
    worker.after_outage = partial(note_outage, client)
    concurrency = min(esp_settings.concurrency, esp_settings.max_in_flight or esp_settings.concurrency)
    lanes = Lanes(build_courier, worker, concurrency, name)
    own_triggers = [trigger for trigger in triggers if name in _senders(trigger, settings)]
    first_series.prepare_worker(
        [trigger.name for trigger in own_triggers],
        name,
        asks,
        [(trigger.name, trigger.esp) for trigger in own_triggers if trigger.esp and trigger.esp != name],
    )
    serve_metrics(settings.metrics_host, settings.worker_metrics_port)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    log.info("worker_ready", queues=queue_names(name), concurrency=concurrency)
    try:
        worker.deliver(lanes, max_jobs=MAX_JOBS)
    except (RedisError, LaneStuck) as error:
        # The supervisor must see that it was no stop: it starts a new worker, which connects anew.
        log.error("worker_ended", error=type(error).__name__, reason=str(error)[:200])
        return 1
    finally:
        outlet.close()
        traces.close()
    return 0


def timers(settings: Settings) -> int:
    """Turns due timers into jobs until told to stop."""
    require_redis(settings)
    accounts = esp_accounts(settings)
    triggers = load_triggers(settings)
    routes = routes_of(settings, triggers)
    destinations = {shop: build_destination(shop, wish) for shop, wish in settings.outcomes.items()}
    client = connect(settings.redis_url, timeout_s=5.0, queue_url=settings.queue_redis_url)
    load(client)
    serve_metrics(settings.metrics_host, settings.timers_metrics_port)
    stopped = threading.Event()

    def stop(_signum: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    max_settle_ms = max((trigger.settle_ms for trigger in triggers), default=0)
    first_series.prepare_timers(settings.outcomes)
    queues = [queue for name in routes.accounts for queue in queue_names(name)]
    monitor_client = connect(settings.redis_url, timeout_s=2.0, queue_url=settings.queue_redis_url)
    monitor = AccountMonitor(monitor_client, routes, triggers, accounts)
    RedisMonitor(monitor_client, queues, monitor, list(settings.outcomes), triggers).start(stopped)
    # Connections of their own: no timer waits for one.
    outcome_client = connect(settings.redis_url, timeout_s=5.0, queue_url=settings.queue_redis_url)
    for shop, destination in destinations.items():
        OutcomeSender(outcome_client, shop, settings.outcomes[shop], destination).start(stopped)
    log.info("timers_ready", queues=queues)
    Timers(client, routes, max_settle_ms, triggers, accounts).run(stopped.is_set)
    return 0


def _senders(trigger: Trigger, settings: Settings) -> tuple[str | None, str | None]:
    """The trigger's account, and the one that sends in its place."""
    return trigger.esp, settings.esps[trigger.esp].failover if trigger.esp else None


def esp_accounts(settings: Settings) -> Mapping[str, EspSettings]:
    """The accounts, the first one first, with the limits of their kinds.

    Raises SettingsError if there is none, or one whose kind does not exist.
    """
    if not settings.esps:
        raise SettingsError("no ESP is configured: add a table [esps.sendgrid] to the settings")
    for name, esp in settings.esps.items():
        if esp.kind not in ESPS:
            known = ", ".join(ESPS)
            raise SettingsError(f"{setting_name('esps', name, 'kind')}: {esp.kind!r}; write which ESP it is: {known}")
    return {name: with_max_calls(esp) for name, esp in settings.esps.items()}


def build_messages(settings: Settings, account: str, triggers: Sequence[Trigger]) -> Messages:
    """What mails of an account are made of. Raises SettingsError or CatalogError where they would lack something."""
    esp, templates = settings.esps[account], load_templates(settings.catalog)
    own = [trigger for trigger in triggers if trigger.esp == account and trigger.enabled]
    marketing = [trigger.name for trigger in own if trigger.kind == "marketing"]
    stores = ESPS[esp.kind].capabilities.templates
    if stores == "ours" or (stores == "by id or ours" and esp.templates == "catalog"):
        for trigger in own:
            if trigger.template_name not in templates.names:
                file = f"templates/{trigger.template_name}.txt.j2"
                raise CatalogError(
                    f"trigger {trigger.name}: [esps.{account}] sends the catalog's templates; write {file} there"
                )
        if esp.live and marketing and not settings.public_url:
            raise SettingsError(
                f"{setting_name('public_url')}: missing; {marketing[0]} is marketing, and needs a link to unsubscribe: "
                'write where readers reach the receiver, such as "https://mails.shop.example"'
            )
    if esp.live and not settings.public_url:
        return Messages(templates)
    # Without a URL of its own, a demo on this machine.
    public_url = settings.public_url or f"http://127.0.0.1:{settings.port}"
    return Messages(templates, Links(LinkTokens(settings.pii_key.encode(), settings.unsubscribe_secrets), public_url))


def build_esp(name: str, settings: EspSettings) -> Esp:
    """The account's ESP, not connected. Raises SettingsError."""
    return limit_recipients(ESPS[settings.kind](name, settings), settings.only_to)

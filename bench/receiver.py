"""The receiver behind the gunicorn that we ship, against Flask routes that do less: requests a second, CPU a request.

All apps run at once, and the load goes from one to the next in windows of about a second: a pair is two windows of one
round. Ours is asked for single events and batches of 50 of shoppers whose records are there, and for orders, each of
which leaves a job in the queue; nothing works on that queue meanwhile. CPU is that of gunicorn and its workers.
Afterwards each gunicorn is told to go on with one worker: then Redis and the load have a core of their own on a machine
of two, and a figure is one of a core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, NamedTuple

from bench.lab import Lab, Started
from bench.load import Clients
from bench.payloads import Shoppers, batch_request, orders, request
from bench.rows import Effort, Goal, Row, paired

PART = "receiver"
BATCH = 50
PEOPLE = 1000
# Enough of them to keep every worker busy, however the kernel deals them out.
CONNECTIONS = 32
WARM_UP = 200
SINGLE, MANY = Goal("ratio", "at least", 0.5), Goal("ratio", "at least", 8)
APPS = {
    "constant": "bench.naive:constant_with_metrics()",
    "bare": "bench.naive:constant()",
    "one_set": "bench.naive:one_set()",
}


Sources = Mapping[str, tuple[Started, Callable[[int], list[bytes]]]]


class Window(NamedTuple):
    """What one window saw, a second and a request."""

    rate: float
    cpu_us: float
    redis_us: float


def measure(effort: Effort) -> list[Row]:
    """Requests a second, events a second, and CPU."""
    with Lab() as lab:
        redis = lab.client(lab.valkey())
        ours = lab.gunicorn("receiver", "adapter.app:from_environment()")
        apps = {name: lab.gunicorn(name, app) for name, app in APPS.items()}
        shoppers = Shoppers(PEOPLE)
        sources: Sources = {
            "batch": (ours, lambda n: [batch_request([shoppers.event() for _ in range(BATCH)]) for _ in range(n)]),
            "constant": (apps["constant"], lambda n: [request(shoppers.event()) for _ in range(n)]),
            "single": (ours, lambda n: [request(shoppers.event()) for _ in range(n)]),
            "bare": (apps["bare"], lambda n: [request(shoppers.event()) for _ in range(n)]),
            "order": (ours, lambda n: [request(body) for _, body in orders(n)]),
            "one_set": (apps["one_set"], lambda n: [request(shoppers.event()) for _ in range(n)]),
        }
        window_s = effort.of(800, 300) / 1000
        rates_seen = first_look(redis, sources)
        shipped = rounds(redis, sources, rates_seen, window_s, effort.of(10, 3))
        for app in (ours, *apps.values()):
            app.keep_one_worker()
        alone = {name: sources[name] for name in ("constant", "single", "order", "batch")}
        return rows(shipped) + rows_alone(rounds(redis, alone, rates_seen, window_s, effort.of(9, 2)))


def first_look(redis: Any, sources: Sources) -> dict[str, float]:
    """Requests a second of each app, roughly. The batches bring all shoppers into being."""
    seen = {}
    for name, (app, build) in sources.items():
        for _ in range(2 if name == "batch" else 1):
            seen[name] = window(redis, app, build(WARM_UP)).rate
    return seen


def rounds(
    redis: Any, sources: Sources, rates_seen: dict[str, float], window_s: float, amount: int
) -> list[dict[str, Window]]:
    """The rate of the window before says how many requests fill the next one."""
    windows = []
    for _ in range(amount):
        one = {}
        for name, (app, build) in sources.items():
            one[name] = window(redis, app, build(max(CONNECTIONS, int(rates_seen[name] * window_s))))
            rates_seen[name] = one[name].rate
        windows.append(one)
    return windows


def window(redis: Any, app: Started, requests: list[bytes]) -> Window:
    with Clients(app.port, CONNECTIONS) as clients:
        cpu, redis_cpu = app.cpu_s(), redis_s(redis)
        seconds = clients.burst(requests)
        cpu, redis_cpu = app.cpu_s() - cpu, redis_s(redis) - redis_cpu
    return Window(len(requests) / seconds, cpu / len(requests) * 1e6, redis_cpu / len(requests) * 1e6)


def redis_s(redis: Any) -> float:
    """User and system time of Redis so far, in seconds."""
    told = redis.info("cpu")
    return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])


def rows(windows: list[dict[str, Window]]) -> list[Row]:
    def pairs(ours: str, theirs: str, each: int = 1) -> list[tuple[float, float]]:
        return rates(windows, ours, theirs, each)

    def redis(name: str, each: int) -> float:
        return median(one[name].redis_us / each for one in windows)

    constant, bare, one_set = "constant route", "constant route, no metrics", "HMAC + one SET"
    return [
        paired(PART, "single event", "requests/s", pairs("single", "constant"), constant, SINGLE),
        paired(PART, "single event", "requests/s", pairs("single", "bare"), bare),
        paired(PART, "single event", "requests/s", pairs("single", "one_set"), one_set),
        paired(PART, "single order, with its job", "requests/s", pairs("order", "constant"), constant, SINGLE),
        paired(PART, "batch of 50", "events/s", pairs("batch", "constant", BATCH), constant, MANY),
        paired(PART, "batch of 50", "events/s", pairs("batch", "bare", BATCH), bare),
        Row(part=PART, name="CPU of Redis, single event", unit="µs/event", ours=redis("single", 1)),
        Row(part=PART, name="CPU of Redis, batch of 50", unit="µs/event", ours=redis("batch", BATCH)),
    ]


def rows_alone(windows: list[dict[str, Window]]) -> list[Row]:
    """With one worker; CPU is told here, where nothing else wants the worker's core."""

    def pairs(ours: str, each: int = 1) -> list[tuple[float, float]]:
        return rates(windows, ours, "constant", each)

    def cpu(ours: str, each: int = 1) -> list[tuple[float, float]]:
        return [(one[ours].cpu_us / each, one["constant"].cpu_us) for one in windows]

    constant, alone = "constant route", "one worker, "
    return [
        paired(PART, alone + "single event", "requests/s", pairs("single"), constant, SINGLE),
        paired(PART, alone + "single order", "requests/s", pairs("order"), constant, SINGLE),
        paired(PART, alone + "batch of 50", "events/s", pairs("batch", BATCH), constant, MANY),
        paired(PART, "CPU, single event", "µs/request", cpu("single"), constant),
        paired(PART, "CPU, single order", "µs/request", cpu("order"), constant),
        paired(PART, "CPU, batch of 50", "µs/event", cpu("batch", BATCH), constant),
    ]


def rates(windows: list[dict[str, Window]], ours: str, theirs: str, each: int) -> list[tuple[float, float]]:
    """Ours, `each` events a request, and theirs, in every round."""
    return [(one[ours].rate * each, one[theirs].rate) for one in windows]

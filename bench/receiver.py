"""The receiver, against Flask routes that do less: requests a second, and CPU a request.

The routes wait in the threads of gunicorn's own worker, as Flask apps commonly do. Rows "as a task" are against a route
that answers a constant from the receiver's worker, so that what remains is the receiver's own work.

The receiver gets single events and batches of 50 of shoppers whose records exist, and orders, each of which leaves a
job in the queue; no worker runs. All apps run at once, and the load goes from one to the next in windows of about a
second: a pair is two windows of one round. CPU is that of gunicorn and its workers. Rows "one worker" repeat this with
one gunicorn worker each: on two cores Redis and the load then have a core to themselves.

With two workers on two cores the rates hang on the scheduler: two workers, Redis and the load share the cores, and of
one commit the ratio was 2.1 and 4.6 within minutes. Rows "a second of CPU" do not: how much the receiver and its Redis
get done with a second of CPU, wherever they run, against what the constant route does. Goals are for full cores, so
these rows have them, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, NamedTuple

from bench.lab import OWN_THREADS, Lab, Process
from bench.load import Clients
from bench.payloads import Shoppers, batch_request, orders, request
from bench.rows import Effort, Goal, Row, paired

PART = "receiver"
BATCH = 50
PEOPLE = 1000
# Enough to keep every worker busy, however the kernel distributes them.
CONNECTIONS = 32
WARM_UP = 200
SINGLE_GOAL, BATCH_GOAL = Goal("ratio", "at least", 0.5), Goal("ratio", "at least", 5)
APPS = {
    "constant": "bench.naive:constant_with_metrics()",
    "bare": "bench.naive:constant()",
    "hmac_and_set": "bench.naive:hmac_and_set()",
}
# Name of a load → the app that gets it, and a function that builds so many requests.
Loads = Mapping[str, tuple[Process, Callable[[int], list[bytes]]]]


class Window(NamedTuple):
    """One window's figures: requests a second, CPU of the app and of Redis a request."""

    rate: float
    cpu_us: float
    redis_us: float


def measure(effort: Effort) -> list[Row]:
    """Requests a second, events a second, and CPU."""
    with Lab() as lab:
        redis = lab.client(lab.valkey())
        receiver = lab.gunicorn("receiver", "adapter.app:from_environment()")
        apps = {name: lab.gunicorn(name, app, worker_class=OWN_THREADS) for name, app in APPS.items()}
        apps["constant_task"] = lab.gunicorn("constant_task", APPS["constant"])
        shoppers = Shoppers(PEOPLE)
        loads: Loads = {
            "batch": (receiver, lambda n: [batch_request([shoppers.event() for _ in range(BATCH)]) for _ in range(n)]),
            "constant": (apps["constant"], lambda n: [request(shoppers.event()) for _ in range(n)]),
            "constant_task": (apps["constant_task"], lambda n: [request(shoppers.event()) for _ in range(n)]),
            "single": (receiver, lambda n: [request(shoppers.event()) for _ in range(n)]),
            "bare": (apps["bare"], lambda n: [request(shoppers.event()) for _ in range(n)]),
            "order": (receiver, lambda n: [request(body) for _, body in orders(n)]),
            "hmac_and_set": (apps["hmac_and_set"], lambda n: [request(shoppers.event()) for _ in range(n)]),
        }
        window_s = effort.of(800, 300) / 1000
        last_rates = warm_up(redis, loads)
        all_workers = rounds(redis, loads, last_rates, window_s, effort.of(10, 3))
        for app in (receiver, *apps.values()):
            app.keep_single_worker()
        single_worker_loads = {name: loads[name] for name in ("constant", "constant_task", "single", "order", "batch")}
        single_worker = rounds(redis, single_worker_loads, last_rates, window_s, effort.of(9, 2))
        return rows(all_workers) + single_worker_rows(single_worker)


def warm_up(redis: Any, loads: Loads) -> dict[str, float]:
    """A rough rate of each load. The batches create the records of all shoppers."""
    last_rates = {}
    for name, (app, build) in loads.items():
        for _ in range(2 if name == "batch" else 1):
            last_rates[name] = window(redis, app, build(WARM_UP)).rate
    return last_rates


def rounds(
    redis: Any, loads: Loads, last_rates: dict[str, float], window_s: float, amount: int
) -> list[dict[str, Window]]:
    """One window of each load a round. The last rate says how many requests fill the next window."""
    windows = []
    for _ in range(amount):
        by_load = {}
        for name, (app, build) in loads.items():
            requests = build(max(CONNECTIONS, int(last_rates[name] * window_s)))
            by_load[name] = window(redis, app, requests)
            last_rates[name] = by_load[name].rate
        windows.append(by_load)
    return windows


def window(redis: Any, app: Process, requests: list[bytes]) -> Window:
    """Sends the requests as fast as the app answers."""
    with Clients(app.port, CONNECTIONS) as clients:
        cpu, redis_cpu = app.cpu_s(), redis_s(redis)
        seconds = clients.burst(requests)
        cpu, redis_cpu = app.cpu_s() - cpu, redis_s(redis) - redis_cpu
    return Window(len(requests) / seconds, cpu / len(requests) * 1e6, redis_cpu / len(requests) * 1e6)


def redis_s(redis: Any) -> float:
    """User and system time of Redis so far, in seconds."""
    info = redis.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def rows(windows: list[dict[str, Window]]) -> list[Row]:
    """With as many gunicorn workers as by default."""

    def pairs(load: str, reference: str, events: int = 1) -> list[tuple[float, float]]:
        return rates(windows, load, reference, events)

    def redis_us(load: str, events: int) -> float:
        return median(by_load[load].redis_us / events for by_load in windows)

    constant, bare, hmac_and_set = "constant route", "constant route, no metrics", "HMAC + one SET"
    task = "constant route, as a task"
    return [
        paired(PART, "single event", "requests/s", pairs("single", "constant"), constant, SINGLE_GOAL),
        paired(PART, "single event", "requests/s", pairs("single", "constant_task"), task),
        paired(PART, "single event", "requests/s", pairs("single", "bare"), bare),
        paired(PART, "single event", "requests/s", pairs("single", "hmac_and_set"), hmac_and_set),
        paired(PART, "single order, with its job", "requests/s", pairs("order", "constant"), constant, SINGLE_GOAL),
        paired(PART, "batch of 50", "events/s", pairs("batch", "constant", BATCH), constant, BATCH_GOAL),
        paired(PART, "batch of 50", "events/s", pairs("batch", "constant_task", BATCH), task),
        paired(PART, "batch of 50", "events/s", pairs("batch", "bare", BATCH), bare),
        Row(part=PART, name="CPU of Redis, single event", unit="µs/event", value=redis_us("single", 1)),
        Row(part=PART, name="CPU of Redis, batch of 50", unit="µs/event", value=redis_us("batch", BATCH)),
    ]


def single_worker_rows(windows: list[dict[str, Window]]) -> list[Row]:
    """With one gunicorn worker. CPU is measured here, where no other process competes for its core."""

    def pairs(load: str, events: int = 1, reference: str = "constant") -> list[tuple[float, float]]:
        return rates(windows, load, reference, events)

    def cpu(load: str, events: int = 1) -> list[tuple[float, float]]:
        return [(by_load[load].cpu_us / events, by_load["constant"].cpu_us) for by_load in windows]

    def per_cpu(load: str, events: int = 1) -> list[tuple[float, float]]:
        return [
            (1e6 * events / (by_load[load].cpu_us + by_load[load].redis_us), 1e6 / by_load["constant"].cpu_us)
            for by_load in windows
        ]

    constant, single_worker, cpu_second = "constant route", "one worker, ", "a second of CPU, "
    task, by_task = "constant route, as a task", "constant_task"
    return [
        paired(PART, single_worker + "single event", "requests/s", pairs("single"), constant, SINGLE_GOAL),
        paired(PART, single_worker + "single event", "requests/s", pairs("single", 1, by_task), task),
        paired(PART, single_worker + "single order", "requests/s", pairs("order"), constant, SINGLE_GOAL),
        paired(PART, single_worker + "batch of 50", "events/s", pairs("batch", BATCH), constant, BATCH_GOAL),
        paired(PART, single_worker + "batch of 50", "events/s", pairs("batch", BATCH, by_task), task),
        paired(PART, cpu_second + "single event", "requests", per_cpu("single"), constant, SINGLE_GOAL),
        paired(PART, cpu_second + "single order", "requests", per_cpu("order"), constant, SINGLE_GOAL),
        paired(PART, cpu_second + "batch of 50", "events", per_cpu("batch", BATCH), constant, BATCH_GOAL),
        paired(PART, "CPU, single event", "µs/request", cpu("single"), constant),
        paired(PART, "CPU, single order", "µs/request", cpu("order"), constant),
        paired(PART, "CPU, batch of 50", "µs/event", cpu("batch", BATCH), constant),
    ]


def rates(windows: list[dict[str, Window]], load: str, reference: str, events: int) -> list[tuple[float, float]]:
    """Events a second of a load with `events` a request, and requests a second of the reference, for each round."""
    return [(by_load[load].rate * events, by_load[reference].rate) for by_load in windows]

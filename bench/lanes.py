"""What many mails at once must not cost: how long an order confirmation takes behind 20,000 marketing mails at an ESP
that takes 50 ms, a call each, and while the account of the welcome mails hangs, limits us or blocks us; the worker's
memory over many sends.

Milliseconds from when the order's webhook was due until the ESP has its mail; one worker process an account.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from adapter.ingest.record import Recorder, WebhookReply
from adapter.sources import SOURCES
from bench import burst, stub
from bench.lab import PII_KEY, SECRET, Lab, Process
from bench.load import Clients
from bench.payloads import carts, orders, request, sign_ups
from bench.rows import Effort, Goal, Row, paired, percentile
from bench.waiting import wait_until
from catalog import EVENTS, TRIGGERS
from freshgate.events import Event
from freshgate.routing import Routes
from freshgate.settings import SourceSettings
from freshgate.state import keys
from freshgate.state.planner import Planner
from freshgate.state.store import fcall

PART = "lanes"
BACKLOG, DELAY_MS = 20_000, 50
CONNECTIONS = 8
# Orders a second, beside the backlog and beside the account that fails.
RATE_BESIDE_BACKLOG, RATE_BESIDE_FAILING = 20.0, 50.0
ORDERS_PER_SIGN_UP = 5
HANGS_MS = 60_000
# What the other account does → its row.
FAULTS = {"hangs": "hangs", "429": "answers 429", "401": "blocks us"}
CART = {"FRESHGATE_TRIGGERS__ABANDONED_CART__DELAY": "1s", "FRESHGATE_TRIGGERS__ABANDONED_CART__SETTLE": "1s"}
BATCH = 50
ROUNDS = 10


def measure(effort: Effort) -> list[Row]:
    """One row for each promise."""
    return [beside_backlog(effort), *beside_failing_account(effort), memory(effort)]


def beside_backlog(effort: Effort) -> Row:
    """p99 of confirmations while marketing mails are queued."""
    with Lab() as lab:
        lab.environ |= CART | burst.ALONE
        esp = lab.stub()
        client = lab.client(lab.valkey())
        app = lab.gunicorn("receiver", "adapter.app:from_environment()")
        lab.python("worker", "workers", "deliver")
        orders_in_window(app, esp, 50, RATE_BESIDE_BACKLOG)
        stub.delay(esp.port, DELAY_MS)
        record_carts(client, BACKLOG)
        lab.python("timers", "workers", "timers")
        stub.clear(esp.port)
        wait_until(lambda: stub.count(esp.port) > CONNECTIONS, 30.0, "the first marketing mail")
        amount = effort.of(400, 200)
        latencies = orders_in_window(app, esp, amount, RATE_BESIDE_BACKLOG, clears=False)
        if (count := stub.count(esp.port)) >= BACKLOG:
            raise RuntimeError(f"the backlog has left before the orders: {count} mails")
    name = f"confirmation behind {BACKLOG:,} marketing mails, ESP {DELAY_MS} ms, p99"
    return Row(
        part=PART, name=name, unit="ms", value=percentile(latencies, 0.99), goal=Goal("value", "at most", 300)
    )  # fmt: skip


def beside_failing_account(effort: Effort) -> list[Row]:
    """p99 of confirmations while the other account takes no mails, in each way, against while it takes them."""
    with Lab() as lab:
        news = lab.stub()
        lab.environ |= {
            "FRESHGATE_ESPS__NEWS__KIND": "sendgrid",
            "FRESHGATE_ESPS__NEWS__BASE_URL": f"http://127.0.0.1:{news.port}",
            "FRESHGATE_TRIGGERS__ORDER_CONFIRMATION__ESP": "sendgrid",
            "FRESHGATE_TRIGGERS__WELCOME__ESP": "news",
        }
        esp = lab.stub()
        client = lab.client(lab.valkey())
        app = lab.gunicorn("receiver", "adapter.app:from_environment()")
        lab.python("worker", "workers", "deliver")
        lab.python("timers", "workers", "timers")
        orders_in_window(app, esp, 100, RATE_BESIDE_FAILING, with_sign_ups=True)
        p99: dict[str, list[float]] = {name: [] for name in ("", *FAULTS)}
        for _ in range(effort.of(3, 2)):
            for fault, values in p99.items():
                fail(news, fault)
                fcall(client, "breaker", keys.account("news"), "", "close", "")
                latencies = orders_in_window(app, esp, effort.of(500, 300), RATE_BESIDE_FAILING, with_sign_ups=True)
                values.append(percentile(latencies, 0.99))
    goal = Goal("ratio", "at most", 1.3)
    return [
        paired(
            PART,
            f"confirmation while another account {does}, p99",
            "ms",
            list(zip(p99[fault], p99[""], strict=True)),
            "it answers",
            goal,
        )
        for fault, does in FAULTS.items()
    ]


def fail(account: Process, fault: str) -> None:
    """From now on its ESP fails in that way, a key of FAULTS; "" takes every mail."""
    if fault.isdecimal():
        stub.refuse(account.port, int(fault))
    else:
        stub.delay(account.port, HANGS_MS if fault else 0)


def memory(effort: Effort) -> Row:
    """The worker's resident memory after the last round of sends, against after the second."""
    sizes: list[float] = []
    size = effort.of(10_000, 2000)
    with Lab() as lab:
        esp = lab.stub()
        client = lab.client(lab.valkey())
        worker = lab.python("worker", "workers", "deliver")
        lab.python("timers", "workers", "timers")
        for _ in range(ROUNDS):
            stub.clear(esp.port)
            burst.record_orders(client, size, BATCH)
            wait_until(lambda: stub.count(esp.port) >= size, 120.0, f"{size} mails")
            sizes.append(resident_mb(worker))
    goal = Goal("ratio", "at most", 1.1)
    name = f"worker's memory after {size * ROUNDS:,} sends"
    return paired(PART, name, "MB", [(sizes[-1], sizes[1])], f"after {2 * size:,}", goal)


def orders_in_window(
    app: Process, esp: Process, amount: int, rate: float, *, clears: bool = True, with_sign_ups: bool = False
) -> list[float]:
    """The latency of each of so many orders, in milliseconds."""
    if clears:
        stub.clear(esp.port)
    numbers: list[int] = []
    requests = []
    for number, body in orders(amount):
        numbers.append(number)
        requests.append((number, request(body)))
        if with_sign_ups and len(numbers) % ORDERS_PER_SIGN_UP == 0:
            requests += [(0, request(body)) for _, body in sign_ups(1)]
    with Clients(app.port, CONNECTIONS) as clients:
        due_at = clients.paced([wire for _, wire in requests], rate)
    wait_until(lambda: set(numbers) <= {number for number, _ in stub.arrivals(esp.port)}, 60.0, f"{amount} orders")
    arrived = dict(stub.arrivals(esp.port))
    dues = zip(requests, due_at, strict=True)
    return [(arrived[number] - due) / 1e6 for (number, _), due in dues if number]


def record_carts(client: Any, amount: int) -> None:
    """Records carts of as many people, whose mails are due in a second."""
    source = SOURCES["segment"].configure("segment", SourceSettings(kind="segment", secrets=(SECRET,)), EVENTS)
    triggers = [replace(trigger, delay=1000, settle=1000) if trigger.delay else trigger for trigger in TRIGGERS]
    recorder = Recorder(client, Planner(EVENTS, triggers, PII_KEY.encode()), Routes(["sendgrid"]))
    bodies = [body for _, body in carts(amount)]
    for start in range(0, amount, BATCH):
        body = b"[" + b",".join(bodies[start : start + BATCH]) + b"]"
        reply = WebhookReply(refusals=[])
        verdicts = source.read(body, time.time_ns() // 1_000_000)
        recorder.record([verdict for verdict in verdicts if isinstance(verdict, Event)], reply)
        if reply.accepted != BATCH:
            raise RuntimeError(f"not all recorded: {reply}")


def resident_mb(process: Process) -> float:
    status = Path(f"/proc/{process.popen.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024

"""Many sends through a real worker process, with many calls under way, at an ESP that fails in every way.

Afterwards the ledger, the ESP's outbox and the metrics agree to the last one: no mail twice, none lost, and `unknown`
only where the ESP cannot know either, or where the worker was killed.
"""

from __future__ import annotations

import json
import math
import random
import re
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bench.burst import record_orders
from bench.lab import Lab, Process, free_port
from freshgate.state import keys
from freshgate.state.records import parse_claims

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SHOP = keys.shop("main")
TIMEOUT_S = 2.0
SHARE = 0.05


class UnreliableEsp(ThreadingHTTPServer):
    """SendGrid's mail/send with 5 % each of 429, 500, answers that come too late, and drops after reading. 5 % of the
    recipients are bad, and fail the call as a whole.

    accepted  send id -> how often its mail was accepted
    doubtful  send ids of calls whose answer the worker did not get
    late      send ids of calls that this machine was too slow to answer in time, perhaps
    faults    how many calls may fail; then the ESP only refuses bad recipients
    delay_s   how long it takes to accept mails
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.accepted: Counter[str] = Counter()
        self.doubtful: set[str] = set()
        self.late: set[str] = set()
        self.faults: float = math.inf
        self.delay_s = 0.02
        self.sizes: list[int] = []
        self.under_way = self.max_under_way = 0
        self.lock = threading.Lock()
        self.dice = random.Random(20261130)

    def is_bad(self, send: str) -> bool:
        return int(send, 16) % 20 == 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: UnreliableEsp

    def do_POST(self) -> None:
        esp = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        sends = [part["custom_args"]["freshgate_send"] for part in body["personalizations"]]
        with esp.lock:
            esp.sizes.append(len(sends))
            esp.under_way += 1
            esp.max_under_way = max(esp.max_under_way, esp.under_way)
            kind, is_accepted = int(esp.dice.random() / SHARE), esp.dice.random() < 0.5
            if len(esp.sizes) > esp.faults:
                kind = 4
        started = time.monotonic()
        try:
            self._answer(kind, sends, is_accepted)
        finally:
            with esp.lock:
                esp.under_way -= 1
                esp.late.update(sends if time.monotonic() - started > TIMEOUT_S / 4 else [])

    def _answer(self, kind: int, sends: list[str], is_accepted: bool) -> None:
        esp = self.server
        if kind in (0, 1):
            time.sleep(0.01)
            self._reply(429 if kind == 0 else 500)
            return
        if any(esp.is_bad(send) for send in sends):
            self._reply(400)
            return
        if kind in (2, 3):
            with esp.lock:
                esp.doubtful.update(sends)
                esp.accepted.update(sends if is_accepted else [])
            if kind == 2:
                time.sleep(TIMEOUT_S + 0.5)
            self.close_connection = True
            return
        time.sleep(esp.delay_s)
        with esp.lock:
            esp.accepted.update(sends)
        self._reply(202)

    def _reply(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def esp() -> Iterator[UnreliableEsp]:
    with UnreliableEsp() as esp:
        thread = threading.Thread(target=esp.serve_forever, daemon=True)
        thread.start()
        yield esp
        esp.shutdown()
        thread.join()


class Run:
    """A Valkey with so many recorded orders, half of them in batches, and the processes that work on them."""

    def __init__(self, lab: Lab, esp: UnreliableEsp, orders: int) -> None:
        self.orders = orders
        self.lab, self.esp = lab, esp
        self.metrics_port = free_port()
        lab.environ |= {
            "FRESHGATE_ESPS__SENDGRID__BASE_URL": f"http://127.0.0.1:{esp.server_address[1]}",
            "FRESHGATE_ESPS__SENDGRID__TIMEOUT_S": str(TIMEOUT_S),
            "FRESHGATE_ESPS__SENDGRID__CONCURRENCY": "16",
            "FRESHGATE_ESPS__SENDGRID__BATCH": "10",
            "FRESHGATE_WORKER_METRICS_PORT": str(self.metrics_port),
        }
        self.client = lab.client(lab.valkey())
        record_orders(self.client, orders // 2, 50)
        record_orders(self.client, orders // 2, 1)
        lab.python("timers", "workers", "timers")

    def start(self) -> Process:
        return self.lab.python("worker", "workers", "deliver")

    def wait_until_quiet(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        names = [f"{SHOP}timers:order_confirmation", f"{SHOP}leases"]
        while any(self.client.zcard(name) for name in names):
            assert time.monotonic() < deadline, [self.client.zcard(name) for name in names]
            time.sleep(0.1)

    def states(self) -> dict[str, str]:
        """send id -> the state of its claim."""
        states = {}
        for key in self.client.scan_iter(f"{SHOP}o:*"):
            for claim in parse_claims((self.client.hget(key, "c:order_confirmation") or b"").decode(), "o"):
                states[claim.send_id] = claim.state
        return states

    def counted(self) -> dict[str, float]:
        """outcome -> sends, as the worker's metrics have it."""
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).read().decode()  # noqa: S310
        counts: list[Any] = re.findall(r'freshgate_sends_total\{.*?outcome="(\w+)".*?\} ([\d.]+)', text)
        return {outcome: float(count) for outcome, count in counts if float(count)}


@contextmanager
def running(esp: UnreliableEsp, orders: int) -> Iterator[Run]:
    with Lab() as lab:
        yield Run(lab, esp, orders)


def assert_ledger_and_outbox_agree(run: Run, *, were_killed: bool = False) -> dict[str, str]:
    """The state of each send."""
    esp, states = run.esp, run.states()
    assert len(states) == run.orders
    assert set(states.values()) <= {"sent", "unknown", "rejected"}
    assert max(esp.accepted.values()) == 1, "a mail left twice"
    for send, state in states.items():
        if state == "sent":
            assert esp.accepted[send] == 1
        elif state == "rejected":
            assert esp.is_bad(send) and not esp.accepted[send]
        elif not were_killed:
            assert send in esp.doubtful | esp.late
    assert {send for send, state in states.items() if state == "unknown"} >= esp.doubtful & set(states)
    return states


@pytest.mark.parametrize(
    ("orders", "faults", "timeout_s"),
    [
        pytest.param(600, 500, 60, id="hundreds"),
        pytest.param(10_000, math.inf, 230, id="thousands", marks=pytest.mark.tools),
    ],
)
def test_ledger_outbox_and_metrics_agree_to_the_last_send(
    esp: UnreliableEsp, orders: int, faults: float, timeout_s: float
) -> None:
    esp.faults = faults
    with running(esp, orders) as run:
        started = time.monotonic()
        run.start()
        run.wait_until_quiet(timeout_s)
        seconds = time.monotonic() - started
        states = assert_ledger_and_outbox_agree(run)
        assert run.counted() == Counter(states.values())
        assert esp.max_under_way > 8 and max(esp.sizes) == 10
        print(f"{orders} sends, {len(esp.sizes)} calls, {seconds:.0f} s, {dict(Counter(states.values()))}")


def test_a_worker_told_to_stop_finishes_what_is_under_way_and_leaves_the_rest_to_the_timers(
    esp: UnreliableEsp,
) -> None:
    esp.faults, esp.delay_s = 0, 1.0
    with running(esp, 200) as run:
        worker = run.start()
        deadline = time.monotonic() + 30
        while esp.under_way < 16:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        worker.popen.terminate()
        assert worker.popen.wait(30) == 0
        states = run.states()
        assert set(states.values()) <= {"sent", "rejected"}
        assert {send for send, state in states.items() if state == "sent"} == set(esp.accepted)
        assert len(esp.accepted) >= 16 and max(esp.accepted.values()) == 1
        waiting: Any = run.client.zcard(f"{SHOP}timers:order_confirmation") + run.client.zcard(f"{SHOP}leases")
        assert len(states) + waiting == 200


@pytest.mark.tools
def test_a_worker_killed_with_many_calls_under_way_doubles_and_loses_nothing(esp: UnreliableEsp) -> None:
    with running(esp, 3000) as run:
        worker = run.start()
        for killed_at in (300, 900, 1500):
            while sum(esp.accepted.values()) < killed_at:
                time.sleep(0.01)
            worker.popen.kill()
            worker.popen.wait()
            worker = run.start()
        run.wait_until_quiet(200)
        assert_ledger_and_outbox_agree(run, were_killed=True)
        assert esp.max_under_way > 8

"""One call to the ESP: CPU of our SendGrid client against python-http-client as the SendGrid package uses it.

CPU is user and system time of this process, which does nothing else; rounds take turns. A second row asks an ESP that
takes 20 ms from 32 threads, each with a client of its own: the ideal is 32 / 20 ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread

from python_http_client import Client

from bench import naive, stub
from bench.lab import Lab
from bench.payloads import order_properties
from bench.rows import Effort, Goal, Row, paired
from freshgate.settings import EspSettings
from workers.esp.base import Message
from workers.esp.sendgrid import Sendgrid

PART = "esp"
CALLS = 200
THREADS, DELAY_MS = 32, 20
IDEAL = THREADS / DELAY_MS * 1000


def measure(effort: Effort) -> list[Row]:
    """CPU a call, calls a second from many threads, and the connections that these open."""
    body = naive.mail(order_properties())
    message = Message(
        send_id="0" * 24,
        trigger="order_confirmation",
        to="shopper@example.com",
        template_id="d-order-confirmation",
        template_data=body["personalizations"][0]["dynamic_template_data"],
    )
    with Lab() as lab:
        quick = lab.stub()
        ours = Sendgrid("sendgrid", EspSettings(base_url=f"http://127.0.0.1:{quick.port}"))
        headers = {"Authorization": "Bearer bench", "Accept": "application/json", "Content-Type": "application/json"}
        plain = Client(f"http://127.0.0.1:{quick.port}", headers, 3, timeout=10)
        sides: list[Callable[[], object]] = [
            lambda: ours.send(message),
            lambda: plain.mail.send.post(request_body=body),
        ]
        for side in sides:
            cost(side, CALLS)
        pairs = [(cost(sides[0], CALLS), cost(sides[1], CALLS)) for _ in range(effort.of(12, 4))]
        ours.close()
        slow = lab.stub(DELAY_MS)
        rate, connections = many(slow.port, message, effort.of(3, 1))
    return [
        paired(PART, "CPU of one call", "µs", pairs, "python-http-client"),
        Row(
            part=PART,
            name=f"{THREADS} threads, {DELAY_MS} ms",
            unit="calls/s",
            ours=rate,
            against=IDEAL,
            against_what="the ideal",
            ratio=rate / IDEAL,
            goal=Goal("ratio", "at least", 0.85),
        ),
        Row(
            part=PART,
            name=f"connections of {THREADS} threads",
            unit="connections",
            ours=connections,
            goal=Goal("ours", "at most", THREADS),
        ),
    ]


def cost(call: Callable[[], object], calls: int) -> float:
    """Microseconds of CPU a call."""
    begun = time.process_time_ns()
    for _ in range(calls):
        call()
    return (time.process_time_ns() - begun) / calls / 1000


def many(port: int, message: Message, seconds: int) -> tuple[float, int]:
    """Calls a second of all threads together, and how many connections they opened."""
    stub.forget(port)
    until = time.monotonic() + seconds

    def work() -> None:
        client = Sendgrid("sendgrid", EspSettings(base_url=f"http://127.0.0.1:{port}"))
        while time.monotonic() < until:
            client.send(message)
        client.close()

    threads = [Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = stub.seen(port)
    moments = [at for _, at in told.arrivals]
    # The connection on which we asked is one of them.
    return (len(moments) - 1) / (moments[-1] - moments[0]) * 1e9, told.connections - 1

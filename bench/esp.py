"""One call to the ESP: the CPU that Freshgate's SendGrid client takes, against python-http-client as SendGrid uses it.

CPU is user and system time of this process, which does nothing else meanwhile; rounds take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from python_http_client import Client

from bench import naive
from bench.lab import Lab
from bench.payloads import order_properties
from bench.rows import Effort, Row, paired
from freshgate.settings import EspSettings
from workers.esp.base import Message
from workers.esp.sendgrid import Sendgrid

PART = "esp"
CALLS = 200


def measure(effort: Effort) -> list[Row]:
    """CPU a call."""
    body = naive.mail(order_properties())
    message = Message(
        send_id="0" * 24,
        trigger="order_confirmation",
        to="shopper@example.com",
        template_id="d-order-confirmation",
        template_data=body["personalizations"][0]["dynamic_template_data"],
    )
    with Lab() as lab:
        base_url = f"http://127.0.0.1:{lab.stub().port}"
        sendgrid = Sendgrid("sendgrid", EspSettings(base_url=base_url))
        headers = {"Authorization": "Bearer bench", "Accept": "application/json", "Content-Type": "application/json"}
        plain_client = Client(base_url, headers, 3, timeout=10)
        calls: list[Callable[[], object]] = [
            lambda: sendgrid.send(message),
            lambda: plain_client.mail.send.post(request_body=body),
        ]
        for call in calls:
            cpu_us(call, CALLS)
        pairs = [(cpu_us(calls[0], CALLS), cpu_us(calls[1], CALLS)) for _ in range(effort.of(12, 4))]
        sendgrid.close()
    return [paired(PART, "CPU of one call", "µs", pairs, "python-http-client")]


def cpu_us(call: Callable[[], object], repeats: int) -> float:
    """Microseconds of CPU a call."""
    started = time.process_time_ns()
    for _ in range(repeats):
        call()
    return (time.process_time_ns() - started) / repeats / 1000

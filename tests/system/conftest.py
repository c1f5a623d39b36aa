"""One running product for all tests of a file, and shoppers with unique ids, so that tests do not affect each other.

Delays are short; `tests/harness/system.py` starts and stops the processes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any
from uuid import uuid4

import pytest
import redis

from freshgate.state import keys
from tests.harness.system import ROOT, Response, System

SHORT = {
    "FRESHGATE_TRIGGERS__ABANDONED_CART__DELAY": "2s",
    "FRESHGATE_TRIGGERS__ABANDONED_CART__SETTLE": "1s",
    "FRESHGATE_TRIGGERS__BROWSE_ABANDONMENT__ENABLED": "false",
    "FRESHGATE_ORDER_GRACE": "2s",
    "FRESHGATE_ESPS__SENDGRID__TIMEOUT_S": "1",
}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """The product with a cart mail after two seconds, and one second for the ESP to answer."""
    with System(SHORT) as system:
        yield system


@pytest.fixture
def ada() -> Shopper:
    return Shopper()


class Shopper:
    """A person with unique ids. Each method builds one Segment event that occurs `at_s` seconds from now."""

    def __init__(self) -> None:
        suffix = uuid4().hex[:12]
        self.user, self.anonymous, self.email = f"user-{suffix}", f"anon-{suffix}", f"{suffix}@shoppers.example.com"

    def identify(self, at_s: float = 0.0, **fields: Any) -> dict[str, Any]:
        return self._event(at_s, type="identify", traits={"email": self.email}, **fields)

    def signed_up(self, at_s: float = 0.0) -> dict[str, Any]:
        return self.track("Signed Up", at_s, email=self.email)

    def added(self, at_s: float = 0.0, **fields: Any) -> dict[str, Any]:
        return self._event(
            at_s,
            type="track",
            event="Product Added",
            properties={"product_id": "mug", "name": "Mug", "price": 9.5, "quantity": 1},
            **fields,
        )

    def ordered(self, at_s: float = 0.0, order: str = "") -> dict[str, Any]:
        products = [{"product_id": "mug", "name": "Mug", "price": 9.5}]
        return self.track(
            "Order Completed", at_s, order_id=order or uuid4().hex, total=9.5, email=self.email, products=products
        )

    def track(self, event: str, at_s: float = 0.0, **properties: Any) -> dict[str, Any]:
        context = {"traits": {"email": self.email}}
        return self._event(at_s, type="track", event=event, properties=properties, context=context)

    def _event(self, at_s: float, **fields: Any) -> dict[str, Any]:
        moment = datetime.fromtimestamp(time.time() + at_s, UTC)
        head = {"userId": self.user, "messageId": uuid4().hex, "timestamp": moment.isoformat(timespec="milliseconds")}
        return {name: value for name, value in (head | fields).items() if value is not None}

    def mails(self, system: System, trigger: str) -> list[dict[str, Any]]:
        """The mails of one trigger to this shopper that the sandbox accepted, newest last."""
        return [
            mail
            for mail in system.outbox()
            if mail["to"] == self.email and mail["custom_args"]["freshgate_trigger"] == trigger
        ]

    def decisions(self, system: System, trigger: str) -> list[str]:
        """The decisions on one trigger as `why` prints them, `sent (…), …`, oldest first."""
        prefix = f"decision  {trigger}: "
        lines = system.why(self.user).splitlines()
        return [line.partition(prefix)[2] for line in lines if prefix in line]


def counter_total(system: System, metric: str, port: str = "WORKER_METRICS_PORT", **labels: str) -> float:
    """The sum of a counter over all label sets that contain `labels`, from the worker unless another port is named."""
    text = system.request(port, "GET", "/metrics").json
    total = 0.0
    for label_set, value in re.findall(rf"^{metric}\{{(.*)\}} (\S+)$", text, re.MULTILINE):
        if labels.items() <= dict(re.findall(r'(\w+)="([^"]*)"', label_set)).items():
            total += float(value)
    return total


def run_workers(system: System, *arguments: str) -> str:
    """Run `python -m workers …` beside the product, as an operator does; returns what it prints."""
    completed = subprocess.run(
        [sys.executable, "-m", "workers", *arguments],
        cwd=ROOT,
        env=system.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def post_until_accepted(system: System, event: Any, within_s: float = 30.0) -> Response:
    """Post events as a CDP does, which retries after a 503 or a broken connection, and after nothing else."""
    deadline = time.monotonic() + within_s
    while True:
        with suppress(OSError, HTTPException):
            response = system.post(event)
            if response.status != 503:
                return response
        assert time.monotonic() < deadline, "the event was not accepted in time"
        time.sleep(0.1)


def is_quiet(system: System) -> bool:
    """Whether no send is waiting, leased or in progress."""
    url = (system.var / "redis" / "url").read_text(encoding="utf-8").strip()
    with suppress(redis.RedisError), redis.Redis.from_url(url) as client:
        shop = keys.shop("main")
        names = [f"{shop}timers:{name.decode()}" for name in client.smembers(f"{shop}triggers")]
        return not any(client.zcard(name) for name in [*names, f"{shop}leases"])
    return False

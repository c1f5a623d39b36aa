"""A copy of the store, made under load, becomes a new store: nothing before it is missing, and nothing leaves twice.

The whole product runs, before and after; the ESP is the tests' own and remembers all mails.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from freshgate.state import keys
from freshgate.state.store import connect
from tests.harness.esp_server import EspServer
from tests.harness.system import ROOT, System

pytestmark = [pytest.mark.tools, pytest.mark.timeout(300)]
# A cart's mail waits for so long, so that some are due before the copy, between copy and loss, and afterwards.
DELAY_S = 4


def environ(esp: EspServer) -> dict[str, str]:
    return {
        "FRESHGATE_ESPS__SENDGRID__BASE_URL": esp.url,
        "FRESHGATE_ESPS__SENDGRID__API_KEY": "key",
        "FRESHGATE_ESPS__SENDGRID__LIVE": "true",
        "FRESHGATE_ESPS__SENDGRID__FROM_EMAIL": "shop@example.com",
        "FRESHGATE_TRIGGERS__ABANDONED_CART__DELAY": f"{DELAY_S}s",
        "FRESHGATE_TRIGGERS__ABANDONED_CART__SETTLE": "1s",
    }


def command(system: System, *words: str) -> subprocess.CompletedProcess[str]:
    """An operator's command beside the system."""
    line = [sys.executable, "-m", "workers", *words]
    return subprocess.run(line, cwd=ROOT, env=system.environ, capture_output=True, text=True, timeout=60, check=False)


class Shoppers:
    """Orders and carts, one after the other from two threads, until stopped; what was acknowledged, and when."""

    def __init__(self, system: System) -> None:
        self.system = system
        # Number → the event, as a CDP would send it once more.
        self.orders: dict[str, dict[str, object]] = {}
        self.carts: dict[str, dict[str, object]] = {}
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._shop, args=(number,)) for number in range(2)]

    def __enter__(self) -> Shoppers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def order(self, number: str) -> None:
        properties = {"order_id": number, "email": f"{number}@example.com", "total": 1, "currency": "EUR"}
        event = track("Order Completed", number, properties)
        if self.system.post(event).status == 200:
            self.orders[number] = event

    def cart(self, number: str) -> None:
        traits = {"type": "identify", "userId": number, "traits": {"email": f"{number}@example.com"}}
        event = track("Product Added", number, {"product_id": "p1", "name": "Tent", "price": 10, "quantity": 1})
        if self.system.post(traits).status == 200 and self.system.post(event).status == 200:
            self.carts[number] = event

    def _shop(self, thread: int) -> None:
        count = 0
        while not self._stopped.is_set():
            count += 1
            self.order(f"order-{thread}-{count}")
            self.cart(f"cart-{thread}-{count}")


def track(event: str, user: str, properties: dict[str, object]) -> dict[str, object]:
    now = datetime.now(UTC).isoformat()
    names = {"type": "track", "event": event, "userId": user, "messageId": f"{event}-{user}", "timestamp": now}
    return {**names, "properties": properties}


def known_orders(system: System) -> set[str]:
    """The ids of the records of all orders in the system's store."""
    client = connect((system.var / "redis" / "url").read_text(encoding="utf-8").strip())
    names: list[bytes] = client.keys(f"{keys.shop('main')}o:*")  # type: ignore[assignment]  # redis' types know no bytes
    client.close()
    return {name.decode().rpartition(":o:")[2] for name in names}


def doubled(esp: EspServer) -> list[str]:
    return [send for send, count in Counter(mail.send for mail in esp.mails).items() if count > 1]


def test_a_copy_made_under_load_is_restored_and_no_mail_is_missing_or_leaves_twice(tmp_path: Path) -> None:
    with EspServer() as esp:
        lost_var, copies = tmp_path / "lost", tmp_path / "copies"
        with System(environ(esp), lost_var) as lost:
            with Shoppers(lost) as shoppers:
                lost.wait_for(lambda: len(esp.mails) > 50 and any("cart" in mail.trigger for mail in esp.mails))
                before = dict(shoppers.orders)
                done = command(lost, "backup", str(copies))
                assert done.returncode == 0, done.stderr
                copied = len(shoppers.carts)
                # The lost store goes on for longer than a cart's mail waits.
                lost.wait_for(lambda: sum("cart" in mail.trigger for mail in esp.mails) > copied + 5, timeout=60)
            lost.wait_for(lambda: len({mail.to for mail in esp.mails}) >= len(shoppers.orders))
            # Carts of the last seconds are not due yet: their mails are lost with the store.
        stopped_at = time.time()
        sent = list(esp.mails)
        assert doubled(esp) == []

        new_var = tmp_path / "new"
        shutil.copytree(lost_var / "secrets", new_var / "secrets")
        (copy,) = copies.glob("*.rdb")
        restored = System(environ(esp), new_var)
        done = command(restored, "restore", str(copy), "--data", str(new_var / "redis"))
        assert done.returncode == 0, done.stderr
        with restored as new:
            # Nothing that was acknowledged before the copy is missing.
            known = known_orders(new)
            assert [number for number in before if keys.order_id("main", number) not in known] == []
            assert len(known) < len(shoppers.orders)
            # Though carts of the copy are due long since, nothing leaves; not even what is new.
            refusal = command(new, "release")
            assert refusal.returncode == 1
            assert "Waiting and due:" in refusal.stdout and "release --sent-until" in refusal.stdout
            after = Shoppers(new)
            after.order("order-new")
            new.wait_for(lambda: "all triggers" in command(new, "hold", "--list").stdout)
            new.wait_for(lambda: keys.order_id("main", "order-new") in known_orders(new))
            # The CDP sends the orders of the lost time once more, as an operator has asked for.
            lost_orders = [event for number, event in shoppers.orders.items() if number not in before][:10]
            assert [new.post(event).status for event in lost_orders] == [200] * 10
            time_text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(stopped_at))
            assert esp.mails == sent
            assert command(new, "release", "--sent-until", time_text).returncode == 0
            new.wait_for(lambda: any(mail.to == "order-new@example.com" for mail in esp.mails), timeout=60)
            after.cart("cart-new")
            new.wait_for(lambda: any(mail.to == "cart-new@example.com" for mail in esp.mails), timeout=60)
            new.wait_for(lambda: "none" in command(new, "hold", "--list").stdout)
        assert {mail.to for mail in esp.mails[len(sent) :]} == {"order-new@example.com", "cart-new@example.com"}
        assert doubled(esp) == []

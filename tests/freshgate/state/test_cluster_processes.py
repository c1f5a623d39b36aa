"""Receiver, worker and timers as they run, on a Cluster of three nodes with a Redis for queues, while a primary dies.

`test_cluster.py` has the engine on the same nodes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from freshgate.state import cluster
from tests.harness.cluster import SLOTS, Cluster
from tests.harness.esp_server import EspServer
from tests.harness.system import SECRET, TOKEN, System

pytestmark = [pytest.mark.tools, pytest.mark.timeout(300)]


def source_of_each_node() -> list[str]:
    """The name of a source, and so of a shop, on each of the three nodes."""
    names: dict[int, str] = {}
    for number in range(1000):
        names.setdefault(min(2, cluster.slot_of(f"shop{number}") * 3 // SLOTS), f"shop{number}")
    return [names[node] for node in range(3)]


def settings(nodes: Cluster, esp: EspServer, sources: list[str]) -> dict[str, str]:
    environ = {
        "FRESHGATE_REDIS_URL": nodes.url,
        "FRESHGATE_QUEUE_REDIS_URL": nodes.queue_url,
        "FRESHGATE_ESPS__SENDGRID__BASE_URL": esp.url,
        "FRESHGATE_ESPS__SENDGRID__API_KEY": "key",
        "FRESHGATE_ESPS__SENDGRID__LIVE": "true",
        "FRESHGATE_ESPS__SENDGRID__FROM_EMAIL": "shop@example.com",
        "FRESHGATE_TRIGGERS__ABANDONED_CART__DELAY": "2s",
        "FRESHGATE_TRIGGERS__ABANDONED_CART__SETTLE": "1s",
    }
    for source in sources:
        name = f"FRESHGATE_SOURCES__{source.upper()}__"
        environ |= {
            f"{name}KIND": "segment",
            f"{name}SECRETS": SECRET,
            f"{name}TOKENS": TOKEN,
            f"{name}ID_SPACE": source,
        }
    return environ


def order(system: System, source: str, number: int) -> int:
    """The status of an order of that shop."""
    name = f"{source}-{number}"
    properties = {"order_id": name, "email": f"{name}@example.com", "total": 1, "currency": "EUR"}
    event = {"type": "track", "event": "Order Completed", "userId": name, "messageId": name, "properties": properties}
    return system.post(event, source).status


def cart(system: System, source: str, number: int) -> int:
    name = f"{source}-cart-{number}"
    added = {"product_id": "p1", "name": "Tent", "price": 10, "quantity": 1}
    traits = {"type": "identify", "userId": name, "messageId": f"i-{name}", "traits": {"email": f"{name}@example.com"}}
    event = {"type": "track", "event": "Product Added", "userId": name, "messageId": name, "properties": added}
    return max(system.post(traits, source).status, system.post(event, source).status)


def test_mails_leave_for_shops_on_all_nodes_and_go_on_when_a_primary_dies(tmp_path: Path) -> None:
    sources = source_of_each_node()
    with (
        Cluster(tmp_path / "cluster", replicas=1) as nodes,
        EspServer() as esp,
        System(settings(nodes, esp, sources), tmp_path / "var") as system,
    ):

        def reached(*names: str) -> bool:
            return {f"{name}@example.com" for name in names} <= {mail.to for mail in list(esp.mails)}

        # By the receiver's job at once, and by a timer.
        for source in sources:
            assert (order(system, source, 1), cart(system, source, 1)) == (200, 200)
        system.wait_for(lambda: reached(*(f"{source}-1" for source in sources)), timeout=60)
        system.wait_for(lambda: reached(*(f"{source}-cart-1" for source in sources)), timeout=60)
        # The node of the first shop dies with acknowledged carts whose mails are not due yet.
        assert cart(system, sources[0], 2) == 200
        assert nodes.nodes[0].wait(1, 5000) == 1
        nodes.kill(0)
        # The others do not notice, and each order that is acknowledged is confirmed.
        for source in sources[1:]:
            assert (order(system, source, 2), cart(system, source, 2)) == (200, 200)
        system.wait_for(lambda: reached(*(f"{source}-2" for source in sources[1:])), timeout=60)
        # Its replica takes over; until then the shop's events are answered 503, and the CDP sends them again.
        system.wait_for(lambda: order(system, sources[0], 2) == 200, timeout=60)
        system.wait_for(lambda: reached(f"{sources[0]}-2", f"{sources[0]}-cart-2"), timeout=90)
        system.wait_for(lambda: reached(*(f"{source}-cart-2" for source in sources[1:])), timeout=60)
        sends = [mail.send for mail in esp.mails]
        assert len(sends) == len(set(sends))
        # A receiver that has not called since finds its connections broken once.
        system.wait_for(lambda: system.request("PORT", "GET", "/readyz").status == 200)

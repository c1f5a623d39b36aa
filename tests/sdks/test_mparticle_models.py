"""Batches that mParticle's own event models build, in Python and Node: each event is read once, as it was meant.

mParticle has no client that could post to us: its servers do. What its models write is posted as they would.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapter.sources.mparticle.source import MPARTICLE
from catalog import EVENTS
from freshgate.events import Event
from freshgate.settings import SourceSettings
from tests.harness.npm import installed

pytestmark = pytest.mark.tools

PACKAGE = "@mparticle/event-models@1.2.0"
AT = 1_790_000_000_123
RECEIVED_AT = AT + 60_000


def read(body: str) -> list[Event]:
    source = MPARTICLE.configure("shop", SourceSettings(kind="mparticle", secrets=("Basic x",)), EVENTS)
    verdicts = source.read(body.encode(), RECEIVED_AT)
    events = [verdict for verdict in verdicts if isinstance(verdict, Event)]
    assert len(events) == len(verdicts), verdicts
    return events


def check(events: list[Event]) -> None:
    """One purchase, one look at a product, one custom event of Ada, at the time that was given; and her name."""
    (profile,) = [event for event in events if event.name == "Identify"]
    assert (profile.user_id, profile.email, profile.fields["first_name"]) == ("ada", "ada@example.com", "Ada")
    events = [event for event in events if event is not profile]
    assert sorted(event.name for event in events) == ["Order Completed", "Product Viewed", "Signed Up"]
    assert len({event.message_id for event in events}) == 3
    for event in events:
        assert (event.user_id, event.email, event.occurred_at) == ("ada", "ada@example.com", AT)
        assert (event.unreadable, event.clamped) == ((), False)
    by_name: dict[str, dict[str, Any]] = {event.name: event.fields for event in events}
    order = by_name["Order Completed"]
    assert (order["order_id"], str(order["total"]), order["currency"]) == ("o-1", "59.9", "EUR")
    (line,) = order["products"]
    assert (line.product_id, line.name, line.price, line.quantity) == ("mug-1", "Mug", "29.95", 2)
    assert by_name["Product Viewed"]["product"].product_id == "mug-1"


def test_batches_of_the_python_models_are_read() -> None:
    mparticle = pytest.importorskip("mparticle")
    batch = mparticle.Batch()
    batch.environment = "production"
    batch.user_identities = mparticle.UserIdentities(customerid="ada", email="ada@example.com")
    batch.user_attributes = {"$firstname": "Ada"}
    product = mparticle.Product()
    product.id, product.name, product.price, product.quantity = "mug-1", "Mug", 29.95, 2
    action = mparticle.ProductAction("purchase")
    action.products, action.transaction_id, action.total_amount = [product], "o-1", 59.9
    view = mparticle.ProductAction("view_detail")
    view.products = [product]
    events = [
        mparticle.CommerceEvent(product_action=action, currency_code="EUR", timestamp_unixtime_ms=AT),
        mparticle.CommerceEvent(product_action=view, timestamp_unixtime_ms=AT),
        mparticle.AppEvent("Signed Up", "other", timestamp_unixtime_ms=AT),
    ]
    batch.events = events
    check(read(json.dumps(mparticle.ApiClient.sanitize_for_serialization(batch))))


def test_batches_of_the_node_models_are_read() -> None:
    modules = installed(PACKAGE)
    node = shutil.which("node")
    assert node
    environ = {**os.environ, "NODE_PATH": str(modules)}
    program = [node, str(Path(__file__).with_name("mparticle_models.cjs")), str(AT)]
    completed = subprocess.run(program, env=environ, capture_output=True, text=True, timeout=60, check=True)
    check(read(completed.stdout))
    assert datetime.fromtimestamp(AT / 1000, UTC).year == 2026

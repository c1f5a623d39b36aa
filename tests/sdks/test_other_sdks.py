"""The SDKs of RudderStack and Customer.io for Python and Node, with only their host changed: each call arrives once.

Who it is, when it happened, the traits and the fields are those of the call: read from the mail and from the trail.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.harness.npm import installed
from tests.harness.system import ROOT, System
from tests.sdks.conftest import KEY, REGION_KEY, new_verdicts, verdicts
from tests.sdks.test_python_sdk import PRODUCTS

pytestmark = pytest.mark.tools

PYTHON = {"rudder": "rudderstack.analytics.client", "customerio": "customerio.analytics.client"}
NODE = {"rudder": "@rudderstack/rudder-sdk-node@3.0.13", "customerio": "@customerio/cdp-analytics-node@0.5.9"}
CALLS = ["Alias", "Group", "Identify", "Order Completed", "Page", "Product Viewed", "Screen"]


def check(system: System, user: str, ordered_at: datetime, before: dict[str, int]) -> None:
    """What the seven calls came to."""
    counts = system.wait_for(lambda: new_verdicts(before, verdicts(system)) == {"accepted": 7} or None)
    assert counts, new_verdicts(before, verdicts(system))
    address = f"{user}@example.com"
    (mail,) = system.wait_for(lambda: [mail for mail in system.outbox() if mail["to"] == address])
    data = mail["template_data"]
    assert (data["first_name"], data["order_id"], data["total"]) == ("Ada", f"o-{user}", "59.90")
    assert [(line["product_id"], line["price"], line["quantity"]) for line in data["products"]] == [
        ("mug-1", "29.95", 2)
    ]
    events = [entry for entry in trail(system, user) if entry["kind"] == "event"]
    assert sorted(entry["event"] for entry in events) == CALLS
    assert len({entry["id"] for entry in events}) == len(CALLS)
    (order,) = [entry for entry in events if entry["event"] == "Order Completed"]
    assert order["at"] == int(ordered_at.timestamp() * 1000)
    now = datetime.now(UTC).timestamp() * 1000
    assert all(0 <= now - entry["at"] < 120_000 for entry in events if entry is not order)


def trail(system: System, user: str) -> list[dict[str, Any]]:
    command = [str(ROOT / ".venv" / "bin" / "python"), "-m", "adapter", "why", user, "--json"]
    printed = subprocess.run(command, cwd=ROOT, env=system.environ, capture_output=True, text=True, check=True)
    entries: list[dict[str, Any]] = json.loads(printed.stdout)["trail"]
    return entries


def an_hour_ago() -> datetime:
    return datetime.now(UTC).replace(microsecond=123_000) - timedelta(hours=1)


@pytest.mark.parametrize(
    ("vendor", "key", "is_zipped"),
    [("rudder", KEY, True), ("rudder", KEY, False), ("customerio", KEY, False), ("customerio", REGION_KEY, True)],
)
def test_every_call_of_the_python_sdk_arrives_once_as_it_was_meant(
    system: System, vendor: str, key: str, is_zipped: bool
) -> None:
    errors: list[Exception] = []
    user, at = f"{vendor}-{key}-{is_zipped}".lower(), an_hour_ago()
    module = importlib.import_module(PYTHON[vendor])
    sdk = module.Client(
        key,
        host=f"http://127.0.0.1:{system.ports['PORT']}",
        gzip=is_zipped,
        on_error=lambda error, _: errors.append(error),
    )
    before = verdicts(system)
    sdk.identify(user, {"email": f"{user}@example.com", "firstName": "Ada"})
    sdk.track(user, "Product Viewed", {"product_id": "mug-1", "name": "Mug"})
    sdk.track(user, "Order Completed", {"order_id": f"o-{user}", "total": 59.9, "products": PRODUCTS}, timestamp=at)
    sdk.page(user, "Shop", "Cart")
    sdk.screen(user, "Shop", "Cart")
    sdk.group(user, "group-1", {"name": "Friends"})
    sdk.alias(f"old-{user}", user)
    sdk.shutdown()
    assert errors == []
    check(system, user, at, before)


@pytest.mark.parametrize("vendor", NODE)
def test_every_call_of_the_node_sdk_arrives_once_as_it_was_meant(system: System, vendor: str) -> None:
    modules = installed(NODE[vendor])
    node = shutil.which("node")
    assert node
    user, at, before = f"{vendor}-node", an_hour_ago(), verdicts(system)
    name = NODE[vendor].rpartition("@")[0]
    host = f"http://127.0.0.1:{system.ports['PORT']}"
    program = [node, str(Path(__file__).with_name("other_node_sdk.cjs")), name, host, KEY, user, at.isoformat()]
    environ = {**os.environ, "NODE_PATH": str(modules)}
    completed = subprocess.run(program, env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(completed.stdout.splitlines()[-1]) == {"errors": [], "ended": 7}
    check(system, user, at, before)

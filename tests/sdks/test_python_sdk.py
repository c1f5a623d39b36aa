"""Segment's SDK for Python, with only its host changed: each call arrives once, and none is repeated.

The processes are real; `tests/adapter/routes/test_tracking_api.py` has the API itself.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from segment.analytics.client import Client

from tests.harness.system import System
from tests.sdks.conftest import KEY, new_verdicts, verdicts

PRODUCTS = [{"product_id": "mug-1", "name": "Mug", "price": 29.95, "quantity": 2}]


def client(system: System, key: str = KEY, **options: Any) -> tuple[Client, list[Exception]]:
    errors: list[Exception] = []
    host = f"http://127.0.0.1:{system.ports['PORT']}"
    return Client(key, host=host, on_error=lambda error, _: errors.append(error), **options), errors


def make_all_calls(sdk: Any, user: str) -> None:
    address = f"{user}@example.com"
    sdk.identify(user, {"email": address, "firstName": "Ada"})
    sdk.track(user, "Product Viewed", {"product_id": "mug-1"})
    sdk.track(user, "Order Completed", {"order_id": f"o-{user}", "total": 59.9, "products": PRODUCTS})
    sdk.page(user, "Cart", "Shop")
    sdk.screen(user, "Cart")
    sdk.group(user, "group-1", {"name": "Friends"})
    sdk.alias(f"old-{user}", user)


@pytest.mark.parametrize("options", [{}, {"gzip": True}, {"sync_mode": True}], ids=["plain", "gzip", "one by one"])
def test_every_call_arrives_once_and_the_mail_leaves(system: System, options: dict[str, Any]) -> None:
    user = f"ada-{'-'.join(options) or 'plain'}"
    sdk, errors = client(system, **options)
    before = verdicts(system)
    make_all_calls(sdk, user)
    if "sync_mode" not in options:
        sdk.shutdown()
    assert errors == []
    assert new_verdicts(before, verdicts(system)) == {"accepted": 7}
    sent = system.wait_for(lambda: [mail for mail in system.outbox() if mail["to"] == f"{user}@example.com"])
    assert [mail["custom_args"]["freshgate_trigger"] for mail in sent] == ["order_confirmation"]


def test_a_batch_of_hundreds_arrives_once(system: System) -> None:
    sdk, errors = client(system, upload_size=50)
    before = verdicts(system)
    for number in range(300):
        sdk.track(f"many-{number}", "Product Viewed", {"product_id": f"p-{number}"})
    sdk.shutdown()
    assert errors == []
    assert new_verdicts(before, verdicts(system)) == {"accepted": 300}


def test_a_wrong_key_is_told_and_not_tried_again(system: System) -> None:
    sdk, errors = client(system, key="nobodys", sync_mode=True)
    started = time.monotonic()
    with pytest.raises(Exception, match="unauthorized"):
        sdk.track("ada", "Product Viewed")
    # Ten retries with their waits would take a minute.
    assert time.monotonic() - started < 20
    assert errors == []

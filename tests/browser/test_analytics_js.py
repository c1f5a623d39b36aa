"""Segment's own script for browsers in a real Chromium, with only its host changed: each call arrives once.

It comes from the npm registry; `conftest.py` has the browser, the shop and the running Freshgate.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.browser.conftest import KEY, Shop
from tests.harness.npm import installed
from tests.harness.system import System

if TYPE_CHECKING:
    from selenium import webdriver

pytestmark = pytest.mark.tools

PACKAGE = "@segment/analytics-next@1.84.3"
# The settings that Segment's CDN sends. With `batching` calls go to /v1/b, otherwise singly to /v1/t and so on.
CALLS = """
const [key, host, batching, user, done] = arguments
const segment = { apiKey: key, apiHost: host, protocol: 'http' }
if (batching) segment.deliveryStrategy = { strategy: 'batching', config: { size: 3, timeout: 200 } }
const analytics = AnalyticsNext.AnalyticsBrowser.load(
  { writeKey: key, cdnSettings: { integrations: { 'Segment.io': segment } } })
Promise.all([
  analytics.identify(user, { email: `${user}@example.com` }),
  analytics.page('Shop', 'Lamps'),
  analytics.track('Product Viewed', { product_id: 'mug', name: 'Mug' }),
  analytics.track('Product Added', { product_id: 'mug', name: 'Mug', price: 9.5 }),
  analytics.screen('Cart'),
  analytics.group('friends'),
]).then(() => analytics.user()).then((user) => done(user.anonymousId()))
"""


@pytest.mark.parametrize("batching", [False, True], ids=["one by one", "batches"])
def test_every_call_arrives_once_and_the_mail_leaves(
    system: System, shop: Shop, browser: webdriver.Chrome, batching: bool
) -> None:
    shop.scripts = installed(PACKAGE) / "@segment" / "analytics-next" / "dist" / "umd"
    shop.tag, shop.body = "", '<script src="/index.js"></script>'
    browser.get(shop.url)
    user = f"new-{uuid4().hex[:8]}"
    device = browser.execute_async_script(CALLS, KEY, f"127.0.0.1:{system.ports['PORT']}/v1", batching, user)
    expected = sorted(
        (event, "accepted") for event in ("Identify", "Page", "Product Viewed", "Product Added", "Screen", "Group")
    )
    system.wait_for(lambda: sorted(re.findall(r"event     (.+?) from page: (\w+)", system.why(device))) == expected)
    # The user was unknown, so the device becomes theirs.
    assert system.why(user).splitlines()[0] == system.why(device).splitlines()[0]
    (mail,) = system.wait_for(lambda: [mail for mail in system.outbox() if mail["to"] == f"{user}@example.com"])
    assert mail["custom_args"]["freshgate_trigger"] == "abandoned_cart"

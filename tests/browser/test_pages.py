"""The script for pages in a real Chromium: each event of a visitor arrives once, and none before they consent.

`conftest.py` has the browser, the shop and the running Freshgate.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.browser.conftest import Shop
from tests.harness.system import System

if TYPE_CHECKING:
    from selenium import webdriver

pytestmark = pytest.mark.tools

CONSENT = "freshgate.consent(true)"
LOSE_FIRST_RESPONSE = """
var real = fetch, lost = false
window.fetch = function (url, options) {
  return real(url, options).then(function (response) { if (!lost) { lost = true; throw 0 } return response })
}
"""
CART = """
<button data-freshgate="Product Added" data-freshgate-product_id="mug" data-freshgate-name="Mug"><b>Add</b></button>
<form data-freshgate="Newsletter Wanted" data-freshgate-identify="address" onsubmit="return false">
<input name="address"><input type="submit"></form>
<div style="height: 3000px"></div>
"""


def await_snippet(system: System, browser: webdriver.Chrome) -> None:
    """Waits until the page has run `/freshgate.js`, which it loads `async`."""
    system.wait_for(lambda: browser.execute_script("return typeof freshgate !== 'undefined'"))


def anonymous_id(browser: webdriver.Chrome) -> str:
    return str(browser.execute_script("return JSON.parse(localStorage.getItem('freshgate.anonymous'))"))


def queued(browser: webdriver.Chrome) -> list[Any]:
    events: list[Any] = browser.execute_script("return JSON.parse(localStorage.getItem('freshgate.queue') || '[]')")
    return events


def trail(system: System, who: str) -> list[tuple[str, str]]:
    """(event, verdict) of each event of a visitor."""
    return re.findall(r"event     (.+?) from page: (\w+)", system.why(who))


def wait_for_trail(system: System, browser: webdriver.Chrome, *expected: str) -> None:
    """Check that these events arrived, each once, and no others."""
    who = anonymous_id(browser)
    system.wait_for(lambda: not queued(browser))
    assert sorted(trail(system, who)) == sorted((event, "accepted") for event in expected)


def test_nothing_is_stored_or_sent_before_the_visitor_agrees(
    system: System, shop: Shop, browser: webdriver.Chrome
) -> None:
    before = received(system)
    browser.get(shop.url)
    browser.execute_script("freshgate.track('Product Viewed', {product_id: 'mug'})")
    time.sleep(1)  # Time enough for a request that must not come.
    assert browser.execute_script("return localStorage.length") == 0
    assert received(system) == before
    browser.execute_script(CONSENT)
    wait_for_trail(system, browser, "Page", "Product Viewed")
    # The next page asks for no second consent.
    browser.get(f"{shop.url}/next")
    expected = sorted((event, "accepted") for event in ("Page", "Product Viewed", "Page Left", "Page"))
    # An event in flight when the page is left may be sent twice, and is a duplicate then.
    system.wait_for(
        lambda: sorted(entry for entry in trail(system, anonymous_id(browser)) if entry[1] == "accepted") == expected
    )
    browser.execute_script("freshgate.consent(false)")
    assert browser.execute_script("return Object.keys(localStorage)") == ["freshgate.consent"]


def test_a_refusal_holds_on_the_next_page_where_consent_is_implied(
    system: System, shop: Shop, browser: webdriver.Chrome
) -> None:
    shop.tag = shop.tag.replace("></script>", ' data-consent="implied"></script>')
    browser.get(shop.url)
    system.wait_for(lambda: not queued(browser))
    browser.execute_script("freshgate.consent(false)")
    before = received(system)
    browser.get(f"{shop.url}/next")
    time.sleep(1)  # Time enough for a request that must not come.
    assert received(system) == before
    assert browser.execute_script("return Object.keys(localStorage)") == ["freshgate.consent"]


def test_an_event_that_is_too_large_does_not_stand_before_the_others(
    system: System, shop: Shop, browser: webdriver.Chrome
) -> None:
    browser.get(shop.url)
    await_snippet(system, browser)
    browser.execute_script(CONSENT)
    # 75 kB, since a letter has three bytes: more than a browser sends when a page is left.
    browser.execute_script("freshgate.track('Product Viewed', {product_id: 'mug', name: '\u706f'.repeat(25000)})")
    browser.execute_script("freshgate.track('Product Added', {product_id: 'mug', name: 'Mug'})")
    wait_for_trail(system, browser, "Page", "Product Added")


def received(system: System) -> int:
    text = system.request("METRICS_PORT", "GET", "/metrics").json
    return sum(
        int(count) for count in re.findall(r'^freshgate_events_total\{source="page".*\} (\d+)', text, re.MULTILINE)
    )


def test_a_click_and_a_form_tell_without_a_line_of_script_and_the_mail_leaves(
    system: System, shop: Shop, browser: webdriver.Chrome
) -> None:
    address = f"{uuid4().hex[:8]}@example.com"
    shop.body = CART
    shop.tag = shop.tag.replace("></script>", ' data-consent="implied"></script>')
    browser.get(shop.url)
    browser.find_element("name", "address").send_keys(address)
    browser.find_element("css selector", "[type=submit]").click()
    browser.find_element("tag name", "b").click()
    system.wait_for(lambda: not queued(browser))
    # No event type maps the name of the form.
    assert sorted(trail(system, anonymous_id(browser))) == [
        ("Identify", "accepted"),
        ("Page", "accepted"),
        ("Product Added", "accepted"),
    ]
    (mail,) = system.wait_for(lambda: [mail for mail in system.outbox() if mail["to"] == address])
    assert mail["custom_args"]["freshgate_trigger"] == "abandoned_cart"
    assert [line["product_id"] for line in mail["template_data"]["products"]] == ["mug"]


def test_leaving_tells_for_how_long_and_how_far(system: System, shop: Shop, browser: webdriver.Chrome) -> None:
    shop.body = CART
    browser.get(shop.url)
    await_snippet(system, browser)
    browser.execute_script(CONSENT)
    browser.execute_script("window.scrollTo(0, document.documentElement.scrollHeight)")
    system.wait_for(lambda: not queued(browser))
    who = anonymous_id(browser)
    browser.get("about:blank")
    system.wait_for(lambda: ("Page Left", "accepted") in trail(system, who))
    assert [event for event, _ in trail(system, who)].count("Page Left") == 1


def test_what_happens_offline_is_told_once_when_the_browser_is_back(
    system: System, shop: Shop, browser: webdriver.Chrome
) -> None:
    browser.get(shop.url)
    await_snippet(system, browser)
    browser.execute_script(CONSENT)
    wait_for_trail(system, browser, "Page")
    browser.set_network_conditions(offline=True, latency=0, throughput=0)
    browser.execute_script("for (var n = 0; n < 3; n++) freshgate.track('Product Viewed', {product_id: 'p' + n})")
    time.sleep(1)  # Requests fail meanwhile.
    assert len(queued(browser)) == 3
    browser.set_network_conditions(offline=False, latency=0, throughput=-1)
    wait_for_trail(system, browser, "Page", *["Product Viewed"] * 3)


def test_a_page_does_not_become_a_known_customer(system: System, shop: Shop, browser: webdriver.Chrome) -> None:
    user, address, claimed = f"user-{uuid4().hex}", f"{uuid4().hex[:8]}@example.com", f"{uuid4().hex[:8]}@example.com"
    assert system.post({"type": "identify", "userId": user, "traits": {"email": address}}).status == 200
    browser.get(shop.url)
    await_snippet(system, browser)
    browser.execute_script(CONSENT)
    browser.execute_script("freshgate.identify(arguments[0], {email: arguments[1]})", user, claimed)
    browser.execute_script("freshgate.track('Product Added', {product_id: 'mug', name: 'Mug'})")
    wait_for_trail(system, browser, "Page", "Identify", "Product Added")
    decisions = system.wait_for(lambda: re.findall(r"abandoned_cart: (.*)", system.why(anonymous_id(browser))))
    assert decisions == ["cancelled (unproven_identity)"]
    assert "Product Added" not in system.why(user)
    assert [mail for mail in system.outbox() if mail["to"] in (address, claimed)] == []


def test_an_event_that_was_not_taken_is_sent_again_and_counted_once(
    system: System, shop: Shop, browser: webdriver.Chrome
) -> None:
    browser.get(shop.url)
    await_snippet(system, browser)
    browser.execute_script(CONSENT)
    wait_for_trail(system, browser, "Page")
    # The event is accepted, but the page does not see the response.
    browser.execute_script(LOSE_FIRST_RESPONSE)
    browser.execute_script("freshgate.track('Product Viewed', {product_id: 'mug'})")
    system.wait_for(lambda: ("Product Viewed", "duplicate") in trail(system, anonymous_id(browser)))
    assert trail(system, anonymous_id(browser)).count(("Product Viewed", "accepted")) == 1
    assert json.dumps(queued(browser)) == "[]"

"""The sandbox's outbox in a real Chromium: a mail stands in its frame, and its scripts and pictures do nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.workers.sandbox.calls import call
from workers.sandbox.server import Sandbox

if TYPE_CHECKING:
    from selenium import webdriver

pytestmark = [pytest.mark.tools, pytest.mark.timeout(180)]


def test_a_mail_is_shown_in_a_frame_and_runs_and_loads_nothing(browser: webdriver.Chrome) -> None:
    with Sandbox() as sandbox:
        html = (
            "<p id='p' style='color:#c00'>Hello</p>"
            "<script>document.getElementById('p').textContent = 'ran'; top.location = 'about:blank'</script>"
            f"<img src='{sandbox.url}/loaded' onerror=\"document.getElementById('p').textContent = 'ran'\">"
        )
        body = {"from": "s@example.com", "to": ["ada@example.com"], "subject": "Hi", "html": html}
        assert call(sandbox, "POST", "/emails", body, Authorization="Bearer k")[0] == 200
        browser.get(f"{sandbox.url}/")
        # Without its reload the frame stays.
        browser.execute_script("window.stop()")
        assert browser.title == "Outbox (1)"
        browser.switch_to.frame(0)
        paragraph = browser.find_element("id", "p")
        assert (paragraph.text, paragraph.value_of_css_property("color")) == ("Hello", "rgba(204, 0, 0, 1)")
        browser.switch_to.default_content()
        assert browser.title == "Outbox (1)"

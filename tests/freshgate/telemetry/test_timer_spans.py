"""A send that a timer starts has a trace of its own, which links the event that set the timer.

`test_spans.py` has the shop whose spans are remembered.
"""

from __future__ import annotations

import argparse
from typing import Any

import pytest
from opentelemetry.trace import StatusCode
from redis import Redis

from freshgate.errors import EspError
from freshgate.settings import Settings
from tests.engine.world import HOUR, MINUTE, SECOND, product
from tests.freshgate.telemetry.test_spans import ADA, CALLER, Shop, parent
from workers import commands


@pytest.fixture
def shop(redis: Redis) -> Shop:
    return Shop(redis)


def test_a_timer_is_a_trace_of_its_own_that_links_the_event_which_set_it(shop: Shop) -> None:
    shop.request(shop.cart())
    webhook = shop.spans()["webhook"]
    shop.remembered.clear()
    shop.world.run(shop.world.now + HOUR)
    assert shop.world.mails() == [("abandoned_cart", ADA)]
    spans = shop.spans()
    timer = spans["process timer"]
    assert timer.parent is None
    assert timer.context.trace_id != webhook.context.trace_id
    assert [(link.context.trace_id, link.context.span_id) for link in timer.links] == [
        (webhook.context.trace_id, webhook.context.span_id)
    ]
    assert parent(spans["call sendgrid"]) == timer.context.span_id


def test_the_link_survives_a_merge(shop: Shop) -> None:
    shop.request(shop.world.event("Product Added", anon="device", product=product("mug")))
    webhook = shop.spans()["webhook"]
    shop.remembered.clear()
    shop.chance = 0.9
    shop.world.now += SECOND
    shop.request(shop.world.event("Identify", user="ada", anon="device", email=ADA))
    shop.world.run(shop.world.now + HOUR)
    assert shop.world.mails() == [("abandoned_cart", ADA)]
    (link,) = shop.spans()["process timer"].links
    assert link.context.span_id == webhook.context.span_id


def test_a_retry_links_the_event_and_the_failed_call_has_an_error(shop: Shop) -> None:
    shop.world.esp.errors = [EspError(f"refused for {ADA}", status=503)]
    shop.request(shop.order(), traceparent=CALLER)
    shop.work()
    first = shop.spans()
    assert first["call sendgrid"].status.status_code is StatusCode.ERROR
    assert dict(first["call sendgrid"].attributes or {})["http.response.status_code"] == 503
    assert first["decide"].status.status_code is StatusCode.ERROR
    assert dict(first["decide"].attributes or {})["freshgate.outcome"] == "retry"
    assert ADA not in "".join(span.to_json() for span in first.values())
    shop.remembered.clear()
    ((_, shop.world.now),) = shop.world.due_timers(shop.world.now + MINUTE)
    shop.world.run()
    assert shop.world.mails() == [("order_confirmation", ADA)]
    (link,) = shop.spans()["process timer"].links
    assert link.context.trace_id == int("ab" * 16, 16)


def test_what_an_operator_resends_links_the_event(shop: Shop, redis_server: str) -> None:
    shop.world.esp.errors = [EspError("silence", ambiguous=True)]
    shop.request(shop.order(), traceparent=CALLER)
    shop.work()
    assert shop.world.outcomes("ada") == [("order_confirmation", "unknown")]
    shop.remembered.clear()
    options = argparse.Namespace(command="unknown", action="resend", send=None, max_age="0s")
    commands.run(Settings(redis_url=redis_server), options, shop.world.now)
    shop.world.run()
    assert shop.world.mails() == [("order_confirmation", ADA)]
    (link,) = shop.spans()["process timer"].links
    assert link.context.trace_id == int("ab" * 16, 16)


def test_the_safety_net_links_the_event_when_its_job_is_lost(shop: Shop) -> None:
    shop.request(shop.order(), traceparent=CALLER)
    assert len(shop.jobs()) == 1
    shop.remembered.clear()
    shop.world.run(shop.world.now + MINUTE)
    (link,) = shop.spans()["process timer"].links
    assert link.context.trace_id == int("ab" * 16, 16)


def test_what_the_timers_carry_is_gone_with_them(shop: Shop) -> None:
    shop.request(shop.cart(), shop.order())
    shop.work()
    shop.world.run(shop.world.now + 2 * HOUR)
    fields = [field for key in shop.redis.scan_iter("fg:*", _type="hash") for field in hkeys(shop.redis, key)]
    assert fields
    assert not [field for field in fields if field.startswith(b"p:")]


def hkeys(redis: Redis, key: bytes) -> list[bytes]:
    fields: Any = redis.hkeys(key)
    return list(fields)

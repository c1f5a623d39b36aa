"""What a CDP sends back of what Freshgate told it changes nothing: a mail about a mail could follow for ever."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis

from adapter.ingest.receive import WebhookRequest
from adapter.ingest.unmapped import list_events
from adapter.sources import configure_sources
from adapter.sources.base import RequestContext
from adapter.sources.segment.signature import sign
from freshgate.outcomes import EVENTS, Outcome
from freshgate.settings import OutcomeSettings, Settings, SourceSettings
from tests.engine.world import World
from workers.outcomes.destination import Delivery
from workers.outcomes.segment import SegmentDestination

KEY = "k" * 24
SOURCES = {
    "segment": SourceSettings(kind="segment", secrets=(KEY,), tokens=(KEY,)),
    "rudderstack": SourceSettings(kind="rudderstack", secrets=(KEY,)),
    "sdk": SourceSettings(kind="tracking", write_keys=(KEY,)),
}


def track_calls() -> list[dict[str, Any]]:
    """What leaves for the CDP, of each event."""
    wish = OutcomeSettings(url="http://127.0.0.1:9", write_key=KEY, include_address=True)
    deliveries = []
    for event in EVENTS:
        outcome = Outcome(event, "bounced", "550", "welcome", "5e" * 12, "sendgrid", "u3f", 1, "ada@example.com")
        deliveries.append(Delivery(outcome, outcome.message_id("main"), "ada"))
    calls: list[dict[str, Any]] = list(SegmentDestination("main", wish).document(deliveries)["batch"])
    return calls


def post(world: World, source: str, calls: list[dict[str, Any]]) -> Any:
    [configured] = configure_sources(Settings(sources={source: SOURCES[source]})).values()
    headers = {"Authorization": KEY}
    body: Any = calls
    if source == "sdk":
        body = {"batch": calls, "writeKey": KEY}
    elif source == "segment":
        headers = {"X-Freshgate-Token": KEY, "X-Signature": sign(KEY, json.dumps(calls[0]).encode())}
    context = RequestContext(call="batch") if source == "sdk" else RequestContext()
    request = WebhookRequest(json.dumps(body).encode(), headers, world.now, context)
    return world.receiver.receive(configured, request)


@pytest.mark.parametrize("source", list(SOURCES))
def test_what_comes_back_is_counted_and_changes_nothing(redis: Redis, source: str) -> None:
    world = World(redis)
    world.record(world.event("Identify", user="ada", email="ada@example.com"))
    before = world.state("ada")
    keys_before = sorted(redis.keys())
    reply = post(world, source, track_calls())
    assert (reply.ignored, reply.accepted, reply.refused) == (len(EVENTS), 0, 0)
    assert (world.state("ada"), sorted(redis.keys())) == (before, keys_before)
    assert list_events(redis) == []
    world.record(world.event("Order Completed", user="ada", order_id="1"))
    world.run()
    assert world.mails() == [("order_confirmation", "ada@example.com")]


@pytest.mark.parametrize("source", list(SOURCES))
def test_the_same_event_of_somebody_else_still_counts(redis: Redis, source: str) -> None:
    world = World(redis)
    world.record(world.event("Identify", user="ada", email="ada@example.com"))
    [call] = [call for call in track_calls() if call["event"] == "Email Bounced"]
    assert post(world, source, [call | {"messageId": "another"}]).accepted == 1
    world.record(world.event("Order Completed", user="ada", order_id="1"))
    world.run()
    assert world.mails() == []

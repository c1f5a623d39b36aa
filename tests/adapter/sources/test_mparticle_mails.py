"""A shopper known through mParticle's batches alone: which mails leave, and which must not.

`test_mparticle.py` tests how a batch is read; `tests/engine/world.py` is the engine on a real Redis.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis

from adapter.sources.base import Source
from adapter.sources.mparticle.source import MPARTICLE
from catalog.events import EVENTS
from freshgate.events import Event, Ignored
from freshgate.settings import SourceSettings
from tests.engine.world import HOUR, MINUTE, World

ADA = "ada@example.com"
SOURCE = MPARTICLE.configure("shop", SourceSettings(kind="mparticle", secrets=("Basic x",)), EVENTS)
KNOWN = {
    "mpid": -42,
    "user_identities": [
        {"identity_type": "customer_id", "identity": "ada"},
        {"identity_type": "email", "identity": ADA},
    ],
    "user_attributes": {"$FirstName": "Ada"},
}


def deliver(world: World, *events: Any, source: Source = SOURCE, **batch: Any) -> None:
    """One batch, as it arrives now."""
    body = {**KNOWN, "batch_id": world.now, "timestamp_unixtime_ms": world.now, **batch, "events": list(events)}
    verdicts = source.read(json.dumps(body).encode(), world.now)
    assert all(isinstance(verdict, Event | Ignored) for verdict in verdicts)
    world.record(*[verdict for verdict in verdicts if isinstance(verdict, Event)])


def product_action(world: World, action: str, *products: str, **members: Any) -> dict[str, Any]:
    lines = [{"id": product, "name": f"Product {product}", "price": 10, "quantity": 1} for product in products]
    data = {"product_action": {"action": action, "products": lines, **members}, "timestamp_unixtime_ms": world.now}
    return {"event_type": "commerce_event", "data": data}


def test_what_is_left_of_a_cart_is_written_about_with_the_persons_name(redis: Redis) -> None:
    world = World(redis)
    deliver(world, product_action(world, "add_to_cart", "a", "b", "c", "d"))
    world.now += MINUTE
    deliver(world, product_action(world, "remove_from_cart", "a", "c"), product_action(world, "checkout"))
    world.run(world.now + 2 * HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]
    data = world.esp.mails[0].template_data
    assert data["first_name"] == "Ada"
    assert sorted(line["product_id"] for line in data["products"]) == ["b", "d"]


def test_a_cart_emptied_by_one_event_is_not_written_about(redis: Redis) -> None:
    world = World(redis)
    deliver(world, product_action(world, "add_to_cart", "a", "b"))
    world.now += MINUTE
    deliver(world, product_action(world, "remove_from_cart", "b", "a"))
    world.run(world.now + 2 * HOUR)
    assert world.mails() == []


def test_an_anonymous_cart_is_written_about_once_a_batch_without_events_names_the_person(redis: Redis) -> None:
    world = World(redis)
    deliver(world, product_action(world, "add_to_cart", "a"), user_identities=[], user_attributes={})
    world.now += MINUTE
    deliver(world)
    world.run(world.now + 2 * HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_a_purchase_is_confirmed_once_however_often_its_batch_arrives(redis: Redis) -> None:
    world = World(redis)
    deliver(world, product_action(world, "add_to_cart", "a"))
    world.now += MINUTE
    bought, sent_at = product_action(world, "purchase", "a", transaction_id="1001", total_amount=10), world.now
    for _ in range(3):
        deliver(world, bought, batch_id=7, timestamp_unixtime_ms=sent_at)
        world.run(world.now + MINUTE)
    world.run(world.now + 2 * HOUR)
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_refund_of_an_unknown_amount_is_full_and_withholds_the_confirmation(redis: Redis) -> None:
    world = World(redis)
    bought = product_action(world, "purchase", "a", transaction_id="1001", total_amount=10)
    world.now += MINUTE
    deliver(world, bought, product_action(world, "refund", transaction_id="1001", total_amount=0))
    world.run(world.now + HOUR)
    assert world.mails() == []


def test_a_person_who_refuses_gets_the_confirmation_but_no_marketing(redis: Redis) -> None:
    world = World(redis)
    refused = {"gdpr": {"newsletter": {"consented": False, "timestamp_unixtime_ms": world.now - HOUR}}}
    deliver(
        world, product_action(world, "purchase", "z", transaction_id="1001", total_amount=10), consent_state=refused
    )
    world.run()
    world.now += 10 * MINUTE
    deliver(world, product_action(world, "add_to_cart", "a"), consent_state=refused)
    world.run(world.now + 2 * HOUR)
    assert world.mails() == [("order_confirmation", ADA)]
    assert ("abandoned_cart", "suppressed") in world.outcomes("ada")


@pytest.mark.parametrize(("hours", "mails"), [(-1, [("abandoned_cart", ADA)]), (-3, [])])
def test_a_consent_lifts_an_older_unsubscribe_only(redis: Redis, hours: int, mails: list[tuple[str, str]]) -> None:
    settings = SourceSettings(kind="mparticle", secrets=("Basic x",), consent_purposes=("newsletter",))
    source = MPARTICLE.configure("shop", settings, EVENTS)
    world = World(redis)
    world.record(world.event("Unsubscribed", user="ada", email=ADA, at=world.now - 2 * HOUR))
    renewed = {"gdpr": {"newsletter": {"consented": True, "timestamp_unixtime_ms": world.now + hours * HOUR}}}
    for _ in range(2):
        deliver(world, product_action(world, "add_to_cart", "a"), source=source, consent_state=renewed)
    world.run(world.now + 2 * HOUR)
    assert world.mails() == mails


def test_an_erased_person_gets_no_mail(redis: Redis) -> None:
    world = World(redis)
    deliver(world, product_action(world, "add_to_cart", "a"))
    world.now += MINUTE
    identities = {"controller_customer_id": {"encoding": "raw", "value": "ada"}}
    erasure = {"subject_request_type": "erasure", "subject_identities": identities, "timestamp_ms": world.now}
    request = {"type": "dsr_processing_request", "subject_request_id": "dsr-1", **erasure}
    (verdict,) = SOURCE.read(json.dumps(request).encode(), world.now)
    assert isinstance(verdict, Event)
    world.record(verdict)
    world.run(world.now + 2 * HOUR)
    assert world.mails() == []
    assert "t:email" not in world.state("ada")

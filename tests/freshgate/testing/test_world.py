"""`freshgate.testing`: what a test of a catalog says has the consequences that the running product has.

The example's own tests (docs/example/myshop/tests) and the cookbook's recipes use it too.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from freshgate import Product
from freshgate.testing import World
from tests.adapter.commands.conftest import ROOT

ADA = "ada@example.com"
MUG = Product("p-1", name="Mug", price="9.90")
ORDER = {
    "type": "track",
    "event": "Order Completed",
    "messageId": "m-1",
    "userId": "ada",
    "timestamp": "2026-09-21T14:13:17.842Z",
    "context": {"traits": {"email": ADA}},
    "properties": {"order_id": "o-1", "total": 9.9},
}


@pytest.fixture
def world() -> World:
    return World()


def sent(world: World) -> list[tuple[str, str]]:
    return [(mail.trigger, mail.to) for mail in world.mails]


def test_a_mail_leaves_when_its_delay_is_over_and_not_before(world: World) -> None:
    start = world.now
    assert world.record(world.event("Product Added", user="ada", email=ADA, product=MUG))["accepted"] == 1
    world.wait("29m")
    assert sent(world) == []
    world.wait("2m")
    assert sent(world) == [("abandoned_cart", ADA)]
    assert (world.mails[0].at, world.now) == (start + 30 * 60_000, start + 31 * 60_000)
    assert world.mails[0].template_data["products"][0]["name"] == "Mug"


def test_what_is_due_at_once_leaves_without_waiting(world: World) -> None:
    assert world.receive("segment", ORDER) == {"accepted": 1, "duplicate": 0, "ignored": 0, "refused": 0}
    assert sent(world) == []
    world.wait()
    assert sent(world) == [("order_confirmation", ADA)]


def test_what_is_due_on_the_way_is_decided_at_its_own_time(world: World) -> None:
    world.record(world.event("Product Added", user="ada", email=ADA, product=MUG))
    world.record(world.event("Product Viewed", user="bob", email="bob@example.com", product=MUG))
    world.wait("2d")
    assert [(mail.trigger, (mail.at - world.now) // 60_000 + 2 * 24 * 60) for mail in world.mails] == [
        ("abandoned_cart", 30),
        ("browse_abandonment", 60),
    ]


def test_a_repeated_event_is_a_duplicate_and_an_older_one_is_stale(world: World) -> None:
    old = world.event("Order Completed", user="ada", email=ADA, ago="25h", order_id="o-1")
    assert world.record(old, old) == {"accepted": 1, "duplicate": 1, "ignored": 0, "refused": 0}
    world.wait()
    assert world.outcomes("ada") == [("order_confirmation", "stale")]
    assert "older_than_max_age" in world.why(ADA)
    verdicts = [entry["verdict"] for entry in world.trail(ADA) if entry["kind"] == "event"]
    assert sorted(verdicts) == ["accepted", "duplicate"]


def test_of_a_person_whom_nobody_knows_there_is_nothing(world: World) -> None:
    assert (world.trail("nobody"), world.why("nobody"), world.outcomes("nobody")) == ([], "", [])


def test_each_world_begins_empty(world: World) -> None:
    world.receive("segment", ORDER)
    other = World()
    assert other.trail("ada") == []
    assert other.receive("segment", ORDER)["accepted"] == 1


def test_a_body_of_any_cdp_is_read_by_the_catalogs_spelling(world: World) -> None:
    action = {"action": "purchase", "transaction_id": "o-2", "total_amount": 5}
    event = {"event_type": "commerce_event", "data": {"source_message_id": "e-1", "product_action": action}}
    identities = [{"identity_type": "email", "identity": ADA}]
    batch = {"mpid": "5", "user_identities": identities, "events": [event, {"event_type": "lamp_lit"}]}
    counts = world.receive("mparticle", batch)
    assert (counts["accepted"], counts["ignored"]) == (1, 1)
    world.wait()
    assert world.mails[0].template_data["order_id"] == "o-2"


def test_an_audiences_url_can_be_said(world: World) -> None:
    visitor = {"tealium_visitor_id": "v-1", "customer_id": "ada", "customer_first_name": "Ada"}
    counts = world.receive("tealium", visitor, audience="vip", turn="joined")
    assert (counts["accepted"], counts["ignored"]) == (1, 1)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("Lamp Lit", {}, "the catalog has no event type 'Lamp Lit'"),
        ("Product Added", {"colour": "red"}, "Product Added has no field 'colour'; known: cart_id, product"),
        ("Product Added", {"ago": "2 days"}, "'2 days' is not a duration"),
    ],
)
def test_a_mistake_of_the_test_itself_is_an_error(world: World, name: str, fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        world.event(name, **fields)


def test_its_valkey_ends_with_the_process() -> None:
    code = "from freshgate.testing.engine import valkey_url; print(valkey_url())"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True, timeout=60)
    socket = done.stdout.strip().removeprefix("unix://").partition("?")[0]
    assert socket.endswith(".sock")
    assert not os.path.exists(socket)

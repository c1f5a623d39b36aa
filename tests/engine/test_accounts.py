"""Several ESP accounts: each send leaves through the account of its trigger, whatever the settings were before."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from redis import Redis
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from adapter.ingest.receive import Receiver
from catalog import TRIGGERS
from freshgate.routing import Routes
from tests.engine.world import SECOND, RememberingEsp, World, product

# The confirmations leave through `shop`, everything else through `news`.
ACCOUNTS = {trigger.name: "shop" if trigger.name == "order_confirmation" else "news" for trigger in TRIGGERS}


@pytest.fixture
def world(redis: Redis) -> World:
    """A shop whose worker serves the account `shop`."""
    esp = RememberingEsp()
    esp.name = "shop"
    world = World(redis, [replace(trigger, esp=ACCOUNTS[trigger.name]) for trigger in TRIGGERS], esp)
    world.receiver = Receiver(redis, world.planner, Routes(["news", "shop"], ACCOUNTS), clock=lambda: world.now)
    return world


def queued(redis: Redis, account: str) -> list[str]:
    """The triggers of the sends that wait in the queue of an account."""
    jobs: Any = redis.lrange(f"rq:queue:freshgate-{account}", 0, -1)
    payloads = [RqJob.fetch(job.decode(), connection=redis, serializer=JSONSerializer).args[0] for job in jobs]
    return [timer.partition("|")[0] for payload in payloads for timer, _ in payload["sends"]]


def test_the_receiver_enqueues_each_send_for_the_account_of_its_trigger(redis: Redis, world: World) -> None:
    signed_up = world.event("Signed Up", user="ada", email="ada@example.com")
    ordered = world.event("Order Completed", user="ada", email="ada@example.com", order_id="o1")
    assert world.record(signed_up, ordered).accepted == 2
    assert queued(redis, "news") == ["welcome"]
    assert queued(redis, "shop") == ["order_confirmation"]


def test_a_send_in_the_queue_of_another_account_goes_back_to_the_timers_and_is_not_sent(world: World) -> None:
    world.record(world.event("Product Added", user="ada", email="ada@example.com", product=product("mug")))
    ((timer, due),) = world.due_timers(world.now + 10 * 3600 * SECOND)
    world.now = due
    world.deliver(timer)
    assert world.mails() == []
    assert world.due_timers(world.now) == [(timer, due)], "due at once, for the queue of its own account"
    assert world.outcomes("ada") == []
    other = RememberingEsp()
    other.name = "news"
    world.esp = other
    world.deliver(timer, courier=world.new_courier())
    assert world.mails() == [("abandoned_cart", "ada@example.com")]

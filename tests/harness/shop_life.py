"""A shop that lives through all kinds of events, sends and operators' commands, on a real Redis.

`tests/test_redis_page.py` reads what Redis holds after each step.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from redis import Redis

from adapter.ingest.receive import Receiver, WebhookRequest
from adapter.ingest.unsubscribe import Unsubscriber
from adapter.people.caches import build_cache
from adapter.people.lookup import People
from adapter.sources.base import NO_CONTEXT, Headers, RequestContext
from catalog import EVENTS, TRIGGERS
from freshgate.asks import Ask
from freshgate.declare import EventType
from freshgate.errors import EspError
from freshgate.events import Event, Ignored, Refused, Verdict
from freshgate.links import LinkToken, LinkTokens
from freshgate.needs import Needs
from freshgate.routing import Routes
from freshgate.settings import AskSettings, EspSettings, OutcomeSettings, Settings, SourceSettings
from freshgate.state import keys, restored
from freshgate.state.clock import RedisClock
from freshgate.state.planner import Planner
from freshgate.state.store import fcall, load, open_shops
from tests.engine.subjects import BACK_IN_STOCK, SUBJECT_EVENTS
from tests.engine.world import HOUR, MINUTE, PII_KEY, SECOND, SHOP, START, World, product
from tests.harness.reporting import ReportingWorld
from tests.harness.truth_server import Reply, TruthServer
from workers import backup, commands, suppressions
from workers.account import Account
from workers.asker import Asker
from workers.asks import AskRequest
from workers.delays import note_delays
from workers.pace import Pace
from workers.timers import Timers

BOB, EVE = "bob@example.com", "eve@example.com"
# The catalog has no event that lifts an unsubscribe; a shop's own may.
OPTED_IN = EventType(name="Opted In", lifts="unsubscribed")


class ThreeVerdicts:
    """A source that reads one event, one element on which its code raised, and one that is nobody's."""

    name = "shop"
    settings = SourceSettings(kind="shop", trust="browser")

    def __init__(self, event: Event) -> None:
        self._event = event

    def verify(self, body: bytes, headers: Headers) -> None:
        pass

    def read(self, body: bytes, received_at: int, context: RequestContext = NO_CONTEXT) -> list[Verdict]:
        return [self._event, Refused("internal", raw=b"{}"), Ignored("track / Nothing Of Ours", anonymous_id="tablet")]


def live_through_everything(redis: Redis, url: str) -> Iterator[None]:
    """Every kind of event, send and command; yields whenever Redis may hold something new."""
    first_event = Needs("session.first_seen", critical=False)
    triggers = (*TRIGGERS, replace(BACK_IN_STOCK, needs=(first_event,)))
    world = World(redis, [replace(trigger, address_cap=(10, HOUR)) for trigger in triggers])
    types = [*EVENTS, OPTED_IN, *SUBJECT_EVENTS]
    world.planner = Planner(types, tuple(world.triggers.values()), PII_KEY, shops_with_pages=("main",))
    world.receiver = Receiver(redis, world.planner, Routes(["test"]), clock=lambda: world.now)
    yield from visit(world)
    yield from identify(world)
    yield from shop_and_buy(world)
    yield from send_and_fail(world)
    yield from operate(world, redis, url)
    yield from report(ReportingWorld(redis))
    yield from tell(redis)
    yield from ask(redis)
    yield from copy_and_restore(redis, url)
    yield from run_processes(world, redis)


def visit(world: World) -> Iterator[None]:
    """Each event type of the catalog, told by a user with an address and by a device alone."""
    fields: dict[str, Any] = {"product": product("tea"), "products": (product("tea"),), "total": "10.00"}
    for number, event_type in enumerate(EVENTS):
        if event_type.effect:
            continue
        profile = {name: "text" for name in event_type.profile}
        order = {"order_id": f"every-{number}"} if event_type.order else {}
        callers: list[dict[str, Any]] = [{"user": "eve", "email": EVE}, {"anon": "eves-device"}, {"user": "mute"}]
        for ids in callers:
            event = world.event(event_type.name, **ids)
            world.record(replace(event, fields={**fields, **profile, **order}))
        yield


def identify(world: World) -> Iterator[None]:
    """Links, aliases, devices of two users, pages' claims, many devices, addresses as ids, an erasure."""
    world.record(world.event("Product Added", user="ada", anon="phone", product=product("tea")))
    world.record(world.event("Alias", user="ada", previous_id="ada-before"))
    yield
    world.record(world.event("Identify", user="bob", anon="phone", email=BOB))
    yield
    world.record(world.event("Identify", user="claimed", anon="tablet"), trusted=False)
    world.record(world.event("Product Viewed", anon="tablet", email="typed@example.com"), trusted=False)
    yield
    world.record(world.event("Identify", user="claimed"))
    yield
    for number in range(210):
        world.record(world.event("Page", user="loyal", anon=f"device-{number}"))
    yield
    world.record(world.event("Identify", user="carl@example.com"), world.event("Unsubscribed", user="carl@example.com"))
    world.record(world.event("Order Completed", email="only+1@example.com", order_id="by-address"))
    world.record(world.event("Opted In", user="carl@example.com"), world.event("Opted In", email=EVE))
    yield
    world.record(world.event("Delete", user="loyal"), world.event("Delete", email="only+1@example.com"))
    yield


def shop_and_buy(world: World) -> Iterator[None]:
    """A cart that grows and shrinks, orders with an address of their own, full and partial refunds."""
    ada: dict[str, Any] = {"user": "ada"}
    world.record(world.event("Product Restocked", user="ada", product_id="mug"))
    for name in ("Product Added", "Product Removed", "Cart Viewed", "Checkout Started"):
        world.record(world.event(name, **ada, product=product("mug"), products=(product("mug"), product("cup"))))
    world.record(world.event("Product Removed", **ada))
    yield
    order: dict[str, Any] = {
        "order_id": "1",
        "order_email": "work+shop@example.com",
        "products": (product("mug"),),
        "total": "10.00",
    }
    world.record(world.event("Order Completed", **ada, **order))
    world.record(world.event("Order Completed", anon="cafe", email="guest+shop@example.com", order_id="g-1"))
    world.record(world.event("Order Refunded", **ada, order_id="1", total="2.00"))
    world.record(world.event("Order Refunded", **ada, order_id="1", products=(product("mug"),)))
    world.record(world.event("Order Refunded", **ada, order_id="1"))
    world.record(world.event("Order Cancelled", **ada, order_id="1"))
    # Without an id, it still empties the cart.
    world.record(world.event("Order Completed", **ada))
    yield


def send_and_fail(world: World) -> Iterator[None]:
    """Mails sent, parked, retried, refused, of unknown fate, given up, and one that a later arrival contradicts."""
    world.record(world.event("Signed Up", user="dan"), world.event("Order Completed", anon="guest", order_id="2"))
    world.record(world.event("Product Added", user="dan", product=product("tea")))
    world.run(world.now + HOUR)
    yield
    world.record(world.event("Identify", user="dan", email="dan@example.com"))
    yield
    world.run(world.now + HOUR)
    yield
    world.record(world.event("Order Completed", user="dan", order_id="3", at=world.now - 2 * HOUR))
    yield
    world.run(world.now + 5 * SECOND)
    yield
    errors = (
        EspError("503", status=503),
        EspError("no such template", permanent=True),
        EspError("connection lost", ambiguous=True),
    )
    for number, error in enumerate(errors):
        world.record(world.event("Order Completed", user="fay", email="fay@example.com", order_id=f"fay-{number}"))
        world.esp.errors = [error]
        world.run()
        yield
    world.record(world.event("Order Completed", user="gus", email="gus@example.com", order_id="gus"))
    world.esp.errors = [EspError("503", status=503, retry_after_s=25 * 3600.0)]
    world.run()
    yield
    # A contradiction of a mail about an order.
    world.record(world.event("Order Completed", user="hal", email="hal@example.com", order_id="hal"))
    world.run()
    world.now += MINUTE
    world.record(world.event("Order Cancelled", user="hal", order_id="hal", at=world.now - MINUTE))
    world.run(world.now + 5 * SECOND)
    yield


def operate(world: World, redis: Redis, url: str) -> Iterator[None]:
    """An operator holds mails and replays a send; traced requests, rate limits, a quarantine, a gap."""
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers(dest="command")
    commands.add_commands(subparsers)
    suppressions.add_command(subparsers)
    settings = Settings(redis_url=url, pii_key=PII_KEY.decode())
    commands.run(settings, parser.parse_args(("hold",)), world.now)
    yield
    commands.run(settings, parser.parse_args(("release",)), world.now)
    commands.run(settings, parser.parse_args(("rejected", "replay")), world.now)
    yield
    suppressions.run(settings, parser.parse_args(("suppressions", "lift", EVE, "--kind", "bounced")))
    yield
    tokens = LinkTokens(PII_KEY)
    address = keys.address_id(PII_KEY, EVE)
    token = LinkToken(shop="main", address=address, send_id="5e" * 12, topic="marketing", expires_at=world.now)
    Unsubscriber(redis, tokens, ["cart_reminders"], lambda: world.now).leave(token, "cart_reminders")
    yield
    event = world.event("Product Added", anon="visitor", email="visitor@example.com", product=product("tea"))
    request = WebhookRequest(b"", {}, world.now, remote_ip="93.184.216.34")
    world.receiver.receive(ThreeVerdicts(event), request)
    yield


def copy_and_restore(redis: Redis, url: str) -> Iterator[None]:
    """A copy of the store; its timers stop as told; and a store that was restored is recognised, and released."""
    with tempfile.TemporaryDirectory() as folder:
        backup.make_copy(Settings(redis_url=url, pii_key=PII_KEY.decode()), Path(folder), keep=1)
    restored.note_stop(redis)
    yield
    restored.beat(redis, time.time_ns() // 1_000_000 - 365 * 24 * HOUR)
    restored.hold_if_restored(redis)
    yield
    restored.settle_restored(redis, 0)


def report(world: ReportingWorld) -> Iterator[None]:
    """The ESP reports of mails that it got, of one that it may have got, and of mails that nobody knows."""
    send = world.order("reported")
    yield
    world.report("delivered", send)
    world.report("soft_bounced", send)
    world.report("opened", "f" * 24)
    yield


def tell(redis: Redis) -> Iterator[None]:
    """A shop hears of its mails, and more of them wait than may."""
    world = ReportingWorld(redis, outcomes=OutcomeSettings(backlog=1))
    world.report("opened", "e" * 24)
    for order_id in ("heard-1", "heard-2"):
        world.order(order_id)
    fcall(redis, "take_outcomes", SHOP, world.now, "token", 15_000, 100)
    yield


def ask(redis: Redis) -> Iterator[None]:
    """Somebody with a token asks the People API, which has its cache in Redis."""
    cache = build_cache("redis", redis, PII_KEY)
    People(redis, cache, ["main"], PII_KEY, 300_000, (100, MINUTE)).read(EVE, "5f0c")
    yield
    # A source of truth answers for a field that nobody told.
    source = Ask(name="shop_stock", url="https://shop.example/stock", answer="level", type="number")
    with TruthServer() as truth:
        truth.reply = Reply({"level": 3})
        asker = Asker(redis, [source], {"shop_stock": AskSettings(base_url=truth.url)})
        answered = threading.Event()
        asker.ask("main", [AskRequest(source, "view.stock", source.path, 0, MINUTE)], START, answered.set)
        assert answered.wait(10)
        while not redis.exists(*redis.keys("fg:{main}:ask:*") or ["none"]):
            time.sleep(0.01)
    yield


def run_processes(world: World, redis: Redis) -> Iterator[None]:
    """What the processes write by themselves: the shops, a gap, leases, a heartbeat, crashes."""
    load(redis)
    open_shops(redis, ["main"])
    yield
    order = world.event("Order Completed", user="ivy", email="ivy@example.com", order_id="ivy")
    for event in (order, world.event("Product Viewed", user="ivy")):
        # As the receiver does for a request that is traced.
        plan = world.planner.plan(event)
        plan.body["trace"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        fcall(redis, "record", SHOP, world.now, 0, "", plan.packed())
    yield
    Timers(redis, Routes(["sendgrid"]), 0).tick()
    yield
    note_delays(redis, world.triggers.values(), world.now)
    settings = EspSettings(max_in_flight=1, pace=(1, HOUR))
    Account(redis, "sendgrid", settings, RedisClock()).admit(1, "transactional")
    Pace(redis, "sendgrid", settings).take(1)
    yield
    fcall(redis, "claim_due", SHOP, time.time_ns() // 1_000_000 + HOUR, 100, 30_000)
    yield

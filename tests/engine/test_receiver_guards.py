"""What the receiver does when Freshgate itself fails: no room in Redis, or an element on which its code raises."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from redis import Redis

from adapter.ingest import quarantine
from adapter.ingest.receive import Receiver, WebhookRequest
from adapter.ingest.record import WebhookReply
from adapter.sources import SOURCES
from adapter.sources.base import NO_CONTEXT, Headers, RequestContext, failed
from catalog import EVENTS, TRIGGERS
from freshgate.errors import StoreUnavailable
from freshgate.events import Event, Refused, Verdict
from freshgate.settings import SourceSettings
from freshgate.state.clock import RedisClock
from freshgate.state.store import Headroom, check
from tests.engine.world import SHOP, World


class HalfBroken:
    """A source that verifies nothing, and reads one event and one element on which its code raised."""

    name = "shop"
    settings = SourceSettings(kind="half_broken")

    def __init__(self, event: Event) -> None:
        self._event = event

    def verify(self, body: bytes, headers: Headers) -> None:
        pass

    def read(self, body: bytes, received_at: int, context: RequestContext = NO_CONTEXT) -> Sequence[Verdict]:
        try:
            raise ZeroDivisionError("ada@example.com")
        except ZeroDivisionError as error:
            return [self._event, failed(error, b'{"n": 0}')]


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def receive_both(receiver: Receiver, world: World, trust: str = "server") -> tuple[int, int]:
    source = HalfBroken(world.event("Identify", user="ada", anon="x", email="ada@example.com"))
    source.settings = SourceSettings(kind="segment", secrets=("s",), trust=trust)  # type: ignore[arg-type]  # one of the two
    reply = receiver.receive(source, WebhookRequest(b"", {}, world.now))
    return reply.accepted, reply.refused


@pytest.fixture
def fill(redis: Redis) -> Iterator[Callable[[float], None]]:
    """Sets `maxmemory` so that this share of it is used."""

    def set_share(share: float) -> None:
        redis.config_set("maxmemory", int(int(redis.info("memory")["used_memory"]) / share))

    yield set_share
    redis.config_set("maxmemory", 0)


def test_a_redis_that_is_nearly_full_takes_no_more_events_and_is_not_ready(
    world: World, redis: Redis, fill: Callable[[float], None]
) -> None:
    fill(0.9)
    with pytest.raises(StoreUnavailable, match="maxmemory"):
        receive_both(world.receiver, world)
    assert world.state("ada") == {}
    assert redis.exists(f"{SHOP}gap")
    problems, _ = check(redis)
    assert [problem for problem in problems if "events are refused" in problem]


def test_pages_are_refused_first_and_leave_room_for_servers(world: World, fill: Callable[[float], None]) -> None:
    fill(0.78)
    with pytest.raises(StoreUnavailable, match="70%"):
        receive_both(world.receiver, world, trust="browser")
    assert receive_both(world.receiver, world) == (1, 1)


def test_while_pages_are_refused_the_receiver_is_ready_and_says_so(redis: Redis, fill: Callable[[float], None]) -> None:
    fill(0.78)
    problems, notes = check(redis)
    assert [problem for problem in problems if "events are refused" in problem] == []
    assert notes == ["redis: more than 70% of maxmemory is used: pages' events are refused"]


def test_a_redis_without_a_limit_or_with_room_is_not_kept_from_events(redis: Redis) -> None:
    Headroom(redis, RedisClock()).require()
    redis.config_set("maxmemory", 1 << 40)
    try:
        Headroom(redis, RedisClock()).require()
    finally:
        redis.config_set("maxmemory", 0)


def test_an_element_on_which_our_code_failed_is_kept_and_its_neighbour_recorded(world: World) -> None:
    assert receive_both(world.receiver, world) == (1, 1)
    ((_, element),) = quarantine.list_elements(world.client)
    assert element == quarantine.QuarantinedElement("shop", b'{"n": 0}', world.now)
    # At once, since the next event may come to another process.
    assert world.client.exists(f"{SHOP}gap")


def test_the_place_of_the_failure_is_told_and_not_the_elements_values() -> None:
    try:
        raise ValueError("ada@example.com")
    except ValueError as error:
        verdict = failed(error, b"{}")
    assert isinstance(verdict, Refused)
    assert verdict.fault.startswith("ValueError in test_receiver_guards.py:")
    assert "@" not in verdict.fault


def test_a_full_quarantine_drops_nothing_and_has_the_cdp_come_again(world: World, redis: Redis) -> None:
    for number in range(quarantine.MAX_ENTRIES):
        quarantine.add_elements(redis, [quarantine.QuarantinedElement("shop", b"%d" % number, number)])
    with pytest.raises(StoreUnavailable, match="quarantine"):
        receive_both(world.receiver, world)
    times = [element.received_at for _, element in quarantine.list_elements(redis)]
    assert times == list(range(quarantine.MAX_ENTRIES))
    # Once there is room, the same request is taken.
    entry, _ = next(quarantine.list_elements(redis))
    quarantine.remove_element(redis, entry)
    receive_both(world.receiver, world)
    assert [element.received_at for _, element in quarantine.list_elements(redis)] == [*times[1:], world.now]


def test_a_request_of_more_elements_than_are_kept_does_not_come_again_for_ever(redis: Redis) -> None:
    elements = [quarantine.QuarantinedElement("shop", b"%d" % number, number) for number in range(4000)]
    quarantine.add_elements(redis, elements)
    assert [element.received_at for _, element in quarantine.list_elements(redis)] == list(range(4000))
    with pytest.raises(StoreUnavailable):
        quarantine.add_elements(redis, elements[:1])


def test_the_elements_of_a_request_are_quarantined_together_or_not_at_all(redis: Redis) -> None:
    element = quarantine.QuarantinedElement("shop", b"{}", 1)
    for _ in range(quarantine.MAX_ENTRIES - 1):
        quarantine.add_elements(redis, [element])
    with pytest.raises(StoreUnavailable):
        quarantine.add_elements(redis, [element, element])
    assert redis.llen(quarantine.KEY) == quarantine.MAX_ENTRIES - 1
    assert 0 < int(redis.ttl(quarantine.KEY)) <= quarantine.TTL_S


def fails_on_large_orders(event: Event) -> bool:
    """As a shop's own `starts` may: it has not thought of an order without a total."""
    return bool(event.fields["total"] > 100)


(CONFIRMATION,) = (trigger for trigger in TRIGGERS if trigger.name == "order_confirmation")
LARGE_ORDER = replace(CONFIRMATION, name="large_order", starts=fails_on_large_orders)


def element(order: str, **properties: Any) -> dict[str, Any]:
    address = {"traits": {"email": f"{order}@example.com"}}
    return {
        **{"type": "track", "event": "Order Completed", "messageId": f"m-{order}", "userId": order},
        **{"context": address, "properties": {"order_id": order, **properties}},
    }


def post(world: World, kind: str, body: Any) -> WebhookReply:
    source_settings = SourceSettings(kind=kind, tokens=("t",), write_keys=("k",))
    source = SOURCES[kind].configure("shop", source_settings, EVENTS)
    headers = {"X-Freshgate-Token": "t", "Authorization": "Basic azo="}
    return world.receiver.receive(source, WebhookRequest(json.dumps(body).encode(), headers, world.now))


@pytest.mark.parametrize("kind", ["segment", "tracking"])
def test_where_a_triggers_own_code_fails_the_element_is_kept_and_its_neighbours_recorded(
    redis: Redis, kind: str
) -> None:
    world = World(redis, [*TRIGGERS, LARGE_ORDER])
    batch = [element("first", total=1), element("bad"), element("last", total=500)]
    body = batch if kind == "segment" else {"batch": batch}
    reply = post(world, kind, body)
    assert (reply.accepted, reply.refused, reply.refusals) == (2, 1, [{"index": 1, "reason": "internal"}])
    assert world.state("first") and world.state("last") and not world.state("bad")
    ((_, entry),) = quarantine.list_elements(redis)
    assert json.loads(entry.raw) == (batch[1] if kind == "segment" else body)
    # What it says may withdraw a mail that waits; the next event may come to another process.
    assert redis.exists(f"{SHOP}gap")


def test_an_element_stays_in_the_quarantine_until_the_triggers_code_is_mended(redis: Redis) -> None:
    world = World(redis, [*TRIGGERS, LARGE_ORDER])
    assert post(world, "segment", element("bad")).refused == 1
    ((_, entry),) = quarantine.list_elements(redis)
    source = SOURCES["segment"].configure("shop", SourceSettings(kind="segment", tokens=("t",)), EVENTS)
    assert world.receiver.replay_element(source, entry).refusals == [{"index": 0, "reason": "internal"}]
    assert World(redis).receiver.replay_element(source, entry).accepted == 1
    assert world.state("bad")


def test_a_fault_of_ours_beyond_a_single_element_is_a_gap(world: World) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    recorder: Any = world.receiver.recorder
    recorder.write = fail
    with pytest.raises(ZeroDivisionError):
        receive_both(world.receiver, world)
    assert world.client.exists(f"{SHOP}gap")

"""Sends that share a call have one template: one with a fallback leaves in a call of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from redis import Redis

from catalog import EVENTS
from freshgate import Fallback, Needs
from tests.engine.test_needs import PING, PINGED, PROFILED
from tests.engine.world import START, RememberingEsp, World
from workers.esp.base import Message, SendResult


class BatchingEsp(RememberingEsp):
    """Takes several mails in one call, and remembers the calls."""

    max_batch = 10

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[Message]] = []

    def send_batch(self, messages: Sequence[Message]) -> list[SendResult]:
        self.calls.append(list(messages))
        return [self.send(message) for message in messages]


def test_a_fallback_leaves_in_a_call_of_its_own(redis: Redis) -> None:
    esp = BatchingEsp()
    needs = (Needs("profile.city", otherwise=Fallback(template_id="d-broad")),)
    world = World(redis, (replace(PINGED, needs=needs),), esp, events=(*EVENTS, PROFILED, PING))
    for number in range(6):
        user = f"user-{number}"
        city: dict[str, Any] = {"city": "Linz"} if number % 2 else {"first_name": "Ada"}
        world.record(world.event("Profile Updated", user=user, email=f"{user}@example.com", **city))
        world.record(world.event("Pinged", user=user))
    timers = [timer for timer, _ in world.due_timers(START + 10**9)]
    world.courier = type(world.courier)(
        world.client, world.triggers, esp, world.lookup(), deadline_ms=10_000, clock=lambda: world.now, batch=10
    )
    world.deliver(*timers)
    templates = sorted(sorted({message.template_id for message in call}) for call in esp.calls)
    assert templates == [["d-broad"], ["d-ping"]]
    assert sorted(len(call) for call in esp.calls) == [3, 3]
    assert len(esp.mails) == 6

"""The moments within a merge: a link that is recorded and not yet merged, a claim that is released after the merge.

`test_identity.py` has the merge itself; here a process dies, or decides, in between.
"""

from __future__ import annotations

import pytest
from redis import Redis

from freshgate.state.records import Claim
from tests.engine.world import HOUR, World
from workers.ledger import Attempt

ADA = "ada@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def test_a_receiver_that_dies_right_after_recording_a_link_does_not_cause_a_second_welcome(world: World) -> None:
    world.record(world.event("Signed Up", anon="x", email=ADA))
    world.run()
    plan = world.planner.plan(world.event("Signed Up", user="ada", anon="x", email=ADA, at=world.now + 1))
    # Commit the one trip of recording, and leave out the merge that follows it.
    world.receiver.recorder._commit("main", [plan])
    world.now += 1
    world.run(world.now + HOUR)
    assert world.mails() == [("welcome", ADA)]
    assert world.outcomes("ada")[-1] == ("welcome", "duplicate")


def test_a_claim_given_back_after_its_person_was_linked_is_not_taken_for_a_dead_workers(world: World) -> None:
    world.record(world.event("Signed Up", anon="x", email=ADA))
    ((timer, _),) = world.due_timers(world.now + HOUR)
    records, trigger = world.records(timer), world.triggers["welcome"]
    claim = Claim("send", "claimed", "token", world.now + 15_000, world.now, 0, "")
    assert world.courier._ledger.claim([Attempt(trigger, records, claim)]) == [True]
    world.record(world.event("Page", user="ada", anon="x"))
    world.courier._ledger.release(trigger, records, claim)
    world.courier._ledger.flush()
    assert world.person(user="ada").claims("welcome") == []

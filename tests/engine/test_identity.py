"""One person with several ids: state, timers and sent mails of each count for all, whenever the ids are linked.

A merged id leaves a tombstone. A merge that was interrupted is finished by the next process that reads the person.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from freshgate.errors import EspError
from freshgate.queue import Item, Job
from freshgate.state import keys
from freshgate.state.merge import finish, merge, resolve
from freshgate.state.planner import MAX_MERGED, PERSON_TTL
from freshgate.state.store import fcall
from tests.engine.world import HOUR, MINUTE, START, World, product
from workers.esp.base import Message

ADA = "ada@example.com"
X = keys.person_id("main", None, "x")
USER = keys.person_id("main", "ada", None)


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def resolve_id(world: World, user: str | None = None, anon: str | None = None) -> str:
    return resolve(world.client, keys.person_id("main", user, anon))


def interrupt_after_begin(world: World) -> None:
    fcall(world.client, "fg1_merge_begin", [keys.person(USER)], X, MAX_MERGED)


def interrupt_after_take(world: World) -> None:
    interrupt_after_begin(world)
    fcall(world.client, "fg1_merge_take", [keys.person(X)], USER, PERSON_TTL)


def interrupt_before_drop(world: World) -> None:
    """All but the last step, which drops the anonymous record."""
    interrupt_after_begin(world)

    class NoDrop:
        def execute_command(self, *args: object) -> object:
            return None if args[1] == "fg1_merge_drop" else world.client.execute_command(*args)

        def hget(self, *args: str) -> object:
            return world.client.hget(*args)

    finish(NoDrop(), X, USER, world.now)  # type: ignore[arg-type]


def test_an_alias_moves_one_user_into_another(world: World) -> None:
    world.record(world.event("Identify", user="old", email=ADA))
    world.record(world.event("Product Added", user="old", product=product("a")))
    world.record(world.event("Alias", user="new", previous_id="old"))
    assert resolve_id(world, user="old") == keys.person_id("main", "new", None)
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]
    assert world.outcomes("new") == [("abandoned_cart", "sent")]


def test_what_an_older_name_is_told_after_an_alias_goes_to_the_newer(world: World) -> None:
    world.record(world.event("Product Added", user="old", product=product("a")))
    world.record(world.event("Alias", user="new", previous_id="old"))
    world.record(world.event("Identify", user="old", email=ADA))
    world.record(world.event("Order Completed", user="old", order_id="1", at=world.now + 1))
    world.run(world.now + HOUR)
    assert world.mails() == [("order_confirmation", ADA)]
    assert world.state("old") == {}


def test_an_alias_back_is_refused_as_a_cycle_and_both_names_stay_one_person(world: World) -> None:
    world.record(world.event("Identify", user="a", email=ADA))
    world.record(world.event("Alias", user="b", previous_id="a"))
    world.record(world.event("Alias", user="a", previous_id="b"))
    assert resolve_id(world, user="a") == resolve_id(world, user="b") == keys.person_id("main", "b", None)
    assert merge(world.client, keys.person_id("main", "b", None), keys.person_id("main", "a", None), START) == "cycle"


def test_a_cycle_of_three_is_refused(world: World) -> None:
    for old, new in (("a", "b"), ("b", "c"), ("c", "a")):
        world.record(world.event("Alias", user=new, previous_id=old))
    assert {resolve_id(world, user=name) for name in "abc"} == {keys.person_id("main", "c", None)}


def test_an_alias_to_oneself_changes_nothing(world: World) -> None:
    world.record(world.event("Identify", user="ada", email=ADA))
    before = world.state("ada")
    world.record(world.event("Alias", user="ada", previous_id="ada"))
    assert resolve_id(world, user="ada") == USER
    assert {field: value for field, value in world.state("ada").items() if field in before} == before


def test_at_most_fifty_anonymous_ids_merge_into_one_person(world: World) -> None:
    for number in range(MAX_MERGED + 1):
        world.record(world.event("Product Added", anon=f"x{number}", product=product(f"p{number}")))
        world.record(world.event("Page", user="ada", anon=f"x{number}"))
    lines = [field for field in world.state("ada") if field.startswith("+")]
    assert len(lines) == MAX_MERGED
    last = keys.person_id("main", None, f"x{MAX_MERGED}")
    assert resolve(world.client, last) == last
    assert merge(world.client, last, USER, START) == "full"


def test_an_anonymous_id_that_meets_a_second_user_stays_with_the_first(world: World) -> None:
    world.record(world.event("Product Added", anon="x", product=product("a")))
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    world.record(world.event("Identify", user="bob", anon="x", email="bob@example.com"))
    world.record(world.event("Product Added", anon="x", product=product("b")))
    assert "+a" in world.state("ada")
    assert not [field for field in world.state("bob") if field.startswith("+")]


@pytest.mark.parametrize("interrupt", [interrupt_after_begin, interrupt_after_take, interrupt_before_drop])
def test_a_merge_that_was_cut_off_is_finished_by_the_gate(world: World, interrupt: Callable[[World], None]) -> None:
    world.record(world.event("Product Added", anon="x", product=product("a")))
    world.record(world.event("Identify", user="ada", email=ADA))
    world.record(world.event("Product Added", user="ada", product=product("b")))
    interrupt(world)
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]
    lines_mailed = world.esp.mails[0].data["products"]
    assert {line["product_id"] for line in lines_mailed} == {"a", "b"}
    assert resolve(world.client, X) == USER
    assert world.due_timers(world.now + 48 * HOUR) == []


@pytest.mark.parametrize("interrupt", [interrupt_after_begin, interrupt_after_take, interrupt_before_drop])
def test_a_merge_that_was_cut_off_and_told_again_is_finished(world: World, interrupt: Callable[[World], None]) -> None:
    world.record(world.event("Product Added", anon="x", product=product("a")))
    world.record(world.event("Identify", user="ada", email=ADA))
    interrupt(world)
    world.record(world.event("Page", user="ada", anon="x"))
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]
    assert world.outcomes("ada") == [("abandoned_cart", "sent")]


def test_a_waiting_timer_travels_along(world: World) -> None:
    world.record(world.event("Product Added", anon="x", product=product("a")))
    world.now += 10 * MINUTE
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    ((member, due),) = world.due_timers(world.now + HOUR)
    assert member == keys.member("abandoned_cart", "p", USER)
    assert due >= START + 30 * MINUTE
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_a_parked_send_travels_along_and_leaves_when_the_user_has_an_address(world: World) -> None:
    world.record(world.event("Signed Up", anon="x"))
    world.run()
    assert world.outcomes(anon="x") == [("welcome", "parked")]
    world.record(world.event("Identify", user="ada", email=ADA))
    world.record(world.event("Page", user="ada", anon="x"))
    world.run(world.now + MINUTE)
    assert world.mails() == [("welcome", ADA)]


def test_a_parked_send_that_has_travelled_leaves_when_an_address_comes_later(world: World) -> None:
    world.record(world.event("Signed Up", anon="x"))
    world.run()
    world.record(world.event("Page", user="ada", anon="x"))
    world.run(world.now + MINUTE)
    assert world.mails() == []
    world.record(world.event("Identify", user="ada", email=ADA))
    world.run(world.now + MINUTE)
    assert world.mails() == [("welcome", ADA)]
    assert world.due_timers(world.now + 48 * HOUR) == []


def test_the_parked_confirmation_of_an_anonymous_order_travels_along(world: World) -> None:
    world.record(world.event("Order Completed", anon="x", order_id="1"))
    world.run()
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", ADA)]


def test_nobody_is_welcomed_twice_under_two_names(world: World) -> None:
    world.record(world.event("Signed Up", anon="x", email=ADA))
    world.run()
    world.now += MINUTE
    world.record(world.event("Signed Up", user="ada", anon="x", email=ADA))
    world.run(world.now + HOUR)
    assert world.mails() == [("welcome", ADA)]
    assert world.outcomes("ada") == [("welcome", "sent"), ("welcome", "duplicate")]


def test_nobody_is_welcomed_twice_when_both_names_are_known_before_they_meet(world: World) -> None:
    world.record(world.event("Signed Up", anon="x"))
    world.record(world.event("Signed Up", user="ada", email=ADA))
    world.run()
    world.record(world.event("Page", user="ada", anon="x"))
    world.run(world.now + HOUR)
    assert world.mails() == [("welcome", ADA)]


def claim_as_anonymous(world: World) -> Item:
    world.record(world.event("Signed Up", anon="x", email=ADA))
    ((member, due),) = world.due_timers(world.now + 30_000)

    def link(_message: Message) -> None:
        world.record(world.event("Page", user="ada", anon="x"))

    world.esp.before_send = link
    return Item(member, due)


def deliver(world: World, item: Item) -> None:
    """Deliver one job, during whose call the merge happens; no later call is interrupted."""
    world.courier.deliver(Job(sends=(item,), created=world.now))
    world.esp.before_send = None


def run_all_timers(world: World, max_timers: int = 20) -> None:
    """As `World.run`, but a timer that is never removed fails the test instead of looping for ever."""
    for _ in range(max_timers):
        due = world.due_timers(world.now + 25 * HOUR)
        if not due:
            return
        member, at = due[0]
        world.now = max(world.now, at)
        world.courier.deliver(Job(sends=(Item(member, at),), created=world.now))
    raise AssertionError(f"timers that never end: {world.due_timers(world.now)}")


def test_a_send_claimed_before_the_merge_and_settled_after_it_stays_one_mail(world: World) -> None:
    deliver(world, claim_as_anonymous(world))
    run_all_timers(world)
    assert world.mails() == [("welcome", ADA)]
    assert ("welcome", "sent") in world.outcomes("ada")


def test_a_send_refused_for_now_while_the_merge_happened_is_tried_again_and_sent_once(world: World) -> None:
    item = claim_as_anonymous(world)
    world.esp.errors = [EspError("503", retry_after_s=7)]
    deliver(world, item)
    run_all_timers(world)
    assert world.mails() == [("welcome", ADA)]


def test_a_send_of_which_nobody_knows_while_the_merge_happened_is_not_repeated(world: World) -> None:
    item = claim_as_anonymous(world)
    world.esp.errors = [EspError("timeout", ambiguous=True)]
    deliver(world, item)
    run_all_timers(world)
    assert world.mails() == []
    assert ("welcome", "unknown") in world.outcomes("ada")


def test_a_worker_that_died_in_mid_call_while_the_merge_happened_leaves_unknown(world: World) -> None:
    item = claim_as_anonymous(world)
    world.esp.errors = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        deliver(world, item)
    world.esp.before_send = None
    world.courier = world.new_courier()
    run_all_timers(world)
    assert world.mails() == []
    assert ("welcome", "unknown") in world.outcomes("ada")

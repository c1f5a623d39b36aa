"""One person with several ids: state, timers and sent mails of each count for all, whenever the ids are linked."""

from __future__ import annotations

from itertools import permutations

import pytest
from redis import Redis

from freshgate.errors import EspError
from freshgate.events import Event
from freshgate.state import keys
from freshgate.state.profiles import PERSON_TTL
from tests.engine.world import HOUR, MINUTE, START, World, product
from workers.esp.base import Message

ADA = "ada@example.com"
X = keys.person_id("main", None, "x")
USER = keys.person_id("main", "ada", None)


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def record_and_die(world: World, *events: Event) -> None:
    """The one trip of a request is made; nothing that the receiver would do after it."""
    world.receiver.recorder._commit("main", [world.planner.plan(event) for event in events])


def test_an_alias_moves_one_user_into_another(world: World) -> None:
    world.record(world.event("Identify", user="old", email=ADA))
    world.record(world.event("Product Added", user="old", product=product("a")))
    world.record(world.event("Alias", user="new", previous_id="old"))
    assert world.root(user="old") == keys.person_id("main", "new", None)
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
    assert world.root(user="old") == keys.person_id("main", "new")


def test_an_alias_back_changes_nothing_and_both_names_stay_one_person(world: World) -> None:
    world.record(world.event("Identify", user="a", email=ADA))
    world.record(world.event("Alias", user="b", previous_id="a"))
    world.record(world.event("Alias", user="a", previous_id="b"))
    assert world.root(user="a") == world.root(user="b") == keys.person_id("main", "b", None)
    world.record(world.event("Product Added", user="a", product=product("a")))
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_a_circle_of_three_is_one_person(world: World) -> None:
    for old, new in (("a", "b"), ("b", "c"), ("c", "a")):
        world.record(world.event("Alias", user=new, previous_id=old))
    assert {world.root(user=name) for name in "abc"} == {keys.person_id("main", "c", None)}


def test_an_alias_to_oneself_changes_nothing(world: World) -> None:
    world.record(world.event("Identify", user="ada", email=ADA))
    before = world.state("ada")
    world.record(world.event("Alias", user="ada", previous_id="ada"))
    assert world.root(user="ada") == USER
    after = world.state("ada")
    # The event itself is news: it has said the user id once more.
    assert {field: after[field] for field in before if field != "t:id"} == {
        field: value for field, value in before.items() if field != "t:id"
    }


def test_of_hundreds_of_devices_the_oldest_count_no_more_until_they_are_used_again(world: World) -> None:
    world.record(world.event("Identify", user="ada", email=ADA))
    for number in range(203):
        world.record(world.event("Product Added", anon=f"x{number}", product=product(f"p{number}")))
        world.record(world.event("Page", user="ada", anon=f"x{number}"))
    assert len(world.cart("ada")) == 200
    assert "p0" not in world.cart("ada")
    assert world.root(anon="x0") == USER
    world.record(world.event("Product Added", anon="x0", product=product("again")))
    assert "again" in world.cart("ada")


def test_what_the_300th_device_of_a_person_did_belongs_to_the_person(world: World) -> None:
    for number in range(300):
        world.record(world.event("Page", anon=f"x{number}"))
        world.record(world.event("Page", user="ada", anon=f"x{number}"))
    world.record(world.event("Product Added", anon="x299", email=ADA, product=product("a")))
    world.now += MINUTE
    world.record(world.event("Order Completed", user="ada", order_id="1"))
    world.run(world.now + HOUR)
    assert world.mails() == [("order_confirmation", ADA)]


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_what_a_device_told_before_it_met_a_second_user_stays_with_the_first(world: World, order: list[int]) -> None:
    events = [
        world.event("Product Added", anon="x", product=product("a"), at=START),
        world.event("Identify", user="ada", anon="x", email=ADA, at=START + 1000),
        world.event("Identify", user="bob", anon="x", email="bob@example.com", at=START + 2000),
        world.event("Product Added", anon="x", product=product("b"), at=START + 3000),
    ]
    for number in order:
        world.record(events[number])
    assert world.cart("ada") == {"a": 1}
    assert world.cart("bob") == {}


def test_a_link_is_carried_out_in_the_call_that_records_it(world: World) -> None:
    world.record(world.event("Product Added", anon="x", product=product("a")))
    world.record(world.event("Identify", user="ada", email=ADA))
    world.record(world.event("Product Added", user="ada", product=product("b")))
    record_and_die(world, world.event("Page", user="ada", anon="x"))
    assert world.root(anon="x") == USER
    assert {field for field in world.state("ada") if field.startswith("+")} == {"+a", "+b"}
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]
    assert {line["product_id"] for line in world.esp.mails[0].template_data["products"]} == {"a", "b"}
    assert world.due_timers(world.now + 48 * HOUR) == []


def test_a_link_that_is_told_again_after_the_receiver_died_changes_nothing(world: World) -> None:
    world.record(world.event("Product Added", anon="x", product=product("a")))
    world.record(world.event("Identify", user="ada", email=ADA))
    linking = world.event("Page", user="ada", anon="x")
    record_and_die(world, linking)
    before = world.state("ada")
    assert world.record(linking).duplicate == 1
    assert world.state("ada") == before
    world.run(world.now + HOUR)
    assert world.outcomes("ada") == [("abandoned_cart", "sent")]


def test_two_opposite_aliases_in_one_request_lose_nothing(world: World) -> None:
    world.record(world.event("Product Added", user="a", email=ADA, product=product("a")))
    world.record(world.event("Product Added", user="b", product=product("b")))
    world.record(world.event("Alias", user="b", previous_id="a"), world.event("Alias", user="a", previous_id="b"))
    world.record(world.event("Product Added", user="a", product=product("c")))
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]
    assert {line["product_id"] for line in world.esp.mails[0].template_data["products"]} == {"a", "b", "c"}


def test_a_chain_of_twelve_aliases_leads_to_the_person_that_lives(world: World) -> None:
    world.record(world.event("Product Added", user="u0", email=ADA, product=product("a")))
    for number in range(12):
        world.record(world.event("Alias", user=f"u{number + 1}", previous_id=f"u{number}"))
    world.record(world.event("Order Completed", user="u0", order_id="1"))
    assert world.root(user="u0") == keys.person_id("main", "u12", None)
    world.run(world.now + HOUR)
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_device_with_thousands_of_products_holds_250_lines(world: World) -> None:
    lines = tuple(product(f"p{number}") for number in range(1000))
    world.record(*[world.event("Product Added", anon="x", product=line) for line in lines])
    world.record(world.event("Page", user="ada", anon="x"))
    assert len(world.cart("ada")) == 250


def test_a_devices_record_lives_as_long_as_somebody_uses_it(world: World) -> None:
    world.record(world.event("Product Added", anon="x", product=product("a")))
    world.record(world.event("Page", user="ada", anon="x"))
    world.client.pexpire(keys.person("main", X), 1000)
    world.record(world.event("Page", anon="x"))
    assert int(world.client.pttl(keys.person("main", X))) > PERSON_TTL // 2


def test_who_was_erased_under_one_name_stays_erased_under_the_other(world: World) -> None:
    world.record(world.event("Product Added", user="old", email=ADA, product=product("a")))
    late = world.event("Product Added", user="old", email=ADA, product=product("b"))
    world.now += MINUTE
    world.record(world.event("Delete", user="old"))
    world.now += MINUTE
    world.record(world.event("Alias", user="new", previous_id="old"))
    assert world.record(late).ignored == 1
    world.run(world.now + HOUR)
    assert world.mails() == []
    assert not [field for field in world.state("new") if field[0] in "+-" or field == "t:email"]
    assert not world.client.exists(f"{keys.person('main', keys.person_id('main', 'old'))}:ev")


def test_a_waiting_timer_travels_along(world: World) -> None:
    world.record(world.event("Product Added", anon="x", product=product("a")))
    world.now += 10 * MINUTE
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    ((member, due),) = world.due_timers(world.now + HOUR)
    assert member == keys.timer("abandoned_cart", "p", USER)
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


def link_during_the_call(world: World) -> str:
    """A welcome of a device is due; while the ESP is called the device turns out to be Ada's."""
    world.record(world.event("Signed Up", anon="x", email=ADA))
    ((timer, _),) = world.due_timers(world.now + 30_000)

    def link(_message: Message) -> None:
        world.esp.before_send = None
        world.record(world.event("Page", user="ada", anon="x"))

    world.esp.before_send = link
    return timer


def run_all_timers(world: World, max_timers: int = 20) -> None:
    """As `World.run`, but a timer that is never removed fails the test instead of looping for ever."""
    for _ in range(max_timers):
        due = world.due_timers(world.now + 25 * HOUR)
        if not due:
            return
        timer, at = due[0]
        world.now = max(world.now, at)
        world.deliver(timer)
    raise AssertionError(f"timers that never end: {world.due_timers(world.now)}")


def test_a_send_claimed_before_the_merge_and_settled_after_it_stays_one_mail(world: World) -> None:
    world.deliver(link_during_the_call(world))
    run_all_timers(world)
    assert world.mails() == [("welcome", ADA)]
    assert ("welcome", "sent") in world.outcomes("ada")


def test_a_send_refused_for_now_while_the_merge_happened_is_tried_again_and_sent_once(world: World) -> None:
    timer = link_during_the_call(world)
    world.esp.errors = [EspError("503", retry_after_s=7)]
    world.deliver(timer)
    run_all_timers(world)
    assert world.mails() == [("welcome", ADA)]


def test_a_send_of_which_nobody_knows_while_the_merge_happened_is_not_repeated(world: World) -> None:
    timer = link_during_the_call(world)
    world.esp.errors = [EspError("timeout", ambiguous=True)]
    world.deliver(timer)
    run_all_timers(world)
    assert world.mails() == []
    assert ("welcome", "unknown") in world.outcomes("ada")


def test_a_worker_that_died_in_mid_call_while_the_merge_happened_leaves_unknown(world: World) -> None:
    timer = link_during_the_call(world)
    world.esp.errors = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        world.deliver(timer)
    world.courier = world.new_courier()
    run_all_timers(world)
    assert world.mails() == []
    assert ("welcome", "unknown") in world.outcomes("ada")

"""The address cap: at most so many mails to one address in a time, across triggers and persons."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from redis import Redis

from catalog import TRIGGERS
from freshgate.errors import EspError
from freshgate.state import keys
from tests.engine.world import HOUR, MINUTE, PII_KEY, World, product
from workers.lookup import Lookup

ADA = "ada@example.com"
CART, ORDER = ("abandoned_cart", ADA), ("order_confirmation", ADA)


@pytest.fixture
def world(redis: Redis) -> World:
    # A trigger's own cap is another rule, and so is the order of another person; they would come first.
    triggers = [replace(trigger, address_cap=(2, 2 * HOUR), cap=None) for trigger in TRIGGERS]
    return World(redis, triggers, email_identity=False)


def leave_carts(world: World, *users: str, address: str = ADA) -> None:
    for user in users:
        world.record(world.event("Product Added", user=user, email=address, product=product("a")))


def orders(world: World, *numbers: str) -> None:
    for number in numbers:
        world.record(world.event("Order Completed", user=f"buyer-{number}", email=ADA, order_id=number))
    world.run()


def test_a_third_persons_mail_to_the_same_address_is_withheld_and_says_so(world: World) -> None:
    leave_carts(world, "a", "b", "c")
    leave_carts(world, "d", address="eve@example.com")
    world.run(world.now + HOUR)
    assert sorted(world.mails()) == [CART, CART, ("abandoned_cart", "eve@example.com")]
    entries = [world.decisions(user)[-1] for user in ("a", "b", "c")]
    (withheld,) = [entry for entry in entries if entry["state"] == "capped"]
    assert withheld["reason"] == "address_2_in_7200s"
    assert withheld["compared"]["sent_at"] > 0


def test_once_the_time_is_over_the_address_may_be_written_to_again(world: World) -> None:
    leave_carts(world, "a", "b")
    world.run(world.now + HOUR)
    world.now += 2 * HOUR
    leave_carts(world, "c")
    world.run(world.now + HOUR)
    assert world.mails() == [CART] * 3


def test_an_order_is_always_confirmed_and_counts(world: World) -> None:
    leave_carts(world, "a")
    world.now += 29 * MINUTE
    orders(world, "1", "2", "3")
    world.run(world.now + HOUR)
    assert world.mails() == [ORDER] * 3
    assert world.decisions("a")[-1]["reason"] == "address_2_in_7200s"


@pytest.mark.parametrize("error", [EspError("no", permanent=True), EspError("later", retry_after_s=2 * 86400)])
def test_a_mail_that_never_left_takes_nobodys_place(world: World, error: EspError) -> None:
    world.esp.errors = [error, error]
    leave_carts(world, "a", "b")
    world.run(world.now + 31 * MINUTE)
    leave_carts(world, "c", "d")
    world.run(world.now + 31 * MINUTE)
    assert world.mails() == [CART] * 2


def test_one_that_may_have_left_does(world: World) -> None:
    world.esp.errors = [EspError("silence", ambiguous=True)]
    leave_carts(world, "a", "b", "c")
    world.run(world.now + HOUR)
    assert world.mails() == [CART]


def test_two_workers_at_once_do_not_both_take_the_last_place(world: World) -> None:
    leave_carts(world, "a", "b", "c")
    world.now += 31 * MINUTE
    first, *others = [timer for timer, _ in world.due_timers(world.now)]
    other = world.new_courier()

    def meanwhile() -> None:
        for timer in others:
            world.deliver(timer, courier=other)

    world.deliver(first, courier=world.interrupted_courier(meanwhile))
    assert world.mails() == [CART] * 2
    entries = [world.decisions(user)[-1] for user in ("a", "b", "c")]
    assert [entry["reason"] for entry in entries if entry["state"] == "capped"] == ["address_2_in_7200s"]


def test_a_send_that_has_to_look_twice_does_not_count_itself(world: World) -> None:
    leave_carts(world, "a")
    world.run(world.now + HOUR)
    leave_carts(world, "b")
    world.now += 31 * MINUTE
    address = keys.address("main", keys.address_id(PII_KEY, ADA))
    # The address changes after each of its first three readings, so the claim fails and the send is decided again.
    world.courier = world.interrupted_courier(lambda: world.client.hincrby(address, "rev", 1), times=3)
    world.run()
    assert world.mails() == [CART] * 2


def test_what_is_remembered_of_an_address_that_no_event_told_of_is_forgotten(world: World) -> None:
    # Typed into a form.
    world.record(world.event("Product Added", user="ada", contact_email=ADA, product=product("a")))
    world.run(world.now + HOUR)
    assert world.mails() == [CART]
    address = keys.address("main", keys.address_id(PII_KEY, ADA))
    assert 0 < world.client.pttl(address) <= 48 * HOUR


def test_counting_a_mail_forgets_no_unsubscribe(world: World) -> None:
    world.record(world.event("Unsubscribed", email=ADA))
    orders(world, "1")
    assert world.mails() == [ORDER]
    assert world.client.pttl(keys.address("main", keys.address_id(PII_KEY, ADA))) == -1


def test_three_devices_of_one_address_get_one_mail_of_a_trigger_in_its_window(redis: Redis) -> None:
    world = World(redis, [replace(trigger, address_cap=(10, HOUR)) for trigger in TRIGGERS])
    for device in ("phone", "laptop", "tablet"):
        world.record(world.event("Product Added", anon=device, email=ADA, product=product("tea")))
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]
    outcomes = [world.outcomes(anon=device)[-1] for device in ("phone", "laptop", "tablet")]
    assert sorted(state for _, state in outcomes) == ["capped", "capped", "sent"]


def test_the_window_of_a_triggers_cap_ends_for_the_address_too(redis: Redis) -> None:
    world = World(redis, [replace(trigger, address_cap=(10, HOUR)) for trigger in TRIGGERS])
    world.record(world.event("Product Added", anon="phone", email=ADA, product=product("tea")))
    world.run(world.now + HOUR)
    world.now += 24 * HOUR
    world.record(world.event("Product Added", anon="laptop", email=ADA, product=product("tea")))
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)] * 2


ALIASES = ("ada+1@example.com", "Ada+2@example.com", "ada@example.com")
DOTTED = ("a.da@gmail.com", "ada+x@googlemail.com", "AD.A@gmail.com")


@pytest.mark.parametrize("aliases", [ALIASES, DOTTED, ALIASES[::-1]])
def test_aliases_of_one_mailbox_get_one_mail_of_a_trigger_in_its_window(redis: Redis, aliases: tuple[str, ...]) -> None:
    world = World(redis, [replace(trigger, address_cap=(10, HOUR)) for trigger in TRIGGERS])
    for number, address in enumerate(aliases):
        leave_carts(world, f"u{number}", address=address)
    world.run(world.now + HOUR)
    # To the address as it was written.
    ((_, to),) = world.mails()
    assert to in aliases
    states = sorted(world.outcomes(f"u{number}")[-1][1] for number in range(3))
    assert states == ["capped", "capped", "sent"]


class CountedClient:
    """A client that remembers how many pipelines it was asked for."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self.pipelines = 0

    def pipeline(self, **options: bool) -> Any:
        self.pipelines += 1
        return self._client.pipeline(**options)


@pytest.mark.parametrize("address", [ALIASES[0], DOTTED[0], "Ada@googlemail.com", ADA])
@pytest.mark.parametrize("field", ["email", "contact_email"])
def test_what_counts_the_mails_of_an_alias_is_read_with_the_person(world: World, address: str, field: str) -> None:
    fields: dict[str, Any] = {field: address}
    world.record(world.event("Product Added", user="ada", product=product("tea"), **fields))
    world.record(world.event("Product Added", user=address, product=product("tea")))
    world.record(world.event("Order Completed", user="bob", order_id="1", order_email=address))
    timers = [keys.timer("abandoned_cart", "p", keys.person_id("main", user)) for user in ("ada", address)]
    timers.append(keys.timer("order_confirmation", "o", keys.order_id("main", "1")))
    client = CountedClient(world.client)
    lookup = Lookup(client, PII_KEY, 0)  # type: ignore[arg-type]  # it has what is used of a client
    _, records, _ = lookup.read("main", timers, world.now)
    assert client.pipelines == 1
    counted = keys.mailbox_id(PII_KEY, address)
    assert [read.counted.id for read in records if read.counted] == [counted] * 3
    assert [read.mailbox is not None for read in records] == [address != ADA] * 3


def test_aliases_share_the_cap_over_all_triggers(world: World) -> None:
    for number, address in enumerate(ALIASES):
        leave_carts(world, f"u{number}", address=address)
    world.run(world.now + HOUR)
    assert len(world.mails()) == 2


def test_a_mail_to_an_alias_that_never_left_takes_nobodys_place(world: World) -> None:
    world.esp.errors = [EspError("no", permanent=True)] * 2
    for number in range(4):
        leave_carts(world, f"u{number}", address=f"ada+{number}@example.com")
    world.run(world.now + HOUR)
    assert len(world.mails()) == 2


def test_two_workers_at_once_do_not_both_take_the_last_place_of_a_mailbox(redis: Redis) -> None:
    world = World(redis, [replace(trigger, address_cap=(1, 2 * HOUR), cap=None) for trigger in TRIGGERS])
    for number in range(2):
        leave_carts(world, f"u{number}", address=f"ada+{number}@example.com")
    world.now += 31 * MINUTE
    (first, _), (second, _) = world.due_timers(world.now)
    other = world.new_courier()
    world.deliver(first, courier=world.interrupted_courier(lambda: world.deliver(second, courier=other)))
    assert len(world.mails()) == 1


def test_an_alias_is_another_address_for_everything_else(world: World) -> None:
    world.record(world.event("Unsubscribed", email=ALIASES[0]))
    leave_carts(world, "a", address=ALIASES[0])
    leave_carts(world, "b", address=ALIASES[2])
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ALIASES[2])]


def test_what_is_counted_for_a_mailbox_that_nobody_wrote_to_is_forgotten(world: World) -> None:
    leave_carts(world, "a", address=ALIASES[0])
    world.run(world.now + HOUR)
    mailbox = keys.address("main", keys.mailbox_id(PII_KEY, ALIASES[0]))
    assert 0 < world.client.pttl(mailbox) <= 48 * HOUR


@pytest.mark.parametrize("later", [0, HOUR])
def test_a_sign_up_that_a_device_and_a_server_tell_is_welcomed_once(redis: Redis, later: int) -> None:
    world = World(redis, [replace(trigger, address_cap=(10, HOUR)) for trigger in TRIGGERS])
    world.record(world.event("Signed Up", anon="device", email=ADA))
    if later:
        world.run()
        world.now += later
    world.record(world.event("Signed Up", user="42", email=ADA))
    world.run(world.now + MINUTE)
    assert world.mails() == [("welcome", ADA)]
    outcomes = [*world.outcomes(anon="device"), *world.outcomes("42")]
    assert sorted(outcomes) == [("welcome", "capped"), ("welcome", "sent")]

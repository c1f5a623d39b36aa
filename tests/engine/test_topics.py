"""Who leaves a topic, or all: which mails still come, until when, and what the trail says.

Clicks go through the receiver's own code; mails through the real gate.
"""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from redis import Redis

from adapter.ingest.unsubscribe import MAX_CHANGES, Unsubscriber
from catalog import TRIGGERS
from freshgate.errors import CatalogError, EspError, RateLimited
from freshgate.links import LinkError, Links, LinkToken, LinkTokens
from freshgate.state import keys
from freshgate.state.suppressions import Change, write
from tests.engine.world import HOUR, MINUTE, PII_KEY, World, product
from workers.courier import Courier
from workers.esp.base import Message
from workers.messages import Messages

ADA = "ada@example.com"
DAY = 24 * HOUR
TOPICS = {"abandoned_cart": "cart_reminders", "browse_abandonment": "products"}
TOKENS = LinkTokens(PII_KEY)
URL = "https://mails.shop.example"


@pytest.fixture
def world(redis: Redis) -> World:
    """Each marketing trigger has a topic, and mails have links."""
    world = World(redis, [replace(trigger, topic=TOPICS.get(trigger.name)) for trigger in TRIGGERS])
    messages = Messages(links=Links(TOKENS, URL))
    world.courier = Courier(
        redis, world.triggers, world.esp, world.lookup(), 10_000, clock=lambda: world.now, messages=messages
    )
    return world


@pytest.fixture
def unsubscriber(world: World) -> Unsubscriber:
    return Unsubscriber(world.client, TOKENS, [*TOPICS.values()], lambda: world.now)


def leave_cart(world: World, name: str = "tea", user: str = "ada", email: str = ADA) -> None:
    """A cart, and its mail's time."""
    world.record(world.event("Product Added", user=user, email=email, product=product(name)))
    world.run(world.now + HOUR)


def view(world: World) -> None:
    world.record(world.event("Product Viewed", user="ada", email=ADA, product=product("pot")))
    world.run(world.now + 2 * HOUR)


def link(message: Message) -> str:
    """The token of a mail, as a mailbox reads it."""
    return message.headers["List-Unsubscribe"].strip("<>").removeprefix(f"{URL}/unsubscribe/")


def click(world: World, unsubscriber: Unsubscriber, choice: str = "all", mail: int = -1) -> LinkToken:
    token = unsubscriber.open(link(world.esp.mails[mail]))
    unsubscriber.leave(token, choice)
    return token


def test_a_marketing_mail_has_a_link_of_its_send_and_a_transactional_one_has_none(
    world: World, unsubscriber: Unsubscriber
) -> None:
    leave_cart(world)
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))
    world.run()
    cart, order = world.esp.mails
    assert cart.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert order.headers == {}
    token = unsubscriber.open(link(cart))
    assert (token.send_id, token.topic, token.shop) == (cart.send_id, "cart_reminders", "main")
    assert token.address == keys.address_id(PII_KEY, ADA)


def test_one_click_ends_all_marketing_mail_and_orders_are_still_confirmed(
    world: World, unsubscriber: Unsubscriber
) -> None:
    leave_cart(world)
    token = click(world, unsubscriber)
    world.now += DAY
    leave_cart(world, "cup")
    view(world)
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))
    world.run()
    assert [trigger for trigger, _ in world.mails()] == ["abandoned_cart", "order_confirmation"]
    lines = world.decisions("ada")
    click_line = {"trigger": "all mail", "state": "unsubscribed by link", "send": token.send_id}
    assert click_line.items() <= lines[1].items()
    assert [line["reason"] for line in lines if line["state"] == "suppressed"][0] == "unsubscribed"


def test_who_leaves_a_topic_gets_the_mails_of_the_other(world: World, unsubscriber: Unsubscriber) -> None:
    leave_cart(world)
    click(world, unsubscriber, "cart_reminders")
    assert world.decisions("ada")[-1]["trigger"] == "cart_reminders"
    world.now += DAY
    leave_cart(world, "cup")
    assert world.decisions("ada")[-1]["reason"] == "topic_cart_reminders"
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))
    world.now += DAY
    view(world)
    assert [trigger for trigger, _ in world.mails()] == ["abandoned_cart", "order_confirmation", "browse_abandonment"]


def test_a_topic_holds_for_everybody_with_the_address_and_for_nobody_else(
    world: World, unsubscriber: Unsubscriber
) -> None:
    leave_cart(world)
    click(world, unsubscriber, "cart_reminders")
    leave_cart(world, user="adas_other_account")
    leave_cart(world, user="bob", email="bob@example.com")
    assert [to for _, to in world.mails()] == [ADA, "bob@example.com"]


def test_a_newer_opt_in_lifts_a_topic_and_an_older_one_does_not(world: World, unsubscriber: Unsubscriber) -> None:
    leave_cart(world)
    click(world, unsubscriber, "cart_reminders")
    world.record(world.event("Subscribed", user="ada", email=ADA, at=world.now - MINUTE))
    world.now += DAY
    leave_cart(world, "cup")
    assert len(world.mails()) == 1
    world.record(world.event("Subscribed", user="ada", email=ADA, at=world.now))
    world.now += DAY
    leave_cart(world, "pot")
    assert len(world.mails()) == 2


def test_an_old_mails_link_still_works_after_an_opt_in(world: World, unsubscriber: Unsubscriber) -> None:
    leave_cart(world)
    click(world, unsubscriber)
    world.now += MINUTE
    world.record(world.event("Subscribed", user="ada", email=ADA))
    world.now += DAY
    leave_cart(world, "cup")
    world.now += MINUTE
    click(world, unsubscriber, mail=0)
    world.now += DAY
    leave_cart(world, "pot")
    assert len(world.mails()) == 2


def test_a_click_while_the_mail_is_claimed_withholds_it(world: World, unsubscriber: Unsubscriber) -> None:
    leave_cart(world)
    world.now += DAY
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("cup")))
    token = unsubscriber.open(link(world.esp.mails[0]))
    world.esp.before_connect = lambda: unsubscriber.leave(token, "cart_reminders")
    world.run(world.now + HOUR)
    assert len(world.mails()) == 1
    assert world.decisions("ada")[-1]["reason"] == "topic_cart_reminders"


def test_clicking_again_changes_nothing_and_writes_nothing(world: World, unsubscriber: Unsubscriber) -> None:
    leave_cart(world)
    key = keys.address("main", keys.address_id(PII_KEY, ADA))
    click(world, unsubscriber)
    before = world.client.hgetall(key), len(world.decisions("ada"))
    world.now += HOUR
    click(world, unsubscriber)
    assert (world.client.hgetall(key), len(world.decisions("ada"))) == before


def test_opening_a_link_reads_and_writes_nothing(world: World, unsubscriber: Unsubscriber) -> None:
    leave_cart(world)
    token = link(world.esp.mails[0])
    before = world.client.info("commandstats")
    unsubscriber.topics(unsubscriber.open(token))
    after = world.client.info("commandstats")
    assert {name for name in after if after[name] != before.get(name)} <= {"cmdstat_info"}


def test_pressing_the_button_too_often_is_refused_and_what_was_said_first_holds(
    world: World, unsubscriber: Unsubscriber
) -> None:
    leave_cart(world)
    for _ in range(MAX_CHANGES):
        click(world, unsubscriber)
    with pytest.raises(RateLimited):
        click(world, unsubscriber, "cart_reminders")
    assert 0 < world.client.ttl(next(world.client.scan_iter("fg:*limit:unsubscribe:*"))) <= 3600


def test_a_topic_that_nobody_declares_cannot_be_left(world: World, unsubscriber: Unsubscriber) -> None:
    leave_cart(world)
    for choice in ("nonsense", "topic_products", "", "unsubscribed", "spam", "m:order"):
        with pytest.raises(LinkError):
            click(world, unsubscriber, choice)
    key = keys.address("main", keys.address_id(PII_KEY, ADA))
    assert not [field for field in world.client.hkeys(key) if b"topic" in field or b"unsub" in field]


def test_a_link_of_a_trigger_that_is_gone_still_ends_all_mail(world: World) -> None:
    leave_cart(world)
    later = Unsubscriber(world.client, TOKENS, ["products"], lambda: world.now)
    assert later.topics(later.open(link(world.esp.mails[0]))) == []
    click(world, later)
    world.now += DAY
    leave_cart(world, "cup")
    assert len(world.mails()) == 1


def test_a_second_shop_does_not_hear_of_it(world: World, unsubscriber: Unsubscriber) -> None:
    leave_cart(world)
    click(world, unsubscriber)
    address = keys.address_id(PII_KEY, ADA)
    assert world.client.hexists(keys.address("main", address), "m:unsubscribed")
    assert not world.client.exists(keys.address("other", address))


@pytest.mark.parametrize(
    ("topics", "own", "offered"),
    [
        (["cart_reminders", "products"], "products", ["products", "cart_reminders"]),
        (["cart_reminders", "products"], "gone", ["cart_reminders", "products"]),
        (["marketing"], "marketing", []),
        ([], "marketing", []),
    ],
)
def test_the_mails_own_topic_is_offered_first_and_a_single_one_not_at_all(
    redis: Redis, topics: list[str], own: str, offered: list[str]
) -> None:
    token = LinkToken(shop="main", address="00" * 16, send_id="00" * 12, topic=own, expires_at=0)
    assert Unsubscriber(redis, TOKENS, topics, lambda: 0).topics(token) == offered


def test_a_retry_has_the_same_link(world: World) -> None:
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("tea")))
    messages: list[Message] = []
    world.esp.before_send = messages.append
    world.esp.errors = [EspError("busy")]
    world.run(world.now + 3 * HOUR)
    assert len(messages) == 2
    assert messages[0].headers == messages[1].headers


def test_an_erasure_leaves_the_opt_out(world: World, unsubscriber: Unsubscriber) -> None:
    leave_cart(world)
    click(world, unsubscriber, "cart_reminders")
    world.record(world.event("Delete", user="ada"))
    world.now += DAY
    leave_cart(world, "cup")
    assert len(world.mails()) == 1


def test_an_operator_lifts_a_topic(world: World, unsubscriber: Unsubscriber) -> None:
    leave_cart(world)
    click(world, unsubscriber, "cart_reminders")
    address = keys.address_id(PII_KEY, ADA)
    at = world.now + 1
    write(
        world.client,
        "main",
        Change(
            address=address, kind="topic_cart_reminders", at=at, author="o", value="lifted", state="lifted", lifts=True
        ),
    )
    world.now += DAY
    leave_cart(world, "cup")
    assert len(world.mails()) == 2


@pytest.mark.parametrize("topic", ["all", "Cart", "cart reminders", "", "x" * 41, "1st"])
def test_a_topic_is_a_word(topic: str) -> None:
    with pytest.raises(CatalogError, match="topic is"):
        replace(TRIGGERS[0], topic=topic)

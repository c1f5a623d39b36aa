"""What became of each mail waits in Redis for the shop's CDP, written by the call that brings it about."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from redis import Redis

from adapter.ingest.unsubscribe import Unsubscriber
from freshgate.errors import EspError
from freshgate.links import LinkToken, LinkTokens
from freshgate.outcomes import ONCE, Outcome, rules_of
from freshgate.settings import OutcomeSettings, Settings
from freshgate.state import keys
from freshgate.state.store import fcall
from tests.engine.world import HOUR, MINUTE, PII_KEY, SHOP, World, product
from tests.harness.reporting import ADA, ReportingWorld
from workers.esp.base import Message

WISH = OutcomeSettings()


@pytest.fixture
def world(redis: Redis) -> ReportingWorld:
    return ReportingWorld(redis, outcomes=WISH)


def waiting(client: Redis) -> list[dict[str, str]]:
    """The outcomes that wait, oldest first, without empty fields."""
    rows: Any = client.xrange(f"{SHOP}outcomes")
    texts = [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in rows]
    return [{name: value for name, value in fields.items() if value} for fields in texts]


def events(client: Redis) -> list[str]:
    return [fields["event"] for fields in waiting(client)]


def take(client: Redis, token: str = "t", now: int | str = "", lease: int = 15_000) -> list[Any]:
    reply: list[Any] = fcall(client, "take_outcomes", SHOP, now, token, lease, 100)
    return reply


def test_a_mail_that_left_is_told_with_its_trigger_send_and_person(redis: Redis, world: ReportingWorld) -> None:
    sent_at = world.now
    send = world.order()
    assert waiting(redis) == [
        {
            "event": "Email Sent",
            "outcome": "sent",
            "trigger": "order_confirmation",
            "send": send,
            "esp": "sendgrid",
            "person": world.root("ada"),
            "at": str(sent_at),
        }
    ]


def test_a_mail_that_is_withheld_is_told_with_its_reason(redis: Redis, world: ReportingWorld) -> None:
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("lamp")))
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))
    world.run(world.now + HOUR)
    skipped = [fields for fields in waiting(redis) if fields["event"] == "Email Skipped"]
    assert [(fields["trigger"], fields["outcome"], fields["reason"]) for fields in skipped] == [
        ("abandoned_cart", "cancelled", "ordered")
    ]


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (EspError("no such template", permanent=True), "Email Failed"),
        (EspError("connection lost", ambiguous=True), "Email Unconfirmed"),
    ],
)
def test_a_mail_that_did_not_leave_or_may_have_is_told_with_what_the_esp_said(
    redis: Redis, world: ReportingWorld, error: EspError, event: str
) -> None:
    world.esp.errors = [error]
    world.order()
    assert [(fields["event"], fields["reason"]) for fields in waiting(redis)] == [(event, str(error))]


def test_a_retry_is_not_told_and_its_end_is(redis: Redis, world: ReportingWorld) -> None:
    world.esp.errors = [EspError("503", status=503)]
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))
    world.run()
    assert events(redis) == []
    world.run(world.now + MINUTE)
    assert events(redis) == ["Email Sent"]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("accepted", []),
        ("delivered", ["Email Delivered"]),
        ("deferred", ["Email Deferred"]),
        ("bounced", ["Email Bounced"]),
        ("soft_bounced", ["Email Soft Bounced"]),
        ("dropped", ["Email Dropped"]),
        ("complained", ["Email Marked as Spam"]),
        ("unsubscribed", ["Unsubscribed"]),
        ("resubscribed", ["Subscribed"]),
        ("opened", ["Email Opened"]),
        ("clicked", ["Email Link Clicked"]),
    ],
)
def test_what_the_esp_reports_is_told_once_with_person_and_trigger(
    redis: Redis, world: ReportingWorld, kind: str, names: list[str]
) -> None:
    send = world.order()
    for _ in range(2):
        world.report(kind, send)
    assert events(redis) == ["Email Sent", *names]
    for fields in waiting(redis)[1:]:
        assert (fields["person"], fields["trigger"], fields["send"]) == (world.root("ada"), "order_confirmation", send)


def test_a_send_that_was_unknown_is_told_as_sent_when_the_esp_reports_it(redis: Redis, world: ReportingWorld) -> None:
    world.esp.errors = [EspError("connection lost", ambiguous=True)]
    send = world.order()
    world.report("delivered", send)
    assert events(redis) == ["Email Unconfirmed", "Email Sent", "Email Delivered"]
    sent = waiting(redis)[1]
    assert (sent["outcome"], sent["reason"], sent["send"]) == ("sent", "reported_by_esp", send)


def test_a_report_before_the_answer_of_the_esp_is_told_once_it_is_known_whose_mail_it_is(
    redis: Redis, world: ReportingWorld
) -> None:
    def report(message: Message) -> None:
        world.report("bounced", message.send_id)
        raise EspError("connection lost", ambiguous=True)

    world.esp.before_send = report
    world.order()
    assert events(redis) == ["Email Sent", "Email Bounced"]
    assert {fields["person"] for fields in waiting(redis)} == {world.root("ada")}
    assert not redis.hexists(keys.sent("main", waiting(redis)[0]["send"]), "q")


def test_what_is_reported_before_the_answer_of_the_esp_is_bounded(redis: Redis, world: ReportingWorld) -> None:
    def report(message: Message) -> None:
        for number in range(40):
            world.report("opened", message.send_id, at=world.now - number)

    world.esp.before_send = report
    world.order()
    assert events(redis) == ["Email Sent", *["Email Opened"] * 30]


def test_a_report_of_a_mail_that_is_not_ours_is_not_told(redis: Redis, world: ReportingWorld) -> None:
    world.report("bounced")
    world.report("bounced", "f" * 24)
    assert events(redis) == []


def test_one_click_is_told_once_with_what_was_left(redis: Redis, world: ReportingWorld) -> None:
    world.order()
    address = keys.address_id(PII_KEY, ADA)
    token = LinkToken(shop="main", address=address, send_id="5e" * 12, topic="cart_reminders", expires_at=world.now)
    rules = rules_of(Settings(outcomes={"main": WISH}))
    unsubscriber = Unsubscriber(redis, LinkTokens(PII_KEY), ["cart_reminders"], lambda: world.now, rules)
    for _ in range(2):
        unsubscriber.leave(token, "cart_reminders")
    click = waiting(redis)[1]
    assert (click["event"], click["reason"], click["person"]) == ("Unsubscribed", "cart_reminders", world.root("ada"))


def test_only_the_wanted_events_are_written(redis: Redis) -> None:
    world = ReportingWorld(redis, outcomes=OutcomeSettings(events=("Email Bounced",)))
    send = world.order()
    world.report("delivered", send)
    world.report("bounced", send)
    assert events(redis) == ["Email Bounced"]


def test_a_shop_that_wants_none_writes_none(redis: Redis) -> None:
    world = ReportingWorld(redis)
    world.report("delivered", world.order())
    assert not redis.exists(f"{SHOP}outcomes")


@pytest.mark.parametrize("asked", [False, True])
def test_no_address_is_written_unless_it_was_asked_for(redis: Redis, asked: bool) -> None:
    world = ReportingWorld(redis, outcomes=OutcomeSettings(include_address=asked))
    world.report("delivered", world.order())
    world.abandon()
    assert [fields.get("address") for fields in waiting(redis)] == [ADA if asked else None] * 3
    assert (ADA in str(waiting(redis))) == asked


def test_the_address_is_the_mails_else_the_persons_else_none(redis: Redis) -> None:
    world = ReportingWorld(redis, outcomes=OutcomeSettings(include_address=True))
    world.record(world.event("Order Completed", user="ada", order_email="gift@example.com", order_id="1"))
    world.record(world.event("Identify", user="ada", email=ADA))
    world.run()
    world.triggers["order_confirmation"] = replace(world.triggers["order_confirmation"], enabled=False)
    world.record(world.event("Identify", user="bob"), world.event("Order Completed", user="bob", order_id="2"))
    world.record(world.event("Order Completed", user="ada", order_id="3"))
    world.run()
    addresses = {(fields["outcome"], fields.get("address")) for fields in waiting(redis)}
    assert addresses == {("sent", "gift@example.com"), ("cancelled", ADA), ("cancelled", None)}


def test_beyond_the_backlog_the_oldest_go_and_are_counted(redis: Redis) -> None:
    world = ReportingWorld(redis, outcomes=OutcomeSettings(backlog=100))
    for number in range(103):
        world.order(str(number))
    count: Any = fcall(redis, "count_outcomes", SHOP)
    assert (count[0], count[2]) == (100, 3)
    assert waiting(redis)[0]["at"] > str(world.now - 101 * HOUR)


def test_where_the_backlog_was_lowered_all_that_go_are_counted(redis: Redis) -> None:
    world = ReportingWorld(redis, outcomes=OutcomeSettings(backlog=200))
    for number in range(105):
        world.order(str(number))
    ReportingWorld(redis, outcomes=OutcomeSettings(backlog=100)).report("delivered", world.order("last"))
    count: Any = fcall(redis, "count_outcomes", SHOP)
    rows: Any = redis.xrange(f"{SHOP}outcomes", count=1)
    assert count == [100, rows[0][0].split(b"-")[0], 7]


def test_a_user_is_named_by_the_id_that_the_person_has_by_now(redis: Redis, world: ReportingWorld) -> None:
    world.record(world.event("Order Completed", anon="phone", email=ADA, order_id="1"))
    world.run()
    assert take(redis)[4] == b""
    world.record(world.event("Identify", user="ada", anon="phone"))
    assert take(redis)[4] == b"ada"


def test_of_somebody_who_was_erased_since_nothing_leaves(redis: Redis, world: ReportingWorld) -> None:
    world.order()
    world.record(world.event("Delete", user="ada"))
    assert take(redis)[1] == b"empty"
    assert events(redis) == []


@pytest.mark.parametrize("field", ["del", "asked"])
def test_what_happened_until_an_erasure_does_not_leave_and_later_things_do(
    redis: Redis, world: ReportingWorld, field: str
) -> None:
    """`asked` is there before a large person is erased, `del` alone on a device that was somebody's."""
    erased_at = world.now
    world.order("1")
    world.order("2")
    redis.hset(keys.person("main", world.root("ada")), field, erased_at)
    assert [fields["at"] for fields in waiting(redis)] == [str(erased_at), str(erased_at + HOUR)]
    assert len(take(redis)[3:]) == 11
    assert [fields["at"] for fields in waiting(redis)] == [str(erased_at + HOUR)]


def test_one_process_sends_at_a_time_and_another_takes_over_from_a_dead_one(
    redis: Redis, world: ReportingWorld
) -> None:
    world.order()
    now = world.now
    assert take(redis, "one", now)[1] == b"taken"
    assert take(redis, "two", now + 14_999)[1:] == [b"wait", str(now + 15_000).encode()]
    assert take(redis, "two", now + 15_000)[1] == b"taken"


def test_after_a_failure_nobody_asks_before_its_time_and_a_success_forgets_it(
    redis: Redis, world: ReportingWorld
) -> None:
    world.order()
    now = world.now
    [entry] = [row[0] for row in redis.xrange(f"{SHOP}outcomes")]  # type: ignore[union-attr]
    take(redis, "one", now)
    fcall(redis, "end_outcomes", SHOP, now, "one", now + 1000, 1)
    assert take(redis, "two", now + 999)[1:] == [b"wait", str(now + 1000).encode()]
    assert take(redis, "two", now + 1000)[1:3] == [b"taken", b"1"]
    # Without room for a call nobody failed.
    fcall(redis, "end_outcomes", SHOP, now, "two", now + 2000, 0)
    assert take(redis, "two", now + 2000)[1:3] == [b"taken", b"1"]
    world.order("2")
    fcall(redis, "end_outcomes", SHOP, now, "two", "", 0, entry)
    assert take(redis, "two", now + 2000)[1:3] == [b"taken", b"0"]
    assert 0 < int(redis.pttl(f"{SHOP}outcomes:turn")) <= 24 * HOUR
    [entry] = [row[0] for row in redis.xrange(f"{SHOP}outcomes")]  # type: ignore[union-attr]
    fcall(redis, "end_outcomes", SHOP, now, "two", "", 0, entry)
    assert take(redis, "two", now + 2000)[1:] == [b"empty", b""]
    assert not redis.exists(f"{SHOP}outcomes:turn")


def test_who_was_overtaken_takes_out_what_it_sent_and_nothing_else(redis: Redis, world: ReportingWorld) -> None:
    world.order("1")
    now = world.now
    [entry] = [row[0] for row in redis.xrange(f"{SHOP}outcomes")]  # type: ignore[union-attr]
    take(redis, "one", now)
    take(redis, "two", now + 15_000)
    world.order("2")
    fcall(redis, "end_outcomes", SHOP, now, "one", now + HOUR, 1, entry)
    assert len(events(redis)) == 1
    assert take(redis, "two", now + 15_000)[1:3] == [b"taken", b"0"]


def test_the_same_decision_twice_has_the_same_message_id_and_a_second_click_has_another() -> None:
    first, second = (Outcome("Email Skipped", "capped", "cap", "welcome", "5e", at=at) for at in (1, 2))
    assert first.message_id("main") == second.message_id("main") != first.message_id("other")
    clicks = {Outcome("Email Link Clicked", "clicked", send_id="5e", at=at).message_id("main") for at in (1, 2)}
    assert len(clicks) == 2
    # A send that turns out to have left, and one that was accepted at once, are the same thing.
    assert (
        len({Outcome("Email Sent", word, send_id="5e").message_id("main") for word in ("sent", "fallback_sent")}) == 1
    )
    assert "Email Opened" not in ONCE


def test_an_answer_that_ends_a_doubt_is_told_after_the_doubt(redis: Redis) -> None:
    world = World(redis, outcomes=rules_of(Settings(outcomes={"main": WISH})))
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))

    def overtake(message: Message) -> None:
        world.esp.before_send = None
        world.now += 16_000
        timer = keys.timer("order_confirmation", "o", keys.order_id("main", "1"))
        redis.hdel(f"{SHOP}leased", timer)
        world.deliver(timer, courier=world.new_courier())

    world.esp.before_send = overtake
    world.run()
    # The second worker found a claim that had run out: nobody knew, until the first one had its answer.
    assert events(redis) == ["Email Unconfirmed", "Email Sent"]

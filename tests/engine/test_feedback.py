"""What an ESP reports changes the next decision: who gets no mail, and whether a send has left."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from structlog.testing import capture_logs

from adapter.ingest.feedback import FeedbackReply
from freshgate.errors import EspError
from freshgate.state import keys
from freshgate.state.stamps import LENGTH
from freshgate.state.store import add_shops
from tests.engine.test_operator import listed
from tests.engine.world import HOUR, MINUTE, PII_KEY, SECOND, SHOP, START, World, product
from tests.harness.operator import Operator
from tests.harness.reporting import ADA, ReportingWorld
from workers.esp.base import Message


@pytest.fixture
def world(redis: Redis) -> ReportingWorld:
    return ReportingWorld(redis)


@pytest.mark.parametrize("kind", ["bounced", "complained", "unsubscribed"])
def test_what_the_esp_reports_suppresses_before_the_next_mail(world: ReportingWorld, kind: str) -> None:
    send = world.order()
    assert world.report(kind, send) == FeedbackReply(1, 0, 0)
    assert world.abandon() == [("abandoned_cart", "suppressed")]


@pytest.mark.parametrize(("kind", "outcome"), [("bounced", "suppressed"), ("unsubscribed", "sent")])
def test_an_unsubscribe_leaves_transactional_mail_alone(world: ReportingWorld, kind: str, outcome: str) -> None:
    world.report(kind, world.order())
    world.order("2")
    assert world.outcomes("ada")[-1] == ("order_confirmation", outcome)


def test_a_report_without_our_id_still_suppresses_its_address(world: ReportingWorld) -> None:
    assert world.report("bounced") == FeedbackReply(0, 0, 1)
    assert world.abandon() == [("abandoned_cart", "suppressed")]


def test_a_bounce_between_reading_and_claiming_is_seen(world: ReportingWorld) -> None:
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("lamp")))
    world.now += HOUR
    timer = keys.timer("abandoned_cart", "p", world.root("ada"))
    world.deliver(timer, courier=world.interrupted_courier(lambda: world.report("bounced")))
    assert (world.mails(), world.outcomes("ada")) == ([], [("abandoned_cart", "suppressed")])


def test_a_newer_opt_in_at_the_esp_lifts_an_unsubscribe_and_no_bounce(world: ReportingWorld) -> None:
    world.report("unsubscribed")
    world.report("resubscribed", at=world.now + 1)
    assert world.abandon() == [("abandoned_cart", "sent")]
    world.report("bounced")
    world.report("resubscribed", at=world.now + 1)
    world.order()
    assert world.outcomes("ada")[-1] == ("order_confirmation", "suppressed")


def test_an_opt_in_is_believed_of_the_accounts_own_mails_and_shop_alone(world: ReportingWorld) -> None:
    send = world.order()
    world.report("unsubscribed", send)
    world.client.hset(f"{SHOP}s:{send}", "a", "another")
    world.report("resubscribed", send, at=world.now + 1)
    add_shops(world.client, ["main", "other"])
    # Nobody knows whose mail it was about.
    assert world.report("resubscribed", at=world.now + 2) == FeedbackReply(0, 0, 1)
    assert world.abandon() == [("abandoned_cart", "suppressed")]
    world.client.hset(f"{SHOP}s:{send}", "a", "sendgrid")
    world.report("resubscribed", send, at=world.now)
    world.now += HOUR
    assert world.abandon()[-1] == ("abandoned_cart", "sent")


def test_an_opt_in_that_is_older_lifts_nothing_in_either_order(world: ReportingWorld) -> None:
    world.report("resubscribed", at=world.now - 1)
    world.report("unsubscribed")
    world.report("resubscribed", at=world.now - 2)
    assert world.abandon() == [("abandoned_cart", "suppressed")]


def test_soft_bounces_in_a_row_suppress_and_a_delivery_ends_the_row(redis: Redis) -> None:
    world = ReportingWorld(redis, soft_bounces=3)
    for kinds in ["soft_bounced", "soft_bounced", "delivered", "soft_bounced", "soft_bounced"]:
        world.report(kinds)
        world.now += SECOND
    assert world.abandon() == [("abandoned_cart", "sent")]
    world.report("soft_bounced")
    world.now += SECOND
    world.order()
    assert world.outcomes("ada")[-1] == ("order_confirmation", "suppressed")


def test_soft_bounces_alone_are_no_suppression(world: ReportingWorld) -> None:
    for _ in range(4):
        world.report("soft_bounced")
        world.now += SECOND
    assert world.abandon() == [("abandoned_cart", "sent")]


def test_a_soft_bounce_that_is_reported_again_is_one_in_the_row(redis: Redis) -> None:
    world = ReportingWorld(redis, soft_bounces=3)
    for number in range(9):
        world.report("soft_bounced", at=START + number % 2)
    assert world.abandon() == [("abandoned_cart", "sent")]
    world.report("soft_bounced", at=START + 2)
    world.order()
    assert world.outcomes("ada")[-1] == ("order_confirmation", "suppressed")


@pytest.mark.parametrize("kind", ["accepted", "delivered", "deferred", "opened", "clicked", "bounced"])
def test_any_report_of_a_send_settles_that_it_has_left(world: ReportingWorld, operator: Operator, kind: str) -> None:
    world.esp.errors = [EspError("connection lost", ambiguous=True)]
    send = world.order()
    assert listed(world, "unknown") == [send]
    world.report(kind, send)
    assert (listed(world, "unknown"), world.outcomes("ada")[-1]) == ([], ("order_confirmation", "sent"))
    # Nor does an operator who has the old list before him send it twice.
    assert operator.run("unknown", "resend", "--send", send) == 1
    world.run()
    assert world.mails() == []


@pytest.fixture
def operator(world: World, redis_server: str) -> Operator:
    return Operator(world, redis_server)


def test_a_report_that_is_faster_than_the_worker_settles_the_send_too(world: ReportingWorld) -> None:
    def lose_answer(message: Message) -> None:
        world.report("delivered", message.send_id)
        raise EspError("connection lost", ambiguous=True)

    world.esp.before_send = lose_answer
    send = world.order()
    assert listed(world, "unknown") == []
    (claim,) = [claim for claim in order_claims(world) if claim[0] == send]
    assert claim[1] == "sent"
    assert [state for _, state in world.outcomes("ada")] == ["unknown", "delivered", "sent"]


def test_reports_that_are_faster_than_the_worker_stand_on_the_trail(world: ReportingWorld) -> None:
    def report_twice(message: Message) -> None:
        world.report("delivered", message.send_id)
        world.report("bounced", message.send_id)

    world.esp.before_send = report_twice
    world.order()
    assert world.outcomes("ada") == [("order_confirmation", state) for state in ("sent", "delivered", "bounced")]


def test_a_report_during_a_later_attempt_settles_that_attempt_too(redis: Redis) -> None:
    world = ReportingWorld(redis, unknown="resend")
    world.esp.errors = [EspError("busy", status=503, retry_after_s=60)]
    send = world.order()
    assert order_claims(world) == [(send, "retry")]

    def lose_answer(message: Message) -> None:
        world.report("delivered", message.send_id)
        raise EspError("connection lost", ambiguous=True)

    world.esp.before_send = lose_answer
    world.run()
    assert order_claims(world) == [(send, "sent")]
    world.esp.before_send = None
    world.run(world.now + HOUR)
    assert world.mails() == [], "it has left once"


def test_an_account_reports_of_its_own_mails_alone(world: ReportingWorld) -> None:
    world.esp.errors = [EspError("connection lost", ambiguous=True)]
    send = world.order()
    world.client.hset(f"{SHOP}s:{send}", "a", "another")
    assert world.report("delivered", send) == FeedbackReply(0, 0, 1)
    assert (listed(world, "unknown"), order_claims(world)) == ([send], [(send, "unknown")])
    world.client.hset(f"{SHOP}s:{send}", "a", "sendgrid")
    assert world.report("delivered", send) == FeedbackReply(1, 0, 0)
    assert listed(world, "unknown") == []


def test_a_report_between_reading_and_claiming_of_a_retry_is_seen(redis: Redis) -> None:
    world = ReportingWorld(redis, unknown="resend")
    world.esp.errors = [EspError("connection lost", ambiguous=True)]
    send = world.order()
    timer = keys.timer("order_confirmation", "o", keys.order_id("main", "1"))
    world.deliver(timer, courier=world.interrupted_courier(lambda: world.report("delivered", send)))
    assert (world.mails(), order_claims(world)) == ([], [(send, "sent")])


def test_a_send_that_was_given_up_is_sent_once_the_esp_says_so(redis: Redis) -> None:
    world = ReportingWorld(redis)
    world.esp.errors = [EspError("busy", status=503, retry_after_s=48 * 3600)]
    send = world.order()
    assert listed(world, "dead") == [send]
    world.report("delivered", send)
    assert (listed(world, "dead"), order_claims(world)) == ([], [(send, "sent")])


def address_key() -> str:
    return keys.address("main", keys.address_id(PII_KEY, ADA))


def test_what_is_reported_of_an_address_stays_whatever_is_told_of_it_before_or_after(world: ReportingWorld) -> None:
    world.order()
    assert world.client.ttl(address_key()) > 0
    world.report("bounced", at=world.now)
    newest = world.client.hget(address_key(), "m:bounced")
    world.report("bounced", at=world.now - HOUR)
    world.order("2")
    assert world.client.hget(address_key(), "m:bounced") == newest
    assert (world.client.ttl(address_key()), world.client.hget(address_key(), "x")) == (-1, b"forever")


def test_soft_bounces_of_an_unknown_address_expire_and_their_row_is_bounded(redis: Redis) -> None:
    world = ReportingWorld(redis, soft_bounces=100)
    world.report("soft_bounced")
    assert redis.ttl(address_key()) > 0
    few = ReportingWorld(redis, soft_bounces=3)
    for number in range(9):
        few.report("soft_bounced", at=START + number)
    assert redis.hstrlen(address_key(), "soft") == 3 * LENGTH


def test_the_log_says_of_a_suppression_and_of_no_opt_in(world: ReportingWorld) -> None:
    with capture_logs() as lines:
        world.report("resubscribed")
        world.report("complained")
    assert [line["kind"] for line in lines if line["event"] == "suppressed_by_feedback"] == ["complained"]


def order_claims(world: World) -> list[tuple[str, str]]:
    """(send id, state) of each claim on the order."""
    raw: Any = world.client.hget(keys.order("main", keys.order_id("main", "1")), "c:order_confirmation")
    return [(line.split(" ")[0], line.split(" ")[1]) for line in (raw or b"").decode().split("\n") if line]


def test_a_retry_of_what_has_left_after_all_is_a_duplicate(redis: Redis) -> None:
    world = ReportingWorld(redis, unknown="resend")
    world.esp.errors = [EspError("connection lost", ambiguous=True)]
    send = world.order()
    assert order_claims(world) == [(send, "retry")]
    world.report("delivered", send)
    world.run(world.now + HOUR)
    assert (world.mails(), order_claims(world)) == ([], [(send, "sent")])
    assert world.outcomes("ada")[-1] == ("order_confirmation", "duplicate")


def test_a_mail_that_left_after_all_counts_for_the_cap_of_its_address(redis: Redis) -> None:
    world = ReportingWorld(redis, unknown="resend")
    world.esp.errors = [EspError("connection lost", ambiguous=True)]
    world.report("delivered", world.order())
    mails: Any = redis.hget(keys.address("main", keys.address_id(PII_KEY, ADA)), "mails")
    assert mails.decode().endswith("order_confirmation")


@pytest.mark.parametrize("kind", ["delivered", "bounced"])
def test_a_report_that_comes_twice_is_one(world: ReportingWorld, kind: str) -> None:
    send = world.order()
    event = world.feedback_event(kind, send)
    assert world.report_all(event, event) == FeedbackReply(1, 1, 0)
    # An ESP may give it another time, too.
    assert world.report(kind, send, at=world.now + 1) == FeedbackReply(0, 1, 0)
    assert world.outcomes("ada").count(("order_confirmation", kind)) == 1


def test_opens_count_each_time_that_they_happen(world: ReportingWorld) -> None:
    send = world.order()
    times = [world.now, world.now, world.now + 1]
    assert world.report_all(*(world.feedback_event("opened", send, at=at) for at in times)) == FeedbackReply(2, 1, 0)


def test_reports_are_on_the_trail_with_the_esps_words(world: ReportingWorld) -> None:
    world.report("bounced", world.order())
    entry = world.decisions("ada")[-1]
    assert (entry["state"], entry["reason"], entry["trigger"]) == ("bounced", "550", "order_confirmation")


def test_a_person_who_was_merged_meanwhile_has_the_report_on_the_trail(world: ReportingWorld) -> None:
    send = world.order()
    world.record(world.event("Alias", user="ada.l", previous_id="ada"))
    world.report("delivered", send)
    assert ("order_confirmation", "delivered") in world.outcomes("ada.l")


@pytest.mark.parametrize("at", [0, -1, 10**16])
def test_a_time_that_cannot_be_is_now(world: ReportingWorld, at: int) -> None:
    world.report("unsubscribed", at=at)
    world.report("resubscribed", at=world.now + 1)
    assert world.abandon() == [("abandoned_cart", "sent")]


def test_an_unsubscribe_from_one_shop_is_none_of_another(world: ReportingWorld) -> None:
    add_shops(world.client, ["other"])
    world.report("unsubscribed", world.order())
    other = world.client.hgetall(keys.address("other", keys.address_id(PII_KEY, ADA)))
    assert (other, world.abandon()) == ({}, [("abandoned_cart", "suppressed")])


def test_what_is_known_of_a_send_goes_after_two_weeks(world: ReportingWorld) -> None:
    key = keys.sent("main", world.order())
    assert 0 < world.client.pttl(key) <= 14 * 24 * HOUR
    world.report("opened", "ffffffffffffffffffffffff")
    assert 0 < world.client.pttl(keys.sent("main", "ffffffffffffffffffffffff")) <= 24 * HOUR


def test_a_send_that_is_reported_thousands_of_times_stays_small(world: ReportingWorld) -> None:
    send = world.order()
    world.report_all(*(world.feedback_event("clicked", send, at=world.now + n) for n in range(500)))
    assert world.client.hstrlen(keys.sent("main", send), "e") < 1000


def wave(world: ReportingWorld, kind: str, count: int, delivered: int) -> None:
    events = [world.feedback_event("delivered", email=f"d{n}@example.com") for n in range(delivered)]
    bad = [world.feedback_event(kind, email=f"b{n}@example.com") for n in range(count)]
    world.report_all(*events, *bad)


def holds(world: World) -> set[bytes]:
    members: Any = world.client.smembers(keys.HOLD)
    return set(members)


@pytest.mark.parametrize(
    ("kind", "count", "delivered", "is_held"),
    [
        ("bounced", 20, 179, True),
        ("bounced", 20, 180, False),
        ("bounced", 19, 0, False),
        ("complained", 5, 499, True),
        ("complained", 5, 500, False),
        ("complained", 4, 0, False),
        ("soft_bounced", 100, 0, False),
    ],
)
def test_a_wave_above_its_share_holds_the_accounts_marketing_mail(
    world: ReportingWorld, kind: str, count: int, delivered: int, is_held: bool
) -> None:
    wave(world, kind, count, delivered)
    assert holds(world) == ({b"esp:sendgrid"} if is_held else set())
    world.order()
    assert world.mails() == [("order_confirmation", ADA)]
    assert world.abandon() == ([] if is_held else [("abandoned_cart", "sent")])


def test_an_hour_later_a_wave_counts_no_more(world: ReportingWorld) -> None:
    wave(world, "bounced", 19, 0)
    world.now += HOUR + 5 * MINUTE
    wave(world, "bounced", 1, 0)
    assert holds(world) == set()
    assert world.client.hlen(keys.FEEDBACK + "sendgrid") == 1


def test_released_mail_leaves_and_the_same_wave_holds_it_no_more(
    world: ReportingWorld, operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    wave(world, "bounced", 20, 0)
    assert world.abandon() == []
    assert operator.run("release", "esp:sendgrid") == 0
    world.report("bounced", email="x@example.com")
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_a_limit_of_one_never_holds(redis: Redis) -> None:
    world = ReportingWorld(redis, bounce_limit=1.0)
    wave(world, "bounced", 100, 0)
    assert holds(world) == set()


def test_without_feedback_nothing_is_stored_of_a_send(redis: Redis) -> None:
    world = World(redis)
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))
    world.run()
    assert world.mails() and not list(redis.scan_iter(f"{SHOP}s:*"))


def test_what_may_have_left_is_sent_again_only_after_the_esps_word_did_not_come(redis: Redis) -> None:
    world = ReportingWorld(redis, unknown="resend")
    world.esp.errors = [EspError("connection lost", ambiguous=True)]
    started = world.now
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))
    world.run()
    world.run(started + 10 * MINUTE - 1)
    assert world.mails() == []
    world.run(started + 10 * MINUTE)
    assert world.mails() == [("order_confirmation", ADA)]


@pytest.mark.parametrize("is_reported", [True, False])
def test_a_worker_that_died_is_waited_for_too(redis: Redis, is_reported: bool) -> None:
    world = ReportingWorld(redis, unknown="resend")
    world.esp.errors = [SystemExit()]
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))
    with pytest.raises(SystemExit):
        world.run()
    (claim,) = order_claims(world)
    world.run(world.now + MINUTE)
    assert world.mails() == []
    if is_reported:
        world.report("delivered", claim[0])
    world.run(world.now + HOUR)
    assert world.mails() == ([] if is_reported else [("order_confirmation", ADA)])

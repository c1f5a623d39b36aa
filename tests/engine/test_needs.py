"""Fields that a mail needs: fresh, stale, missing; left out, a default, a placeholder, a fallback, or no mail."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY
from redis import Redis

from catalog import EVENTS
from catalog.triggers.abandoned_cart import ABANDONED_CART
from catalog.triggers.order_confirmation import ORDER_CONFIRMATION
from catalog.triggers.welcome import WELCOME
from freshgate import Fallback, Needs, OrderView, PersonView, Segment, SubjectView, Trigger, first_name
from freshgate.declare import DAY, EventType
from freshgate.errors import CatalogError, EspError
from freshgate.events import Product
from tests.engine.subjects import BACK_IN_STOCK, SUBJECT_EVENTS
from tests.engine.world import HOUR, MINUTE, SECOND, START, World

ADA = "ada@example.com"
PROFILED = EventType(
    name="Profile Updated",
    fields={"first_name": "text", "city": "text", "visited": "text"},
    profile=("first_name", "city", "visited"),
)
PING = EventType(name="Pinged", fields={"title": "text"}, marks=("ping",), carries={"ping": ("title",)})


def _compose(person: PersonView, order: OrderView | None) -> dict[str, Any]:
    ping = person.mark("ping")
    return {
        "first_name": first_name(person),
        "city": person.trait("city") or "",
        "title": ping.fields.get("title", "") if ping else "",
    }


def _loyalty(person: PersonView) -> str | None:
    return "gold" if len(person.purchases) > 1 else None


LOYAL = Segment(name="loyal", value=_loyalty, needs=(Needs("last_order", fresh_for="90d"),))
PINGED = Trigger(
    name="pinged",
    on=("Pinged",),
    about="ping",
    version="ping",
    kind="transactional",
    max_age="10d",
    template_id="d-ping",
    withdrawn=lambda person, order: None,
    compose=_compose,
)


def new_world(redis: Redis, *needs: Needs, base: Trigger = PINGED) -> World:
    world = World(redis, (replace(base, needs=needs),), events=(*EVENTS, PROFILED, PING, *SUBJECT_EVENTS))
    world.record(world.event("Identify", user="ada", email=ADA, at=START - 300 * DAY))
    return world


def ping(world: World, at: int = START, **fields: Any) -> None:
    world.record(world.event("Pinged", user="ada", at=at, **fields))
    world.run()


def update(world: World, age: int, **traits: str) -> None:
    world.record(world.event("Profile Updated", user="ada", at=START - age, **traits))


def last(world: World) -> dict[str, Any]:
    """The newest decision on the trail, without what every decision has."""
    entry = world.decisions("ada")[-1]
    return {name: entry.get(name) for name in ("state", "reason", "needs", "fallback", "segments")}


@pytest.mark.parametrize(("age", "state"), [(HOUR, "fresh"), (HOUR + 1, "stale"), (0, "fresh"), (-SECOND, "fresh")])
def test_a_field_is_stale_one_millisecond_after_its_time(redis: Redis, age: int, state: str) -> None:
    world = new_world(redis, Needs("profile.city", fresh_for="1h"))
    update(world, age, city="Linz")
    ping(world)
    assert last(world)["needs"] == [["profile.city", state, "used" if state == "fresh" else "skip", START - age]]
    assert [mail.template_data["city"] for mail in world.esp.mails] == (["Linz"] if state == "fresh" else [])
    if state == "stale":
        assert (last(world)["state"], last(world)["reason"]) == ("stale", "profile_city_stale")


def test_a_field_that_nobody_told_is_missing_and_keeps_the_mail_back(redis: Redis) -> None:
    world = new_world(redis, Needs("profile.city"))
    ping(world)
    assert (last(world)["state"], last(world)["reason"]) == ("stale", "profile_city_missing")
    assert last(world)["needs"] == [["profile.city", "missing", "skip", 0]]


def test_without_a_time_any_age_is_fresh(redis: Redis) -> None:
    world = new_world(redis, Needs("profile.city"))
    update(world, 100 * DAY, city="Linz")
    ping(world)
    assert world.esp.mails[0].template_data["city"] == "Linz"


@pytest.mark.parametrize(
    ("need", "first_name_sent", "result"),
    [
        (Needs("profile.first_name", fresh_for="365d", critical=False, default="there"), "there", "default"),
        (Needs("profile.first_name", fresh_for="1h", default="there"), "there", "default"),
        (Needs("profile.first_name", fresh_for="1h", critical=False), "", "left_out"),
        (Needs("profile.first_name", fresh_for="1h", otherwise="leave_out"), "", "left_out"),
    ],
)
@pytest.mark.parametrize("is_known", [True, False])
def test_what_is_not_critical_is_left_out_or_answered_by_its_default(
    redis: Redis, need: Needs, first_name_sent: str, result: str, is_known: bool
) -> None:
    world = new_world(redis, need)
    if is_known:
        update(world, 2 * HOUR, first_name="Ada")
    ping(world)
    is_fresh = is_known and need.fresh_for == 365 * DAY
    assert world.esp.mails[0].template_data["first_name"] == ("Ada" if is_fresh else first_name_sent)
    state = "fresh" if is_fresh else "stale" if is_known else "missing"
    assert last(world)["needs"] == [
        ["profile.first_name", state, "used" if is_fresh else result, START - 2 * HOUR if is_known else 0]
    ]
    assert last(world)["state"] == "sent"


def test_a_placeholder_stands_in_where_the_field_is_missing_or_stale_and_is_fresh_itself(redis: Redis) -> None:
    need = Needs("profile.city", fresh_for="2h", placeholder="profile.visited")
    world = new_world(redis, need)
    update(world, 3 * HOUR, city="Linz")
    update(world, HOUR, visited="Graz")
    ping(world)
    assert world.esp.mails[0].template_data["city"] == "Graz"
    assert last(world)["needs"] == [["profile.city", "stale", "placeholder", START - HOUR]]
    world.now = START + 2 * HOUR
    ping(world, at=world.now)
    assert last(world)["reason"] == "profile_city_stale"


def test_a_carried_field_is_as_old_as_its_mark_and_can_be_left_out(redis: Redis) -> None:
    world = new_world(redis, Needs("ping.title", fresh_for="1h", otherwise="leave_out"))
    ping(world, title="Hello")
    ping(world, at=START - 2 * HOUR, title="Old")
    assert [mail.template_data["title"] for mail in world.esp.mails] == ["Hello"]
    world.now = START + 2 * HOUR
    ping(world, at=START + MINUTE, title="Late")
    assert world.esp.mails[-1].template_data["title"] == ""


def test_a_mark_that_is_needed_and_fresh_stays_as_it_is(redis: Redis) -> None:
    world = new_world(redis, Needs("ping", fresh_for="1h"))
    ping(world, title="Hello")
    assert [mail.template_data["title"] for mail in world.esp.mails] == ["Hello"]


FALLBACK = Fallback(template_id="d-broad", segment=LOYAL)


def test_a_fallback_leaves_in_the_mails_place_and_is_the_same_send(redis: Redis) -> None:
    world = new_world(redis, Needs("profile.city", fresh_for="1h", otherwise=Fallback(template_id="d-broad")))
    update(world, 2 * HOUR, city="Linz")
    ping(world)
    assert [(mail.template_id, mail.template_data["city"]) for mail in world.esp.mails] == [("d-broad", "")]
    assert last(world)["state"] == "fallback_sent"
    assert last(world)["fallback"] == "d-broad"
    first_id = world.esp.mails[0].send_id
    # Now it is fresh, but this version has left.
    update(world, 0, city="Linz")
    ping(world)
    assert len(world.esp.mails) == 1
    assert first_id == world.decisions("ada")[0]["send"]


def test_the_segment_of_a_fallback_decides_and_its_value_is_in_the_mail(redis: Redis) -> None:
    world = new_world(redis, Needs("profile.city", otherwise=FALLBACK))
    ping(world)
    assert last(world)["reason"] == "segment_loyal_missing"
    for number in range(2):
        world.record(world.event("Order Completed", user="ada", order_id=f"o-{number}", at=START - DAY))
    ping(world, at=START + 1)
    assert world.esp.mails[-1].template_id == "d-broad"
    assert world.esp.mails[-1].template_data["segment"] == "gold"
    assert last(world)["segments"] == {"loyal": "gold"}
    assert last(world)["needs"][1] == ["segment.loyal", "fresh", "used", START - DAY]


def test_who_is_not_in_the_segment_gets_no_fallback(redis: Redis) -> None:
    world = new_world(redis, Needs("profile.city", otherwise=FALLBACK))
    world.record(world.event("Order Completed", user="ada", order_id="o-1", at=START - DAY))
    ping(world)
    assert (last(world)["state"], last(world)["reason"]) == ("stale", "segment_loyal_missing")
    assert world.esp.mails == []


def test_a_segment_is_as_old_as_the_oldest_of_its_fields(redis: Redis) -> None:
    needs = (Needs("profile.city"), Needs("profile.first_name"), Needs("profile.visited"))
    world = new_world(redis, Needs(Segment(name="known", value=lambda person: "yes", needs=needs)))
    for age, trait in ((HOUR, "city"), (3 * HOUR, "first_name"), (2 * HOUR, "visited")):
        update(world, age, **{trait: "Linz"})
    ping(world)
    assert last(world)["needs"] == [["segment.known", "fresh", "used", START - 3 * HOUR]]


def test_a_segment_without_fields_has_no_age(redis: Redis) -> None:
    world = new_world(redis, Needs(Segment(name="known", value=lambda person: "yes")))
    ping(world)
    assert last(world)["needs"] == [["segment.known", "fresh", "used", 0]]


def test_a_segment_whose_fields_are_too_old_has_nobody_in_it(redis: Redis) -> None:
    world = new_world(redis, Needs("profile.city", otherwise=FALLBACK))
    for number in range(2):
        world.record(world.event("Order Completed", user="ada", order_id=f"o-{number}", at=START - 90 * DAY - 1))
    ping(world)
    assert last(world)["reason"] == "segment_loyal_stale"


def test_a_segment_is_a_condition_of_a_trigger(redis: Redis) -> None:
    world = new_world(redis, Needs(LOYAL))
    ping(world)
    assert (last(world)["state"], last(world)["reason"]) == ("stale", "segment_loyal_missing")


@pytest.mark.parametrize(
    ("city_age", "name_age", "template"),
    [(0, 0, "d-ping"), (2 * HOUR, 0, "d-second"), (2 * HOUR, 2 * HOUR, "d-third"), (0, 2 * HOUR, "d-ping")],
)
def test_a_chain_of_fallbacks_goes_on_until_one_has_what_it_needs(
    redis: Redis, city_age: int, name_age: int, template: str
) -> None:
    third = Fallback(template_id="d-third")
    second = Fallback(
        template_id="d-second", needs=(Needs("profile.first_name", fresh_for="1h"),), segment=None, otherwise=third
    )
    world = new_world(redis, Needs("profile.city", fresh_for="1h", otherwise=second))
    update(world, city_age, city="Linz")
    update(world, name_age, first_name="Ada")
    ping(world)
    assert [mail.template_id for mail in world.esp.mails] == [template]
    assert replace(PINGED, needs=(Needs("cart", otherwise=second),)).fallbacks == (second, third)


def test_a_fallback_has_what_it_needs_though_that_was_too_old_for_the_mail_before_it(redis: Redis) -> None:
    broad = Fallback(template_id="d-broad", needs=(Needs("ping.title", fresh_for="1d"),))
    world = new_world(redis, Needs("ping.title", fresh_for="1h", otherwise=broad))
    ping(world, at=START - 2 * HOUR, title="Hello")
    assert [(mail.template_id, mail.template_data["title"]) for mail in world.esp.mails] == [("d-broad", "Hello")]


def test_a_fallback_has_the_prices_that_it_needs_though_the_cart_was_too_old(redis: Redis) -> None:
    priced = Fallback(template_id="d-priced", needs=(Needs("cart.prices", fresh_for="1d"),))
    world = new_world(redis, Needs("cart", fresh_for="1h", otherwise=priced), base=ABANDONED_CART)
    world.record(world.event("Product Added", user="ada", at=START - HOUR, product=Product("mug", price="9.00")))
    world.run(START + HOUR)
    (mail,) = world.esp.mails
    assert [line["price"] for line in mail.template_data["products"]] == ["9.00"]


def test_a_fallback_is_taken_though_another_field_keeps_the_mail_back(redis: Redis) -> None:
    world = new_world(
        redis, Needs("profile.first_name"), Needs("profile.city", otherwise=Fallback(template_id="d-broad"))
    )
    ping(world)
    assert [mail.template_id for mail in world.esp.mails] == ["d-broad"]


def test_a_mail_that_is_kept_back_names_the_field_and_the_times_of_those_that_were_told(redis: Redis) -> None:
    needs = (Needs("profile.city", fresh_for="1h"), Needs("profile.visited", critical=False))
    world = new_world(redis, *needs, Needs("profile.first_name", critical=False))
    update(world, 2 * HOUR, city="Linz")
    update(world, HOUR, first_name="Ada")
    ping(world)
    (line,) = world.decisions("ada")
    assert line["reason"] == "profile_city_stale"
    times = {"ping": START, "profile.city": START - 2 * HOUR, "profile.first_name": START - HOUR}
    assert line["compared"] == times


def test_a_chain_that_ends_withholds_and_names_the_last_field(redis: Redis) -> None:
    second = Fallback(template_id="d-second", needs=(Needs("profile.first_name"),))
    world = new_world(redis, Needs("profile.city", otherwise=second))
    ping(world)
    assert (last(world)["state"], last(world)["reason"]) == ("stale", "profile_first_name_missing")
    assert world.esp.mails == []


def test_a_fallback_has_a_composition_of_its_own(redis: Redis) -> None:
    broad = Fallback(template_id="d-broad", compose=lambda person, order: {"bestsellers": ["mug"]})
    world = new_world(redis, Needs("profile.city", otherwise=broad))
    ping(world)
    assert world.esp.mails[0].template_data == {"bestsellers": ["mug"]}


def test_a_retry_decides_anew_and_never_sends_both(redis: Redis) -> None:
    world = new_world(redis, Needs("profile.city", otherwise=Fallback(template_id="d-broad")))
    world.esp.errors.append(EspError("busy", retry_after_s=60))
    ping(world)
    assert last(world)["state"] == "retry"
    update(world, 0, city="Linz")
    world.run(START + HOUR)
    assert [mail.template_id for mail in world.esp.mails] == ["d-ping"]


def test_an_unknown_fallback_is_not_sent_once_more(redis: Redis) -> None:
    world = new_world(redis, Needs("profile.city", otherwise=Fallback(template_id="d-broad")))
    world.esp.errors.append(EspError("lost", ambiguous=True))
    ping(world)
    update(world, 0, city="Linz")
    world.run(START + HOUR)
    assert world.esp.mails == []
    assert last(world)["state"] == "unknown"


def test_prices_are_as_old_as_the_oldest_and_the_fallback_mail_has_none(redis: Redis) -> None:
    world = new_world(
        redis, Needs("cart.prices", fresh_for="24h", otherwise=Fallback(template_id="d-priceless")), base=ABANDONED_CART
    )
    for product_id, age in (("lamp", DAY + MINUTE), ("mug", 0)):
        product = Product(product_id, name=product_id, price="9.00")
        world.record(world.event("Product Added", user="ada", at=START - age, product=product))
    world.run(START + 40 * MINUTE)
    (mail,) = world.esp.mails
    assert mail.template_id == "d-priceless"
    assert [sorted(line) for line in mail.template_data["products"]] == [["name", "product_id", "quantity"]] * 2
    assert "total" not in mail.template_data


def test_prices_that_nobody_told_are_missing(redis: Redis) -> None:
    world = new_world(redis, Needs("cart.prices", otherwise=Fallback(template_id="d-priceless")), base=ABANDONED_CART)
    world.record(world.event("Product Added", user="ada", product=Product("mug", name="Mug")))
    world.run(START + HOUR)
    assert last(world)["needs"] == [["cart.prices", "missing", "fallback", 0]]
    assert world.esp.mails[0].template_id == "d-priceless"


def test_a_subjects_field_is_needed_and_left_out(redis: Redis) -> None:
    need = Needs("subject.title", fresh_for="1h", otherwise="leave_out")
    world = new_world(redis, need, base=BACK_IN_STOCK)
    for product_id, age in (("lamp", 0), ("mug", 2 * HOUR)):
        at = START - age
        world.record(world.event("Product Restocked", user="ada", product_id=product_id, title=product_id, at=at))
    world.run(START + HOUR)
    titles = {mail.template_data["product_id"]: mail.template_data.get("title") for mail in world.esp.mails}
    assert titles == {"lamp": "lamp", "mug": None}


def _mark_title(_: PersonView, subject: SubjectView) -> dict[str, Any]:
    """What the catalog reads of the mark itself."""
    mark = subject.mark("restocked")
    return {"title": mark.fields.get("title") if mark else "no mark"}


def test_a_subjects_field_that_is_left_out_is_gone_from_its_mark_too(redis: Redis) -> None:
    need = Needs("subject.title", fresh_for="1h", otherwise="leave_out")
    world = new_world(redis, need, base=replace(BACK_IN_STOCK, compose=_mark_title))
    for age in (0, 2 * HOUR):
        product_id, at = f"p{age}", START - age
        world.record(world.event("Product Restocked", user="ada", product_id=product_id, title=product_id, at=at))
    world.run(START + HOUR)
    assert [mail.template_data["title"] for mail in world.esp.mails] == [None, "p0"]


def test_a_default_of_the_profile_is_not_the_subjects_field_of_the_same_name(redis: Redis) -> None:
    world = new_world(redis, Needs("profile.title", default="Ms"), base=BACK_IN_STOCK)
    world.record(world.event("Product Restocked", user="ada", product_id="lamp", title="Lamp"))
    world.run(START + HOUR)
    assert [mail.template_data["title"] for mail in world.esp.mails] == ["Lamp"]


def test_an_orders_fields_are_as_old_as_the_order(redis: Redis) -> None:
    world = new_world(
        redis, Needs("order.total", otherwise=Fallback(template_id="d-no-total")), base=ORDER_CONFIRMATION
    )
    world.record(world.event("Order Completed", user="ada", order_id="o-1"))
    world.record(world.event("Order Completed", user="ada", order_id="o-2", total="9.00"))
    world.run()
    assert sorted(mail.template_id for mail in world.esp.mails) == ["d-no-total", "d-order-confirmation"]


def test_a_fresh_word_of_a_page_counts_where_the_servers_is_too_old_but_not_in_transactional_mail(redis: Redis) -> None:
    for kind, sent in (("marketing", ["Graz"]), ("transactional", [])):
        redis.flushdb()
        base = replace(PINGED, kind=kind, cap=(9, DAY))
        world = new_world(redis, Needs("profile.city", fresh_for="1h"), base=base)
        world.record(world.event("Profile Updated", user="ada", anon="x", at=START - 2 * HOUR, city="Linz"))
        claimed = world.event("Profile Updated", anon="x", at=START - MINUTE, city="Graz")
        world.record(claimed, trusted=False)
        ping(world)
        assert [mail.template_data["city"] for mail in world.esp.mails] == sent


def test_a_purchase_that_withdraws_comes_before_any_need(redis: Redis) -> None:
    world = new_world(redis, Needs("profile.city"), base=ABANDONED_CART)
    world.record(world.event("Product Added", user="ada", product=Product("mug", price="1.00")))
    world.record(world.event("Order Completed", user="ada", at=START + SECOND))
    world.run(START + HOUR)
    assert world.outcomes("ada") == [("abandoned_cart", "cancelled")]


def test_a_mail_that_is_parked_is_asked_for_its_needs_once_an_address_is_there(redis: Redis) -> None:
    world = World(redis, (replace(PINGED, needs=(Needs("profile.city"),)),), events=(*EVENTS, PROFILED, PING))
    ping(world)
    assert world.outcomes("ada") == [("pinged", "parked")]
    update(world, 0, city="Linz")
    world.record(world.event("Identify", user="ada", email=ADA))
    world.run()
    assert world.esp.mails[0].template_data["city"] == "Linz"


def test_what_a_device_told_is_the_persons_once_they_met_also_between_reading_and_claim(redis: Redis) -> None:
    world = new_world(redis, Needs("profile.city", fresh_for="1h", default="?"))
    world.record(world.event("Profile Updated", anon="x", at=START - MINUTE, city="Linz"))
    courier = world.interrupted_courier(lambda: world.record(world.event("Identify", user="ada", anon="x", email=ADA)))
    world.record(world.event("Pinged", user="ada"))
    (timer,) = [timer for timer, _ in world.due_timers(START + HOUR)]
    world.deliver(timer, courier=courier)
    assert [mail.template_data["city"] for mail in world.esp.mails] == ["Linz"]


def test_a_field_that_changes_between_reading_and_claim_is_decided_on_anew(redis: Redis) -> None:
    world = new_world(redis, Needs("profile.city", fresh_for="1h", default="?"))
    update(world, MINUTE, city="Linz")
    courier = world.interrupted_courier(lambda: update(world, 0, city="Graz"))
    world.record(world.event("Pinged", user="ada"))
    (timer,) = [timer for timer, _ in world.due_timers(START + HOUR)]
    world.deliver(timer, courier=courier)
    assert [mail.template_data["city"] for mail in world.esp.mails] == ["Graz"]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Needs("cart", fresh_for="a day"), "fresh_for is 'a day'"),
        (lambda: Needs("profile.x", default="y", otherwise="skip"), "it has a default"),
        (lambda: Needs("profile.x", critical=False, otherwise="skip"), "what is not critical"),
        (lambda: Needs(LOYAL, critical=False, otherwise=FALLBACK), "Needs('segment.loyal'): what is not critical"),
    ],
)
def test_a_need_that_contradicts_itself_is_refused(make: Any, text: str) -> None:
    with pytest.raises(CatalogError) as caught:
        make()
    assert text in str(caught.value)


def test_needs_and_a_fallback_cost_no_trip_to_redis(redis: Redis) -> None:
    broad = Fallback(template_id="d-broad", segment=LOYAL, needs=(Needs("cart", otherwise="leave_out"),))
    names = ("profile.city", "profile.first_name", "profile.visited", "consent")
    five = (*(Needs(name, fresh_for="1h", critical=False) for name in names), Needs("ping.title", otherwise=broad))
    trips = []
    for needs in ((), five):
        redis.flushdb()
        world = new_world(redis, *needs)
        for number in range(2):
            world.record(world.event("Order Completed", user="ada", order_id=f"o-{number}", at=START - DAY))
        world.record(world.event("Pinged", user="ada"))
        (timer,) = [timer for timer, _ in world.due_timers(START + HOUR) if timer.startswith("pinged|")]
        stats: Any = redis.info("stats")
        world.deliver(timer)
        after: Any = redis.info("stats")
        trips.append(after["total_reads_processed"] - stats["total_reads_processed"])
        assert world.esp.mails[-1].template_id == ("d-broad" if needs else "d-ping")
    assert trips[0] == trips[1] > 1


def test_the_ages_of_what_was_sent_are_told_from_those_of_what_was_not(redis: Redis) -> None:
    def ages(field: str, sent: str) -> float:
        labels = {"trigger": "pinged", "field": field, "sent": sent}
        return REGISTRY.get_sample_value("freshgate_needed_field_age_seconds_sum", labels) or 0.0

    def seconds_added(city_age: int) -> list[int]:
        redis.flushdb()
        counted = [("profile.city", "yes"), ("profile.city", "no"), ("profile.first_name", "yes")]
        before = [ages(*labels) for labels in counted]
        needs = (Needs("profile.first_name", critical=False), Needs("profile.city", fresh_for="2h"))
        world = new_world(redis, *needs)
        update(world, city_age, city="Linz")
        update(world, HOUR, first_name="Ada")
        ping(world)
        return [round(ages(*labels) - value) for labels, value in zip(counted, before, strict=True)]

    assert seconds_added(2 * HOUR) == [7200, 0, 3600]
    # Without a mail nothing was sent, however fresh it was.
    assert seconds_added(3 * HOUR) == [0, 10_800, 0]


def test_triggers_without_needs_are_decided_on_as_before(redis: Redis) -> None:
    world = new_world(redis, base=WELCOME)
    assert world.triggers["welcome"].field_needs == ()
    world.record(world.event("Signed Up", user="ada", email=ADA))
    world.run()
    assert "needs" not in world.decisions("ada")[-1]

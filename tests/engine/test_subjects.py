"""Mails whose subject is a field: one timer, one claim list and one mail for each person and value."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from redis import Redis

from catalog import EVENTS, TRIGGERS
from freshgate.declare import DAY, EventType, Trigger
from freshgate.errors import EspError
from freshgate.events import Event, Product
from freshgate.state import keys
from freshgate.state.subjects import subject_key
from tests.engine.subjects import BACK_IN_STOCK, SUBJECT_EVENTS
from tests.engine.world import HOUR, MINUTE, SECOND, SHOP, START, World

ADA = "ada@example.com"


def new_world(redis: Redis, trigger: Trigger = BACK_IN_STOCK) -> World:
    return World(redis, triggers=(*TRIGGERS, trigger), events=(*EVENTS, *SUBJECT_EVENTS))


def restocked(world: World, product_id: str, **options: Any) -> Event:
    options = {"user": "ada", "email": ADA, "title": f"Product {product_id}", "price": Decimal("9.90"), **options}
    return world.event("Product Restocked", product_id=product_id, **options)


def products(world: World) -> list[str]:
    return [message.template_data["product_id"] for message in world.esp.mails]


def test_two_products_make_two_mails_with_what_each_event_told(redis: Redis) -> None:
    world = new_world(redis)
    world.record(restocked(world, "lamp"), restocked(world, "mug", price=Decimal("5.00")))
    world.run(START + HOUR)
    assert sorted([message.template_data for message in world.esp.mails], key=str) == [
        {"first_name": "", "product_id": "lamp", "title": "Product lamp", "price": "9.90"},
        {"first_name": "", "product_id": "mug", "title": "Product mug", "price": "5.00"},
    ]
    assert len({message.send_id for message in world.esp.mails}) == 2


def test_a_repetition_about_one_product_is_one_mail_with_the_newest_price(redis: Redis) -> None:
    world = new_world(redis)
    world.record(restocked(world, "lamp", at=START - 2 * SECOND, price=Decimal("8.00")))
    world.record(restocked(world, "lamp", at=START - 3 * SECOND, price=Decimal("9.00")))
    world.run(START + HOUR)
    assert [message.template_data["price"] for message in world.esp.mails] == ["8.00"]


def test_what_is_told_of_one_product_withdraws_only_its_mail(redis: Redis) -> None:
    world = new_world(redis)
    world.record(restocked(world, "lamp"), restocked(world, "mug"))
    world.record(world.event("Product Sold Out", user="ada", product_id="lamp", at=START + SECOND))
    world.run(START + HOUR)
    assert products(world) == ["mug"]
    assert ("back_in_stock", "superseded") in world.outcomes("ada")


def test_each_subject_waits_for_its_own_quiet_time(redis: Redis) -> None:
    world = new_world(redis)
    world.record(restocked(world, "lamp"))
    world.now += 5 * MINUTE
    world.record(restocked(world, "mug"))
    world.run(START + 12 * MINUTE)
    assert products(world) == ["lamp"]
    world.run(START + 16 * MINUTE)
    assert products(world) == ["lamp", "mug"]


def test_a_newer_version_of_one_product_is_a_new_mail_and_the_same_version_is_none(redis: Redis) -> None:
    world = new_world(redis)
    world.record(restocked(world, "lamp"))
    world.run(START + HOUR)
    world.record(restocked(world, "lamp", at=START - MINUTE))
    world.run(START + 2 * HOUR)
    assert products(world) == ["lamp"]
    world.record(restocked(world, "lamp"))
    world.run(world.now + HOUR)
    assert products(world) == ["lamp", "lamp"]
    assert len({message.send_id for message in world.esp.mails}) == 2


def test_another_products_news_is_no_newer_version(redis: Redis) -> None:
    world = new_world(redis)
    world.record(restocked(world, "lamp"))
    ((lamp, _),) = world.due_timers(START + HOUR)
    world.run(START + HOUR)
    world.record(restocked(world, "mug"))
    # As if a worker had died before it took the timer away.
    redis.zadd(keys.timers("main", "back_in_stock"), {lamp: world.now})
    world.run(START + 2 * HOUR)
    assert products(world) == ["lamp", "mug"]


def test_the_cap_counts_the_mails_about_all_products(redis: Redis) -> None:
    world = new_world(redis, msgspec.structs.replace(BACK_IN_STOCK, cap=(2, DAY)))
    world.record(*[restocked(world, f"p{number}") for number in range(4)])
    world.run(START + HOUR)
    assert len(world.esp.mails) == 2
    assert world.outcomes("ada").count(("back_in_stock", "capped")) == 2


def test_the_cap_of_an_address_counts_the_mails_about_all_products_of_all_persons(redis: Redis) -> None:
    world = new_world(redis, msgspec.structs.replace(BACK_IN_STOCK, cap=(2, DAY), address_cap=(100, DAY)))
    for number in range(4):
        world.record(restocked(world, f"p{number}", user=f"user {number}"))
    world.run(START + HOUR)
    assert len(world.esp.mails) == 2


def test_a_device_takes_its_subjects_along_to_the_user(redis: Redis) -> None:
    world = new_world(redis)
    world.record(restocked(world, "lamp", user=None, anon="x", email=None))
    world.record(restocked(world, "mug"))
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    assert {keys.TimerRef.parse(timer).id for timer, _ in world.due_timers(START + HOUR)} == {world.root("ada")}
    world.run(START + HOUR)
    assert sorted(products(world)) == ["lamp", "mug"]
    assert {message.to for message in world.esp.mails} == {ADA}


def test_one_product_of_two_ids_is_one_mail_after_they_met(redis: Redis) -> None:
    world = new_world(redis)
    world.record(restocked(world, "lamp", user=None, anon="x", email=None, at=START - 5 * SECOND))
    world.record(restocked(world, "lamp", at=START - 5 * SECOND + 1))
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    world.run(START + HOUR)
    assert products(world) == ["lamp"]


def test_a_job_that_names_a_merged_id_is_about_the_same_subject(redis: Redis) -> None:
    world = new_world(redis)
    world.record(restocked(world, "lamp", user=None, anon="x", email=None))
    ((timer, _),) = world.due_timers(START + HOUR)
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    world.now = START + HOUR
    world.deliver(timer)
    assert products(world) == ["lamp"]
    assert world.due_timers(START + DAY * 2) == []


def test_a_parked_subject_leaves_when_an_address_arrives(redis: Redis) -> None:
    world = new_world(redis)
    world.record(restocked(world, "lamp", email=None), restocked(world, "mug", email=None))
    world.run(START + 15 * MINUTE)
    assert world.outcomes("ada") == [("back_in_stock", "parked")] * 2
    world.record(world.event("Identify", user="ada", email=ADA))
    world.run(START + HOUR)
    assert sorted(products(world)) == ["lamp", "mug"]


def test_an_erased_person_gets_no_mail_about_a_subject_and_nothing_of_it_stays(redis: Redis) -> None:
    world = new_world(redis)
    world.record(restocked(world, "lamp"))
    world.record(world.event("Delete", user="ada"))
    world.run(START + HOUR)
    assert world.esp.mails == []
    fields: Any = redis.hgetall(keys.person("main", keys.person_id("main", "ada")))
    assert not any(field.startswith(b"s:") for field in fields)
    assert not any(b"lamp" in value for value in fields.values())


def test_a_retry_of_one_subject_does_not_hold_up_another(redis: Redis) -> None:
    world = new_world(redis)
    world.record(restocked(world, "lamp"))
    world.esp.errors.append(EspError("busy", retry_after_s=600))
    world.run(START + 11 * MINUTE)
    assert world.outcomes("ada") == [("back_in_stock", "retry")]
    world.record(restocked(world, "mug", at=START))
    world.run(START + 15 * MINUTE)
    assert products(world) == ["mug"]
    world.run(START + HOUR)
    assert products(world) == ["mug", "lamp"]


def test_a_subject_that_the_event_lacks_starts_nothing_and_says_so_on_the_trail(redis: Redis) -> None:
    world = new_world(redis)
    world.record(world.event("Product Restocked", user="ada", email=ADA, title="Lamp"))
    world.run(START + HOUR)
    assert world.esp.mails == []
    (entry,) = redis.lrange(f"{SHOP}p:{world.root('ada')}:ev", 0, -1)
    assert b"back_in_stock: missing product_id" in entry


def test_an_immediate_trigger_names_the_subject_in_its_job(redis: Redis) -> None:
    world = new_world(redis, msgspec.structs.replace(BACK_IN_STOCK, delay=0))
    plan = world.planner.plan(restocked(world, "lamp"))
    assert plan.timers == [f"back_in_stock#{subject_key({'product_id': 'lamp'})}|p:{plan.person}"]
    world.record(restocked(world, "lamp"))
    world.run()
    assert products(world) == ["lamp"]


def test_a_product_is_a_subject_by_its_id(redis: Redis) -> None:
    world = new_world(redis, msgspec.structs.replace(BACK_IN_STOCK, subject=("product",)))
    for name, price in (("Lamp", "1.00"), ("The lamp", "2.00")):
        product = Product("lamp", name=name, price=price)
        world.record(restocked(world, "any", product=product))
    world.run(START + HOUR)
    assert len(world.esp.mails) == 1
    assert world.decisions("ada")[-1]["subject"]["product"] == "lamp"


def test_the_key_of_a_subject_outlives_a_release() -> None:
    # Timers, marks and claims in Redis have it in their names.
    assert subject_key({"product_id": "lamp"}) == "107090b4e25f8d1f"


def test_a_record_keeps_the_fifty_newest_subjects_in_any_order(redis: Redis) -> None:
    fields = []
    for order in (range(60), reversed(range(60))):
        redis.flushdb()
        world = new_world(redis, msgspec.structs.replace(BACK_IN_STOCK, cap=(100, DAY)))
        for number in order:
            world.record(restocked(world, f"p{number}", at=START - MINUTE + number, message_id=f"m{number}"))
        fields.append({field for field in world.state("ada") if field.startswith("s:")})
        timers = [timer for timer, _ in world.due_timers(START + HOUR) if timer.startswith("back_in_stock")]
        assert len(timers) == 50
        world.run(START + HOUR)
        assert sorted(products(world)) == sorted(f"p{number}" for number in range(10, 60))
    assert fields[0] == fields[1]
    assert len(fields[0]) == 50


def test_what_happens_to_a_subject_and_no_mail_asks_for_is_not_kept(redis: Redis) -> None:
    liked = EventType(name="Product Liked", fields={"product_id": "id"}, marks=("liked",))
    world = World(redis, triggers=(BACK_IN_STOCK,), events=(*SUBJECT_EVENTS, liked))
    for name in ("Product Liked", "Product Sold Out"):
        world.record(world.event(name, user="ada", product_id="lamp"))
    subject = subject_key({"product_id": "lamp"})
    assert [field for field in world.state("ada") if field.startswith("s:")] == [f"s:sold_out#{subject}"]


def test_a_displaced_subject_stays_while_another_id_of_the_person_tells_of_it(redis: Redis) -> None:
    world = new_world(redis, msgspec.structs.replace(BACK_IN_STOCK, cap=(100, DAY)))
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    world.record(restocked(world, "p0", user=None, anon="x", email=None, at=START - HOUR))
    world.record(restocked(world, "p0", at=START - HOUR))
    for number in range(1, 61):
        world.record(restocked(world, f"p{number}", at=START - MINUTE + number))
    world.run(START + HOUR)
    assert "p0" in products(world)
    assert len(products(world)) == 51


def test_a_subject_that_a_device_displaces_stays_while_the_user_tells_of_it(redis: Redis) -> None:
    world = new_world(redis, msgspec.structs.replace(BACK_IN_STOCK, cap=(100, DAY)))
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    world.record(restocked(world, "p0", at=START - HOUR))
    world.record(restocked(world, "p0", user=None, anon="x", email=None, at=START - HOUR))
    for number in range(1, 61):
        world.record(restocked(world, f"p{number}", user=None, anon="x", email=None, at=START - MINUTE + number))
    world.run(START + HOUR)
    assert "p0" in products(world)


def test_nothing_of_a_displaced_mail_stays_with_the_person(redis: Redis) -> None:
    world = new_world(redis)
    for number in range(51):
        world.record(restocked(world, f"p{number}", at=START - MINUTE + number))
    fields: Any = redis.hkeys(keys.person("main", world.root("ada")))
    assert not any(subject_key({"product_id": "p0"}).encode() in field for field in fields)


def test_the_trail_says_that_a_waiting_mail_was_displaced(redis: Redis) -> None:
    world = new_world(redis)
    for number in range(51):
        world.record(restocked(world, f"p{number}", at=START - MINUTE + number))
    (newest, *_) = redis.lrange(f"{SHOP}p:{world.root('ada')}:ev", 0, -1)
    assert f"back_in_stock#{subject_key({'product_id': 'p0'})} displaced ".encode() in newest


def test_claims_of_fifty_subjects_are_kept(redis: Redis) -> None:
    world = new_world(redis, msgspec.structs.replace(BACK_IN_STOCK, cap=(100, DAY)))
    world.esp.errors.append(EspError("busy", retry_after_s=7200))
    for number in range(60):
        world.record(restocked(world, f"p{number}", at=world.now))
        world.run(world.now + 12 * MINUTE)
    record: Any = redis.hkeys(keys.person("main", world.root("ada")))
    claims = [field.decode() for field in record if field.startswith(b"c:back_in_stock#")]
    assert len(claims) == 50
    assert f"c:back_in_stock#{subject_key({'product_id': 'p59'})}" in claims


def test_a_mail_about_a_subject_that_an_older_event_proves_wrong_is_contradicted(redis: Redis) -> None:
    world = new_world(redis)
    world.record(restocked(world, "lamp"), restocked(world, "mug"))
    world.run(START + HOUR)
    world.record(world.event("Product Sold Out", user="ada", product_id="lamp", at=START + MINUTE))
    world.run(START + 2 * HOUR)
    contradicted = [entry for entry in world.decisions("ada") if entry["state"] == "contradicted"]
    assert [(entry["reason"], entry["subject"]["product_id"]) for entry in contradicted] == [("sold_out", "lamp")]


def test_a_page_s_words_about_a_subject_are_left_out_of_transactional_mail(redis: Redis) -> None:
    world = new_world(redis, msgspec.structs.replace(BACK_IN_STOCK, kind="transactional"))
    world.record(restocked(world, "lamp", anon="x", at=START - SECOND))
    world.record(restocked(world, "lamp", anon="x", at=START, title="Win now"), trusted=False)
    world.run(START + HOUR)
    assert all("Win now" not in str(message.template_data) for message in world.esp.mails)


def test_a_mark_of_the_person_carries_its_fields_too(redis: Redis) -> None:
    world = new_world(redis)
    world.record(restocked(world, "lamp", product=Product("lamp", name="Lamp")))
    mark = world.person("ada").mark("restocked")
    assert mark
    assert mark.fields == {"title": "Product lamp", "price": "9.90", "product": Product("lamp", name="Lamp")}


@pytest.mark.parametrize("value", ["", None])
def test_an_empty_value_is_no_subject(redis: Redis, value: str | None) -> None:
    world = new_world(redis)
    world.record(restocked(world, value))  # type: ignore[arg-type]
    assert [timer for timer, _ in world.due_timers(START + DAY)] == []

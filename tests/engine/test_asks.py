"""Sources of truth that are asked before a mail is given up on: real HTTP servers, each of their answers at its edge.

Whether a source that hangs holds its neighbours up is in `tests/workers/test_asks_in_lanes.py`.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from catalog import EVENTS
from catalog.triggers.abandoned_cart import ABANDONED_CART
from freshgate import Ask, Fallback, Needs, Segment, Trigger, Withdrawn
from freshgate.errors import CatalogError, SettingsError
from freshgate.events import Product
from freshgate.settings import AskSettings
from tests.engine.subjects import BACK_IN_STOCK, SUBJECT_EVENTS
from tests.engine.test_needs import PING, PINGED, PROFILED
from tests.engine.world import HOUR, MINUTE, SECOND, START, World
from tests.harness.truth_server import Reply, TruthServer
from workers.asker import MAX_FAILURES, Asker

ADA = "ada@example.com"
CITY = Ask(
    name="profile_api", url="https://cdp.example/people/{profile.email}?field=city", timeout="5s", answer="traits.city"
)


@pytest.fixture
def truth() -> Iterator[TruthServer]:
    with TruthServer() as server:
        server.reply = Reply({"traits": {"city": "Graz"}})
        yield server


def new_world(redis: Redis, truth: TruthServer | str, *needs: Needs, base: Trigger = PINGED, **settings: Any) -> World:
    trigger = replace(base, needs=needs)
    url = truth if isinstance(truth, str) else truth.url
    own = {ask.name: AskSettings(base_url=url, **settings) for ask in trigger.asks}
    asker = Asker(redis, trigger.asks, own)
    world = World(redis, (trigger,), events=(*EVENTS, PROFILED, PING, *SUBJECT_EVENTS), oracle=asker)
    world.record(world.event("Identify", user="ada", email=ADA, at=START - 9 * HOUR))
    return world


def need_city(ask: Ask = CITY, **parts: Any) -> Needs:
    return Needs("profile.city", fresh_for="1h", ask=ask, **parts)


def update(world: World, age: int, **traits: str) -> None:
    world.record(world.event("Profile Updated", user="ada", at=world.now - age, **traits))


def ping(world: World, user: str = "ada") -> None:
    world.record(world.event("Pinged", user=user))
    world.run()


def cities(world: World) -> list[str]:
    return [mail.template_data["city"] for mail in world.esp.mails]


def last(world: World) -> dict[str, Any]:
    return world.decisions("ada")[-1]


def test_a_stale_field_is_refreshed_and_what_was_answered_is_on_the_trail(redis: Redis, truth: TruthServer) -> None:
    world = new_world(redis, truth, need_city())
    update(world, HOUR + 1, city="Linz")
    ping(world)
    assert cities(world) == ["Graz"]
    assert truth.paths == ["/people/ada%40example.com?field=city"]
    assert last(world)["needs"] == [["profile.city", "stale", "refreshed", START]]
    assert last(world)["asked"] == [["profile.city", "profile_api", "answered", START, "Graz", 200]]
    assert last(world)["compared"]["profile.city"] == START


def test_the_trail_compares_with_what_was_refreshed_alone(redis: Redis, truth: TruthServer) -> None:
    world = new_world(redis, truth, need_city(), Needs("profile.first_name"))
    update(world, MINUTE, first_name="Ada")
    ping(world)
    assert last(world)["compared"] == {"ping": START, "profile.city": START}


def test_where_the_url_has_nothing_to_ask_for_no_mail_leaves_and_the_trail_says_so(
    redis: Redis, truth: TruthServer
) -> None:
    ask = replace(CITY, url="https://cdp.example/people/{profile.visited}")
    world = new_world(redis, truth, need_city(ask))
    ping(world)
    assert (last(world)["state"], last(world)["reason"]) == ("stale", "profile_city_missing_no_answer")
    assert last(world)["asked"] == [["profile.city", "profile_api", "nothing_to_ask", START, None, None]]
    assert (world.mails(), truth.paths) == ([], [])


def test_whoever_has_a_cart_is_answered_about_other_fields_too(redis: Redis, truth: TruthServer) -> None:
    world = new_world(redis, truth, need_city())
    world.record(world.event("Product Added", user="ada", product=Product("mug", name="Mug")))
    ping(world)
    assert cities(world) == ["Graz"]


def test_what_got_no_answer_is_not_fresh_for_a_fallback_either(redis: Redis, truth: TruthServer) -> None:
    broad = Fallback(template_id="d-broad", needs=(Needs("profile.city", fresh_for="1d"),))
    world = new_world(redis, truth, need_city(otherwise=broad))
    update(world, 30 * HOUR, city="Linz")
    truth.reply = Reply({}, status=404)
    ping(world)
    assert (last(world)["state"], world.mails()) == ("stale", [])


def test_what_was_answered_is_fresh_for_a_fallback_too(redis: Redis, truth: TruthServer) -> None:
    broad = Fallback(template_id="d-broad", needs=(Needs("profile.city"), need_city()))
    named = replace(CITY, name="names", url="https://cdp.example/names/{profile.email}", answer="name")
    world = new_world(redis, truth, need_city(), Needs("profile.first_name", ask=named, otherwise=broad))
    truth.reply = lambda path: Reply({}, status=404) if "names" in path else Reply({"traits": {"city": "Graz"}})
    update(world, 2 * HOUR, city="Linz")
    ping(world)
    assert [(mail.template_id, mail.template_data["city"]) for mail in world.esp.mails] == [("d-broad", "Graz")]
    answers = [need[2:] for need in last(world)["needs"] if need[0] == "profile.city"]
    assert answers == [["refreshed", START]] * 3


def test_a_worker_that_may_ask_nobody_takes_the_source_for_unreachable(redis: Redis) -> None:
    world = World(redis, (replace(PINGED, needs=(need_city(),)),), events=(*EVENTS, PROFILED, PING))
    world.record(world.event("Identify", user="ada", email=ADA, at=START - 9 * HOUR))
    ping(world)
    assert (last(world)["state"], last(world)["asked"][0][2], world.mails()) == ("stale", "unreachable", [])


def test_a_field_that_is_fresh_by_a_millisecond_is_not_asked_for(redis: Redis, truth: TruthServer) -> None:
    world = new_world(redis, truth, need_city())
    update(world, HOUR, city="Linz")
    ping(world)
    assert (cities(world), truth.paths) == (["Linz"], [])


def test_a_field_that_nobody_told_is_asked_for(redis: Redis, truth: TruthServer) -> None:
    world = new_world(redis, truth, Needs("profile.city", ask=CITY))
    ping(world)
    assert (cities(world), last(world)["needs"][0][1:3]) == (["Graz"], ["missing", "refreshed"])


@pytest.mark.parametrize(
    ("reply", "result", "status"),
    [
        (Reply({}, status=500), "refused", 500),
        (Reply({}, status=404), "refused", 404),
        (Reply(b"<html>"), "unreadable", 200),
        (Reply(b'{"traits": {"city": "\xff"}}'), "unreadable", 200),
        (Reply({"traits": {}}), "unreadable", 200),
        (Reply({"traits": {"city": ["Graz"]}}), "wrong_type", 200),
        (Reply({"traits": {"city": ""}}), "wrong_type", 200),
        (Reply({"traits": {"city": True}}), "wrong_type", 200),
        (Reply({"traits": {"city": "x" * 2000}}), "wrong_type", 200),
        (Reply(b"[" * 50_000), "unreadable", 200),
        (Reply(b'{"traits": {"city": "Graz"}}' + b" " * 70_000), "too_large", None),
        (Reply(b'{"traits": {"city": "Graz"}}', headers={"Content-Length": "900"}), "timeout", None),
        (Reply(hangs=True), "timeout", None),
    ],
)
def test_whatever_is_no_answer_leaves_no_mail_and_says_so(
    redis: Redis, truth: TruthServer, reply: Reply, result: str, status: int | None
) -> None:
    truth.reply = reply
    world = new_world(redis, truth, need_city(replace(CITY, timeout=100 if result == "timeout" else 5000)))
    update(world, 2 * HOUR, city="Linz")
    ping(world)
    # On a busy machine its time may be over before the source has it.
    assert len(truth.paths) == 1 or result == "timeout"
    assert cities(world) == []
    assert (last(world)["state"], last(world)["reason"]) == ("stale", "profile_city_stale_no_answer")
    (note,) = last(world)["asked"]
    assert (note[2], note[4], note[5]) == (result, None, status)


@pytest.mark.parametrize(
    ("parts", "sent"),
    [
        ({"default": "somewhere"}, ("d-ping", "somewhere", "sent")),
        ({"otherwise": "leave_out"}, ("d-ping", "", "sent")),
        ({"otherwise": Fallback(template_id="d-broad")}, ("d-broad", "", "fallback_sent")),
    ],
)
def test_without_an_answer_the_mail_is_as_the_need_says(
    redis: Redis, truth: TruthServer, parts: dict[str, Any], sent: tuple[str, str, str]
) -> None:
    truth.reply = Reply({}, status=503)
    world = new_world(redis, truth, need_city(**parts))
    ping(world)
    (mail,) = world.esp.mails
    assert (mail.template_id, mail.template_data["city"], last(world)["state"]) == sent
    assert last(world)["asked"][0][2] == "refused"


def test_nobody_listens_and_no_private_address_is_connected_to(redis: Redis, truth: TruthServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}"
    for url, result in ((closed, "unreachable"), ("https://10.1.2.3", "forbidden"), ("https://[fd00::1]", "forbidden")):
        redis.flushdb()
        world = new_world(redis, url, need_city())
        ping(world)
        assert last(world)["asked"][0][2] == result
    redis.flushdb()
    # The same address where the settings allow its network; nobody is there within the time.
    ask = replace(CITY, timeout=50)
    world = new_world(redis, "https://10.1.2.3", need_city(ask), allow_networks=("10.0.0.0/8",))
    ping(world)
    assert last(world)["asked"][0][2] in ("timeout", "unreachable")


def test_a_redirect_is_not_followed(redis: Redis, truth: TruthServer) -> None:
    with TruthServer() as inner:
        truth.reply = Reply({}, status=302, headers={"Location": f"{inner.url}/secrets"})
        world = new_world(redis, truth, need_city())
        ping(world)
        assert inner.paths == []
    assert last(world)["asked"][0][2::3] == ["refused", 302]


def test_the_secret_goes_to_the_source_and_nowhere_else(
    redis: Redis, truth: TruthServer, capfd: pytest.CaptureFixture[str]
) -> None:
    world = new_world(redis, truth, need_city(), secret="Bearer s3cr3t-value", header="X-Api-Key")
    ping(world)
    truth.reply = Reply({}, status=500)
    for _ in range(MAX_FAILURES + 1):
        world.now += 2 * HOUR
        ping(world)
    assert truth.headers["X-Api-Key"] == "Bearer s3cr3t-value"
    everything = "".join(map(str, capfd.readouterr())) + str(world.decisions("ada"))
    assert "s3cr3t" not in everything
    assert ADA not in "".join(map(str, capfd.readouterr()))


def another_process(world: World, truth: TruthServer, client: Redis | None = None, **settings: Any) -> None:
    """Has another process carry out what is to come."""
    asks = [ask for trigger in world.triggers.values() for ask in trigger.asks]
    own = AskSettings(base_url=truth.url, **settings)
    world.oracle = Asker(client or world.client, asks, {ask.name: own for ask in asks})
    world.courier = world.new_courier()


def test_the_same_is_asked_once_by_all_workers_until_it_is_too_old(redis: Redis, truth: TruthServer) -> None:
    world = new_world(redis, truth, need_city(replace(CITY, url="https://cdp.example/capital")))
    for user in ("ada", "bob"):
        world.record(world.event("Identify", user=user, email=f"{user}@example.com"))
        ping(world, user)
    another_process(world, truth)
    world.now = START + MINUTE
    ping(world)
    assert (cities(world), len(truth.paths)) == (["Graz"] * 3, 1)
    assert last(world)["asked"][0][2:4] == ["cached", START]
    world.now = START + HOUR + 1
    ping(world)
    assert len(truth.paths) == 2


@pytest.mark.parametrize(("age", "requests"), [(HOUR, 1), (HOUR + 1, 2)])
@pytest.mark.parametrize("fresh_for", [None, "365d"])
def test_an_answer_counts_for_an_hour_at_most(
    redis: Redis, truth: TruthServer, fresh_for: str | None, age: int, requests: int
) -> None:
    world = new_world(redis, truth, Needs("profile.city", fresh_for=fresh_for, ask=CITY))
    ping(world)
    world.now += age
    ping(world)
    assert (cities(world), len(truth.paths)) == (["Graz"] * 2, requests)


def test_what_was_asked_before_the_field_was_told_does_not_count(redis: Redis, truth: TruthServer) -> None:
    world = new_world(redis, truth, need_city())
    ping(world)
    world.now = START + 30 * MINUTE
    update(world, 0, city="Linz")
    world.now = START + 3 * HOUR
    truth.reply = Reply({"traits": {"city": "Wien"}})
    ping(world)
    assert (cities(world), len(truth.paths)) == (["Graz", "Wien"], 2)


def test_an_event_while_the_source_is_asked_counts_in_place_of_its_answer(redis: Redis, truth: TruthServer) -> None:
    world = new_world(redis, truth, need_city())
    update(world, 2 * HOUR, city="Linz")

    def answer(path: str) -> Reply:
        update(world, 0, city="Bregenz")
        return Reply({"traits": {"city": "Graz"}})

    truth.reply = answer
    ping(world)
    assert cities(world) == ["Bregenz"]
    assert last(world)["needs"] == [["profile.city", "fresh", "used", START]]


def test_an_unrelated_event_while_it_is_asked_costs_no_second_question(redis: Redis, truth: TruthServer) -> None:
    world = new_world(redis, truth, need_city())

    def answer(path: str) -> Reply:
        update(world, 0, first_name="Ada")
        return Reply({"traits": {"city": "Graz"}})

    truth.reply = answer
    ping(world)
    assert (cities(world), len(truth.paths)) == (["Graz"], 1)
    assert world.esp.mails[0].template_data["first_name"] == "Ada"


def test_an_erasure_while_it_is_asked_leaves_no_mail(redis: Redis, truth: TruthServer) -> None:
    world = new_world(redis, truth, need_city())

    def answer(path: str) -> Reply:
        world.record(world.event("Delete", user="ada", at=START + 1))
        return Reply({"traits": {"city": "Graz"}})

    truth.reply = answer
    ping(world)
    assert world.esp.mails == []


STOCK = Ask(
    name="shop_stock",
    url="https://shop.example/stock/{subject.product_id}",
    timeout="5s",
    answer="level",
    type="number",
)


def sold_out(person: Any, subject: Any) -> Withdrawn | None:
    return Withdrawn("cancelled", "sold_out") if subject.fields.get("stock") == 0 else None


def test_the_answer_may_take_the_mails_reason_away(redis: Redis, truth: TruthServer) -> None:
    need = Needs("subject.stock", fresh_for="5m", ask=STOCK)
    world = new_world(redis, truth, need, base=replace(BACK_IN_STOCK, withdrawn=sold_out))
    truth.reply = lambda path: Reply({"level": 0 if path.endswith("mug") else 3})
    for product_id in ("lamp", "mug"):
        world.record(world.event("Product Restocked", user="ada", product_id=product_id))
    world.run(START + HOUR)
    assert [(mail.template_data["product_id"], mail.template_data["stock"]) for mail in world.esp.mails] == [
        ("lamp", "3")
    ]
    entries = {entry["state"]: entry for entry in world.decisions("ada")}
    assert entries["cancelled"]["reason"] == "sold_out"
    assert entries["sent"]["asked"][0][4] == 3


def test_a_mail_whose_other_field_stays_stale_says_that(redis: Redis, truth: TruthServer) -> None:
    needs = (Needs("subject.stock", fresh_for="5m", ask=STOCK), need_city())
    world = new_world(redis, truth, *needs, base=replace(BACK_IN_STOCK, withdrawn=sold_out))
    truth.reply = Reply({"level": 0})
    world.record(world.event("Product Restocked", user="ada", product_id="mug"))
    world.run(START + HOUR)
    assert (last(world)["state"], len(truth.paths)) == ("stale", 2)


PRICES = Ask(
    name="shop_prices",
    url="https://shop.example/prices?ids={cart}",
    timeout="5s",
    answer=lambda document: {row["id"]: row["price"] for row in document["rows"]},
)


@pytest.mark.parametrize(
    ("rows", "template", "prices"),
    [
        ([{"id": "lamp", "price": 12.5}, {"id": "mug", "price": "3"}], "d-abandoned-cart", ["12.50", "3.00"]),
        ([{"id": "lamp", "price": 12.5}], "d-priceless", [None, None]),
        ([{"id": "lamp", "price": 12.5}, {"id": "mug", "price": -1}], "d-priceless", [None, None]),
        ([{"id": "lamp"}], "d-priceless", [None, None]),
    ],
)
def test_prices_of_a_whole_cart_are_asked_for_at_once_and_count_if_all_are_there(
    redis: Redis, truth: TruthServer, rows: list[dict[str, Any]], template: str, prices: list[str | None]
) -> None:
    otherwise = Fallback(template_id="d-priceless")
    need = Needs("cart.prices", fresh_for="24h", ask=PRICES, otherwise=otherwise)
    world = new_world(redis, truth, need, base=ABANDONED_CART)
    truth.reply = Reply({"rows": rows})
    for product_id, age in (("lamp", 25 * HOUR), ("mug", 0)):
        product = Product(product_id, name=product_id, price="9.00")
        world.record(world.event("Product Added", user="ada", at=START - age, product=product))
    world.run(START + HOUR)
    (mail,) = world.esp.mails
    assert mail.template_id == template
    assert [line.get("price") for line in mail.template_data["products"]] == prices
    assert truth.paths == ["/prices?ids=lamp%2Cmug"]
    answered = "{'lamp': '12.5', 'mug': '3'}"
    assert (last(world)["asked"][0][4] == answered) == (template == "d-abandoned-cart")
    assert (last(world)["asked"][0][2] == "incomplete") == (rows == [{"id": "lamp", "price": 12.5}])


def test_a_product_is_answered_in_full(redis: Redis, truth: TruthServer) -> None:
    ask = Ask(name="shop_product", url="https://shop.example/products/{view.product_id}", timeout="5s")
    need = Needs("view.product", ask=ask, otherwise="leave_out")
    for product, shown in (
        ({"product_id": "mug", "name": "Mug", "price": 9.9, "colour": "red"}, {"product_id": "mug", "name": "Mug"}),
        ({"product_id": "mug", "name": "Mug", "price": 1, "url": "javascript:alert(1)"}, {}),
        ({"product_id": "mug", "name": "Mug", "url": 'https://shop.example/"onclick=alert(1)'}, {}),
        ({"product_id": "mug", "name": "Mug", "image_url": "https://shop.example/\r\nBcc:eve@example.com"}, {}),
        ({"product_id": "mug", "name": "M" * 201}, {}),
        ("mug", {}),
    ):
        redis.flushdb()
        world = new_world(redis, truth, need, base=replace(PINGED, compose=lambda person, _: dict(_view(person))))
        truth.reply = Reply(product)
        world.record(world.event("Product Viewed", user="ada", product=Product("mug")))
        ping(world)
        assert world.esp.mails[0].template_data.items() >= shown.items()
        assert ("name" in world.esp.mails[0].template_data) == bool(shown)


def _view(person: Any) -> Any:
    view = person.mark("view")
    return view.fields if view else {}


@pytest.mark.parametrize("product_id", ["..", ".", "../admin", "a/b?c#d", "a b", "é", "x" * 3000])
def test_no_value_leads_to_another_place_of_the_source(redis: Redis, truth: TruthServer, product_id: str) -> None:
    need = Needs("subject.stock", ask=replace(STOCK, timeout=5000), otherwise="leave_out")
    world = new_world(redis, truth, need, base=BACK_IN_STOCK)
    truth.reply = Reply({"level": 1})
    world.record(world.event("Product Restocked", user="ada", product_id=product_id))
    world.run(START + HOUR)
    assert len(world.esp.mails) == 1
    for path in truth.paths:
        assert path.startswith("/stock/")
        assert path.count("/") == 2
    assert bool(truth.paths) != (product_id in ("..", ".") or len(product_id) > 2000)


def test_several_fields_are_asked_for_at_once_and_a_lost_one_decides(redis: Redis, truth: TruthServer) -> None:
    name = Ask(name="names", url="https://cdp.example/name", answer="name", timeout="5s")
    needs = (need_city(), Needs("profile.first_name", ask=name))
    both = threading.Barrier(2)

    def answer(path: str) -> Reply:
        both.wait(10)
        return Reply({"traits": {"city": "Graz"}, "name": "Ada"})

    truth.reply = answer
    world = new_world(redis, truth, *needs)
    ping(world)
    assert (cities(world), truth.max_in_flight) == (["Graz"], 2)
    truth.reply = lambda path: Reply({}, status=404 if path.startswith("/name") else 200)
    world.now += 2 * HOUR
    ping(world)
    assert len(world.esp.mails) == 1


def test_where_another_field_keeps_the_mail_back_nobody_is_asked(redis: Redis, truth: TruthServer) -> None:
    world = new_world(redis, truth, need_city(), Needs("profile.first_name"))
    ping(world)
    assert (last(world)["reason"], truth.paths) == ("profile_first_name_missing", [])


def test_where_another_field_has_a_fallback_nobody_is_asked(redis: Redis, truth: TruthServer) -> None:
    broad = Fallback(template_id="d-broad")
    world = new_world(redis, truth, need_city(), Needs("profile.first_name", otherwise=broad))
    ping(world)
    assert ([mail.template_id for mail in world.esp.mails], truth.paths) == (["d-broad"], [])


@pytest.mark.parametrize(("status", "templates"), [(200, []), (404, ["d-broad"])])
def test_a_field_with_a_fallback_is_asked_for_though_another_one_keeps_the_mail_back(
    redis: Redis, truth: TruthServer, status: int, templates: list[str]
) -> None:
    truth.reply = Reply({"traits": {"city": "Graz"}}, status=status)
    broad = Fallback(template_id="d-broad")
    world = new_world(redis, truth, Needs("profile.first_name"), need_city(otherwise=broad))
    # What is asked for once more within a moment decides no other way.
    for _ in range(2):
        ping(world)
        world.now += 1
    assert [mail.template_id for mail in world.esp.mails] == templates * 2


@pytest.mark.parametrize(("fresh_for", "city"), [("9h", "Graz"), ("30m", "Graz"), ("29m", "")])
def test_an_answer_for_the_mail_before_it_counts_for_a_fallback_while_it_is_fresh(
    redis: Redis, truth: TruthServer, fresh_for: str, city: str
) -> None:
    asked_cities = []

    def withdrawn(person: Any, subject: Any) -> None:
        asked_cities.append(person.trait("city"))

    broad = Fallback(template_id="d-broad", needs=(Needs("profile.city", fresh_for=fresh_for, otherwise="leave_out"),))
    needs = (need_city(otherwise=broad), Needs("profile.first_name", otherwise=broad))
    world = new_world(redis, truth, *needs, base=replace(PINGED, withdrawn=withdrawn))
    update(world, 2 * HOUR, city="Linz")
    ping(world)
    world.now += HOUR // 2
    ping(world)
    assert [mail.template_id for mail in world.esp.mails] == ["d-broad"] * 2
    assert cities(world) == ["Graz", city]
    # Without an answer in the mail, `withdrawn` is asked about what was told, and no more than that.
    assert (asked_cities[-1], len(truth.paths)) == ("Graz" if city else "Linz", 1)


def test_the_next_fallback_asks_for_itself(redis: Redis, truth: TruthServer) -> None:
    broad = Fallback(template_id="d-broad", needs=(need_city(),))
    world = new_world(redis, truth, Needs("profile.first_name", otherwise=broad))
    ping(world)
    assert [mail.template_id for mail in world.esp.mails] == ["d-broad"]
    assert cities(world) == ["Graz"]


def test_a_placeholder_that_is_fresh_comes_first(redis: Redis, truth: TruthServer) -> None:
    world = new_world(redis, truth, need_city(placeholder="profile.visited"))
    update(world, MINUTE, visited="Enns")
    ping(world)
    assert (cities(world), truth.paths) == (["Enns"], [])


def test_a_host_that_failed_five_times_is_left_alone_and_tried_once_more(redis: Redis, truth: TruthServer) -> None:
    truth.reply = Reply({}, status=500)
    world = new_world(redis, truth, need_city(), breaker_wait=60_000)
    for _ in range(MAX_FAILURES + 3):
        world.now += MINUTE
        ping(world)
    assert len(truth.paths) == MAX_FAILURES
    assert last(world)["asked"][0][2] == "breaker_open"
    # As if its wait were over.
    another_process(world, truth, breaker_wait=1)
    for _ in range(MAX_FAILURES):
        world.now += MINUTE
        ping(world)
    truth.reply = Reply({"traits": {"city": "Graz"}})
    while not cities(world):
        world.now += MINUTE
        ping(world)
    world.now += 2 * HOUR
    ping(world)
    assert cities(world) == ["Graz", "Graz"]


def test_a_source_that_refuses_one_question_is_asked_others(redis: Redis, truth: TruthServer) -> None:
    truth.reply = Reply({}, status=404)
    world = new_world(redis, truth, need_city())
    for _ in range(MAX_FAILURES + 2):
        world.now += MINUTE
        ping(world)
    assert len(truth.paths) == MAX_FAILURES + 2


def test_a_function_that_fails_is_no_answer(redis: Redis, truth: TruthServer) -> None:
    world = new_world(redis, truth, need_city(replace(CITY, answer=lambda document: document["nowhere"])))
    ping(world)
    assert last(world)["asked"][0][2] == "unreadable"


def test_a_kept_connection_that_the_source_closed_is_replaced(redis: Redis, truth: TruthServer) -> None:
    truth.reply = Reply({"traits": {"city": "Graz"}}, headers={"Connection": "close"})
    world = new_world(redis, truth, need_city())
    for _ in range(3):
        world.now += 2 * HOUR
        ping(world)
    assert cities(world) == ["Graz"] * 3


def test_without_redis_for_answers_the_source_is_asked_all_the_same(redis: Redis, truth: TruthServer) -> None:
    dead = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    world = new_world(redis, truth, need_city())
    another_process(world, truth, dead)
    ping(world)
    assert cities(world) == ["Graz"]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"url": "http://shop.example/stock"}, "write https"),
        ({"url": "https://{profile.city}/stock"}, "path or query alone"),
        ({"url": "https://shop.example/{profile.city"}, "path or query alone"),
        ({"url": "https://user:pass@shop.example/"}, "credentials"),
        ({"url": "shop.example/stock"}, "https://"),
        ({"timeout": "300"}, "with its unit"),
        ({"timeout": "6s"}, "out of range"),
        ({"timeout": 0}, "out of range"),
        ({"name": "Shop Stock"}, "small letters"),
        ({"type": "integer"}, "write one of"),
    ],
)
def test_an_ask_that_cannot_work_stops_the_start(parts: dict[str, Any], text: str) -> None:
    with pytest.raises(CatalogError, match=text):
        Ask(**{"name": "shop_stock", "url": "https://shop.example/stock", **parts})


@pytest.mark.parametrize(
    ("field", "parts", "text"),
    [
        ("profile.city", {"critical": False}, "leave `ask` out"),
        ("profile.city", {"fresh_for": "1s"}, "10s"),
        ("profile.email", {}, "nobody can be asked"),
        ("consent", {}, "nobody can be asked"),
        ("cart", {}, "nobody can be asked"),
        ("order.products", {}, "nobody can be asked"),
        ("last_order", {}, "nobody can be asked"),
        (Segment(name="s", value=lambda person: None), {}, "nobody can be asked"),
    ],
)
def test_a_need_that_nobody_can_answer_stops_the_start(field: Any, parts: dict[str, Any], text: str) -> None:
    with pytest.raises(CatalogError, match=text):
        Needs(field, ask=CITY, **parts)
    with pytest.raises(CatalogError, match="ask nobody"):
        Segment(name="s", value=lambda person: None, needs=(Needs("profile.city", ask=CITY),))


def test_a_field_may_be_asked_for_that_has_to_be_ten_seconds_old_at_most_and_another_may_be_younger() -> None:
    assert Needs("profile.city", fresh_for="10s", ask=CITY).fresh_for == 10_000
    assert Needs("profile.city", fresh_for="1s").fresh_for == 1000


def test_a_url_that_leads_nowhere_stops_the_start(redis: Redis) -> None:
    with pytest.raises(SettingsError, match="base_url"):
        Asker(redis, [CITY], {"profile_api": AskSettings(base_url="ftp://shop.example")})


def test_answers_of_a_second_ago_do_not_move_the_clock(redis: Redis, truth: TruthServer) -> None:
    world = new_world(redis, truth, need_city())
    world.now = START + SECOND
    ping(world)
    assert last(world)["asked"][0][3] == START + SECOND

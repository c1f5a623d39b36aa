"""What a session says stands in for what is not known yet: fields that an event lacks, placeholders, first events."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest
from msgspec.structs import replace
from redis import Redis

from catalog import EVENTS
from freshgate import EventType, Needs, PersonView
from freshgate.declare import DAY
from freshgate.events import Event
from tests.engine.test_needs import PINGED
from tests.engine.world import HOUR, MINUTE, START, World

ADA = "ada@example.com"
BROWSED = EventType(name="Browsed", fields={"title": "text", "language": "text"}, profile=("title", "language"))
PING = EventType(name="Pinged", fields={"title": "text"}, marks=("ping",), carries={"ping": ("title",)})
PROFILED = EventType(name="Profile Updated", fields={"locale": "text"}, profile=("locale",))
WINDOW = 30 * MINUTE


def _compose(person: PersonView, _about: Any) -> dict[str, Any]:
    ping = person.mark("ping")
    title = ping.fields.get("title", "") if ping else ""
    return {"title": title, "locale": person.trait("locale") or "", "first_seen": person.first_seen}


def new_world(redis: Redis, *needs: Needs, kind: Any = "marketing") -> World:
    trigger = replace(PINGED, kind=kind, cap=(9, DAY), needs=needs, compose=_compose)
    world = World(redis, (trigger,), events=(*EVENTS, PROFILED, PING, BROWSED))
    world.record(world.event("Identify", user="ada", email=ADA, anon="laptop", at=START - 9 * DAY))
    return world


def ping(world: World, **fields: Any) -> None:
    world.record(world.event("Pinged", user="ada", **fields))
    world.run()


def last(world: World) -> dict[str, Any]:
    """The newest decision that says what became of the needs."""
    return [entry for entry in world.decisions("ada") if "needs" in entry][-1]


TITLE = Needs("ping.title")


@pytest.mark.parametrize("apart", [0, WINDOW, WINDOW + 1, -WINDOW, -WINDOW - 1])
def test_a_field_that_an_event_lacks_is_completed_from_its_session_to_the_millisecond(redis: Redis, apart: int) -> None:
    world = new_world(redis, TITLE)
    world.record(world.event("Browsed", anon="laptop", title="Lamps", at=START - apart))
    ping(world)
    is_same = abs(apart) <= WINDOW
    assert [mail.template_data["title"] for mail in world.esp.mails] == (["Lamps"] if is_same else [])
    result = ["ping.title", "missing", "session", START - apart] if is_same else ["ping.title", "missing", "skip", 0]
    assert last(world)["needs"] == [result]


def test_what_the_event_says_itself_comes_first(redis: Redis) -> None:
    world = new_world(redis, TITLE)
    world.record(world.event("Browsed", anon="laptop", title="Lamps", at=START + MINUTE))
    ping(world, title="Mugs")
    assert world.esp.mails[0].template_data["title"] == "Mugs"
    assert last(world)["needs"] == [["ping.title", "fresh", "used", START]]


@pytest.mark.parametrize("kind", ["marketing", "transactional"])
def test_a_servers_word_comes_first_and_transactional_mail_sees_no_pages(redis: Redis, kind: str) -> None:
    world = new_world(redis, TITLE, kind=kind)
    world.record(world.event("Browsed", anon="laptop", title="Claimed"), trusted=False)
    ping(world)
    assert [mail.template_data["title"] for mail in world.esp.mails] == (["Claimed"] if kind == "marketing" else [])
    world.record(world.event("Browsed", user="ada", title="Lamps", at=START - MINUTE))
    world.now += 1
    ping(world)
    assert world.esp.mails[-1].template_data["title"] == "Lamps"


def test_a_completed_field_is_as_old_as_the_event_that_told_it(redis: Redis) -> None:
    world = new_world(redis, Needs("ping.title", fresh_for="10m", otherwise="leave_out"))
    world.record(world.event("Browsed", user="ada", title="Lamps", at=START - 10 * MINUTE - 1))
    ping(world)
    assert last(world)["needs"] == [["ping.title", "stale", "left_out", START - 10 * MINUTE - 1]]
    assert world.esp.mails[0].template_data["title"] == ""


LOCALE = Needs("profile.locale", fresh_for="365d", placeholder="session.language")


def test_until_the_profile_is_known_the_session_stands_in_and_then_the_profile_takes_over(redis: Redis) -> None:
    world = World(
        redis, (replace(PINGED, needs=(LOCALE,), compose=_compose),), events=(*EVENTS, PROFILED, PING, BROWSED)
    )
    world.record(world.event("Browsed", anon="phone", language="de"))
    world.record(world.event("Pinged", anon="phone"))
    world.run()
    assert world.outcomes(anon="phone") == [("pinged", "parked")]
    world.record(world.event("Identify", user="ada", anon="phone", email=ADA))
    world.run(world.now + MINUTE)
    assert world.esp.mails[-1].template_data["locale"] == "de"
    assert last(world)["needs"] == [["profile.locale", "missing", "placeholder", START]]
    # An older word of the profile is still the profile's.
    world.record(world.event("Profile Updated", user="ada", locale="fr", at=START - 300 * DAY))
    world.now = START + HOUR
    ping(world)
    assert world.esp.mails[-1].template_data["locale"] == "fr"


def test_another_session_stands_in_for_nobody(redis: Redis) -> None:
    world = new_world(redis, LOCALE)
    world.record(world.event("Browsed", user="ada", language="de", at=START - HOUR))
    ping(world)
    assert last(world)["reason"] == "profile_locale_missing"


def test_what_a_device_says_after_it_met_somebody_else_completes_nothing(redis: Redis) -> None:
    world = new_world(redis, TITLE)
    world.record(world.event("Identify", user="bob", anon="laptop", at=START - 2 * MINUTE))
    world.record(world.event("Browsed", anon="laptop", title="Lamps", at=START - MINUTE))
    ping(world)
    assert last(world)["reason"] == "ping_title_missing"


FIRST = Needs("session.first_seen")


def _first_event(redis: Redis, events: Sequence[tuple[str, dict[str, Any]]]) -> int | None:
    redis.flushdb()
    world = World(redis, (replace(PINGED, needs=(FIRST,), compose=_compose),), events=(*EVENTS, PING))
    for name, fields in events:
        world.record(world.event(name, message_id=f"{name}{sorted(fields.items())}", **fields))
    return world.person("ada").first_seen


def test_the_first_event_of_all_ids_is_remembered_in_any_order(redis: Redis) -> None:
    events: list[tuple[str, dict[str, Any]]] = [
        ("Pinged", {"anon": "phone", "at": START - DAY}),
        ("Pinged", {"user": "ada", "at": START}),
        ("Identify", {"user": "ada", "anon": "phone", "at": START - HOUR}),
    ]
    assert {_first_event(redis, order) for order in permutations(events)} == {START - DAY}


def test_after_an_erasure_nobody_knows_the_first_event_in_any_order(redis: Redis) -> None:
    events: list[tuple[str, dict[str, Any]]] = [
        ("Pinged", {"user": "ada", "at": START - DAY}),
        ("Delete", {"user": "ada", "at": START - HOUR}),
        ("Pinged", {"user": "ada", "at": START}),
    ]
    assert {_first_event(redis, order) for order in permutations(events)} == {None}


def test_the_first_event_is_not_kept_where_no_trigger_needs_it(redis: Redis) -> None:
    world = new_world(redis)
    ping(world)
    assert world.person("ada").first_seen is None
    assert not any("first_seen" in field for field in world.person("ada").fields("m:"))


def test_the_first_event_is_a_time_for_mails(redis: Redis) -> None:
    world = new_world(redis, Needs("session.first_seen", fresh_for="30d"))
    event: Event = world.event("Pinged", user="ada")
    world.record(event)
    world.run()
    assert world.esp.mails[0].template_data["first_seen"] == START - 9 * DAY
    assert last(world)["needs"] == [["session.first_seen", "fresh", "used", START - 9 * DAY]]

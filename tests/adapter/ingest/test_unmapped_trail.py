"""An event that no event type reads is on the trail of a person who is known, and changes nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis as redis_client
from redis import Redis

from adapter.commands.operate import why
from adapter.ingest.unmapped import MAX_NOTED, Unmapped
from adapter.sources import SOURCES
from adapter.sources.base import RequestContext
from adapter.sources.unverified import readable
from catalog import EVENTS
from freshgate.events import Ignored, Verdict
from freshgate.settings import Settings, SourceSettings
from freshgate.state import keys
from tests.engine.world import PII_KEY, SECOND, SHOP, START, World

ADA = "ada@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    """A shop that knows Ada and her phone, and Bob's tablet."""
    world = World(redis)
    world.record(world.event("Identify", user="ada", anon="phone", email=ADA))
    world.record(world.event("Page", anon="tablet"))
    return world


def note(world: World, *verdicts: Verdict, trusted: bool = True) -> None:
    Unmapped(world.client).note_on_trails("segment", "main", verdicts, world.now, trusted=trusted)


def trail(world: World, user: str | None = None, anon: str | None = None) -> list[list[Any]]:
    raw: Any = world.client.lrange(f"{keys.person('main', keys.person_id('main', user, anon))}:un", 0, -1)
    return [json.loads(line.split(b"\t", 2)[2]) for line in raw]


def scroll(**ids: Any) -> Ignored:
    return Ignored("track / Scroll", message_id="m-1", **ids)


def test_it_is_on_the_trail_of_the_user_else_of_the_device(world: World) -> None:
    note(world, scroll(user_id="ada", anonymous_id="tablet", occurred_at=START - SECOND))
    note(world, scroll(user_id="nobody", anonymous_id="tablet"), scroll(anonymous_id="phone"))
    entry = ["m-1", "track / Scroll", "segment"]
    assert trail(world, "ada") == [[*entry, START - SECOND, SECOND]]
    assert trail(world, anon="tablet") == trail(world, anon="phone") == [[*entry, START, 0]]


def test_why_prints_it_and_no_mail_comes_of_it(
    world: World, redis_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    note(world, scroll(user_id="ada"), Ignored("track / Quiz", user_id="ada"))
    why.main(Settings(redis_url=redis_server, pii_key=PII_KEY.decode()), "ada")
    printed = capsys.readouterr().out
    assert "event     track / Scroll from segment: unmapped (occurred 2025-10-09 08:53:20.000, id m-1)" in printed
    assert "track / Quiz from segment: unmapped (occurred 2025-10-09 08:53:20.000)" in printed
    assert world.mails() == []


def test_of_whom_nothing_is_known_nothing_is_recorded(world: World, redis: Redis) -> None:
    before = sorted(redis.keys())
    note(world, scroll(user_id="eve", anonymous_id="eves-device"), scroll())
    assert sorted(redis.keys()) == before


def test_twenty_are_kept_and_none_pushes_out_what_decides(world: World, redis: Redis) -> None:
    for number in range(30):
        note(world, Ignored(f"track / {number}", user_id="ada"))
    assert [entry[1] for entry in trail(world, "ada")] == [f"track / {number}" for number in range(29, 9, -1)]
    key = keys.person("main", keys.person_id("main", "ada"))
    assert redis.llen(f"{key}:ev") == 1
    assert 0 < redis.pttl(f"{key}:un") <= redis.pttl(key) + SECOND


def test_of_a_request_with_very_many_the_first_are_noted(world: World) -> None:
    note(world, *[Ignored("track / a", user_id="ada")] * MAX_NOTED, *[Ignored("track / b", user_id="ada")] * 10)
    assert {entry[1] for entry in trail(world, "ada")} == {"track / a"}


def test_a_page_may_name_its_own_device_only(world: World) -> None:
    note(world, scroll(user_id="ada"), scroll(user_id="ada", anonymous_id="tablet"), trusted=False)
    assert trail(world, "ada") == []
    assert len(trail(world, anon="tablet")) == 1


def test_an_erasure_takes_it_along_and_older_events_do_not_bring_it_back(world: World, redis: Redis) -> None:
    note(world, scroll(user_id="ada"))
    world.record(world.event("Delete", user="ada", at=START + SECOND))
    assert trail(world, "ada") == []
    world.now = START + 2 * SECOND
    for at in (START, START + SECOND):
        note(world, scroll(user_id="ada", occurred_at=at), scroll(anonymous_id="phone", occurred_at=at))
    assert not redis.exists(f"{SHOP}p:{keys.person_id('main', 'ada')}:un")
    assert trail(world, anon="phone") == []
    note(world, scroll(user_id="ada", occurred_at=START + 2 * SECOND))
    assert len(trail(world, "ada")) == 1


def test_an_erasure_holds_for_a_device_whose_person_has_expired(world: World, redis: Redis) -> None:
    world.record(world.event("Delete", user="ada", at=START + SECOND))
    redis.delete(keys.person("main", world.root("ada")))
    note(world, scroll(anonymous_id="phone", occurred_at=START + SECOND))
    assert trail(world, anon="phone") == []


def test_an_erasure_holds_from_its_begin(world: World, redis: Redis) -> None:
    # So it stands where a person has so many records that the phone's is emptied by a later call.
    redis.hset(keys.person("main", world.root("ada")), "asked", START)
    note(world, scroll(anonymous_id="phone", occurred_at=START))
    assert trail(world, anon="phone") == []


def test_it_goes_with_its_person(world: World, redis: Redis) -> None:
    key = keys.person("main", keys.person_id("main", "ada"))
    redis.pexpire(key, 60_000)
    note(world, scroll(user_id="ada"))
    assert 0 < redis.pttl(f"{key}:un") <= 60_000


def test_a_redis_that_is_gone_fails_no_request() -> None:
    gone = redis_client.Redis(host="127.0.0.1", port=1)
    Unmapped(gone).note_on_trails("segment", "main", [scroll(user_id="ada")], START, trusted=True)


SEGMENT_TRACK = {
    "type": "track",
    "event": "Scroll",
    "userId": " ada ",
    "anonymousId": "phone",
    "messageId": "m-1",
    "timestamp": "2025-10-09T08:53:19Z",
}
MPARTICLE = {
    "mpid": "phone",
    "user_identities": [{"identity_type": "customer_id", "identity": "ada"}],
    "events": [
        {
            "event_type": "custom_event",
            "data": {"event_name": "Scroll", "event_id": "m-1", "timestamp_unixtime_ms": START - SECOND},
        }
    ],
}
TEALIUM = {
    "tealium_event": "scroll",
    "customer_id": "ada",
    "tealium_visitor_id": "phone",
    "tealium_timestamp_epoch": (START - SECOND) // 1000,
}
CUSTOMERIO = {
    "metric": "attempted",
    "event_id": "m-1",
    "timestamp": (START - SECOND) // 1000,
    "data": {"customer_id": "ada"},
}


@pytest.mark.parametrize(
    ("kind", "payload", "anonymous_id", "message_id"),
    [
        ("segment", SEGMENT_TRACK, "phone", "m-1"),
        ("segment", {**SEGMENT_TRACK, "type": "unheard"}, "phone", "m-1"),
        ("rudderstack", SEGMENT_TRACK, "phone", "m-1"),
        ("mparticle", MPARTICLE, "phone", "m-1"),
        ("tealium", TEALIUM, "phone", ""),
        ("customerio_reporting", CUSTOMERIO, None, "m-1"),
    ],
)
def test_each_source_says_who_and_when(
    kind: str, payload: dict[str, Any], anonymous_id: str | None, message_id: str
) -> None:
    source = SOURCES[kind].configure("test", readable(SourceSettings(kind=kind)), EVENTS)
    verdicts = source.read(json.dumps(payload).encode(), START, RequestContext())
    (ignored,) = [verdict for verdict in verdicts if isinstance(verdict, Ignored)]
    assert (ignored.user_id, ignored.anonymous_id, ignored.message_id) == ("ada", anonymous_id, message_id)
    assert ignored.occurred_at == START - SECOND

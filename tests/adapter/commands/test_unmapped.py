"""Unmapped events: the receiver notes each name once a minute, without values, and the command lists them.

With a real Redis and a source of kind segment.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from adapter.__main__ import main
from adapter.ingest.receive import Receiver, WebhookRequest
from adapter.ingest.unmapped import MAX_NAMES, Unmapped, list_events, shape
from adapter.sources import SOURCES
from catalog import EVENTS, TRIGGERS
from freshgate.events import Ignored
from freshgate.routing import Routes
from freshgate.settings import SourceSettings
from freshgate.state import keys
from freshgate.state.planner import Planner
from freshgate.state.store import load

NOW = 1_790_000_040_000
TOKEN = {"X-Freshgate-Token": "t"}
ELEMENT = {
    "type": "track",
    "event": "Plan Chosen",
    "userId": "ada",
    "context": {"traits": {"email": "ada@example.com"}},
    "properties": {"plan": "Gold", "price": 9.9, "trial": True, "coupon": None, "lines": [{"sku": "s-1"}]},
}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def unmapped(redis: Redis) -> Unmapped:
    load(redis)
    return Unmapped(redis, Clock())


def receive(redis: Redis, *elements: Any) -> Any:
    load(redis)
    source = SOURCES["segment"].configure("shop", SourceSettings(kind="segment", tokens=("t",)), EVENTS)
    receiver = Receiver(redis, Planner(EVENTS, TRIGGERS, b"key"), Routes(["test"]))
    return receiver.receive(source, WebhookRequest(json.dumps(elements).encode(), TOKEN, NOW))


def test_what_the_receiver_ignored_is_listed_with_the_shape_of_a_sample(redis: Redis) -> None:
    known = {"type": "track", "event": "Product Viewed", "userId": "ada", "messageId": "m-1"}
    answer = receive(redis, ELEMENT, known, ELEMENT, {"type": "track", "event": "Other"})
    assert (answer.accepted, answer.ignored) == (1, 3)
    first, second = list_events(redis)
    assert (first.name, first.source, first.count, first.last_seen) == ("track / Plan Chosen", "shop", 2, NOW)
    assert first.shape == {
        "type": "text",
        "event": "text",
        "userId": "text",
        "context": {"traits": {"email": "text"}},
        "properties": {
            "plan": "text",
            "price": "number",
            "trial": "flag",
            "coupon": "null",
            "lines": [{"sku": "text"}],
        },
    }
    assert second.name == "track / Other"


def test_no_value_of_the_element_reaches_redis(redis: Redis) -> None:
    receive(redis, ELEMENT)
    fields: Any = redis.hgetall(keys.UNMAPPED)
    stored = b" ".join(part for pair in fields.items() for part in pair)
    assert b"Plan Chosen" in stored
    for value in (b"ada", b"example.com", b"Gold", b"9.9", b"s-1"):
        assert value not in stored


@pytest.mark.parametrize(
    "key",
    ["ada@example.com", "x" * 41, "49170123456", "0f8fad5b-d9cb-469f-a165-70867728950e", "a\nb", "", "no 12345"],
)
def test_keys_that_look_like_data_are_masked(key: str) -> None:
    assert shape({key: 1, "plan": 2}) == {"…": "number", "plan": "number"}


@pytest.mark.parametrize("key", ["plan", "$email", "Plan Name", "custom.attr-1", "utm_source", "checkout:step"])
def test_keys_that_look_like_names_are_kept(key: str) -> None:
    assert shape({key: []}) == {key: []}


def test_addresses_and_numbers_in_a_name_are_masked(redis: Redis, unmapped: Unmapped) -> None:
    unmapped.note("shop", [Ignored("Viewed by ada@example.com of order 4711002")], NOW)
    assert [event.name for event in list_events(redis)] == ["Viewed by … of order …"]


def test_a_name_is_written_once_a_minute_and_nothing_of_its_count_is_lost(redis: Redis, unmapped: Unmapped) -> None:
    def count() -> int:
        return list_events(redis)[0].count

    unmapped.note("shop", [Ignored("A")], NOW)
    unmapped.note("shop", [Ignored("A")] * 5, NOW)
    unmapped._clock_s.now += 59  # type: ignore[attr-defined]  # the test's own clock
    unmapped.note("shop", [Ignored("A")], NOW)
    assert count() == 1
    unmapped._clock_s.now += 1  # type: ignore[attr-defined]  # the test's own clock
    unmapped.note("shop", [Ignored("A")], NOW + 60_000)
    assert count() == 8
    assert list_events(redis)[0].last_seen == NOW + 60_000


def test_two_processes_count_together(redis: Redis, unmapped: Unmapped) -> None:
    unmapped.note("shop", [Ignored("A", lambda: {"a": 1})], NOW)
    Unmapped(redis, Clock()).note("shop", [Ignored("A")], NOW + 1)
    (event,) = list_events(redis)
    assert (event.count, event.shape) == (2, {"a": "number"})


def test_a_flood_of_names_is_capped_and_what_was_not_seen_for_a_day_makes_room(redis: Redis) -> None:
    load(redis)
    for batch in range(3):
        flood = [Ignored(f"Name {chr(97 + batch)}{chr(97 + n % 26)}{chr(97 + n // 26)}") for n in range(300)]
        Unmapped(redis, Clock()).note("shop", flood, NOW)
    assert redis.hlen(keys.UNMAPPED) == MAX_NAMES
    Unmapped(redis, Clock()).note("shop", [Ignored("New"), Ignored("Name aaa")], NOW + 1000)
    assert "New" not in {event.name for event in list_events(redis)}
    first = list_events(redis)[0]
    assert (first.name, first.count, first.last_seen) == ("Name aaa", 2, NOW + 1000), "what is known still counts"
    Unmapped(redis, Clock()).note("shop", [Ignored("New")], NOW + 86_400_000)
    assert len(list_events(redis)) == MAX_NAMES
    Unmapped(redis, Clock()).note("shop", [Ignored("New")], NOW + 86_400_001)
    assert [event.name for event in list_events(redis)] == ["Name aaa", "New"]


def test_one_process_remembers_no_more_names_than_are_kept(redis: Redis, unmapped: Unmapped) -> None:
    for number in range(MAX_NAMES + 50):
        unmapped.note("shop", [Ignored(f"N{number // 26}{chr(97 + number % 26)}")], NOW)
    assert len(unmapped._counts) == MAX_NAMES


def test_a_sample_that_cannot_be_read_costs_the_shape_only(redis: Redis, unmapped: Unmapped) -> None:
    def broken() -> Any:
        raise ZeroDivisionError

    unmapped.note("shop", [Ignored("A", broken)], NOW)
    assert (list_events(redis)[0].name, list_events(redis)[0].shape) == ("A", None)


def test_a_sample_too_large_is_cut_not_dropped(redis: Redis, unmapped: Unmapped) -> None:
    def member(name: str) -> dict[str, Any]:
        return {f"{name}_{chr(97 + n % 26)}{chr(97 + n // 26)}": {"inner": "x"} for n in range(60)}

    unmapped.note("shop", [Ignored("A", lambda: {f"m{chr(97 + n)}": member("long_name") for n in range(20)})], NOW)
    assert list_events(redis)[0].shape == {f"m{chr(97 + n)}": "object" for n in range(20)}


def test_without_redis_nothing_is_raised() -> None:
    Unmapped(Redis(port=1), Clock()).note("shop", [Ignored("A")], NOW)


def test_the_command_lists_and_forgets(
    redis: Redis, redis_server: str, workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRESHGATE_REDIS_URL", redis_server)
    monkeypatch.setenv("FRESHGATE_SOURCES__SHOP__KIND", "segment")
    receive(redis, ELEMENT)
    assert main(["unmapped"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("track / Plan Chosen   shop, 1 times, last at 2026-09-21 14:14:00 UTC\n")
    assert '"price": "number"' in text
    assert "freshgate new event 'Plan Chosen' --from segment" in text
    assert main(["unmapped", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "track / Plan Chosen"
    assert main(["unmapped", "--forget"]) == 0
    assert main(["unmapped"]) == 0
    assert "nothing" in capsys.readouterr().err

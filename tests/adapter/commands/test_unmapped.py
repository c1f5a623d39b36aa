"""Unmapped events: the receiver notes each name once a minute, without values, and the command lists them.

With a real Redis and a source of kind segment.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from adapter.__main__ import main
from adapter.commands.develop.spellings import command_for, example_payload, example_when, names, parse_when
from adapter.ingest.receive import Receiver, WebhookRequest
from adapter.ingest.unmapped import MAX_NAMES, Unmapped, list_events, shape
from adapter.sources import SOURCES
from adapter.sources.base import RequestContext
from adapter.sources.unverified import readable
from catalog import EVENTS, TRIGGERS
from freshgate.declare import EventType, From
from freshgate.events import Event, Ignored
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
    receiver = Receiver(redis, Planner(EVENTS, TRIGGERS, b"key"), "test")
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
    for batch in range(4):
        flood = [Ignored(f"Name {chr(97 + batch)}{chr(97 + n % 26)}{chr(97 + n // 26)}") for n in range(250)]
        Unmapped(redis, Clock()).note("shop", flood, NOW)
    assert redis.hlen(keys.UNMAPPED) == MAX_NAMES
    Unmapped(redis, Clock()).note("shop", [Ignored("New")], NOW + 1000)
    assert "New" not in {event.name for event in list_events(redis)}
    Unmapped(redis, Clock()).note("shop", [Ignored("New")], NOW + 86_400_001)
    assert [event.name for event in list_events(redis)] == ["New"]


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


# ---- the command that is printed


def mparticle(event_type: str, **data: Any) -> dict[str, Any]:
    return {"mpid": "7", "events": [{"event_type": event_type, "data": data}]}


UNMAPPED = {
    "a track of Segment": ("segment", {"type": "track", "event": "Quiz Answered", "userId": "u"}),
    "a track with a name in small letters": ("segment", {"type": "track", "event": "quiz_answered", "userId": "u"}),
    "a call that is no track": ("segment", {"type": "video", "userId": "u"}),
    "a kind that reads Segment's spelling": ("rudderstack", {"type": "video", "userId": "u"}),
    "a custom event of mParticle": ("mparticle", mparticle("custom_event", event_name="Lamp Lit")),
    "a session": ("mparticle", mparticle("session_start")),
    "an action of commerce": ("mparticle", mparticle("commerce_event", product_action={"action": "rent"})),
    "an opt-out that is taken back": ("mparticle", mparticle("opt_out", is_opted_out=False)),
    "an event of Tealium": ("tealium", {"tealium_event": "custom_click", "customer_id": "u"}),
    "an event of Tealium with blanks": ("tealium", {"tealium_event": "Quiz  Answered", "customer_id": "u"}),
    "a metric of Customer.io": (
        "customerio_reporting",
        {"object_type": "push", "metric": "sent", "timestamp": 1789999997, "data": {"customer_id": "u"}},
    ),
}


@pytest.mark.parametrize("case", UNMAPPED)
def test_the_command_that_is_printed_adds_an_event_type_that_reads_the_event(case: str) -> None:
    kind, payload = UNMAPPED[case]
    settings, body = readable(SourceSettings(kind=kind)), json.dumps(payload).encode()
    (ignored,) = SOURCES[kind].configure("shop", settings, EVENTS).read(body, NOW)
    assert isinstance(ignored, Ignored)
    _program, _new, _event, name, _from, printed_kind, *whens = shlex.split(command_for(ignored.what, kind, ()))
    spelled = SOURCES[printed_kind].spelling
    when = parse_when([word for word in whens if word != "--when"]) or example_when(spelled, names(name))
    added = EventType(name=name, sources={spelled: From(when=when)})
    source = SOURCES[kind].configure("shop", settings, [*EVENTS, added])
    # What `new` writes as its example is read, too; but an opt-out is one unless it says otherwise.
    examples = [] if "opt-out" in case else [example_payload(spelled, names(name), when).encode()]
    for written in (body, *examples):
        verdict = source.read(written, NOW)[0]
        assert isinstance(verdict, Event), written
        assert verdict.name == name


@pytest.mark.parametrize(
    ("name", "kind", "line"),
    [
        ("track / Quiz Answered", "segment", "freshgate new event 'Quiz Answered' --from segment"),
        ("session_start", "mparticle", "new event 'Session Start' --from mparticle --when event_type=session_start"),
        (
            "audience vip joined",
            "tealium",
            'write into an event type: "tealium": From(when={"audience": "vip", "turn": "joined"})',
        ),
        ("visitor / nothing told", "tealium", "it says nothing that an event type could be about"),
        ("track / Viewed by …", "segment", "its name holds an address or a number, so it differs each time"),
        (
            "custom_event / Order Completed",
            "mparticle",
            'Order Completed has an event type; write there: "mparticle": From(when={"event_type": "custom_event"',
        ),
        ("track / …", "gone", "it says nothing"),
        (f"track / {'long ' * 20}", "segment", "freshgate new event NAME --from segment --when type=track --when"),
    ],
)
def test_the_line_says_what_to_do(name: str, kind: str, line: str) -> None:
    assert line in command_for(name, kind, ("Order Completed",))


def test_an_audiences_line_is_the_when_that_matches_it() -> None:
    body, context = b'{"tealium_visitor_id":"v"}', RequestContext(audience="vip", turn="joined")
    settings = readable(SourceSettings(kind="tealium"))
    (ignored, *_) = SOURCES["tealium"].configure("shop", settings, EVENTS).read(body, NOW, context)
    assert isinstance(ignored, Ignored)
    joined = EventType(name="Joined", sources={"tealium": From(when=SOURCES["tealium"].spell(ignored.what) or {})})
    (verdict, *_) = SOURCES["tealium"].configure("shop", settings, [joined]).read(body, NOW, context)
    assert isinstance(verdict, Event)


@pytest.mark.parametrize("text", ["event_type", "=x", "a="])
def test_a_condition_that_is_not_one_is_refused(text: str, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "events").mkdir()
    (workdir / "events" / "__init__.py").write_text("EVENTS = ()\n")
    assert main(["new", "event", "X", "--from", "mparticle", "--when", text, "--catalog", "."]) == 1
    assert "--when: write PATH=TEXT" in capsys.readouterr().err


def test_a_condition_is_one_cdps(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "events").mkdir()
    (workdir / "events" / "__init__.py").write_text("EVENTS = ()\n")
    assert main(["new", "event", "X", "--from", "segment,tealium", "--when", "a=b", "--catalog", "."]) == 1
    assert "name that kind alone with --from" in capsys.readouterr().err


def test_an_audience_gets_no_pair_since_no_body_names_it(workdir: Path) -> None:
    table = workdir / "shop" / "events" / "__init__.py"
    table.parent.mkdir(parents=True)
    table.write_text("EVENTS = ()\n")
    whens = ("--when", "audience=vip", "--when", "turn=joined")
    assert main(["new", "event", "Joined Vip", "--from", "tealium", *whens, "--catalog", "shop"]) == 0
    assert 'when={"audience": "vip", "turn": "joined"}' in (table.parent / "joined_vip.py").read_text()
    assert not (workdir / "payloads").exists()

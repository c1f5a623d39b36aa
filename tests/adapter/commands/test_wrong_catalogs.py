"""`python -m adapter check` on wrong catalogs: each mistake is one line with file, line and what to write instead.

Each catalog is a sound one with one mistake that a newcomer makes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from adapter.commands.develop.check import find_faults
from freshgate.settings import Settings

SOUND = '''"""A shop with one event type and one trigger."""
import time
from datetime import date, datetime
from decimal import Decimal
from freshgate import DAY, EventType, From, Trigger, Withdrawn

RENEWED = EventType(
    name="Renewed",
    fields={"plan": "text", "total": "money", "lines": "products"},
    sources={
        "segment": From(
            when={"type": "track", "event": "Renewed"},
            paths={"plan": "properties.plan", "total": "properties.total", "lines": "properties.lines"},
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Renewed"},
            paths={"plan": "data.custom_attributes.plan"},
        ),
    },
    marks=("renewed",),
    profile=("plan",),
)


def is_news(event):
    return event.name == "Renewed"


def withdrawn(person, order):
    renewed = person.mark("renewed")
    return None


def compose(person, order):
    return {"plan": person.trait("plan") or ""}


THANKS = Trigger(
    name="thanks",
    on=("Renewed",),
    about="renewed",
    version="renewed",
    kind="marketing",
    cap="1/24h",
    max_age="24h",
    template_id="d-thanks",
    starts=is_news,
    withdrawn=withdrawn,
    compose=compose,
)
EVENTS = (RENEWED,)
TRIGGERS = (THANKS,)
'''
SECOND_TYPE = """PAID = EventType(
    name="Paid",
    fields={"plan": "text"},
    sources={"segment": From(when={"type": "track", "event": "Paid"}, paths={"plan": "properties.plan"})},
    profile=("plan",),
)
EVENTS = (RENEWED, PAID)
"""

Check = Callable[..., list[str]]


@pytest.fixture
def check(workdir: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Check:
    """The faults, as `shop.py:line: text`, of the sound catalog in which `old` is replaced by `new`."""
    monkeypatch.syspath_prepend(str(workdir))
    # A name of its own, since a module stays imported.
    name = "shop" + "".join(filter(str.isalnum, request.node.name.lower()))[:80]

    def call(old: str = "", new: str = "") -> list[str]:
        assert old in SOUND
        (workdir / f"{name}.py").write_text(SOUND.replace(old, new, 1))
        faults = find_faults(name, Settings(catalog=name))
        return [f"{fault.place}: {fault.text}".replace(name, "shop") for fault in faults]

    return call


def test_the_catalog_without_a_mistake_has_no_fault(check: Check) -> None:
    assert check() == []


MISTAKES = {
    "withdrawn returns True": (
        "    return None",
        "    return True",
        "shop.py:29: trigger thanks: withdrawn returns True; write None, or Withdrawn(",
    ),
    "an unknown outcome": (
        "    return None",
        '    return Withdrawn("canceled", "renewed")',
        "shop.py:31: trigger thanks: withdrawn fails where everything is known: CatalogError: no outcome 'canceled' "
        "for Withdrawn; write cancelled or superseded or rejected",
    ),
    "a reason that is a sentence": (
        "    return None",
        '    return Withdrawn("cancelled", f"renewed at {renewed.at}")',
        "shop.py:29: trigger thanks: withdrawn returns the reason 'renewed at 1790000000000', which is not a word",
    ),
    "a mark where its time belongs": (
        "    return None",
        '    return Withdrawn("cancelled", "renewed", {"renewed": renewed})',
        "as what it compared; write times by name",
    ),
    "compose returns nothing": (
        '    return {"plan": person.trait("plan") or ""}',
        '    {"plan": person.trait("plan") or ""}',
        "shop.py:34: trigger thanks: compose returns None; write a dict of the template's data",
    ),
    "an amount that is not JSON": (
        '{"plan": person.trait("plan") or ""}',
        '{"plan": person.trait("plan"), "total": Decimal("9.90")}',
        "shop.py:34: trigger thanks: compose returns 'total' as Decimal, which is not JSON; write texts",
    ),
    "compose fails on a product without a price": (
        '{"plan": person.trait("plan") or ""}',
        '{"total": str(sum(Decimal(line.product.price) for line in person.cart))}',
        "shop.py:35: trigger thanks: compose fails where products have an id alone: InvalidOperation",
    ),
    "starts returns a value instead of a flag": (
        'return event.name == "Renewed"',
        'return event.fields.get("plan")',
        "shop.py:25: trigger thanks: starts returns 'a value'; write True or False",
    ),
    "starts fails without a field": (
        'return event.name == "Renewed"',
        'return event.fields["plan"] == "Gold"',
        "shop.py:26: trigger thanks: starts fails where Renewed has no field: KeyError: 'plan'",
    ),
    "compose reads the clock": (
        '{"plan": person.trait("plan") or ""}',
        '{"year": date.today().year}',
        "shop.py:35: trigger thanks: compose calls date.today; it may read only the state",
    ),
    "withdrawn reads the clock in a branch": (
        "    return None",
        '    return Withdrawn("cancelled", "old") if renewed and renewed.at < 0 and time.time() else None',
        "shop.py:31: trigger thanks: withdrawn calls time.time; it may read only the state",
    ),
    "compose reads the clock through a helper": (
        "def compose(person, order):\n    return {",
        "def now():\n    return [datetime.now() for _ in 'a'][0]\n\n\n"
        "def compose(person, order):\n    now()\n    return {",
        "shop.py:35: trigger thanks: compose calls datetime.now; it may read only the state",
    ),
    "compose imports chance": (
        "def compose(person, order):\n",
        "def compose(person, order):\n    from random import choice\n    choice('ab')\n",
        "shop.py:35: trigger thanks: compose calls random.choice; it may read only the state",
    ),
    "max_age in seconds": (
        'max_age="24h"',
        "max_age=86400",
        'shop.py:45: trigger thanks: max_age is 86400 ms (86.4 s); write what is meant, such as max_age="1d"',
    ),
    "max_age in hours": (
        'max_age="24h"',
        "max_age=24",
        'shop.py:45: trigger thanks: max_age is 24 ms (0.024 s); write what is meant, such as max_age="24m"',
    ),
    "delay in minutes": (
        'max_age="24h"',
        'max_age="24h", delay=30',
        'shop.py:45: trigger thanks: delay is 30 ms (0.03 s); write what is meant, such as delay="30m"',
    ),
    "delay in seconds": (
        'max_age="24h"',
        'max_age="24h", delay=1800',
        "shop.py:45: trigger thanks: delay is 1800 ms (1.8 s); write what is meant",
    ),
    "a delay longer than anything is known": (
        'max_age="24h"',
        'max_age="300d", delay="200d"',
        "shop.py:45: trigger thanks: its delay is 200d, but what is known of a person is kept for 180d",
    ),
    "a cap's window in hours": (
        'cap="1/24h"',
        "cap=(1, 24)",
        "shop.py:44: trigger thanks: cap is 24 ms (0.024 s); write what is meant",
    ),
    "a duration that is not one": (
        'max_age="24h"',
        'max_age="24 hours"',
        "shop.py:38: cannot be imported: CatalogError: trigger thanks: max_age is '24 hours'; write it like \"30m\"",
    ),
    "a fraction of a duration": (
        'max_age="24h"',
        "max_age=1.5 * DAY",
        'shop.py:45: trigger thanks: max_age is 129600000.0; write a duration, such as max_age="30m"',
    ),
    "marketing without a cap": (
        '    cap="1/24h",\n',
        "",
        'shop.py:43: trigger thanks: marketing without a cap: write how many a person gets, such as cap="1/24h"',
    ),
    "an unknown kind of mail": (
        'kind="marketing"',
        'kind="promotional"',
        "shop.py:43: trigger thanks: kind is 'promotional'; write transactional or marketing",
    ),
    "a text where a tuple belongs": (
        'on=("Renewed",)',
        'on="Renewed"',
        "shop.py:40: trigger thanks: on is 'Renewed'; write a tuple: on=(\"Renewed\",)",
    ),
    "a trait list that is a text": (
        'profile=("plan",)',
        'profile="plan"',
        "shop.py:21: Renewed: profile is 'plan'; write a tuple: profile=(\"plan\",)",
    ),
    "an unknown effect on the cart": (
        'profile=("plan",)',
        'profile=("plan",), cart="empty"',
        "shop.py:21: Renewed: cart is 'empty'; write add or remove or snapshot or clear",
    ),
    "a type that Segment does not send": (
        '{"type": "track", "event": "Renewed"}',
        '{"type": "tracks", "event": "Renewed"}',
        "shop.py:12: Renewed from segment: `when` can never match: segment sends no type 'tracks'; is 'track' meant?",
    ),
    "an event name of a page": (
        '{"type": "track", "event": "Renewed"}',
        '{"type": "page", "event": "Renewed"}',
        "shop.py:12: Renewed from segment: `when` can never match: 'event' stands beside type track, not 'page'",
    ),
    "a name of a screen view": (
        '"event_type": "custom_event"',
        '"event_type": "screen_view"',
        "shop.py:16: Renewed from mparticle: `when` can never match: 'data.event_name' stands beside event_type "
        "custom_event, not 'screen_view'",
    ),
    "a flag in `when`": (
        '"data.event_name": "Renewed"',
        '"data.event_name": "Renewed", "data.is_new": True',
        "shop.py:16: Renewed from mparticle: `when` compares 'data.is_new' with True, which is not a text",
    ),
    "a member that mParticle's elements do not have": (
        '"data.event_name"',
        '"event_name"',
        "shop.py:16: Renewed from mparticle: `when` looks at 'event_name', which no element has; is event_type meant?",
    ),
    "a name with a blank": (
        '"event": "Renewed"}',
        '"event": "Renewed "}',
        "shop.py:12: Renewed from segment: `when` has blanks around 'Renewed '; write 'Renewed'",
    ),
    "no name at all": (
        '"event": "Renewed"}',
        '"event": ()}',
        "shop.py:12: Renewed from segment: `when` names no text for 'event', so it can never match",
    ),
    "the paths are a list": (
        '"plan": "data.custom_attributes.plan"',
        '"plan": ["data.custom_attributes.plan", "data.plan"]',
        "shop.py:17: Renewed from mparticle: the path of 'plan' is ['data.custom_attributes.plan', 'data.plan']; write",
    ),
    "a spelling without From": (
        'From(\n            when={"event_type": "custom_event", "data.event_name": "Renewed"},\n            paths=',
        'dict(\n            when={"event_type": "custom_event", "data.event_name": "Renewed"},\n            paths=',
        "shop.py:15: Renewed from mparticle: {'when': {'event_type': 'custom_event'",
    ),
    "fields as a list": (
        'fields={"plan": "text", "total": "money", "lines": "products"}',
        'fields=["plan", "total"]',
        "shop.py:9: Renewed: fields is ['plan', 'total']; write a dict of texts: fields={…}",
    ),
    "a type that is a list": (
        'fields={"plan": "text",',
        'fields={"plan": ["text"],',
        "shop.py:9: Renewed: fields is {'plan': ['text'],",
    ),
    "a function that is called": (
        "withdrawn=withdrawn,",
        "withdrawn=None,",
        "shop.py:48: trigger thanks: withdrawn is None; it must be set",
    ),
    "the result of a function": (
        "compose=compose,",
        "compose={},",
        "shop.py:49: trigger thanks: compose is {}; write the function itself, without calling it",
    ),
    "a function with too few arguments": (
        "def compose(person, order):",
        "def compose(person):",
        "shop.py:34: trigger thanks: compose fails where everything is known: TypeError",
    ),
    "a coroutine": (
        "def compose(person, order):",
        "async def compose(person, order):",
        "shop.py:34: trigger thanks: compose returns <coroutine object compose",
    ),
    "profile keeps a list": (
        'profile=("plan",)',
        'profile=("plan", "lines")',
        "shop.py:21: Renewed: profile keeps 'lines', which holds products; a trait is one text",
    ),
    "two types keep one trait": (
        "EVENTS = (RENEWED,)\n",
        SECOND_TYPE,
        "shop.py:55: Paid: profile keeps 'plan', which Renewed keeps too; rename it, or write shares=(\"plan\",)",
    ),
    "a trigger in no table": (
        "TRIGGERS = (THANKS,)",
        "TRIGGERS = ()",
        "shop.py:38: trigger 'thanks' stands in no table, so it does nothing; import it and add THANKS to TRIGGERS",
    ),
    "an event type in no table": (
        "EVENTS = (RENEWED,)\n",
        SECOND_TYPE.replace("(RENEWED, PAID)", "(RENEWED,)"),
        "shop.py:51: event type 'Paid' stands in no table",
    ),
    "a module in a table": (
        "TRIGGERS = (THANKS,)",
        "TRIGGERS = (THANKS, time)",
        "shop.py:1: TRIGGERS holds module <module 'time' (built-in)>; write the Trigger itself",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_a_line_that_says_where_and_what_to_write(check: Check, mistake: str) -> None:
    old, new, fault = MISTAKES[mistake]
    faults = check(old, new)
    assert any(fault in text for text in faults), faults


def test_a_trait_that_both_types_share_on_purpose_is_no_fault(check: Check) -> None:
    shared = SECOND_TYPE.replace('profile=("plan",),', 'profile=("plan",),\n    shares=("plan",),')
    assert check("EVENTS = (RENEWED,)\n", shared) == []


def test_a_shared_trait_that_is_not_kept_is_a_fault(check: Check) -> None:
    assert check('profile=("plan",)', 'profile=("plan",), shares=("colour",)') == [
        "shop.py:21: Renewed: shares 'colour', which is not in its `profile`; add it there"
    ]


@pytest.mark.parametrize("written", ['"90s"', "90_000", "30 * DAY", '"30d"', "10 * 60 * 1000", "604_800_000"])
def test_a_duration_that_can_be_meant_is_no_fault(check: Check, written: str) -> None:
    assert check('max_age="24h"', f"max_age={written}") == []


@pytest.mark.parametrize(
    "code",
    [
        '{"when": datetime.fromtimestamp(0).isoformat()}',
        '{"when": date(2026, 1, 1).isoformat()}',
        '{"total": str(Decimal("1") + 1)}',
        '{"when": time.strftime("%Y", (2026, 1, 1, 0, 0, 0, 0, 1, 0))}',
    ],
)
def test_a_time_that_is_made_of_the_state_is_no_clock(check: Check, code: str) -> None:
    assert check('{"plan": person.trait("plan") or ""}', code) == []


# ---- payload pairs

PAYLOAD = {
    "type": "track",
    "event": "Renewed",
    "messageId": "m-1",
    "userId": "u-1",
    "timestamp": "2026-09-21T14:13:17.842Z",
    "properties": {"plan": "Gold", "total": 9.9},
}
EXPECTED = {
    "verdict": "event",
    "name": "Renewed",
    "message_id": "m-1",
    "occurred_at": 1789999997842,
    "user_id": "u-1",
    "anonymous_id": None,
    "previous_id": None,
    "email": None,
    "fields": {"plan": "Gold", "total": {"money": "9.9"}},
    "unreadable": [],
    "clamped": False,
}
MPARTICLE = {
    "mpid": "5",
    "events": [
        {"event_type": "custom_event", "data": {"event_name": "Renewed", "event_id": "e-1", "custom_attributes": {}}}
    ],
}
MPARTICLE_EXPECTED = {
    **EXPECTED,
    "message_id": "e-1",
    "occurred_at": 1790000040000,
    "user_id": None,
    "anonymous_id": "5",
    "fields": {},
}


@pytest.fixture
def pairs(workdir: Path) -> Path:
    """The folder of a pair for each spelling of the sound catalog."""
    folder = workdir / "payloads"
    for kind, body, expected in (("segment", PAYLOAD, EXPECTED), ("mparticle", MPARTICLE, MPARTICLE_EXPECTED)):
        (folder / kind).mkdir(parents=True)
        (folder / kind / "renewed__full.json").write_text(json.dumps(body))
        (folder / kind / "renewed__full.expected.json").write_text(json.dumps(expected, indent=2))
    return folder


def test_pairs_that_are_read_as_expected_have_no_fault(check: Check, pairs: Path) -> None:
    assert check() == []


def test_a_difference_is_a_fault_of_its_line(check: Check, pairs: Path) -> None:
    expected = pairs / "segment" / "renewed__full.expected.json"
    wrong = {**EXPECTED, "fields": {"plan": "Silver", "total": {"money": "9.90"}}, "email": "ada@example.com"}
    del wrong["clamped"]
    expected.write_text(json.dumps(wrong, indent=2))
    head = "payloads/segment/renewed__full.expected.json"
    assert check() == [
        f'{head}:9: Renewed: email is "ada@example.com" here, and is read as null',
        f'{head}:11: Renewed: plan is "Silver" here, and is read as "Gold"',
        f'{head}:12: Renewed: total is {{"money": "9.90"}} here, and is read as {{"money": "9.9"}}',
        f"{head}:1: Renewed: clamped is missing; what is read is false",
    ]


def test_a_field_that_is_not_read_and_one_that_is_not_expected_are_faults(check: Check, pairs: Path) -> None:
    expected = pairs / "segment" / "renewed__full.expected.json"
    expected.write_text(json.dumps({**EXPECTED, "fields": {"plan": "Gold", "colour": "red"}}, indent=2))
    assert [fault.partition(": ")[2] for fault in check()] == [
        'Renewed: total is missing; what is read is {"money": "9.9"}',
        'Renewed: colour is "red" here, and is not read',
    ]


@pytest.mark.parametrize("name", ["segmnt/renewed__full", "segment/deep/renewed__full", "renewed__full"])
def test_an_expected_file_that_nobody_compares_is_a_fault(check: Check, pairs: Path, name: str) -> None:
    (pairs / name).parent.mkdir(exist_ok=True)
    (pairs / f"{name}.json").write_text(json.dumps(PAYLOAD))
    (pairs / f"{name}.expected.json").write_text(json.dumps(EXPECTED))
    (fault,) = check()
    assert fault.startswith(f"payloads/{name}.expected.json:1: nobody compares this file")


def test_another_number_of_verdicts_is_a_fault_with_the_command_that_shows_them(check: Check, pairs: Path) -> None:
    (pairs / "segment" / "renewed__full.expected.json").write_text(json.dumps([EXPECTED, EXPECTED]))
    assert check() == [
        "payloads/segment/renewed__full.expected.json:1: 2 verdicts are expected, and 1 are read; "
        "compare: python -m adapter read payloads/segment/renewed__full.json --source segment"
    ]


def test_a_body_that_is_refused_is_a_fault_of_the_body(check: Check, pairs: Path) -> None:
    (pairs / "segment" / "renewed__full.json").write_text("not json")
    assert check() == ["payloads/segment/renewed__full.json:1: the whole body is refused: not JSON"]


def test_a_file_that_nobody_imports_is_a_fault(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(workdir))
    package = workdir / "unimported" / "triggers"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text(SOUND)
    (package / "__init__.py").write_text("")
    alone = SOUND.partition("THANKS = ")[2].partition("EVENTS = ")[0].replace('name="thanks"', 'name="again"')
    (package / "alone.py").write_text(f"from freshgate import Trigger\n\nALONE = {alone}\n_BASE = {alone}")
    faults = find_faults("unimported", Settings(catalog="unimported"))
    assert [(fault.place, fault.text) for fault in faults] == [
        (
            "unimported/triggers/alone.py:3",
            "trigger 'again' stands in no table, so it does nothing; import it and add ALONE to TRIGGERS, "
            "or call it _ALONE",
        )
    ]

"""`python -m adapter check` on wrong event types and tables: one line with file, line and what to write instead.

Each catalog is the sound one of `shop.py` with one mistake that a newcomer makes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from adapter.commands.develop.check import find_faults
from freshgate.settings import Settings
from tests.adapter.commands.shop import SECOND_TYPE, SOUND, Check

MISTAKES = {
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


def test_the_catalog_without_a_mistake_has_no_fault(check_shop: Check) -> None:
    assert check_shop() == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_a_line_that_says_where_and_what_to_write(check_shop: Check, mistake: str) -> None:
    old, new, fault = MISTAKES[mistake]
    faults = check_shop(old, new)
    assert any(fault in text for text in faults), faults


def test_a_trait_that_both_types_share_on_purpose_is_no_fault(check_shop: Check) -> None:
    shared = SECOND_TYPE.replace('profile=("plan",),', 'profile=("plan",),\n    shares=("plan",),')
    assert check_shop("EVENTS = (RENEWED,)\n", shared) == []


def test_a_shared_trait_that_is_not_kept_is_a_fault(check_shop: Check) -> None:
    assert check_shop('profile=("plan",)', 'profile=("plan",), shares=("colour",)') == [
        "shop.py:21: Renewed: shares 'colour', which is not in its `profile`; add it there"
    ]


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

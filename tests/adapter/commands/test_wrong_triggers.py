"""`python -m adapter check` on wrong triggers: each mistake is one line with file, line and what to write instead.

Each catalog is the sound one of `shop.py` with one mistake that a newcomer makes.
"""

from __future__ import annotations

import pytest

from tests.adapter.commands.shop import Check

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
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_a_line_that_says_where_and_what_to_write(check_shop: Check, mistake: str) -> None:
    old, new, fault = MISTAKES[mistake]
    faults = check_shop(old, new)
    assert any(fault in text for text in faults), faults


@pytest.mark.parametrize("written", ['"90s"', "90_000", "30 * DAY", '"30d"', "10 * 60 * 1000", "604_800_000"])
def test_a_duration_that_can_be_meant_is_no_fault(check_shop: Check, written: str) -> None:
    assert check_shop('max_age="24h"', f"max_age={written}") == []


@pytest.mark.parametrize(
    "code",
    [
        '{"when": datetime.fromtimestamp(0).isoformat()}',
        '{"when": date(2026, 1, 1).isoformat()}',
        '{"total": str(Decimal("1") + 1)}',
        '{"when": time.strftime("%Y", (2026, 1, 1, 0, 0, 0, 0, 1, 0))}',
    ],
)
def test_a_time_that_is_made_of_the_state_is_no_clock(check_shop: Check, code: str) -> None:
    assert check_shop('{"plan": person.trait("plan") or ""}', code) == []

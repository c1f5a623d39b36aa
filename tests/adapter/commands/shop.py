"""A sound catalog in one file, for tests that put one mistake into it.

`conftest.py` has the fixture that checks it.
"""

from __future__ import annotations

from collections.abc import Callable

Check = Callable[..., list[str]]

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

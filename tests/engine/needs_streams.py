"""Made-up mails that need fields and ask sources of truth, and what happens meanwhile.

`test_convergence_of_asks.py` tries them. The mails are the oracle's; `to_needs` writes them as a catalog does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from freshgate import Ask, Fallback, Needs
from freshgate.declare import DAY
from tests.engine.needs_oracle import FIELDS, TITLE, Mail, Rule
from tests.engine.world import HOUR, MINUTE, SECOND

IDS = ("ada", "guest", "x")
TEMPLATES = ("d-ping", "d-broad", "d-broadest")
# A source that hangs costs this much; the others have all the time that they need.
HANGS_MS = 10

AGES = st.sampled_from([0, 1, HOUR - 1, HOUR, HOUR + 1, 2 * HOUR, 2 * HOUR + 1, DAY])
UPDATES = st.tuples(st.just("update"), st.sampled_from(FIELDS[:3]), AGES, st.sampled_from(IDS), st.booleans())
# Either user id may become the other one, so that the person has another root.
MERGES = st.sampled_from([("link",), ("alias", "ada"), ("alias", "guest")])
PINGS = st.tuples(st.just("ping"), st.sampled_from([True, True, False]), st.sampled_from([0, HOUR, HOUR + 1]))
WAITS = st.tuples(st.just("wait"), st.sampled_from([1, SECOND, 3 * SECOND]))
MOODS = ("answers", "404", "500", "nonsense")
# What happens before a mail is due, and what does between its look at the state, its question and its claim.
BEFORE = st.lists(st.one_of(UPDATES, UPDATES, MERGES), max_size=5)
BETWEEN = st.tuples(*(st.lists(st.one_of(UPDATES, MERGES, PINGS, WAITS), max_size=2) for _ in range(3)))
PAUSES = st.sampled_from([1, MINUTE, HOUR - MINUTE, HOUR, HOUR + 1, 2 * HOUR])
ROUNDS = st.tuples(PAUSES, BEFORE, st.booleans(), st.sampled_from(MOODS), PINGS, BETWEEN)


@st.composite
def mails(draw: st.DrawFn) -> Mail:
    """A mail, and up to two fallbacks: each field at most once in each of them."""
    following: list[Mail] = []
    for place in (2, 1, 0):
        fields = draw(st.lists(st.sampled_from([TITLE, TITLE, *FIELDS]), min_size=place < 2, max_size=3, unique=True))
        rules = tuple(draw(rules_of(name, place, following)) for name in fields)
        otherwise = draw(st.sampled_from([None, *following, *following])) if place else None
        following.append(Mail(TEMPLATES[place], rules, otherwise))
    return following[-1]


@st.composite
def rules_of(draw: st.DrawFn, name: str, place: int, following: Sequence[Mail]) -> Rule:
    kinds = (("fallback", "fallback", "skip"), ("skip", "skip", "fallback"), ("skip",))[place]
    otherwise = draw(st.sampled_from([*kinds, "leave_out", "default"]))
    mail = draw(st.sampled_from(following)) if otherwise == "fallback" else None
    # One of each place, so that one need asks each source.
    ask = f"{name.rpartition('.')[2]}_{place}"
    ask = draw(st.sampled_from(["", "", "", ask, ask, f"{ask}_hanging"]))
    placeholder = draw(st.sampled_from(["", "profile.visited"])) if name == "profile.city" else ""
    # A fallback is often content with what is too old for the mail before it.
    fresh_for = draw(st.sampled_from([None, HOUR, HOUR] if place == 0 else [None, HOUR, 2 * HOUR]))
    return Rule(name, fresh_for, otherwise, mail, ask, placeholder)


def _asks() -> dict[str, Ask]:
    asks = {}
    for name in FIELDS:
        for place in range(len(TEMPLATES)):
            ask = f"{name.rpartition('.')[2]}_{place}"
            url = f"https://cdp.example/{ask}/{{profile.email}}"
            asks[ask] = Ask(name=ask, url=url, timeout=5000, answer="value")
            asks[f"{ask}_hanging"] = Ask(name=f"{ask}_hanging", url=url, timeout=HANGS_MS, answer="value")
    return asks


ASKS = _asks()


def to_needs(mail: Mail) -> tuple[Needs, ...]:
    return tuple(_to_need(rule) for rule in mail.rules)


def _to_need(rule: Rule) -> Needs:
    parts: dict[str, Any] = {"otherwise": None if rule.otherwise in ("skip", "default") else rule.otherwise}
    if rule.mail:
        parts["otherwise"] = _to_fallback(rule.mail)
    if rule.otherwise == "default":
        parts["default"] = "default"
    if rule.ask:
        parts["ask"] = ASKS[rule.ask]
    return Needs(rule.field, fresh_for=rule.fresh_for, placeholder=rule.placeholder or None, **parts)


def _to_fallback(mail: Mail) -> Fallback:
    otherwise = _to_fallback(mail.otherwise) if mail.otherwise else None
    return Fallback(template_id=mail.template, needs=to_needs(mail), otherwise=otherwise)

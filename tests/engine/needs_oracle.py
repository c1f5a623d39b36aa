"""Which mail leaves, by the rules of docs/TRIGGERS.md alone: compared with the engine, of which it reads nothing.

`test_convergence_of_asks.py` makes the streams.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

HOUR = 3_600_000
TITLE, NAME = "ping.title", "profile.first_name"
FIELDS = ("profile.city", NAME, "profile.visited", TITLE)
DEVICE = "x"
# How long no answer is remembered as none (ms).
NO_ANSWER_MS = 10_000
# So many 500s in a row, and a source is left alone.
MAX_FAILURES = 5


class Rule(NamedTuple):
    """A need. `otherwise`: skip, leave_out, default, or fallback, which is `mail`'s. `ask`: a source's name."""

    field: str
    fresh_for: int | None
    otherwise: str
    mail: Mail | None = None
    ask: str = ""
    placeholder: str = ""


class Mail(NamedTuple):
    template: str
    rules: tuple[Rule, ...] = ()
    otherwise: Mail | None = None


# Stands for a rule that nobody knows before somebody was asked.
UNDECIDED = Rule("", None, "")


class Word(NamedTuple):
    """What an id told of a field; `by_page` without a signature."""

    field: str
    at: int
    value: str
    who: str
    by_page: bool = False


class Asked(NamedTuple):
    """A request that a source got, and its answer; None for none."""

    at: int
    value: str | None
    failed: bool = False


@dataclass
class State:
    """What a decision may know. `linked`: the ids of the one person; `newest_ping`: (at, title)."""

    now: int
    linked: frozenset[str]
    words: Sequence[Word]
    newest_ping: tuple[int, str]
    sees_pages: bool


@dataclass
class Sources:
    """What sources were asked and answered: (source, the address that was asked for) → requests, oldest first.

    silent  those that never answer
    forgot  where each list stood when the process that asked ended
    """

    silent: frozenset[str]
    asked: dict[tuple[str, str], list[Asked]] = field(default_factory=dict)
    forgot: dict[tuple[str, str], int] = field(default_factory=dict)

    def restart(self) -> None:
        self.forgot = {key: len(asked) for key, asked in self.asked.items()}

    def answer(self, source: str, address: str, since: int, now: int) -> Asked | None:
        """What counts: an answer, or one of None; None where it must be asked."""
        if source in self.silent:
            return Asked(now, None)
        key = (source, address)
        own = self.asked.get(key, [])[self.forgot.get(key, 0) :]
        if own and own[-1].value is None and now - own[-1].at <= NO_ANSWER_MS:
            return own[-1]
        if own and own[-1].value is not None and own[-1].at >= since:
            return own[-1]
        answered = [asked for asked in self.asked.get(key, []) if asked.value is not None]
        if answered and answered[-1].at >= since:
            return answered[-1]
        requests = [
            asked
            for key, asked_for in self.asked.items()
            for asked in asked_for[self.forgot.get(key, 0) :]
            if key[0] == source
        ]
        newest = sorted(requests, key=lambda asked: asked.at)[-MAX_FAILURES:]
        return Asked(now, None) if len(newest) == MAX_FAILURES and all(asked.failed for asked in newest) else None


@dataclass
class Outcome:
    """What must become of a send. `notes` and `content` as the trail and the mail have them.

    template  of the mail; "" for none, then `reason`
    to_ask    fields that must be asked for before anybody can decide
    """

    template: str = ""
    reason: str = ""
    notes: list[list[Any]] = field(default_factory=list)
    content: dict[str, str] = field(default_factory=dict)
    to_ask: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    refreshed: dict[str, int] = field(default_factory=dict)


def expect(mail: Mail, state: State, sources: Sources, address: str) -> Outcome:
    """What becomes of a send that is decided on in that state."""
    outcome = Outcome()
    current = mail
    while True:
        decider = _judge(current.rules, state, None, address, outcome)
        if decider is UNDECIDED:
            decider = _judge(current.rules, state, sources, address, outcome)
        if outcome.to_ask:
            return outcome
        if decider is None:
            outcome.template = current.template
            for name in FIELDS:
                outcome.content.setdefault(name, next((value for value, _ in _values(name, state)), ""))
            return outcome
        following = decider.mail or current.otherwise
        if following is None:
            kind = next(note[1] for note in reversed(outcome.notes) if note[0] == decider.field)
            no_answer = "_no_answer" if decider.field in outcome.asked else ""
            outcome.reason = f"{decider.field.replace('.', '_')}_{kind}{no_answer}"
            return outcome
        current = following


def _judge(rules: Iterable[Rule], state: State, sources: Sources | None, address: str, outcome: Outcome) -> Rule | None:
    """The rule that decides: the first that fails and has a fallback, else the first that keeps the mail back.

    sources  None as long as nobody was asked; then UNDECIDED says that somebody must be
    """
    notes, content, asked = list(outcome.notes), dict(outcome.content), set(outcome.asked)
    refreshed = dict(outcome.refreshed)
    failing: list[Rule] = []
    unknown: list[Rule] = []
    for rule in rules:
        values = _values(rule.field, state)
        kind, at = ("stale", values[0][1]) if values else ("missing", 0)
        fresh = [word for word in values if _is_fresh(word[1], rule, state)]
        stand_ins = [word for word in _values(rule.placeholder, state) if _is_fresh(word[1], rule, state)]
        answer = None
        if rule.field in outcome.refreshed and _is_fresh(outcome.refreshed[rule.field], rule, state):
            # For the mail before this one.
            notes.append([rule.field, "fresh" if fresh else kind, "refreshed", outcome.refreshed[rule.field]])
            continue
        if rule.ask and not fresh and not stand_ins:
            max_age = HOUR if rule.fresh_for is None else min(rule.fresh_for, HOUR)
            answer = sources and sources.answer(rule.ask, address, max(at, state.now - max_age), state.now)
            if answer is None:
                unknown.append(rule)
            else:
                asked.add(rule.field)
        if fresh:
            content[rule.field], at = fresh[0]
            notes.append([rule.field, "fresh", "used", at])
        elif stand_ins:
            content[rule.field], at = stand_ins[0]
            notes.append([rule.field, kind, "placeholder", at])
        elif answer and answer.value is not None:
            content[rule.field] = answer.value
            notes.append([rule.field, kind, "refreshed", answer.at])
            refreshed[rule.field] = answer.at
        else:
            notes.append([rule.field, kind, "left_out" if rule.otherwise == "leave_out" else rule.otherwise, at])
            content[rule.field] = "default" if rule.otherwise == "default" else ""
            if rule.otherwise in ("skip", "fallback") or rule in unknown:
                failing.append(rule)
    decider = next((rule for rule in failing if rule.mail), None)
    decider = decider or next((rule for rule in failing if rule not in unknown), None)
    if unknown and (decider is None or decider in unknown):
        if sources is None:
            return UNDECIDED
        outcome.to_ask = {rule.field for rule in unknown}
    outcome.notes, outcome.content, outcome.asked, outcome.refreshed = notes, content, asked, refreshed
    return decider


def _is_fresh(at: int, rule: Rule, state: State) -> bool:
    return rule.fresh_for is None or state.now - at <= rule.fresh_for


def _values(name: str, state: State) -> list[tuple[str, int]]:
    """(value, at): what servers told last, then what pages did."""
    if name == TITLE:
        at, title = state.newest_ping
        return [(title, at)] if title else []
    own = [word for word in state.words if word.field == name and word.who in state.linked]
    values = []
    for by_page in (False, True) if state.sees_pages else (False,):
        words = [word for word in own if word.by_page == by_page]
        if name == NAME and not by_page and state.sees_pages:
            # What a device alone tells may be a guest's: it counts only while no name of the user is known.
            words = [word for word in words if word.who != DEVICE] or words
        newest = max(words, key=lambda word: word.at, default=None)
        if newest:
            values.append((newest.value, newest.at))
    return values

"""What a mail says while sources of truth answer, fail or hang, while events arrive and persons merge, in any order.

Compared with `needs_oracle.py`, which shares no code with the engine. The sources are a real HTTP server.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from msgspec import structs
from redis import Redis

from catalog import EVENTS
from freshgate import PersonView
from freshgate.declare import DAY
from freshgate.queue import Item, Job
from freshgate.settings import AskSettings
from tests.engine import needs_oracle as oracle
from tests.engine.needs_oracle import FIELDS, TITLE, Asked, Mail, Outcome, Sources, State, Word
from tests.engine.needs_streams import ASKS, HANGS_MS, ROUNDS, mails, to_needs
from tests.engine.test_needs import PING, PINGED, PROFILED
from tests.engine.world import MINUTE, START, InterruptedLookup, World
from tests.harness.examples import examples
from tests.harness.truth_server import Reply, TruthServer
from workers.asker import Asker, Asking, Breaker
from workers.asks import AskAnswer, AskRequest


def compose(person: PersonView, _about: Any) -> dict[str, Any]:
    ping = person.mark("ping")
    traits = {name: person.trait(name.removeprefix("profile.")) or "" for name in FIELDS[:3]}
    return {**traits, TITLE: ping.fields.get("title", "") if ping else ""}


class Meddler:
    """The engine's asker, which lets something happen while the sources have not answered."""

    def __init__(self, client: Redis, truth: TruthServer) -> None:
        # A host and a breaker of its own for each.
        own = {name: AskSettings(base_url=f"{truth.url}/{name}", breaker_wait=DAY) for name in ASKS}
        self.asker = Asker(client, ASKS.values(), own)
        self.truth = truth
        self.stream: Any = None

    def forget(self) -> None:
        """As if another process went on, with the same threads and connections."""
        self.asker._answers.clear()
        for source in self.asker._sources.values():
            source.breaker = Breaker(DAY)

    def answer_of(self, request: AskRequest, now: int) -> AskAnswer | None:
        return self.asker.answer_of(request, now)

    def ask(self, shop: str, requests: Sequence[AskRequest], now: int, done: Callable[[], object]) -> Asking:
        self.stream.asked_at = now
        self.stream.answering.clear()
        asking = self.asker.ask(shop, requests, now, done)
        self.stream.happen()
        self.stream.answering.set()
        return asking


class Hall:
    """Where a send waits that was set aside."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.waiting: list[Item] = []

    def resume(self, item: Item) -> Callable[[], object]:
        return self.answered.set

    def add(self, item: Item) -> None:
        self.waiting.append(item)


class Stream:
    """One world, and what the oracle knows of it."""

    def __init__(self, redis: Redis, meddler: Meddler, mail: Mail, kind: Any, newer: bool) -> None:
        redis.flushdb()
        self.mail, self.sees_pages, self.meddler = mail, kind == "marketing", meddler
        trigger = structs.replace(
            PINGED, kind=kind, cap=(99, DAY), address_cap=(99, DAY), needs=to_needs(mail), compose=compose
        )
        self.world = World(redis, (trigger,), events=(*EVENTS, PROFILED, PING), oracle=meddler)
        lookup = self.world._lookup(InterruptedLookup)
        lookup.then, lookup.times = self.after_reading, 10**6
        self.world.courier = self.world._courier(lookup)
        self.sources = Sources(silent=frozenset(name for name in ASKS if name.endswith("_hanging")))
        self.words: list[Word] = []
        self.linked = frozenset({"ada"})
        self.addresses = {"ada": (START - 3 * DAY, "ada@example.com")}
        self.addresses["guest"] = (START - (2 if newer else 4) * DAY, "guest@example.com")
        self.newest_ping = (0, "")
        self.pending: list[Sequence[Any]] = []
        self.readings: list[State] = []
        self.asked_at, self.mood, self.count = 0, "answers", 0
        self.answering = threading.Event()
        self.requests: list[tuple[str, str]] = []
        meddler.stream, meddler.truth.reply = self, self.answer
        meddler.forget()
        for who, (at, address) in self.addresses.items():
            self.world.record(self.world.event("Identify", user=who, email=address, at=at))

    def settle(self) -> None:
        """Waits for what threads write after the send was resumed: their answers, for other processes."""
        answered = {key for key, asked in self.sources.asked.items() if any(request.value for request in asked)}
        deadline = time.monotonic() + 10
        while len(list(self.world.client.scan_iter("*:ask:*"))) < len(answered):
            assert time.monotonic() < deadline

    def answer(self, path: str) -> Reply:
        """The source's side."""
        _, name, _, address = path.split("/")
        if name in self.sources.silent:
            time.sleep(10 * HANGS_MS / 1000)
            return Reply({}, status=404)
        assert self.answering.wait(10)
        key = (name, address.replace("%40", "@"))
        self.requests.append(key)
        asked = self.sources.asked.setdefault(key, [])
        if self.mood != "answers":
            asked.append(Asked(self.asked_at, None, self.mood == "500"))
            return Reply({"value": ["nonsense"]}, 200 if self.mood == "nonsense" else int(self.mood))
        self.count += 1
        asked.append(Asked(self.asked_at, f"a{self.count}"))
        return Reply({"value": f"a{self.count}"})

    def after_reading(self) -> None:
        """What happens right after a worker's look at the state."""
        self.readings.append(self.state())
        self.happen()

    def happen(self) -> None:
        for step in self.pending.pop(0) if self.pending else ():
            self.do(*step)

    def do(self, step: str, *details: Any) -> None:
        world = self.world
        if step == "wait":
            world.now += details[0]
        elif step == "link":
            world.record(world.event("Identify", user="ada", anon="x", at=START - 5 * DAY))
            self.linked |= {"x"}
        elif step == "alias":
            (other,) = {"ada", "guest"} - {details[0]}
            world.record(world.event("Alias", user=details[0], previous_id=other, at=START - 5 * DAY))
            self.linked |= {"guest"}
        elif step == "ping":
            has_title, age = details
            # A timer of the very millisecond at which a worker looked would be the one that it carries out.
            world.now += 1
            at = max(world.now - age, self.newest_ping[0] + 1)
            title = f"t{at}" if has_title else ""
            world.record(world.event("Pinged", user="ada", at=at, **({"title": title} if title else {})))
            self.newest_ping = (at, title)
        else:
            self.update(*details)

    def update(self, name: str, age: int, who: str, by_page: bool) -> None:
        at, by_page = self.world.now - age, by_page and who == "x"
        if any((word.field, word.at, word.by_page) == (name, at, by_page) for word in self.words):
            # At one moment a field has one value, so that no order of messages has to decide.
            return
        value = f"v{len(self.words)}"
        self.words.append(Word(name, at, value, who, by_page))
        ids = {"anon": who} if who == "x" else {"user": who}
        trait = {name.removeprefix("profile."): value}
        self.world.record(self.world.event("Profile Updated", at=at, **ids, **trait), trusted=not by_page)

    def state(self) -> State:
        return State(self.world.now, self.linked, tuple(self.words), self.newest_ping, self.sees_pages)

    def address(self, state: State) -> str:
        return max(entry for who, entry in self.addresses.items() if who in state.linked)[1]

    def expect(self, state: State) -> Outcome:
        return oracle.expect(self.mail, state, self.sources, self.address(state))

    def find_outcome(self, notes: list[Any], readings: Sequence[State]) -> Outcome:
        """The oracle's word by now. Of a send that was withheld, its word with these `notes` after one of the
        readings: nothing is compared then, so something may have arrived since."""
        last = self.state()
        moments = {state.now for state in (*readings, last)}
        states = [
            last,
            *(replace(reading, now=now) for reading in reversed(readings) for now in moments if now >= reading.now),
        ]
        outcomes = [self.expect(state) for state in states]
        return next((outcome for outcome in outcomes if not outcome.to_ask and outcome.notes == notes), outcomes[0])

    def deliver(self) -> None:
        """The send that is due, to its end; as in `lanes.py` it is set aside while sources are asked."""
        world = self.world
        items = [
            Item(timer) for timer, _ in world.due_timers(world.now + MINUTE) if timer.startswith(f"{PINGED.name}|")
        ]
        while items:
            hall = Hall()
            job = Job(sends=tuple(items), created=world.now, shop="main")
            world.courier.carry_out(job, [(item, time.monotonic() + 60) for item in items], aside=hall)
            items = hall.waiting
            assert not items or hall.answered.wait(10)

    def check(self, pause: int, before: Any, restarts: bool, mood: str, ping: Any, between: Any) -> None:
        """One mail, and what must become of it."""
        world = self.world
        world.now += pause
        for step in before:
            self.do(*step)
        if restarts:
            self.settle()
            self.meddler.forget()
            self.sources.restart()
        self.do(*ping)
        self.mood, self.pending = mood, [*between]
        self.readings.clear()
        self.requests.clear()
        before_mails, known = len(world.esp.mails), world.decisions("ada")
        was_quiet = not any(between)
        self.deliver()
        self.pending = []
        # A newer event set the send's timer once more; by then it is over, or decided on anew.
        world.run()
        mails = world.esp.mails[before_mails:]
        # Of a withheld send and of the one that left after it, whichever record of the person they stand in.
        entries = [entry for entry in world.decisions("ada") if entry not in known]
        states = ("sent", "fallback_sent") if mails else ("stale", "failed")
        entry = [entry for entry in entries if entry["state"] in states][-1]
        outcome = self.find_outcome(entry.get("needs", []), [] if mails else self.readings)
        assert outcome.to_ask == set()
        assert entry.get("needs", []) == outcome.notes
        if outcome.template:
            sent = [(mail.template_id, mail.to, mail.template_data) for mail in mails]
            assert sent == [(outcome.template, self.address(self.state()), outcome.content)]
            assert entry["state"] == ("sent" if outcome.template == self.mail.template else "fallback_sent")
            compared = {note[0]: note[3] for note in outcome.notes if note[2] == "refreshed"}
            assert entry["compared"].items() >= compared.items()
        else:
            assert (mails, entry["state"], entry["reason"]) == ([], "stale", outcome.reason)
        if was_quiet:
            # Nobody is asked in vain, and nobody twice.
            assert len(self.requests) == len(set(self.requests))
            named = {rule_name(request) for request in self.requests}
            assert named <= {name for name in outcome.asked}


def rule_name(request: tuple[str, str]) -> str:
    head = request[0].removesuffix("_hanging").rpartition("_")[0]
    return TITLE if head == "title" else f"profile.{head}"


@pytest.fixture
def meddler(redis: Redis) -> Iterator[Meddler]:
    with TruthServer() as truth:
        yield Meddler(redis, truth)


@settings(max_examples=examples(100), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    mail=mails(),
    kind=st.sampled_from(["marketing", "transactional"]),
    newer=st.booleans(),
    rounds=st.lists(ROUNDS, min_size=1, max_size=3),
)
def test_the_mail_is_the_oracles_whatever_sources_answer_and_whatever_happens_meanwhile(
    redis: Redis, meddler: Meddler, mail: Mail, kind: str, newer: bool, rounds: list[Any]
) -> None:
    stream = Stream(redis, meddler, mail, kind, newer)
    note(f"mail={mail!r} kind={kind} newer={newer}")
    try:
        for entry in rounds:
            note(f"round={entry!r}")
            stream.check(*entry)
    finally:
        stream.settle()
    send_ids = [mail.send_id for mail in stream.world.esp.mails]
    assert len(set(send_ids)) == len(send_ids)

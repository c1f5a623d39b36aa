"""Sends that wait for a source of truth hold no lane: their neighbours leave meanwhile, and each ends once.

A real Redis and a real HTTP server, a fake ESP.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from redis import Redis

from catalog import EVENTS
from catalog.triggers.order_confirmation import ORDER_CONFIRMATION
from freshgate import Ask, Needs
from freshgate.queue import Item, Job
from freshgate.settings import AskSettings
from tests.engine.test_needs import PING, PINGED, PROFILED
from tests.engine.world import HOUR, SHOP, START, RememberingEsp, World
from tests.harness.truth_server import Reply, TruthServer
from tests.workers.test_lanes import Jobs
from workers import lanes as lanes_module
from workers.asker import Asker
from workers.calls import WaitingForEsp
from workers.courier import BUDGET_S, Courier
from workers.esp.base import Message, SendResult
from workers.lanes import Lanes
from workers.line import QueuedJob

CITY = Ask(name="profile_api", url="https://cdp.example/people/{profile.email}", timeout="5s", answer="city")
ASKING = replace(PINGED, needs=(Needs("profile.city", ask=CITY),))


class LockedEsp(RememberingEsp):
    """Shared by all lanes, as a server is."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def send(self, message: Message) -> SendResult:
        with self._lock:
            return super().send(message)


class Hall:
    """A world whose sends are carried out by two lanes, and a source of truth that answers once `open` is set."""

    def __init__(self, redis: Redis, truth: TruthServer, ask: Ask = CITY, concurrency: int = 32) -> None:
        self.truth, self.open, self.jobs = truth, threading.Event(), Jobs()
        trigger = replace(ASKING, needs=(Needs("profile.city", ask=ask),))
        asker = Asker(redis, [ask], {"profile_api": AskSettings(base_url=truth.url, concurrency=concurrency)})
        events = (*EVENTS, PROFILED, PING)
        self.world = World(redis, (trigger, ORDER_CONFIRMATION), esp=LockedEsp(), events=events, oracle=asker)
        self.lanes = Lanes(self.build, self.jobs, 2, "sendgrid")
        truth.reply = self.answer

    def build(self, waiting: WaitingForEsp) -> Courier:
        world = self.world
        return Courier(
            world.client,
            world.triggers,
            world.esp,
            world.lookup(),
            10_000,
            lambda: world.now,
            waiting=waiting,
            oracle=world.oracle,
        )

    def answer(self, path: str) -> Reply:
        assert self.open.wait(20)
        return Reply({"city": "Graz"})

    def submit(self, name: str, event: str, *users: str, returned: int = 0) -> None:
        """One job with a send for each user."""
        self.submit_timers(name, self.record(event, *users), returned)

    def record(self, event: str, *users: str) -> list[str]:
        """Records that event of each user. The timers that it set."""
        world = self.world
        before = {timer for timer, _ in world.due_timers(world.now + 60_000)}
        for user in users:
            fields: Any = {"order_id": user} if event == "Order Completed" else {}
            world.record(world.event(event, user=user, email=f"{user}@example.com", **fields))
        return [timer for timer, _ in world.due_timers(world.now + 60_000) if timer not in before]

    def submit_timers(self, name: str, timers: list[str], returned: int = 0) -> None:
        job = Job(sends=tuple(Item(timer, returned) for timer in timers), created=self.world.now, shop="main")
        expires_at = time.monotonic() + BUDGET_S
        self.lanes.submit(QueuedJob(name.encode(), "queue", False, job, expires_at, len(timers)))

    def wait_for(self, is_true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not is_true():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def finish(self) -> None:
        self.open.set()
        assert self.lanes.wait(lambda: self.lanes.is_idle, 20)


@pytest.fixture
def truth() -> Iterator[TruthServer]:
    with TruthServer() as server:
        yield server


def test_many_ask_at_once_and_others_leave_meanwhile(redis: Redis, truth: TruthServer) -> None:
    hall = Hall(redis, truth)
    users = [f"u{number}" for number in range(8)]
    hall.submit("asking", "Pinged", *users)
    hall.wait_for(lambda: truth.in_flight == 8)
    hall.submit("order", "Order Completed", "bob")
    hall.wait_for(lambda: hall.jobs.finished == [b"order"])
    assert [mail.to for mail in hall.world.esp.mails] == ["bob@example.com"]
    assert not hall.lanes.is_idle
    hall.finish()
    assert sorted(mail.to for mail in hall.world.esp.mails[1:]) == [f"{user}@example.com" for user in users]
    assert hall.jobs.finished == [b"order", b"asking"]
    assert len(truth.paths) == 8


def test_of_the_sends_that_a_lane_took_at_once_the_one_that_waited_is_taken_up(
    redis: Redis, truth: TruthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hall = Hall(redis, truth)
    monkeypatch.setattr(lanes_module, "CHUNK_S", 1.0)
    users = ["ada", "bob", "eve"]
    timers = hall.record("Pinged", *users)
    first = next(user for user in users if timers[0].endswith(hall.world.root(user=user)))
    hall.world.record(hall.world.event("Profile Updated", user=first, city="Linz"))
    hall.submit_timers("pinged", timers)
    hall.wait_for(lambda: truth.in_flight == 2)
    assert [mail.to for mail in hall.world.esp.mails] == [f"{first}@example.com"]
    hall.finish()
    assert sorted(mail.to for mail in hall.world.esp.mails) == [f"{user}@example.com" for user in users]
    assert hall.jobs.finished == [b"pinged"]


def test_what_is_asked_for_twice_at_once_is_asked_once(redis: Redis, truth: TruthServer) -> None:
    hall = Hall(redis, truth, replace(CITY, url="https://cdp.example/capital"))
    hall.submit("first", "Pinged", "ada", "bob")
    hall.submit("second", "Pinged", "eve")
    hall.wait_for(lambda: truth.in_flight == 1)
    hall.finish()
    assert (len(hall.world.esp.mails), len(truth.paths)) == (3, 1)


def test_a_source_that_hangs_costs_its_own_sends_alone(redis: Redis, truth: TruthServer) -> None:
    hall = Hall(redis, truth, replace(CITY, timeout=60))
    truth.reply = Reply(hangs=True)
    hall.submit("asking", "Pinged", "ada", "eve")
    hall.submit("order", "Order Completed", "bob")
    hall.wait_for(lambda: len(hall.jobs.finished) == 2)
    assert [mail.to for mail in hall.world.esp.mails] == ["bob@example.com"]
    assert {entry["reason"] for user in ("ada", "eve") for entry in hall.world.decisions(user)} == {
        "profile_city_missing_no_answer"
    }


def test_what_a_source_has_no_room_for_goes_back_to_its_timer(redis: Redis, truth: TruthServer) -> None:
    hall = Hall(redis, truth, concurrency=1)
    hall.submit("asking", "Pinged", "ada", "eve")
    hall.wait_for(lambda: bool(hall.world.decisions("ada") or hall.world.decisions("eve")))
    hall.finish()
    assert len(hall.world.esp.mails) == 1
    waiting = [entry for user in ("ada", "eve") for entry in hall.world.decisions(user) if entry["state"] == "waiting"]
    assert [entry["reason"] for entry in waiting] == ["source_busy"]
    ((_, due),) = hall.world.due_timers(START + HOUR)
    assert START + 500 <= due <= START + 3000

    def is_sent_later() -> bool:
        # The source's only place is free a moment after its answer is there.
        hall.world.now += 3000
        hall.world.run()
        return len(hall.world.esp.mails) == 2

    hall.wait_for(is_sent_later)


def test_a_send_that_came_back_is_counted_once_though_it_asks(redis: Redis, truth: TruthServer) -> None:
    hall = Hall(redis, truth)
    counts = []

    def answer(path: str) -> Reply:
        counts.append(redis.hvals(f"{SHOP}begun"))
        return Reply({"city": "Graz"})

    truth.reply = answer
    hall.submit("asking", "Pinged", "ada", returned=1)
    hall.finish()
    assert (len(hall.world.esp.mails), counts) == (1, [[b"1"]])


def test_an_event_while_a_send_is_set_aside_counts(redis: Redis, truth: TruthServer) -> None:
    hall = Hall(redis, truth)
    hall.submit("asking", "Pinged", "ada")
    hall.wait_for(lambda: truth.in_flight == 1)
    hall.world.record(hall.world.event("Profile Updated", user="ada", city="Linz", at=START))
    hall.finish()
    assert [mail.template_data["city"] for mail in hall.world.esp.mails] == ["Linz"]


def test_a_send_that_ended_elsewhere_while_it_was_set_aside_is_over(redis: Redis, truth: TruthServer) -> None:
    hall = Hall(redis, truth)
    hall.submit("asking", "Pinged", "ada")
    hall.wait_for(lambda: truth.in_flight == 1)
    hall.world.record(hall.world.event("Delete", user="ada", at=START + 1))
    hall.finish()
    assert (hall.world.esp.mails, hall.jobs.finished) == ([], [b"asking"])

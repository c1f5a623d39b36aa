"""Made-up shoppers: their events are what Segment would send, the receiver takes them, and they end in mails.

The sandbox and a receiver that remembers stand at the other end.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from random import Random
from typing import Any

import pytest

from adapter.commands.post import traffic
from adapter.commands.post.shoppers import STORIES, Shopper, story
from adapter.commands.post.traffic import Site, Traffic
from adapter.sources import SOURCES
from adapter.sources.segment.signature import sign
from catalog import EVENTS
from freshgate.errors import SettingsError
from freshgate.events import Refused
from freshgate.settings import SourceSettings, load
from freshgate.telemetry.metrics import REFUSED_ELEMENTS
from workers.sandbox.server import Sandbox

SOURCE = SourceSettings(kind="segment", secrets=("the-secret",))
START_S = 1_790_000_000.0


class Remembers(Site):
    """A receiver of one line that answers 200."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.posted: list[tuple[str, bytes, dict[str, str]]] = []

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        self.posted.append((path, body, headers))
        return 200


def after(seconds: int, seed: int = 7, rate: float = 20) -> list[tuple[str, bytes, dict[str, str]]]:
    """What was posted in that time, with a clock that does as it is told."""
    site, now = Remembers(), [0.0]
    made = Traffic(site, "/webhooks/segment", SOURCE, Random(seed), lambda: START_S + now[0])
    for tick in range(seconds * 10):
        now[0] = tick / 10
        made.step(now[0], rate)
    return site.posted


def test_every_story_is_read_as_its_author_meant_it() -> None:
    segment = SOURCES["segment"].configure("segment", SOURCE, EVENTS)
    for _, tell in STORIES:
        for step in tell(Shopper(Random(1), "ada-1")):
            body = json.dumps({**step.event, "messageId": "m", "timestamp": "2026-09-21T14:13:20.000Z"}).encode()
            (element,) = segment.read(body, int(START_S * 1000))
            kind = type(element).__name__
            wanted = {"does_what_nobody_mapped": "Ignored", "names_nobody": "Refused"}.get(tell.__name__, "Event")
            assert kind == wanted, (tell.__name__, step)
            assert not isinstance(element, Refused) or element.reason in REFUSED_ELEMENTS


def test_the_same_seed_makes_the_same_shoppers_and_another_seed_others() -> None:
    assert after(5) == after(5)
    assert after(5) != after(5, seed=8)


def test_events_are_signed_all_but_a_few() -> None:
    posted = after(60)
    wrong = [body for _, body, headers in posted if headers["X-Signature"] != sign("the-secret", body)]
    assert 0 < len(wrong) < len(posted) / 20


def test_some_are_told_twice_and_the_ids_are_those_of_one_event() -> None:
    bodies = Counter(body for _, body, _ in after(60))
    assert 0 < sum(count > 1 for count in bodies.values()) < len(bodies) / 10
    assert len({json.loads(body)["messageId"] for body in bodies}) == len(bodies)


def test_nothing_is_told_before_it_happened_and_some_things_late() -> None:
    site, now = Remembers(), [0.0]
    made = Traffic(site, "/x", SOURCE, Random(3), lambda: START_S + now[0])
    told: list[float] = []
    for tick in range(600):
        now[0] = tick / 10
        before = len(site.posted)
        made.step(now[0], 20)
        told += [now[0] - seconds(json.loads(body)["timestamp"]) for _, body, _ in site.posted[before:]]
    assert min(told) > -0.002
    assert 7 < max(told) < 9


def seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp() - START_S


def test_as_many_shoppers_come_as_the_rate_says() -> None:
    ids = {json.loads(body).get("userId") or json.loads(body).get("anonymousId") for _, body, _ in after(30, rate=5)}
    assert 100 < len({one.removeprefix("user-").removeprefix("anonymous-") for one in ids if one}) <= 150


def test_every_story_is_told_in_the_long_run() -> None:
    dice = Random(5)
    told = Counter(len(story(dice, f"ada-{number}")) for number in range(2000))
    assert set(told) >= {1, 2, 3, 4, 5}


def test_the_sandbox_is_told_to_fail_with_its_password_only() -> None:
    with Sandbox(password="opens") as sandbox:
        assert traffic.spoil(Site(sandbox.url), "wrong", Random(1)) == 401
        for seed in range(12):
            assert traffic.spoil(Site(sandbox.url), "opens", Random(seed)) == 200
        assert {fault["kind"] for fault in json.loads(sandbox.faults.listed())} == {"status", "slow"}


def test_a_receiver_that_is_away_is_an_answer_of_0(free_port: Any) -> None:
    assert Site(f"http://127.0.0.1:{free_port()}").post("/x", b"{}", {}) == 0


@pytest.mark.parametrize("url", ["https://127.0.0.1", "127.0.0.1:8080", "http://"])
def test_an_address_that_it_cannot_use_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="write a URL"):
        Site(url)


def test_made_up_shoppers_are_never_let_in_where_mails_leave_for_real() -> None:
    live = {"LIVE": "true", "BASE_URL": "https://esp.example", "API_KEY": "k"}
    with pytest.raises(SettingsError, match="FRESHGATE_ESPS__SENDGRID__LIVE"):
        traffic.refuse_live(load({f"FRESHGATE_ESPS__SENDGRID__{name}": value for name, value in live.items()}))
    traffic.refuse_live(load({}))


def test_without_a_source_that_signs_it_says_what_to_set() -> None:
    with pytest.raises(SettingsError, match="FRESHGATE_SOURCES__SEGMENT__SECRETS"):
        traffic.first_source(load({}))

"""The events of made-up shoppers are what Segment would send, signed, at the times of their stories.

A client that records requests stands for the receiver; faults go to the real sandbox.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from random import Random
from typing import Any

import pytest

from adapter.commands.post import traffic
from adapter.commands.post.shoppers import STORIES, Shopper, cause_an_unmapped_event, make_story, send_no_identity
from adapter.commands.post.traffic import Client, Traffic
from adapter.sources import SOURCES
from adapter.sources.segment.signature import sign
from catalog import EVENTS
from freshgate.errors import SettingsError
from freshgate.events import Event, Ignored, Refused
from freshgate.settings import SourceSettings
from freshgate.settings_file import load
from freshgate.telemetry.metrics import REFUSED_ELEMENTS
from workers.sandbox.server import Sandbox

SOURCE = SourceSettings(kind="segment", secrets=("the-secret",))
# All other stories consist of events.
VERDICTS: dict[Any, type] = {cause_an_unmapped_event: Ignored, send_no_identity: Refused}
START_S = 1_790_000_000.0


class RecordingClient(Client):
    """Records what is posted, and answers 200."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.posted: list[tuple[str, bytes, dict[str, str]]] = []

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        self.posted.append((path, body, headers))
        return 200


def posted_after(seconds: int, seed: int = 7, rate: float = 20) -> list[tuple[str, bytes, dict[str, str]]]:
    """What was posted in that time, with a clock of the test's own."""
    client, now = RecordingClient(), [0.0]
    shoppers = Traffic(client, "/webhooks/segment", SOURCE, Random(seed), lambda: START_S + now[0])
    for tick in range(seconds * 10):
        now[0] = tick / 10
        shoppers.step(now[0], rate)
    return client.posted


def test_every_story_is_read_with_the_intended_verdict() -> None:
    segment = SOURCES["segment"].configure("segment", SOURCE, EVENTS)
    for _, story in STORIES:
        for step in story(Shopper(Random(1), "ada-1")):
            body = json.dumps({**step.event, "messageId": "m", "timestamp": "2026-09-21T14:13:20.000Z"}).encode()
            (element,) = segment.read(body, int(START_S * 1000))
            expected = VERDICTS.get(story, Event)
            assert isinstance(element, expected), (story.__name__, step)
            assert not isinstance(element, Refused) or element.reason in REFUSED_ELEMENTS


def test_the_same_seed_makes_the_same_shoppers_and_another_seed_others() -> None:
    assert posted_after(5) == posted_after(5)
    assert posted_after(5) != posted_after(5, seed=8)


def test_events_are_signed_all_but_a_few() -> None:
    posted = posted_after(60)
    wrong = [body for _, body, headers in posted if headers["X-Signature"] != sign("the-secret", body)]
    assert 0 < len(wrong) < len(posted) / 20


def test_the_summary_says_which_answers_are_meant() -> None:
    class Receiver(RecordingClient):
        """Answers 401 to a wrong signature, as the receiver does."""

        def post(self, path: str, body: bytes, headers: dict[str, str]) -> int:
            return 200 if headers["X-Signature"] == sign("the-secret", body) else 401

    shoppers = Traffic(Receiver(), "/x", SOURCE, Random(7), lambda: START_S)
    for second in range(60):
        shoppers.step(second, 20)
    wrong = shoppers.statuses[401]
    assert wrong > 0
    assert shoppers.summary().endswith(f", 401: {wrong} ({wrong} signed wrongly on purpose)")


def test_some_events_are_posted_twice_with_the_same_id() -> None:
    bodies = Counter(body for _, body, _ in posted_after(60))
    assert 0 < sum(count > 1 for count in bodies.values()) < len(bodies) / 10
    assert len({json.loads(body)["messageId"] for body in bodies}) == len(bodies)


def test_no_event_arrives_before_it_happened_and_some_arrive_late() -> None:
    client, now = RecordingClient(), [0.0]
    shoppers = Traffic(client, "/x", SOURCE, Random(3), lambda: START_S + now[0])
    delays: list[float] = []
    for tick in range(600):
        now[0] = tick / 10
        before = len(client.posted)
        shoppers.step(now[0], 20)
        delays += [now[0] - seconds(json.loads(body)["timestamp"]) for _, body, _ in client.posted[before:]]
    assert min(delays) > -0.002
    assert 7 < max(delays) < 9


def seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp() - START_S


def test_as_many_shoppers_come_as_the_rate_says() -> None:
    ids = {
        json.loads(body).get("userId") or json.loads(body).get("anonymousId") for _, body, _ in posted_after(30, rate=5)
    }
    names = {shopper.removeprefix("user-").removeprefix("anonymous-") for shopper in ids if shopper}
    assert 100 < len(names) <= 150


def test_stories_of_all_lengths_occur_in_the_long_run() -> None:
    random = Random(5)
    lengths = Counter(len(make_story(random, f"ada-{number}")) for number in range(2000))
    assert set(lengths) >= {1, 2, 3, 4, 5}


def test_the_sandbox_takes_faults_with_its_password_only() -> None:
    with Sandbox(password="opens") as sandbox:
        assert traffic.post_fault(Client(sandbox.url), "wrong", Random(1)) == 401
        for seed in range(12):
            assert traffic.post_fault(Client(sandbox.url), "opens", Random(seed)) == 200
        assert {fault["kind"] for fault in json.loads(sandbox.faults.as_json())} == {"status", "slow"}


def test_the_status_of_a_receiver_that_is_away_is_0(free_port: Any) -> None:
    assert Client(f"http://127.0.0.1:{free_port()}").post("/x", b"{}", {}) == 0


@pytest.mark.parametrize("url", ["https://127.0.0.1", "127.0.0.1:8080", "http://"])
def test_a_url_that_it_cannot_use_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="write a URL"):
        Client(url)


def test_a_live_esp_is_refused() -> None:
    live = {"LIVE": "true", "BASE_URL": "https://esp.example", "API_KEY": "k"}
    with pytest.raises(SettingsError, match="FRESHGATE_ESPS__SENDGRID__LIVE"):
        traffic.refuse_live(load({f"FRESHGATE_ESPS__SENDGRID__{name}": value for name, value in live.items()}))
    traffic.refuse_live(load({}))


def test_without_a_source_that_signs_the_error_names_the_setting() -> None:
    with pytest.raises(SettingsError, match="FRESHGATE_SOURCES__SEGMENT__SECRETS"):
        traffic.first_source(load({}))

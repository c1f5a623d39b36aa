"""The operator's desk: dead and unknown sends come back only through the gate, and hold knows its triggers.

The commands as the command line parses them, on a real Redis with a clock of the test's own.
"""

from __future__ import annotations

import pytest
from redis import Redis

from freshgate.errors import EspError, SettingsError
from freshgate.state import keys
from tests.engine.world import HOUR, MINUTE, SHOP, World
from tests.harness.operator import Operator

ADA = "ada@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


@pytest.fixture
def operator(world: World, redis_server: str) -> Operator:
    return Operator(world, redis_server)


def die_of_an_outage(world: World) -> None:
    """The ESP refuses everything for as long as the confirmation may be retried."""
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))
    world.esp.errors = [EspError("sendgrid: 503", status=503) for _ in range(500)]
    world.run(world.now + 25 * HOUR)
    world.esp.errors = []
    assert world.outcomes("ada")[-1] == ("order_confirmation", "dead")


def test_a_dead_send_that_is_too_old_stays_listed_and_says_what_would_allow_it(
    world: World, operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    die_of_an_outage(world)
    assert operator.run("dead", "replay") == 1
    assert "25 h old; --max-age 2d would allow it" in capsys.readouterr().out
    world.run(world.now + HOUR)
    assert world.mails() == []
    operator.run("dead", "list")
    assert capsys.readouterr().out.endswith("1 dead\n")


def test_a_replay_with_a_higher_limit_sends_the_mail_once(
    world: World, operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    die_of_an_outage(world)
    assert operator.run("dead", "replay", "--max-age", "2d") == 0
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", ADA)]
    capsys.readouterr()
    operator.run("dead")
    assert capsys.readouterr().out == "0 dead\n"


def test_the_higher_limit_outlasts_the_retries_of_the_replay(world: World, operator: Operator) -> None:
    die_of_an_outage(world)
    operator.run("dead", "replay", "--max-age", "2d")
    world.esp.errors = [EspError("sendgrid: 503", status=503)] * 3
    world.run(world.now + 10 * MINUTE)
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_replay_passes_no_other_rule_by(world: World, operator: Operator) -> None:
    die_of_an_outage(world)
    world.record(world.event("Order Cancelled", user="ada", order_id="1"))
    operator.run("dead", "replay", "--max-age", "2d")
    world.run(world.now + MINUTE)
    assert world.mails() == []
    assert world.outcomes("ada")[-1] == ("order_confirmation", "superseded")


def test_a_dead_send_of_somebody_who_was_merged_since_is_replayed_for_the_person_of_now(
    world: World, operator: Operator
) -> None:
    world.record(world.event("Signed Up", anon="x", email=ADA))
    world.esp.errors = [EspError("sendgrid: 503", status=503) for _ in range(500)]
    world.run(world.now + 25 * HOUR)
    world.esp.errors = []
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    operator.run("dead", "replay", "--max-age", "2d")
    world.run(world.now + MINUTE)
    assert world.mails() == [("welcome", ADA)]


def test_a_send_that_took_its_worker_down_three_times_is_dead_and_can_be_replayed(
    world: World, operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    world.record(world.event("Signed Up", user="ada", email=ADA))
    ((timer, _),) = world.due_timers(world.now + HOUR)
    world.client.hset(f"{SHOP}begun", timer, 2)
    world.deliver(timer)
    assert world.outcomes("ada") == [("welcome", "dead")]
    assert operator.run("dead", "replay") == 0
    assert "welcome" in capsys.readouterr().out
    world.run(world.now + MINUTE)
    assert world.mails() == [("welcome", ADA)]


def test_a_send_of_a_trigger_that_the_catalog_lost_is_dead_and_says_so(
    world: World, operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    world.record(world.event("Signed Up", user="ada", email=ADA))
    ((timer, due),) = world.due_timers(world.now + HOUR)
    gone = timer.replace("welcome", "hello")
    world.client.zadd(keys.timers("main", "hello"), {gone: due})
    # For an hour it may be a trigger that only newer hosts know.
    world.client.hset(f"{SHOP}begun", gone, "60")
    world.deliver(gone)
    assert ("hello", "dead") in world.outcomes("ada")
    assert operator.run("dead", "replay") == 1
    assert "no such trigger" in capsys.readouterr().out


def test_a_misspelt_trigger_is_not_held_and_the_known_ones_are_named(operator: Operator) -> None:
    with pytest.raises(SettingsError, match="known: abandoned_cart"):
        operator.run("hold", "abandonned_cart")


def test_what_an_operator_changes_is_counted_for_the_boards_and_what_is_only_read_is_not(
    world: World, operator: Operator
) -> None:
    for words in (
        ("hold",),
        ("hold",),
        ("hold", "--list"),
        ("release",),
        ("release",),
        ("dead", "list"),
        ("dead", "replay"),
    ):
        operator.run(*words)
    assert world.client.hgetall(keys.OPERATIONS) == {b"hold": b"1", b"release": b"1"}


def test_what_is_held_waits_and_leaves_after_the_release(
    world: World, operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    operator.run("hold", "welcome")
    world.record(world.event("Signed Up", user="ada", email=ADA))
    world.run()
    assert world.mails() == []
    operator.run("release", "welcome")
    assert "still held: none" in capsys.readouterr().out
    world.run(world.now + MINUTE)
    assert world.mails() == [("welcome", ADA)]

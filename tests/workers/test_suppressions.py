"""`python -m workers suppressions`: which addresses get no mail, and an operator's word about one."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest
from redis import Redis

from freshgate.errors import SettingsError
from freshgate.settings import Settings
from freshgate.state import keys
from freshgate.state.store import add_shops
from freshgate.state.suppressions import Change, write
from tests.engine.world import HOUR, PII_KEY, World, product
from workers import suppressions
from workers.__main__ import run as main

ADA = "ada@example.com"
Run = Callable[..., int]


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


@pytest.fixture
def run(redis_server: str, world: World) -> Run:
    def call(*words: str) -> int:
        parser = argparse.ArgumentParser()
        suppressions.add_command(parser.add_subparsers(dest="command"))
        settings = Settings(redis_url=redis_server, pii_key=PII_KEY.decode())
        return suppressions.run(settings, parser.parse_args(["suppressions", *words]))

    return call


def leave_cart(world: World) -> None:
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("tea")))


def test_an_address_that_an_operator_adds_gets_no_marketing_and_its_trail_says_who_and_why(
    world: World, run: Run
) -> None:
    leave_cart(world)
    assert run("add", ADA, "--reason", "asked by phone") == 0
    world.run(world.now + HOUR)
    assert world.mails() == []
    run("lift", ADA)
    lines = world.decisions("ada")
    assert [line["state"] for line in lines] == ["suppressed", "suppressed by hand", "suppression lifted"]
    assert lines[1]["reason"].endswith(": asked by phone")
    assert ":" not in lines[2]["reason"]
    assert "operator " in lines[1]["reason"]


def test_suppress_add_and_remove_are_other_words_for_the_same(
    world: World, redis_server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("REDIS_URL", redis_server), ("PII_KEY", PII_KEY.decode()), ("CONFIG", "/dev/null")):
        monkeypatch.setenv(f"FRESHGATE_{name}", value)
    for action, reply in (("add", "unsubscribed since"), ("list", "1 suppressed"), ("remove", "not suppressed")):
        assert main(["suppress", action, *([ADA] if action != "list" else [])]) == 0
        assert reply in capsys.readouterr().out
    leave_cart(world)
    world.run(world.now + HOUR)
    assert len(world.mails()) == 1


def test_a_shop_that_does_not_exist_is_refused_since_nobody_would_hear_of_it(run: Run, redis: Redis) -> None:
    add_shops(redis, ["main", "other"])
    for action in ("add", "lift", "show"):
        with pytest.raises(SettingsError, match="--shop mian: no such shop; write one of main, other"):
            run(action, ADA, "--shop", "mian")
    assert run("add", ADA, "--shop", "other") == 0


@pytest.mark.parametrize(
    ("event", "kind"),
    [("Unsubscribed", "unsubscribed"), ("Email Bounced", "bounced"), ("Email Marked as Spam", "spam")],
)
def test_a_lift_ends_what_was_known_before_it_and_a_later_event_suppresses_again(
    world: World, run: Run, event: str, kind: str
) -> None:
    world.record(world.event(event, email=ADA))
    leave_cart(world)
    assert run("lift", ADA, "--kind", kind) == 0
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]
    # An operator's stamp is of the host's own time, far beyond this world's.
    late = 2_000_000_000_000
    world.record(world.event(event, email=ADA, at=late, received_at=late))
    world.now += 48 * HOUR
    leave_cart(world)
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_a_lift_of_another_kind_ends_nothing(world: World, run: Run) -> None:
    world.record(world.event("Email Bounced", email=ADA))
    run("lift", ADA)
    leave_cart(world)
    world.run(world.now + HOUR)
    assert world.mails() == []


def test_an_opt_out_that_named_no_address_is_lifted_with_the_address(world: World, run: Run) -> None:
    leave_cart(world)
    world.record(world.event("Unsubscribed", user="ada"))
    run("lift", ADA)
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_list_and_show_say_what_holds_and_show_no_address(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    world.record(world.event("Email Bounced", email=ADA), world.event("Unsubscribed", email="eve@example.com"))
    run("lift", "eve@example.com")
    capsys.readouterr()
    assert run("list") == 0
    listed = capsys.readouterr().out
    assert "bounced since 2025-10-09" in listed
    assert listed.endswith("1 suppressed\n")
    assert "@" not in listed
    assert run("show", ADA) == 0
    assert "bounced" in capsys.readouterr().out
    assert run("show", "eve@example.com") == 1
    assert capsys.readouterr().out == "not suppressed\n"


def test_list_shows_a_bounce_that_an_opt_in_does_not_end(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    world.record(world.event("Email Bounced", email=ADA), world.event("Unsubscribed", email=ADA))
    world.now += HOUR
    world.record(world.event("Subscribed", email=ADA))
    assert run("show", ADA) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("bounced since 2025-10-09")


def test_list_shows_an_address_that_bounced_once_more_after_its_lift(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("lift", ADA, "--kind", "bounced")
    late = 2_000_000_000_000
    world.record(world.event("Email Bounced", email=ADA, at=late, received_at=late))
    capsys.readouterr()
    assert run("show", ADA) == 0
    assert "bounced since 2033-05-18" in capsys.readouterr().out


def test_a_lift_of_the_same_moment_by_the_same_hand_ends_nothing(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    address = keys.address_id(PII_KEY, ADA)
    for lifts in (False, True):
        change = Change(address=address, kind="spam", at=1, author="me", value="", state="", lifts=lifts)
        write(world.client, "main", change)
    assert run("show", ADA) == 0
    leave_cart(world)
    world.run(world.now + HOUR)
    assert world.mails() == []


def test_a_kind_that_does_not_exist_is_refused(run: Run) -> None:
    # Each marketing trigger of the catalog has a topic of its own; of transactional mail nobody can leave any.
    for kind in ("unsubscribe", "topic_marketing"):
        with pytest.raises(
            SettingsError, match=f"--kind {kind}: not known; write one of unsubscribed, bounced, spam, topic_"
        ):
            run("add", ADA, "--kind", kind)


def test_to_show_an_address_writes_nothing(world: World, run: Run) -> None:
    assert run("show", ADA) == 1
    assert world.client.exists(keys.address("main", keys.address_id(PII_KEY, ADA))) == 0


def test_an_import_without_a_file_is_refused(run: Run) -> None:
    with pytest.raises(SettingsError, match="name a CSV file"):
        run("import")


def test_what_is_no_address_is_refused(run: Run) -> None:
    with pytest.raises(SettingsError, match="name an email address"):
        run("lift", "ada")

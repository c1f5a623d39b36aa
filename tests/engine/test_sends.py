"""What a worker does with each decision and each answer of the ESP: the claim, the timer, the trail, the list."""

from __future__ import annotations

import time
from typing import Any

import pytest
from msgspec.structs import replace
from redis import ConnectionError as RedisConnectionError
from redis import Redis

from catalog import TRIGGERS
from freshgate import Needs
from freshgate.errors import CatalogError, EspError
from freshgate.queue import Item, Job
from freshgate.state import keys
from freshgate.state.records import Claim
from freshgate.telemetry import metrics
from tests.engine.world import HOUR, MINUTE, SHOP, START, World
from workers import courier as courier_module
from workers.calls import error_class, fault_of

ADA = "ada@example.com"
TIMER = keys.timer("welcome", "p", keys.person_id("main", "ada"))
DAY = 24 * HOUR


@pytest.fixture
def world(redis: Redis) -> World:
    """Ada signed up just now; her welcome is due."""
    return signed_up(World(redis))


def signed_up(world: World) -> World:
    world.record(world.event("Signed Up", user="ada", email=ADA))
    return world


def with_welcome(redis: Redis, **changes: Any) -> World:
    """A world whose welcome differs so, with its mail due."""
    return signed_up(World(redis, [replace(t, **changes) if t.name == "welcome" else t for t in TRIGGERS]))


def claim(world: World) -> Claim:
    (claimed,) = world.person("ada").claims("welcome")
    return claimed


def due(world: World) -> int | None:
    return dict(world.due_timers(world.now + 99 * DAY)).get(TIMER)


def fail(world: World, **error: Any) -> dict[str, Any]:
    """The ESP answers so; returns the last line of the trail."""
    world.esp.errors = [EspError("refused", **error)]
    world.deliver(TIMER)
    return world.decisions("ada")[-1]


def count(metric: Any, *labels: str) -> float:
    value: float = metric.labels(*labels)._value.get()
    return value


def listed(world: World) -> list[str]:
    return [name for name in ("unknown", "dead", "rejected") if world.client.exists(keys.operator_list("main", name))]


def test_a_mail_that_the_esp_took(world: World) -> None:
    before = count(metrics.SENDS, "welcome", "sendgrid", "sent")
    held: list[Claim] = []
    world.esp.before_send = lambda _: held.append(claim(world))
    world.deliver(TIMER)
    (open_claim,), closed = held, claim(world)
    assert (open_claim.state, open_claim.until, open_claim.at) == ("claimed", START + 15_000, START)
    assert (open_claim.attempts, open_claim.limit, open_claim.version) == (0, 0, "")
    assert (closed.state, closed.until, closed.at, closed.attempts) == ("sent", START + 15_000, START, 0)
    assert (closed.token, closed.send_id) == (open_claim.token, world.esp.mails[0].send_id)
    (line,) = world.decisions("ada")
    assert line == {
        "t": START, "trigger": "welcome", "state": "sent", "send": closed.send_id, "esp": "sendgrid", "said": "p1",
        "compared": {"signup": START}, "status": 202, "times": 1,
    }  # fmt: skip
    assert (due(world), listed(world)) == (None, [])
    assert count(metrics.SENDS, "welcome", "sendgrid", "sent") == before + 1
    message = world.esp.mails[0]
    assert (message.to, message.template_id, message.asm_group_id) == (ADA, world.triggers["welcome"].template_id, None)


def test_a_mail_that_is_tried_again(world: World) -> None:
    before = count(metrics.RETIMED, "welcome", "retry")
    line = fail(world, retry_after_s=60, status=429)
    closed = claim(world)
    assert (closed.state, closed.attempts, closed.until, closed.at) == ("retry", 1, START + 60_000, START)
    assert (due(world), listed(world)) == (START + 60_000, [])
    assert (line["state"], line["said"], line["status"]) == ("retry", "refused", 429)
    assert (line["due"], line["attempts"]) == (START + 60_000, 1)
    assert count(metrics.RETIMED, "welcome", "retry") == before + 1
    world.run(START + 59_999)
    assert claim(world).state == "retry"
    world.now = START + 60_000
    fail(world, retry_after_s=60)
    assert claim(world).attempts == 2
    world.run(START + 2 * MINUTE)
    assert (claim(world).state, claim(world).attempts) == ("sent", 2)


@pytest.mark.parametrize(("retry_after", "state"), [(60, "retry"), (60.001, "dead")])
def test_a_mail_that_would_be_too_old_when_it_is_tried_again(redis: Redis, retry_after: float, state: str) -> None:
    world = with_welcome(redis, max_age=MINUTE)
    line = fail(world, retry_after_s=retry_after, status=503)
    assert (line["state"], line["status"], claim(world).state, claim(world).attempts) == (state, 503, state, 1)
    assert listed(world) == (["dead"] if state == "dead" else [])


def test_a_mail_that_the_esp_refuses_for_good(world: World) -> None:
    line = fail(world, permanent=True, status=400)
    assert (line["state"], line["said"], line["status"], "due" in line) == ("rejected", "refused", 400, False)
    assert (claim(world).state, claim(world).attempts, due(world), listed(world)) == ("rejected", 0, None, ["rejected"])


def test_a_mail_that_the_esp_may_have(redis: Redis) -> None:
    world = with_welcome(redis)
    world.esp.before_send = lambda _: setattr(world, "now", START + 1000)
    line = fail(world, ambiguous=True)
    # Whoever counts mails counts it from the moment of the claim.
    assert (line["state"], "status" in line, claim(world).at, listed(world)) == ("unknown", False, START, ["unknown"])
    resending = with_welcome(redis, unknown="resend")
    redis.flushdb()
    signed_up(resending)
    assert fail(resending, ambiguous=True)["state"] == "retry"


def test_what_a_worker_left_behind_is_unknown_or_sent_once_more(redis: Redis) -> None:
    def die_and_find(world: World, attempts: int) -> str:
        redis.flushdb()
        signed_up(world)
        leftover = f"{keys.send_id('welcome', world.root('ada'), '')} claimed dead {START} {START - 5} {attempts} -"
        redis.hset(f"{SHOP}p:{world.root('ada')}", "c:welcome", leftover)
        world.deliver(TIMER)
        return claim(world).state

    hold = with_welcome(redis)
    assert die_and_find(hold, 0) == "unknown"
    assert (hold.decisions("ada")[0]["said"], claim(hold).at) == ("worker_died", START - 5)
    assert hold.esp.mails == []
    resend = with_welcome(redis, unknown="resend")
    # However often the ESP asked to try again before: only what took workers down is given up, by the timer's count.
    assert [die_and_find(resend, attempts) for attempts in (0, 9)] == ["sent", "sent"]


def test_a_person_that_moves_on_without_end_is_looked_at_a_second_later(world: World) -> None:
    before = count(metrics.RETIMED, "welcome", "contended")
    busy = world.interrupted_courier(lambda: world.record(world.event("Page", user="ada")), times=5)
    world.deliver(TIMER, courier=busy)
    assert (world.mails(), due(world)) == ([], START + 1000)
    assert count(metrics.RETIMED, "welcome", "contended") == before + 1
    five = world.interrupted_courier(lambda: world.record(world.event("Page", user="ada")), times=4)
    world.deliver(TIMER, courier=five)
    assert world.mails() == [("welcome", ADA)]


def test_a_call_that_comes_too_late_after_the_claim_is_not_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.client.zadd(keys.timers("main", "welcome"), {TIMER: START})
    for limit, mails in ((-1.0, []), (9.0, [("welcome", ADA)])):
        monkeypatch.setattr(courier_module, "MAX_CLAIM_TO_CALL_S", limit)
        world.deliver(TIMER)
        assert world.mails() == mails
        if not mails:
            assert (world.person("ada").claims("welcome"), due(world)) == ([], START + 1000)


@pytest.mark.parametrize(("state", "tries", "age"), [("retry", "3", 0), ("replay", f"0+{9 * DAY}", 8 * DAY)])
def test_a_claim_that_is_given_back_leaves_the_attempts_and_the_limit_of_a_replay(
    world: World, monkeypatch: pytest.MonkeyPatch, state: str, tries: str, age: int
) -> None:
    send_id = keys.send_id("welcome", world.root("ada"), "")
    before = f"{send_id} {state} t 0 {START} {tries} -"
    world.client.hset(f"{SHOP}p:{world.root('ada')}", "c:welcome", before)
    world.now += age
    monkeypatch.setattr(courier_module, "MAX_CLAIM_TO_CALL_S", -1.0)
    world.deliver(TIMER)
    assert world.mails() == []
    assert world.client.hget(f"{SHOP}p:{world.root('ada')}", "c:welcome") == before.encode()
    monkeypatch.setattr(courier_module, "MAX_CLAIM_TO_CALL_S", 9.0)
    world.deliver(TIMER)
    assert world.mails() == [("welcome", ADA)]


def test_a_redis_that_fails_during_the_call_ends_the_job_and_the_claim_stays(world: World) -> None:
    calls: list[str] = []

    def fail(message: Any) -> None:
        calls.append(message.to)
        raise RedisConnectionError("down")

    world.esp.before_send = fail
    with pytest.raises(RedisConnectionError):
        world.deliver(TIMER)
    assert (claim(world).state, calls) == ("claimed", [ADA]), "the mail may have left: nobody calls once more"


def test_a_job_that_takes_too_long_gives_the_rest_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.client.zadd(keys.timers("main", "welcome"), {TIMER: START - 5})
    monkeypatch.setattr(courier_module, "BUDGET_S", -1.0)
    world.deliver(TIMER)
    assert (world.mails(), due(world), world.decisions("ada")) == ([], START, [])


def test_only_what_came_back_counts_as_a_crash(world: World) -> None:
    def deliver(returned: int) -> None:
        world.courier.deliver(Job(sends=(Item(TIMER, returned),), created=world.now, shop="main"))

    started = f"{SHOP}begun"
    before = count(metrics.GATED, "welcome", "dead", "poison")
    world.client.hset(started, TIMER, 9)
    world.esp.errors = [EspError("503")]
    deliver(0)
    assert claim(world).state == "retry"
    for crashes, state in ((1, "retry"), (2, "dead")):
        world.now += 20 * MINUTE
        world.client.hset(started, TIMER, crashes)
        world.esp.errors = [EspError("503")]
        deliver(1)
        assert world.decisions("ada")[-1]["state"] == state
    line = world.decisions("ada")[-1]
    assert (line["reason"], line["compared"], due(world), listed(world)) == ("poison", {}, None, ["dead"])
    assert line["send"] == keys.send_id("welcome", world.root("ada"), "poison")
    assert count(metrics.GATED, "welcome", "dead", "poison") == before + 1
    entry: Any
    (entry,) = world.client.zrange(keys.operator_list("main", "dead"), 0, -1)
    owner = f"p:{world.root('ada')}"
    assert entry.decode() == f"{owner} {TIMER} c:welcome {keys.send_id('welcome', world.root('ada'), 'poison')}"


@pytest.mark.parametrize(("crashes", "is_dead"), [(58, False), (59, True)])
def test_a_trigger_that_no_host_knows_any_more_ends_after_an_hour(world: World, crashes: int, is_dead: bool) -> None:
    world.client.hset(f"{SHOP}begun", TIMER, crashes)
    del world.triggers["welcome"]
    world.courier = world.new_courier()
    world.courier.deliver(Job(sends=(Item(TIMER, 0),), created=world.now, shop="main"))
    assert world.client.hget(f"{SHOP}begun", TIMER) == str(crashes).encode()
    world.deliver(TIMER)
    assert (due(world) is None) == is_dead
    if not is_dead:
        assert (due(world), world.client.hget(f"{SHOP}begun", TIMER)) == (START + MINUTE, b"59")


def test_our_own_fault_comes_back_and_is_named_without_its_text(redis: Redis) -> None:
    def compose(person: Any, order: Any) -> dict[str, Any]:
        raise KeyError("ada's secret")

    world = with_welcome(redis, compose=compose)
    redis.zadd(keys.timers("main", "welcome"), {TIMER: START})
    world.deliver(TIMER)
    (line,) = world.decisions("ada")
    assert (line["state"], line["reason"].split(":")[0], due(world)) == (
        "failed",
        "KeyError in test_sends.py",
        START + 30_000,
    )
    assert redis.hget(f"{SHOP}begun", TIMER) == b"0"
    try:
        int("x")
    except ValueError as error:
        assert fault_of(error).startswith("ValueError in test_sends.py:")


def test_where_a_declaration_refuses_a_value_the_fault_is_its_callers() -> None:
    with pytest.raises(CatalogError) as caught:
        Needs("profile.city", fresh_for="soon")
    assert fault_of(caught.value).startswith("CatalogError in test_sends.py:")


def test_errors_are_counted_by_their_class() -> None:
    kinds = [EspError("", ambiguous=True), EspError("", permanent=True), EspError("", blocked=True), EspError("")]
    assert [error_class(error) for error in kinds] == ["ambiguous", "permanent", "blocked", "retry"]


def test_the_connection_is_opened_once_for_a_send(world: World) -> None:
    opened: list[float] = []
    world.esp.before_connect = lambda: opened.append(time.monotonic())
    world.deliver(TIMER)
    assert len(opened) == 1


def with_key(world: World, hours: int = 24) -> World:
    """The ESP knows a send by its id for so long, as Resend does."""
    world.esp.idempotency_s = hours * 3600  # type: ignore[attr-defined]
    return world


def test_an_esp_that_knows_the_send_is_asked_again_and_no_operator_is_needed(world: World) -> None:
    line = fail(with_key(world), ambiguous=True)
    assert (line["state"], claim(world).attempts, listed(world)) == ("retry", 1, [])
    asked: list[str] = []
    world.esp.before_send = lambda message: asked.append(message.send_id)
    world.run(START + MINUTE)
    assert (claim(world).state, asked, listed(world)) == ("sent", [claim(world).send_id], [])


def test_what_a_worker_left_behind_is_settled_by_asking_again_under_the_same_key(redis: Redis) -> None:
    world = with_key(with_welcome(redis))
    send_id = keys.send_id("welcome", world.root("ada"), "")
    redis.hset(f"{SHOP}p:{world.root('ada')}", "c:welcome", f"{send_id} claimed dead {START} {START - 5} 0 -")
    world.deliver(TIMER)
    assert (claim(world).state, [message.send_id for message in world.esp.mails]) == ("sent", [send_id])


def test_a_mail_that_may_leave_for_longer_than_the_key_is_known_is_unknown(redis: Redis) -> None:
    world = with_key(with_welcome(redis, max_age=25 * HOUR))
    assert fail(world, ambiguous=True)["state"] == "unknown"


def test_what_cannot_be_asked_again_in_time_is_unknown_and_not_given_up(redis: Redis) -> None:
    world = with_key(with_welcome(redis, max_age=MINUTE))
    assert fail(world, ambiguous=True, retry_after_s=61)["state"] == "unknown"
    assert listed(world) == ["unknown"]


def test_a_mail_that_the_esp_refused_until_it_was_too_late_is_given_up_though_it_knows_sends(redis: Redis) -> None:
    world = with_key(with_welcome(redis, max_age=MINUTE))
    assert fail(world, retry_after_s=61)["state"] == "dead"

"""The account of a worker as a send sees it: what a call gives back, what it reports, how long the others wait."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from redis import Redis

from catalog.triggers.order_confirmation import ORDER_CONFIRMATION
from freshgate.errors import EspError
from freshgate.settings import EspSettings
from freshgate.state import keys
from freshgate.state.clock import RedisClock
from freshgate.state.store import fcall
from tests.engine.accounts import BLOCKED, SECOND, Clock
from tests.engine.world import START
from workers.account import Account
from workers.outlet import Outlet, Turn, Wait

pytestmark = pytest.mark.usefixtures("library")
LIMITED = EspSettings(rate=(10, SECOND))
OF_SHOP = replace(ORDER_CONFIRMATION, esp="shop")


def new_outlet(redis: Redis, clock: Clock, name: str = "shop", **accounts: EspSettings) -> Outlet:
    return Outlet(redis, name, {"shop": EspSettings()} | accounts, RedisClock(lambda: clock.now))


def enter(outlet: Outlet, mails: int) -> tuple[Turn, list[float]]:
    """A turn, and the sleeps before it."""
    slept: list[float] = []
    return outlet.enter(ORDER_CONFIRMATION, mails, slept.append), slept


def breaker(redis: Redis, clock: Clock) -> str:
    return Account(redis, "shop", EspSettings(), RedisClock(lambda: clock.now)).state.breaker


def test_the_turns_of_mails_that_a_call_left_out_are_there_for_the_next(redis: Redis, clock: Clock) -> None:
    outlet = new_outlet(redis, clock, shop=LIMITED)
    turn, slept = enter(outlet, 5)
    assert (turn.mails, slept) == (5, [pytest.approx(0.4, abs=0.01)])
    outlet.called(turn, 1, ["taken"])
    assert enter(outlet, 1)[1] == [pytest.approx(0.1, abs=0.001)]


def test_a_call_with_all_its_mails_gives_nothing_back(redis: Redis, clock: Clock) -> None:
    outlet = new_outlet(redis, clock, shop=LIMITED)
    turn, _ = enter(outlet, 2)
    outlet.called(turn, 2, ["taken"] * 2)
    outlet.leave(turn)
    assert enter(outlet, 1)[1] == [pytest.approx(0.2, abs=0.001)]


def test_a_turn_that_is_left_twice_is_given_back_once(redis: Redis, clock: Clock) -> None:
    outlet = new_outlet(redis, clock, shop=LIMITED)
    enter(outlet, 3)
    turn, _ = enter(outlet, 2)
    outlet.leave(turn)
    outlet.leave(turn)
    assert enter(outlet, 1)[1] == [pytest.approx(0.3, abs=0.001)]


def test_who_has_no_turn_does_not_sleep_for_it(redis: Redis, clock: Clock) -> None:
    outlet = new_outlet(redis, clock, shop=LIMITED)
    enter(outlet, 100)
    turn, slept = enter(outlet, 1)
    assert (turn.mails, slept) == (0, [])


@pytest.mark.parametrize(("replies", "state"), [([BLOCKED, "taken"], "closed"), ([BLOCKED, BLOCKED], "open")])
def test_a_batch_fails_for_the_account_where_none_of_its_mails_was_taken(
    redis: Redis, clock: Clock, replies: list[str | EspError], state: str
) -> None:
    outlet = new_outlet(redis, clock)
    turn, _ = enter(outlet, 2)
    outlet.called(turn, 2, replies)
    assert breaker(redis, clock) == state


def test_a_mail_that_its_own_account_may_have_waits_for_that_ones_probe(redis: Redis, clock: Clock) -> None:
    shop, news = EspSettings(failover="news"), EspSettings()
    own, other = (new_outlet(redis, clock, name, shop=shop, news=news) for name in ("shop", "news"))
    turn, _ = enter(own, 1)
    own.called(turn, 1, [BLOCKED])
    assert other.must_wait(OF_SHOP, "shop", is_paced=False) == Wait("breaker_open", START + 5 * SECOND)
    assert other.must_wait(OF_SHOP, "", is_paced=False) is None


def test_a_mail_that_its_own_account_may_have_waits_for_a_second_while_an_operator_holds_that(
    redis: Redis, clock: Clock
) -> None:
    fcall(redis, "breaker", keys.account("shop"), clock.now, "open", "operator")
    other = new_outlet(redis, clock, "news", shop=EspSettings(failover="news"), news=EspSettings())
    wait = other.must_wait(OF_SHOP, "shop", is_paced=False)
    assert wait
    assert START + SECOND <= wait.due <= START + 5 * SECOND

"""A mail that waited by the delay of its time is not late because the delay is shorter now."""

from __future__ import annotations

from msgspec.structs import replace
from prometheus_client import REGISTRY
from redis import Redis

from catalog import TRIGGERS
from freshgate.declare import Trigger
from tests.engine.world import World, product
from workers.courier import Courier
from workers.delays import UPDATED_WITHIN_MS, Delays, EarlierDelay, note_delays

MINUTE = 60_000
HALF_AN_HOUR, FIVE_MINUTES = 30 * MINUTE, 5 * MINUTE
CART = "abandoned_cart"


def triggers(delay: int) -> list[Trigger]:
    """The catalog's, with this delay of the abandoned cart."""
    return [replace(trigger, delay=delay) if trigger.name == CART else trigger for trigger in TRIGGERS]


class Shop(World):
    """Receiver and worker that start with this delay of the abandoned cart."""

    def __init__(self, redis: Redis, delay: int) -> None:
        super().__init__(redis, triggers(delay))
        delays = note_delays(redis, self.triggers.values(), self.now)
        self.worker = Courier(
            redis, self.triggers, self.esp, self.lookup(), deadline_ms=10_000, clock=lambda: self.now, delays=delays
        )

    def leave_cart(self) -> None:
        self.record(self.event("Product Added", user="ada", email="ada@example.com", product=product("mug")))

    def count(self, late: int = 0) -> tuple[float, float, float]:
        """Sends the cart's mail so long after its timer's due: the mails on time, since they were due and since their
        event, of how many."""
        before = [observed("received", "5.0"), observed("occurred", "5.0"), observed("received", "+Inf")]
        ((timer, due),) = self.due_timers(self.now + 10 * HALF_AN_HOUR)
        self.now = due + late
        self.deliver(timer, courier=self.worker)
        after = [observed("received", "5.0"), observed("occurred", "5.0"), observed("received", "+Inf")]
        on_time, on_time_since_event, mails = (now - was for now, was in zip(after, before, strict=True))
        return on_time, on_time_since_event, mails


def observed(since: str, bound: str) -> float:
    labels = {"trigger": CART, "esp": "sendgrid", "le": bound}
    return REGISTRY.get_sample_value(f"freshgate_{since}_to_accepted_seconds_bucket", labels) or 0.0


def noted(redis: Redis, delay: int, now: int) -> Delays:
    return note_delays(redis, triggers(delay), now)


def test_a_mail_that_waited_by_the_longer_delay_of_before_is_on_time(redis: Redis) -> None:
    Shop(redis, HALF_AN_HOUR).leave_cart()
    assert Shop(redis, FIVE_MINUTES).count() == (1, 1, 1)


def test_a_mail_that_leaves_after_the_due_of_before_is_late(redis: Redis) -> None:
    Shop(redis, HALF_AN_HOUR).leave_cart()
    assert Shop(redis, FIVE_MINUTES).count(late=MINUTE) == (0, 0, 1)


def test_a_timer_that_was_set_by_the_new_delay_is_measured_by_it(redis: Redis) -> None:
    """Within the hour in which hosts of both settings may be at work, too."""
    Shop(redis, HALF_AN_HOUR)
    shop = Shop(redis, FIVE_MINUTES)
    shop.leave_cart()
    assert shop.count(late=MINUTE) == (0, 0, 1)


def test_delays_of_before_are_forgotten_when_no_timer_waits_by_them(redis: Redis) -> None:
    now = World(redis).now
    noted(redis, 3 * HALF_AN_HOUR, now)
    noted(redis, HALF_AN_HOUR, now)
    until = now + UPDATED_WITHIN_MS
    earlier = {CART: (EarlierDelay(HALF_AN_HOUR, until), EarlierDelay(3 * HALF_AN_HOUR, until))}
    assert noted(redis, FIVE_MINUTES, now).earlier == earlier
    # A worker that starts again knows them, too.
    assert noted(redis, FIVE_MINUTES, now + MINUTE).earlier == earlier
    assert noted(redis, FIVE_MINUTES, until + HALF_AN_HOUR).earlier == {CART: earlier[CART][1:]}
    assert noted(redis, FIVE_MINUTES, until + 3 * HALF_AN_HOUR).earlier == {}


def test_a_longer_delay_leaves_nothing_behind(redis: Redis) -> None:
    now = World(redis).now
    noted(redis, FIVE_MINUTES, now)
    assert noted(redis, HALF_AN_HOUR, now).earlier == {}

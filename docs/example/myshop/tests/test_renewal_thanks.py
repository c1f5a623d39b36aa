"""One mail a renewal, however often it is reported, and none for an old one."""

from __future__ import annotations

from freshgate.testing import World

ADA = "ada@example.com"


def test_each_renewal_is_thanked_for_once() -> None:
    world = World("myshop.catalog")
    for _ in range(2):
        renewal = world.event("Subscription Renewed", user="ada", email=ADA, plan="Gold")
        world.record(renewal, renewal)
        world.wait("1h")
    assert [(mail.trigger, mail.to) for mail in world.mails] == [("renewal_thanks", ADA)] * 2
    assert world.mails[0].template_data == {"first_name": "", "plan": "Gold"}


def test_an_old_renewal_is_stale() -> None:
    world = World("myshop.catalog")
    world.record(world.event("Subscription Renewed", user="ada", email=ADA, ago="25h"))
    world.wait()
    assert world.outcomes("ada") == [("renewal_thanks", "stale")]

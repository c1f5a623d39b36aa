"""For the tests of a catalog: a shop with the real engine, a Valkey of its own and a clock that the test moves.

    from freshgate.testing import World

    def test_each_renewal_is_thanked_for_once() -> None:
        world = World("myshop.catalog")
        renewal = world.event("Subscription Renewed", user="ada", email="ada@example.com", plan="Gold")
        world.record(renewal, renewal)
        world.wait("1h")
        assert [mail.trigger for mail in world.mails] == ["renewal_thanks"]

No process of Freshgate imports it; it stands above both, and needs requirements-embedded.txt. `engine.py` drives the
engine, `world.py` is what tests use.
"""

from freshgate.testing.world import Mail, World

__all__ = ["Mail", "World"]

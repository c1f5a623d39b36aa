"""Who somebody is does not depend on arrival: links, aliases, erasures and opt-outs in any order, repeated and split.

`test_convergence.py` has one person's registers; here several persons and devices meet.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from freshgate.events import Event
from freshgate.state import keys
from tests.engine.world import HOUR, START, World, product
from tests.harness.examples import examples
from workers.gate import decide

USERS, DEVICES = ("u", "v"), ("x", "y")
# Each device is one user's: what is told of a device between its meeting a second user and our learning of that is the
# one thing that depends on arrival. Then a mail is withheld.
OWNER = {"x": "u", "y": "v"}
EMAIL = {"u": "u@example.com", "v": "v@example.com"}
STEP = st.one_of(
    st.tuples(st.sampled_from(["Product Added", "Product Removed", "Product Viewed"]), st.sampled_from("ab")),
    st.tuples(st.just("Cart Viewed"), st.lists(st.sampled_from("ab"), max_size=2, unique=True)),
    st.tuples(st.just("Order Completed"), st.sampled_from(["1", "2"])),
    st.tuples(st.sampled_from(["Identify", "Unsubscribed", "Signed Up", "Page"]), st.booleans()),
    st.tuples(st.just("Delete"), st.none()),
)
WHO = st.one_of(
    st.sampled_from([(user, None) for user in USERS]),
    st.sampled_from([(None, device) for device in DEVICES]),
    st.sampled_from([(OWNER[device], device) for device in DEVICES]),
)
STREAM = st.lists(st.tuples(STEP, WHO, st.integers(0, 9)), min_size=1, max_size=14)


def to_event(world: World, number: int, step: tuple[str, Any], who: tuple[str | None, str | None], tick: int) -> Event:
    name, value = step
    user, device = who
    owner = user or OWNER[device or ""]
    fields: dict[str, Any] = {}
    if name.startswith("Product"):
        fields["product"] = product(value)
    elif name == "Cart Viewed":
        fields["products"] = tuple(product(line) for line in value)
    elif name == "Order Completed":
        # An order belongs to one of the two, and has one time: told again as of another time, and erased in between,
        # it would be the one or the other telling.
        tick = 3 * int(value)
        fields |= {"order_id": f"{owner}-{value}", "products": (product("a"),)}
    elif name in ("Identify", "Unsubscribed", "Signed Up") and value:
        fields["email"] = EMAIL[owner]
    at = START - HOUR + tick * 1000
    return world.event(name, at=at, user=user, anon=device, message_id=f"m{number}", **fields)


def observe(world: World) -> list[Any]:
    """What is known of each id, and what each trigger decides about it at several moments."""
    observed: list[Any] = []
    for user, device in [(user, None) for user in USERS] + [(None, device) for device in DEVICES]:
        observed.append(world.state(user, device))
        timer_id = keys.person_id("main", user, device)
        for trigger in world.triggers.values():
            if trigger.subject == "person":
                records = world.records(keys.timer(trigger.name, "p", timer_id))
                decisions = [decide(trigger, records, START + hours * HOUR) for hours in (2, 20, 40)]
                observed += [(decision.do, decision.outcome, decision.reason, decision.to) for decision in decisions]
    return observed


@settings(max_examples=examples(450), deadline=None, suppress_health_check=list(HealthCheck))
@given(stream=STREAM, with_alias=st.booleans(), data=st.data())
def test_persons_devices_aliases_erasures_and_opt_outs_converge(
    redis: Redis, stream: list[Any], with_alias: bool, data: st.DataObject
) -> None:
    numbered = list(enumerate(stream))
    outcomes = []
    for order in (numbered, data.draw(st.permutations(numbered * 2))):
        redis.flushdb()
        world = World(redis)
        events = [to_event(world, number, *element) for number, element in order]
        if with_alias:
            # In the first run it comes last, in the second anywhere.
            alias = world.event("Alias", user="u", previous_id="v", at=START - HOUR, message_id="alias")
            events.insert(len(events) if order is numbered else data.draw(st.integers(0, len(events))), alias)
        cut = data.draw(st.integers(1, len(events)))
        for at in range(0, len(events), cut):
            world.record(*events[at : at + cut])
        outcomes.append(observe(world))
    assert outcomes[0] == outcomes[1]

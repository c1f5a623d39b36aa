"""What a mail says of fields, whatever order they arrived in, compared with an oracle that shares no code.

Fields are told of a user and of a device that belongs to the user; the two meet somewhere in between.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from redis import Redis

from catalog import EVENTS
from freshgate import Fallback, Needs
from freshgate.declare import DAY
from tests.engine.test_needs import PING as PING_EVENT
from tests.engine.test_needs import PINGED, PROFILED
from tests.engine.world import HOUR, START, World
from tests.harness.examples import examples

ADA = "ada@example.com"
CITY, NAME, VISITED = HOUR, 2 * HOUR, 3 * HOUR
TRIGGER = replace(
    PINGED,
    needs=(
        Needs("profile.first_name", fresh_for=NAME, default="there"),
        Needs(
            "profile.city",
            fresh_for=CITY,
            otherwise=Fallback(template_id="d-broad", needs=(Needs("profile.visited", fresh_for=VISITED),)),
        ),
    ),
)
# The edges of what is fresh, to the millisecond, and times in between.
AGES = st.sampled_from([0, 1, CITY, CITY + 1, NAME - 1, NAME, NAME + 1, VISITED, VISITED + 1, DAY])
UPDATES = st.tuples(
    st.sampled_from(["first_name", "city", "visited"]), AGES, st.sampled_from(["user", "device"]), st.booleans()
)


def expected(updates: list[tuple[int, tuple[str, int, str, bool]]]) -> tuple[str, str, str]:
    """(template or reason, first name, city), of the newest word on each field by a server, else by a page."""
    newest: dict[str, tuple[int, int] | None] = {}
    for field in ("first_name", "city", "visited"):
        limit = {"first_name": NAME, "city": CITY, "visited": VISITED}[field]
        words = [(age, number, by_page) for number, (name, age, _, by_page) in updates if name == field]
        by_server = [(age, number) for age, number, by_page in words if not by_page]
        # A name that a device alone tells may be a guest's: it counts only while none of the user is known.
        of_user = [(name, who, by_page) == (field, "user", False) for _, (name, _, who, by_page) in updates]
        users = [(age, number) for is_users, (number, (_, age, _, _)) in zip(of_user, updates, strict=True) if is_users]
        server = min((users if field == "first_name" else []) or by_server, default=None)
        page = min([(age, number) for age, number, by_page in words if by_page], default=None)
        fresh = [word for word in (server, page) if word and word[0] <= limit]
        newest[field] = fresh[0] if fresh else None
    name = f"v{newest['first_name'][1]}" if newest["first_name"] else "there"
    if newest["city"]:
        return "d-ping", name, f"v{newest['city'][1]}"
    return ("d-broad", name, "") if newest["visited"] else ("none", "", "")


@settings(max_examples=examples(80), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    # At one moment a field has one value, so that no order of messages has to decide.
    updates=st.lists(UPDATES, max_size=7, unique_by=lambda update: (update[0], update[1], update[3])),
    data=st.data(),
)
def test_the_mail_is_the_oracles_in_any_order_with_a_merge_in_between(
    redis: Redis, updates: list[tuple[str, int, str, bool]], data: st.DataObject
) -> None:
    redis.flushdb()
    world = World(redis, (replace(TRIGGER, kind="marketing", cap=(9, DAY)),), events=(*EVENTS, PROFILED, PING_EVENT))
    numbered = list(enumerate(updates))
    steps: list[Any] = [*numbered, "link", "link"]
    for step in data.draw(st.permutations(steps)):
        if step == "link":
            world.record(world.event("Identify", user="ada", anon="x", email=ADA, at=START - 2 * DAY))
            continue
        number, (field, age, who, by_page) = step
        # A page speaks for its device only.
        ids = {"user": "ada"} if who == "user" and not by_page else {"anon": "x"}
        event = world.event("Profile Updated", at=START - age, message_id=f"m{number}", **ids, **{field: f"v{number}"})
        world.record(event, trusted=not by_page)
    world.record(world.event("Pinged", user="ada", at=START))
    world.run()
    mails = [
        (mail.template_id, mail.template_data["first_name"], mail.template_data["city"]) for mail in world.esp.mails
    ]
    wanted = expected(numbered)
    if wanted[0] == "none":
        assert mails == []
        assert world.decisions("ada")[-1]["state"] == "stale"
    else:
        assert mails == [wanted]
    assert len(world.outcomes("ada")) == 1

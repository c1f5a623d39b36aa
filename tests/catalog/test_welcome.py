"""Which accounts are new enough for a welcome."""

from __future__ import annotations

import pytest

from catalog.triggers.welcome import WELCOME
from freshgate import DAY, HOUR, MINUTE, Event

AT = 1_790_000_000_000


def starts(created_at: int | None, name: str = "Identify") -> bool:
    fields = {} if created_at is None else {"created_at": created_at}
    event = Event(
        source="shop", id_space="main", name=name, message_id="m", occurred_at=AT, received_at=AT, fields=fields
    )
    assert WELCOME.starts is not None
    return WELCOME.starts(event)


@pytest.mark.parametrize("ahead", [0, 200, 2_000, 30_000, 5 * MINUTE, 14 * HOUR])
def test_an_account_whose_date_lies_a_little_ahead_is_new(ahead: int) -> None:
    # Two clocks differ; and today's date in Kiribati is tomorrow's in UTC.
    assert starts(AT + ahead)


@pytest.mark.parametrize("created_at", [AT - DAY - 1, AT + 14 * HOUR + 1, AT + 365 * DAY, None])
def test_an_old_account_and_one_of_the_far_future_are_not(created_at: int | None) -> None:
    assert not starts(created_at)
    assert starts(created_at, "Signed Up")

"""Welcome: at once, once a person, when they sign up or are first told of with a fresh creation date."""

from __future__ import annotations

from typing import Any

from freshgate import DAY, Event, OrderView, PersonView, Trigger, Withdrawn

MAX_AGE = DAY


def _is_new(event: Event) -> bool:
    """Every identify tells of a person, few of a new one: the account was created within a day before it."""
    if event.name == "Signed Up":
        return True
    created = event.fields.get("created_at")
    return created is not None and 0 <= event.occurred_at - created <= MAX_AGE


def _withdrawn(person: PersonView, order: OrderView | None) -> Withdrawn | None:
    return None


def _compose(person: PersonView, order: OrderView | None) -> dict[str, Any]:
    return {"first_name": person.trait("first_name") or ""}


WELCOME = Trigger(
    name="welcome",
    on=("Signed Up", "Identify"),
    about="signup",
    kind="transactional",
    max_age=MAX_AGE,
    template_id="d-welcome",
    starts=_is_new,
    withdrawn=_withdrawn,
    compose=_compose,
)
